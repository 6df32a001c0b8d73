//! Whether a package shows its interface: how many of its types and methods have an example.

use std::collections::BTreeSet;

use syn::{Attribute, ImplItem, Item, TraitItem, Type, UseTree, Visibility};

use super::syntax::{Parsed, attributes, is_code, is_test};
use super::{Breach, House};

/// A type, a method or a function that programs can name.
pub struct Public {
    pub file: String,
    pub line: usize,
    /// As `Type::method`.
    pub name: String,
    pub has_example: bool,
}

/// What of a package's interface does something: its types, traits, functions and methods. A
/// constant and another name of a type are none.
pub fn interface(house: &House) -> Vec<Public> {
    let code = house
        .sources
        .iter()
        .filter(|source| source.path.starts_with("src/") && is_code(&source.path));
    let trees: Vec<_> = code.map(|source| (&*source.path, Parsed::new(source).tree)).collect();
    let names = exported(&trees);
    let mut found = Vec::new();
    for (file, tree) in &trees {
        let mut finder = Finder { file, names: &names, found: &mut found };
        for item in tree.items.iter().filter(|item| !is_elsewhere(attributes(item))) {
            finder.read(item);
        }
    }
    found
}

/// Items without an example, if fewer than `percent` of all have one. Those that `obvious` names
/// are left out, and may have none.
pub fn hidden(house: &House, percent: usize, obvious: &[&str]) -> Vec<Breach> {
    let all = interface(house);
    let mut breaches = Vec::new();
    for name in obvious {
        match all.iter().find(|item| item.name == *name) {
            Some(item) if item.has_example => {
                breaches.push(Breach::new(&item.file, item.line, format!("{name} has an example")));
            }
            Some(_) => {}
            None => breaches.push(Breach::new("src/lib.rs", 1, format!("there is no {name}"))),
        }
    }
    let counted: Vec<_> = all.iter().filter(|item| !obvious.contains(&&*item.name)).collect();
    let shown = counted.iter().filter(|item| item.has_example).count();
    if shown * 100 < counted.len() * percent {
        let lacking = counted.iter().filter(|item| !item.has_example);
        breaches.extend(lacking.map(|item| {
            let what =
                format!("{} has no example, and {shown} of {} have one", item.name, counted.len());
            Breach::new(&item.file, item.line, what)
        }));
    }
    breaches
}

/// The names that the root and its public modules define or pass on.
fn exported(trees: &[(&str, syn::File)]) -> BTreeSet<String> {
    let tree = |path: &str| trees.iter().find(|(file, _)| *file == path).map(|(_, tree)| tree);
    let mut names = BTreeSet::new();
    let Some(root) = tree("src/lib.rs") else { return names };
    let modules = root.items.iter().filter_map(|item| match item {
        Item::Mod(module) if is_public(&module.vis) => {
            let name = &module.ident;
            tree(&format!("src/{name}.rs")).or_else(|| tree(&format!("src/{name}/mod.rs")))
        }
        _ => None,
    });
    for item in std::iter::once(root).chain(modules).flat_map(|tree| &tree.items) {
        let (ident, visibility) = match item {
            Item::Use(used) if is_public(&used.vis) => {
                leaves(&used.tree, &mut names);
                continue;
            }
            Item::Struct(item) => (&item.ident, &item.vis),
            Item::Enum(item) => (&item.ident, &item.vis),
            Item::Trait(item) => (&item.ident, &item.vis),
            Item::Fn(item) => (&item.sig.ident, &item.vis),
            _ => continue,
        };
        if is_public(visibility) {
            names.insert(ident.to_string());
        }
    }
    names
}

fn leaves(tree: &UseTree, names: &mut BTreeSet<String>) {
    match tree {
        UseTree::Path(path) => leaves(&path.tree, names),
        UseTree::Name(name) => drop(names.insert(name.ident.to_string())),
        UseTree::Rename(name) => drop(names.insert(name.ident.to_string())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, names)),
        UseTree::Glob(_) => {}
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Whether an item is for tests, or for those of the documentation, and not for programs.
fn is_elsewhere(attributes: &[Attribute]) -> bool {
    let is_for_documents = |attribute: &Attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string() == "doctest",
        _ => false,
    };
    is_test(attributes) || attributes.iter().any(is_for_documents)
}

/// Whether a documentation has a block of code.
fn has_example(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            syn::Expr::Lit(literal) => match &literal.lit {
                syn::Lit::Str(text) => text.value().trim_start().starts_with("```"),
                _ => false,
            },
            _ => false,
        },
        _ => false,
    })
}

struct Finder<'a> {
    file: &'a str,
    names: &'a BTreeSet<String>,
    found: &'a mut Vec<Public>,
}

impl Finder<'_> {
    fn add(&mut self, ident: &syn::Ident, of: Option<&syn::Ident>, attributes: &[Attribute]) {
        self.found.push(Public {
            file: self.file.to_owned(),
            line: ident.span().start().line,
            name: of.map_or_else(|| ident.to_string(), |of| format!("{of}::{ident}")),
            has_example: has_example(attributes),
        });
    }

    fn knows(&self, ident: &syn::Ident, visibility: &Visibility) -> bool {
        is_public(visibility) && self.names.contains(&ident.to_string())
    }

    fn read(&mut self, item: &Item) {
        match item {
            Item::Struct(item) if self.knows(&item.ident, &item.vis) => {
                self.add(&item.ident, None, &item.attrs);
            }
            Item::Enum(item) if self.knows(&item.ident, &item.vis) => {
                self.add(&item.ident, None, &item.attrs);
            }
            Item::Fn(item) if self.knows(&item.sig.ident, &item.vis) => {
                self.add(&item.sig.ident, None, &item.attrs);
            }
            Item::Trait(item) if self.knows(&item.ident, &item.vis) => {
                self.add(&item.ident, None, &item.attrs);
                for member in &item.items {
                    if let TraitItem::Fn(method) = member {
                        self.add(&method.sig.ident, Some(&item.ident), &method.attrs);
                    }
                }
            }
            Item::Impl(block) if block.trait_.is_none() => self.methods(block),
            _ => {}
        }
    }

    fn methods(&mut self, block: &syn::ItemImpl) {
        let Type::Path(path) = &*block.self_ty else { return };
        let Some(of) = path.path.segments.last().map(|segment| &segment.ident) else { return };
        if !self.names.contains(&of.to_string()) {
            return;
        }
        for member in &block.items {
            if let ImplItem::Fn(method) = member
                && is_public(&method.vis)
            {
                self.add(&method.sig.ident, Some(of), &method.attrs);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &[(&str, &str)] = &[
        (
            "src/lib.rs",
            "mod a;\npub mod b;\npub use a::{A, go};\npub(crate) use a::Inner;\n\
             pub const N: u8 = 1;",
        ),
        (
            "src/a.rs",
            "/// An A.\n///\n/// ```\n/// let a = A;\n/// ```\npub struct A;\npub struct Inner;\n\
             impl A {\n    /// Does ```nothing```.\n    pub fn one(&self) {}\n    fn two() {}\n}\n\
             impl Drop for A { fn drop(&mut self) {} }\nimpl Inner { pub fn three() {} }\n\
             pub fn go() {}\n#[cfg(test)]\nmod tests { pub fn go() {} }\n\
             #[cfg(doctest)]\npub fn go() {}",
        ),
        ("src/b/mod.rs", "pub enum B { X }\npub trait C {\n/// ```\n/// ```\nfn four(&self); }"),
    ];

    #[test]
    fn what_programs_can_name_is_found_with_its_example() {
        let all = interface(&House::example(EXAMPLE));
        let found: Vec<_> = all.iter().map(|item| (&*item.name, item.has_example)).collect();
        let expected = [("A", true), ("A::one", false), ("go", false), ("B", false), ("C", false)];
        assert_eq!(found, [&expected[..], &[("C::four", true)]].concat());
    }

    #[test]
    fn too_few_examples_are_reported_and_what_is_obvious_is_left_out() {
        let house = House::example(EXAMPLE);
        assert!(hidden(&house, 33, &[]).is_empty());
        let said: Vec<_> = hidden(&house, 34, &[]).iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 4);
        assert_eq!(said[0], "src/a.rs:10: A::one has no example, and 2 of 6 have one");
        assert!(hidden(&house, 50, &["go", "B"]).is_empty());
        let wrong: Vec<_> =
            hidden(&house, 0, &["A", "Z"]).iter().map(ToString::to_string).collect();
        assert_eq!(wrong, ["src/a.rs:6: A has an example", "src/lib.rs:1: there is no Z"]);
    }
}
