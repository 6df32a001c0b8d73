//! The hints that the code has, as a table: each with the reason of the line before it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use syn::visit::Visit;

/// What the variants of an enum are called to a user: their message, or their description.
#[derive(Default)]
struct Reasons(BTreeMap<String, String>);

impl<'ast> Visit<'ast> for Reasons {
    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        for variant in &item.variants {
            let text = |name: &str| variant.attrs.iter().find_map(|attr| words(attr, name));
            // A message that is the system's words says nothing by itself.
            let message = text("error").filter(|message| message != "…");
            if let Some(reason) = message.or_else(|| text("doc")) {
                let reason = reason.trim().trim_end_matches('.').to_owned();
                self.0.insert(format!("{}::{}", item.ident, variant.ident), reason);
            }
        }
    }
}

/// The text of `#[error("...")]`, with its gaps shown as `…`, or of a line of documentation.
fn words(attr: &syn::Attribute, name: &str) -> Option<String> {
    if !attr.path().is_ident(name) {
        return None;
    }
    if let syn::Meta::NameValue(meta) = &attr.meta {
        return literals(&meta.value).pop();
    }
    let tokens = attr.meta.require_list().ok()?.tokens.clone();
    let first = tokens.into_iter().next()?;
    Some(with_gaps(&syn::parse_str::<syn::LitStr>(&first.to_string()).ok()?.value()))
}

/// A format with `…` for each value.
fn with_gaps(format: &str) -> String {
    let parts = format.split(['{', '}']).enumerate();
    parts.map(|(index, part)| if index % 2 == 0 { part } else { "…" }).collect()
}

/// The text literals of an expression.
fn literals(expression: &syn::Expr) -> Vec<String> {
    struct Literals(Vec<String>);
    impl<'ast> Visit<'ast> for Literals {
        fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
            self.0.push(literal.value());
        }
    }
    let mut found = Literals(Vec::new());
    found.visit_expr(expression);
    found.0
}

/// The functions whose names say that they answer with hints, and the messages that have one.
struct Hints<'a> {
    reasons: &'a Reasons,
    /// The type whose functions are visited, for `Self`.
    of: String,
    /// The reason before the hints of the function that is visited, if it has any: empty where the
    /// patterns say it.
    subject: Option<String>,
    /// Reasons and hints, in the order of the code.
    found: Vec<(String, String)>,
}

impl Hints<'_> {
    fn add(&mut self, reason: &str, hint: &str) {
        let row = (reason.to_owned(), hint.to_owned());
        // A single word is no advice.
        if hint.contains(' ') && !self.found.contains(&row) {
            self.found.push(row);
        }
    }

    fn visit_function(&mut self, name: &syn::Ident, block: &syn::Block) {
        let name = name.to_string();
        let subject = name.split_once("remedy").map(|(_, rest)| rest.trim_start_matches("_of_"));
        self.subject = subject.map(|subject| match subject {
            "" | "cause" | "errno" => String::new(),
            "missing_source" => system_reason("ENOENT"),
            "missing_right" => system_reason("EACCES"),
            "a_copy_that_cannot_start" => "cannot start the copy: …".to_owned(),
            new => panic!("{new} is new here"),
        });
        self.visit_block(block);
        self.subject = None;
    }

    /// What a pattern stands for: errors of the system, and variants.
    fn reason(&self, pattern: &syn::Pat) -> String {
        struct Paths(Vec<String>);
        impl<'ast> Visit<'ast> for Paths {
            fn visit_path(&mut self, path: &'ast syn::Path) {
                let names = path.segments.iter().map(|part| part.ident.to_string());
                self.0.push(names.collect::<Vec<_>>().join("::"));
            }
        }
        let mut paths = Paths(Vec::new());
        paths.visit_pat(pattern);
        let mut reasons = paths.0.iter().filter_map(|path| {
            if let Some(name) = path.strip_prefix("libc::") {
                return Some(system_reason(name));
            }
            let path = path.replace("Self::", &format!("{}::", self.of));
            self.reasons.0.get(&path).cloned()
        });
        reasons.next().unwrap_or_default()
    }
}

impl<'ast> Visit<'ast> for Hints<'_> {
    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let syn::Type::Path(path) = &*item.self_ty {
            self.of = path.path.segments.last().unwrap().ident.to_string();
        }
        syn::visit::visit_item_impl(self, item);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.visit_function(&function.sig.ident, &function.block);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.visit_function(&function.sig.ident, &function.block);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.ident != "tests" {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let Some(subject) = self.subject.clone() else {
            return syn::visit::visit_arm(self, arm);
        };
        let reason = if subject.is_empty() { self.reason(&arm.pat) } else { subject };
        for hint in literals(&arm.body) {
            self.add(&reason, &hint);
        }
    }

    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        let text = literal.value();
        match (self.subject.clone(), text.strip_prefix("hint: ")) {
            (Some(subject), _) => self.add(&subject, &text),
            (None, Some(hint)) => self.add("", hint),
            (None, None) => {}
        }
    }

    /// A message that is put together from a hint and what differs.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let texts = call.tokens.clone().into_iter();
        let texts =
            texts.filter_map(|token| syn::parse_str::<syn::LitStr>(&token.to_string()).ok());
        for text in texts {
            let text = with_gaps(&text.value());
            if let Some((_, hint)) = text.split_once("hint: ") {
                self.add("", hint.lines().next().unwrap_or_default());
            }
        }
    }
}

/// What the system says of an error, by its name.
fn system_reason(name: &str) -> String {
    let numbers = [
        ("EACCES", libc::EACCES),
        ("EAGAIN", libc::EAGAIN),
        ("EBUSY", libc::EBUSY),
        ("EDQUOT", libc::EDQUOT),
        ("EEXIST", libc::EEXIST),
        ("EFBIG", libc::EFBIG),
        ("EIO", libc::EIO),
        ("EISDIR", libc::EISDIR),
        ("ELOOP", libc::ELOOP),
        ("EMFILE", libc::EMFILE),
        ("ENAMETOOLONG", libc::ENAMETOOLONG),
        ("ENFILE", libc::ENFILE),
        ("ENOENT", libc::ENOENT),
        ("ENOMEM", libc::ENOMEM),
        ("ENOSPC", libc::ENOSPC),
        ("ENOTDIR", libc::ENOTDIR),
        ("ENOTEMPTY", libc::ENOTEMPTY),
        ("EPERM", libc::EPERM),
        ("EROFS", libc::EROFS),
        ("ESTALE", libc::ESTALE),
        ("ETXTBSY", libc::ETXTBSY),
    ];
    let number = numbers.iter().find(|(known, _)| *known == name);
    let (_, number) = number.unwrap_or_else(|| panic!("{name} is new here"));
    let text = std::io::Error::from_raw_os_error(*number).to_string();
    text.split(" (os error").next().unwrap().to_owned()
}

/// The table of all hints below `src`.
pub fn table(root: &Path) -> String {
    let files = walkdir::WalkDir::new(root.join("src")).sort_by_file_name().into_iter();
    let paths = files.map(|entry| entry.unwrap().into_path());
    let trees: Vec<syn::File> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap())
        .collect();
    let mut reasons = Reasons::default();
    trees.iter().for_each(|tree| reasons.visit_file(tree));
    let mut hints =
        Hints { reasons: &reasons, of: String::new(), subject: None, found: Vec::new() };
    trees.iter().for_each(|tree| hints.visit_file(tree));
    assert!(hints.found.len() > 20, "the hints were found: {:?}", hints.found);
    let mut text = "| reason | hint |\n| --- | --- |\n".to_owned();
    for (reason, hint) in hints.found {
        let reason = if reason.is_empty() { "(none)" } else { &reason };
        writeln!(text, "| {} | {} |", cell(reason), cell(&hint)).unwrap();
    }
    text
}

/// A text that Markdown shows as it is.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "\\<")
}
