//! The modules below `src`, and what a path leads to in them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use syn::visit::Visit;
use syn::{Item, UseTree};

use super::syntax::{attributes, is_test};

pub type ModuleId = usize;

/// The syntax of each file, by its path.
pub type Trees<'a> = BTreeMap<&'a str, &'a syn::File>;

/// Something with a name, and the module that defines it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId {
    pub module: ModuleId,
    pub name: String,
}

/// What a name in a module stands for. One name may stand for a module and a function.
enum Binding {
    Module(ModuleId),
    Item,
    Import(Vec<String>),
}

pub struct Module<'a> {
    /// From the root of the crate; its first part is the room.
    pub path: Vec<String>,
    pub file: &'a str,
    pub items: &'a [Item],
    pub in_test: bool,
    parent: Option<ModuleId>,
    root: ModuleId,
    scope: HashMap<String, Vec<Binding>>,
    globs: Vec<Vec<String>>,
}

/// One name of a `use` declaration.
pub struct Import {
    pub segments: Vec<String>,
    /// The name that it gets here. A glob has none, and neither has `as _`.
    pub alias: Option<String>,
    pub is_glob: bool,
    pub line: usize,
}

/// Where a path ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Module(ModuleId),
    Item(ItemId),
    /// In another crate, by way of an import here.
    Outside,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub end: End,
    /// The modules that it passes, re-exports followed.
    pub via: Vec<ModuleId>,
    /// The modules whose imports give it its name here.
    pub through: Vec<ModuleId>,
    /// The part behind the item: the function of a type, the variant of an enum.
    pub member: Option<String>,
}

pub struct Modules<'a> {
    pub list: Vec<Module<'a>>,
    pub traits: BTreeSet<ItemId>,
    library: Option<ModuleId>,
    /// How binaries name the library.
    library_name: &'a str,
}

impl<'a> Modules<'a> {
    pub fn new(trees: &Trees<'a>, library_name: &'a str) -> Self {
        let mut modules =
            Self { list: Vec::new(), traits: BTreeSet::new(), library: None, library_name };
        for (&file, tree) in trees {
            let Some(path) = file.strip_prefix("src/") else { continue };
            let root_path = match path.trim_end_matches(".rs") {
                "lib" => Vec::new(),
                path if path == "main" || path.starts_with("bin/") => {
                    path.split('/').map(str::to_owned).collect()
                }
                _ => continue,
            };
            let root = modules.list.len();
            if root_path.is_empty() {
                modules.library = Some(root);
            }
            modules.add(
                trees,
                Module {
                    path: root_path,
                    file,
                    items: &tree.items,
                    in_test: false,
                    parent: None,
                    root,
                    scope: HashMap::new(),
                    globs: Vec::new(),
                },
            );
        }
        modules
    }

    /// Adds a module and those below it.
    fn add(&mut self, trees: &Trees<'a>, module: Module<'a>) -> ModuleId {
        let id = self.list.len();
        let items = module.items;
        self.list.push(module);
        for item in items {
            if let Item::Mod(declared) = item {
                self.add_child(trees, id, declared);
            } else if let Some(name) = name_of(item) {
                self.bind(id, name.to_string(), Binding::Item);
                if matches!(item, Item::Trait(_)) {
                    self.traits.insert(ItemId { module: id, name: name.to_string() });
                }
            }
        }
        let mut imports = Imports::default();
        items.iter().for_each(|item| imports.visit_item(item));
        for import in imports.0 {
            if import.is_glob {
                self.list[id].globs.push(import.segments);
            } else if let Some(alias) = import.alias {
                self.bind(id, alias, Binding::Import(import.segments));
            }
        }
        id
    }

    fn add_child(&mut self, trees: &Trees<'a>, parent: ModuleId, declared: &'a syn::ItemMod) {
        let above = &self.list[parent];
        let name = declared.ident.to_string();
        let (file, items): (&'a str, &'a [Item]) = match &declared.content {
            Some((_, items)) => (above.file, items),
            None => match child_file(trees, above, &name) {
                Some((file, tree)) => (file, &tree.items),
                None => return,
            },
        };
        let child = Module {
            path: above.path.iter().chain([&name]).cloned().collect(),
            file,
            items,
            in_test: above.in_test || is_test(&declared.attrs),
            parent: Some(parent),
            root: above.root,
            scope: HashMap::new(),
            globs: Vec::new(),
        };
        let id = self.add(trees, child);
        self.bind(parent, name, Binding::Module(id));
    }

    fn bind(&mut self, module: ModuleId, name: String, binding: Binding) {
        self.list[module].scope.entry(name).or_default().push(binding);
    }

    /// All that a path may lead to.
    pub fn resolve(&self, at: ModuleId, segments: &[String]) -> Vec<Found> {
        self.follow(at, segments, &Trail::default())
    }

    fn follow(&self, at: ModuleId, segments: &[String], trail: &Trail) -> Vec<Found> {
        let Some((first, rest)) = segments.split_first() else { return Vec::new() };
        match first.as_str() {
            "crate" => self.enter(self.list[at].root, rest, trail),
            "self" | "super" => self.enter(at, segments, trail),
            name => match self.look_up(at, name, rest, trail) {
                Some(found) => found,
                None if name == self.library_name => {
                    self.library.map_or_else(Vec::new, |root| self.enter(root, rest, trail))
                }
                None => vec![trail.found(End::Outside, None)],
            },
        }
    }

    fn enter(&self, module: ModuleId, segments: &[String], trail: &Trail) -> Vec<Found> {
        let here = trail.via(module);
        let Some((first, rest)) = segments.split_first() else {
            return vec![here.found(End::Module(module), None)];
        };
        match first.as_str() {
            "self" => self.enter(module, rest, trail),
            "super" => self.list[module]
                .parent
                .map_or_else(Vec::new, |parent| self.enter(parent, rest, trail)),
            // What no item defines is made by a macro there.
            name => self
                .look_up(module, name, rest, &here)
                .unwrap_or_else(|| vec![here.item(module, name, rest)]),
        }
    }

    /// What a name stands for in a module, or nothing if it has no meaning there.
    fn look_up(
        &self,
        module: ModuleId,
        name: &str,
        rest: &[String],
        trail: &Trail,
    ) -> Option<Vec<Found>> {
        let Some(bindings) = self.list[module].scope.get(name) else {
            return self.look_through_globs(module, name, rest, trail);
        };
        let mut found = Vec::new();
        for binding in bindings {
            match binding {
                Binding::Module(id) => found.extend(self.enter(*id, rest, trail)),
                Binding::Item => found.push(trail.item(module, name, rest)),
                Binding::Import(path) => {
                    if let Some(trail) = trail.following(module, name) {
                        let path: Vec<String> = path.iter().chain(rest).cloned().collect();
                        found.extend(self.follow(module, &path, &trail));
                    }
                }
            }
        }
        Some(found)
    }

    fn look_through_globs(
        &self,
        module: ModuleId,
        name: &str,
        rest: &[String],
        trail: &Trail,
    ) -> Option<Vec<Found>> {
        let trail = trail.following(module, name)?;
        self.list[module].globs.iter().find_map(|glob| {
            let modules = self.follow(module, glob, &trail).into_iter();
            modules.into_iter().find_map(|found| match found.end {
                End::Module(id) => self.look_up(id, name, rest, &trail.via(id)),
                End::Item(_) | End::Outside => None,
            })
        })
    }
}

/// The way of a path so far.
#[derive(Clone, Default)]
struct Trail {
    via: Vec<ModuleId>,
    /// Imports that are being followed: `use memchr::memchr` leads to itself.
    following: Vec<(ModuleId, String)>,
}

impl Trail {
    fn via(&self, module: ModuleId) -> Self {
        let mut trail = self.clone();
        trail.via.push(module);
        trail
    }

    fn following(&self, module: ModuleId, name: &str) -> Option<Self> {
        let step = (module, name.to_owned());
        let mut trail = self.clone();
        trail.following.push(step.clone());
        (!self.following.contains(&step)).then_some(trail)
    }

    fn item(&self, module: ModuleId, name: &str, rest: &[String]) -> Found {
        let end = End::Item(ItemId { module, name: name.to_owned() });
        self.found(end, rest.first())
    }

    fn found(&self, end: End, member: Option<&String>) -> Found {
        let through = self.following.iter().map(|(module, _)| *module).collect();
        Found { end, via: self.via.clone(), through, member: member.cloned() }
    }
}

/// The file of `mod name;`.
fn child_file<'a>(
    trees: &Trees<'a>,
    above: &Module<'a>,
    name: &str,
) -> Option<(&'a str, &'a syn::File)> {
    let (folder, file_name) = above.file.rsplit_once('/')?;
    let is_root = above.parent.is_none() || file_name == "mod.rs";
    let folder = if is_root { folder } else { above.file.trim_end_matches(".rs") };
    let candidates = [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")];
    candidates
        .iter()
        .find_map(|file| trees.get_key_value(&**file))
        .map(|(file, tree)| (*file, *tree))
}

fn name_of(item: &Item) -> Option<&syn::Ident> {
    match item {
        Item::Const(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Fn(item) => Some(&item.sig.ident),
        Item::Macro(item) => item.ident.as_ref(),
        Item::Static(item) => Some(&item.ident),
        Item::Struct(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        _ => None,
    }
}

/// Collects the imports of a module, those in its functions too, for they give names as well.
#[derive(Default)]
struct Imports(Vec<Import>);

impl<'ast> Visit<'ast> for Imports {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, _: &'ast syn::ItemMod) {}

    fn visit_item_use(&mut self, declaration: &'ast syn::ItemUse) {
        self.0.extend(imports(&declaration.tree));
    }
}

/// The names of a `use` declaration, one by one.
pub fn imports(tree: &UseTree) -> Vec<Import> {
    let mut flat = Vec::new();
    flatten(tree, &[], &mut flat);
    flat
}

fn flatten(tree: &UseTree, prefix: &[String], flat: &mut Vec<Import>) {
    let with = |name: &syn::Ident| -> Vec<String> {
        prefix
            .iter()
            .cloned()
            .chain((name != "self" || prefix.is_empty()).then(|| name.to_string()))
            .collect()
    };
    let mut push = |segments: Vec<String>, alias: Option<String>, line| {
        flat.push(Import { segments, alias, is_glob: false, line });
    };
    match tree {
        UseTree::Path(path) => {
            let mut prefix = prefix.to_vec();
            prefix.push(path.ident.to_string());
            flatten(&path.tree, &prefix, flat);
        }
        UseTree::Name(name) => {
            let segments = with(&name.ident);
            let alias = segments.last().cloned();
            push(segments, alias, name.ident.span().start().line);
        }
        UseTree::Rename(rename) => {
            let alias = Some(rename.rename.to_string()).filter(|alias| alias != "_");
            push(with(&rename.ident), alias, rename.ident.span().start().line);
        }
        UseTree::Glob(glob) => flat.push(Import {
            segments: prefix.to_vec(),
            alias: None,
            is_glob: true,
            line: glob.star_token.span.start().line,
        }),
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| flatten(tree, prefix, flat));
        }
    }
}
