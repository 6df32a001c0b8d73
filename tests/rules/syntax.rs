//! Rust files as syntax: their functions, and the lines that hold code.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, FnArg, Pat, Signature};

use super::Source;

/// Whether the rules for code hold in a file. Those of `tests` are read for the width of their
/// lines alone: a test is a story from top to bottom, and its length hides no branches.
pub fn is_code(path: &str) -> bool {
    let folder = ["src/", "benches/", "examples/"].iter().any(|folder| path.starts_with(folder));
    path.ends_with(".rs") && (folder || path == "build.rs")
}

/// A function with a body.
pub struct Function {
    pub name: String,
    pub line: usize,
    /// Lines from `fn` to the closing brace that hold more than a comment, as clippy counts.
    pub code_lines: usize,
    pub is_test: bool,
    /// Lines of parameters whose pattern takes a tuple or an array of more than two parts apart.
    pub wide_parameters: Vec<usize>,
}

/// What the rules of form ask about a file.
pub struct Form {
    pub path: String,
    pub functions: Vec<Function>,
    pub unsafe_lines: Vec<usize>,
    /// The first line of each capitalized name.
    pub types: BTreeMap<String, usize>,
}

/// A file as syntax.
pub struct Parsed {
    pub tree: syn::File,
    tokens: Tokens,
}

#[derive(Default)]
struct Tokens {
    code_lines: BTreeSet<usize>,
    unsafe_lines: Vec<usize>,
    types: BTreeMap<String, usize>,
}

impl Parsed {
    pub fn new(source: &Source) -> Self {
        let fail = |error: &dyn std::fmt::Display| -> ! { panic!("{}: {error}", source.path) };
        let stream: TokenStream = source.text.parse().unwrap_or_else(|error| fail(&error));
        let mut tokens = Tokens::default();
        tokens.read(stream.clone());
        let tree = syn::parse2(stream).unwrap_or_else(|error| fail(&error));
        Self { tree, tokens }
    }

    pub fn form(&self, path: &str) -> Form {
        let mut reader = Reader { tokens: &self.tokens, in_test: false, functions: Vec::new() };
        reader.visit_file(&self.tree);
        Form {
            path: path.to_owned(),
            functions: reader.functions,
            unsafe_lines: self.tokens.unsafe_lines.clone(),
            types: self.tokens.types.clone(),
        }
    }
}

impl Tokens {
    fn read(&mut self, stream: TokenStream) {
        let mut tokens = stream.into_iter().peekable();
        while let Some(token) = tokens.next() {
            let is_doc = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '#')
                && matches!(tokens.peek(), Some(TokenTree::Group(group)) if is_doc(group));
            if is_doc {
                tokens.next();
                continue;
            }
            match token {
                TokenTree::Group(group) => {
                    self.code_lines.insert(group.span_open().start().line);
                    self.read(group.stream());
                    self.code_lines.insert(group.span_close().end().line);
                }
                token => {
                    let (start, end) = (token.span().start().line, token.span().end().line);
                    self.code_lines.extend(start..=end);
                    if let TokenTree::Ident(ident) = token {
                        self.name(&ident.to_string(), start);
                    }
                }
            }
        }
    }

    fn name(&mut self, name: &str, line: usize) {
        if name == "unsafe" {
            self.unsafe_lines.push(line);
        }
        if name.starts_with(char::is_uppercase) {
            self.types.entry(name.to_owned()).or_insert(line);
        }
    }
}

/// Whether a group is what the tokenizer makes of a doc comment, but for its `#`.
fn is_doc(group: &Group) -> bool {
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket
        && matches!(first, Some(TokenTree::Ident(ident)) if ident == "doc")
}

/// Whether an item is compiled for tests alone.
pub fn is_test(attributes: &[Attribute]) -> bool {
    let names = |stream: TokenStream| {
        let mut names = BTreeSet::new();
        collect_names(stream, &mut names);
        names
    };
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let names = names(list.tokens.clone());
            names.contains("test") && !names.contains("not")
        }
        _ => false,
    })
}

fn collect_names(stream: TokenStream, names: &mut BTreeSet<String>) {
    for token in stream {
        match token {
            TokenTree::Ident(ident) => {
                names.insert(ident.to_string());
            }
            TokenTree::Group(group) => collect_names(group.stream(), names),
            _ => {}
        }
    }
}

/// The attributes of an item.
pub fn attributes(item: &syn::Item) -> &[Attribute] {
    use syn::Item::*;
    match item {
        Const(item) => &item.attrs,
        Enum(item) => &item.attrs,
        Fn(item) => &item.attrs,
        Impl(item) => &item.attrs,
        Macro(item) => &item.attrs,
        Mod(item) => &item.attrs,
        Static(item) => &item.attrs,
        Struct(item) => &item.attrs,
        Trait(item) => &item.attrs,
        Type(item) => &item.attrs,
        Use(item) => &item.attrs,
        _ => &[],
    }
}

struct Reader<'a> {
    tokens: &'a Tokens,
    in_test: bool,
    functions: Vec<Function>,
}

impl Reader<'_> {
    fn function(&mut self, signature: &Signature, block: &syn::Block, attributes: &[Attribute]) {
        let first = signature.fn_token.span.start().line;
        let last = block.brace_token.span.close().end().line;
        self.functions.push(Function {
            name: signature.ident.to_string(),
            line: first,
            code_lines: self.tokens.code_lines.range(first..=last).count(),
            is_test: self.in_test || is_test(attributes),
            wide_parameters: wide_parameters(signature),
        });
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let outside = self.in_test;
        self.in_test |= is_test(attributes(item));
        visit::visit_item(self, item);
        self.in_test = outside;
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, &function.block, &function.attrs);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.sig, &function.block, &function.attrs);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.function(&function.sig, block, &function.attrs);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

fn wide_parameters(signature: &Signature) -> Vec<usize> {
    /// Finds the patterns of one parameter.
    #[derive(Default)]
    struct Wide(bool);
    impl Visit<'_> for Wide {
        fn visit_pat(&mut self, pattern: &Pat) {
            self.0 |= matches!(pattern, Pat::Tuple(tuple) if tuple.elems.len() > 2)
                || matches!(pattern, Pat::Slice(slice) if slice.elems.len() > 2);
            visit::visit_pat(self, pattern);
        }
    }
    let line = |argument: &FnArg| {
        let FnArg::Typed(typed) = argument else { return None };
        let mut wide = Wide::default();
        wide.visit_pat(&typed.pat);
        wide.0.then(|| typed.colon_token.span.start().line)
    };
    signature.inputs.iter().filter_map(line).collect()
}
