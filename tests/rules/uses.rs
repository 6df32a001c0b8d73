//! What each module names of others: imports, paths in the code, and methods that are called on
//! types whose methods stand in several files.

use std::collections::{BTreeSet, HashMap};

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Expr, FnArg, Member, Pat, Signature};

use super::modules::{End, ItemId, ModuleId, Modules, Trees, imports};
use super::syntax::{attributes, is_test};
use super::types::{self, Types};

/// A module that needs something of another one.
pub struct Use {
    pub file: String,
    pub line: usize,
    /// The path of the module that it stands in.
    pub module: Vec<String>,
    /// The path or the call as it is written.
    pub name: String,
    pub kind: Kind,
    pub in_test: bool,
    /// The file that defines it, and the path of its module. Naming a module defines nothing.
    pub to: Option<(String, Vec<String>)>,
    /// The paths of the modules that lie on the way.
    pub via: Vec<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An import or a path.
    Named,
    /// An import of what lies below the module itself, which makes it known to others.
    Wiring,
    /// A method, found by the type of what it is called on.
    Called,
}

/// All uses of other modules below `src`, and the files that some module declares.
pub fn all(trees: &Trees<'_>) -> (Vec<Use>, BTreeSet<String>) {
    let modules = Modules::new(trees, env!("CARGO_PKG_NAME"));
    let types = Types::new(&modules);
    let mut uses = Vec::new();
    for (at, module) in modules.list.iter().enumerate() {
        let mut reader = Reader {
            modules: &modules,
            types: &types,
            at,
            in_test: module.in_test,
            own: None,
            locals: HashMap::new(),
            uses: Vec::new(),
        };
        module.items.iter().for_each(|item| reader.visit_item(item));
        uses.append(&mut reader.uses);
    }
    (uses, modules.list.iter().map(|module| module.file.to_owned()).collect())
}

struct Reader<'a> {
    modules: &'a Modules<'a>,
    types: &'a Types,
    at: ModuleId,
    in_test: bool,
    /// What `Self` is.
    own: Option<ItemId>,
    /// The types of parameters and variables, as far as they are known.
    locals: HashMap<String, ItemId>,
    uses: Vec<Use>,
}

impl Reader<'_> {
    fn path_of(&self, module: ModuleId) -> Vec<String> {
        self.modules.list[module].path.clone()
    }

    fn name(&mut self, segments: &[String], line: usize, import: Option<&syn::ItemUse>) {
        for found in self.modules.resolve(self.at, segments) {
            let name = segments.join("::");
            if let End::Item(item) = &found.end {
                self.member(item, found.member.as_deref(), &name, line);
            }
            let item = match &found.end {
                End::Item(item) => Some(item),
                End::Module(_) | End::Outside => None,
            };
            let to = item.map(|item| item.module);
            for module in self.re_exporters(&found.through, to) {
                let kind = self.kind(import, Some(module), item);
                self.record(Some(module), &[], name.clone(), line, kind);
            }
            let kind = self.kind(import, to, item);
            self.record(to, &found.via, name, line, kind);
        }
    }

    /// The modules that a name is taken from although they do not define it, unless they stand
    /// above this module or above what they make known.
    fn re_exporters(&self, through: &[ModuleId], to: Option<ModuleId>) -> Vec<ModuleId> {
        let below = |module: ModuleId, above: ModuleId| {
            self.modules.list[module].path.starts_with(&self.modules.list[above].path)
        };
        let own = |above: ModuleId| !below(self.at, above) && to.is_none_or(|to| !below(to, above));
        through.iter().copied().filter(|above| own(*above)).collect()
    }

    /// An associated function that stands in another file than its type.
    fn member(&mut self, of: &ItemId, member: Option<&str>, name: &str, line: usize) {
        let method = member.and_then(|member| self.types.method(of, member));
        if let Some(module) = method.map(|method| method.module) {
            self.record(Some(module), &[], name.to_owned(), line, Kind::Called);
        }
    }

    fn record(
        &mut self,
        to: Option<ModuleId>,
        via: &[ModuleId],
        name: String,
        line: usize,
        kind: Kind,
    ) {
        let here = &self.modules.list[self.at];
        let stays = |module: &ModuleId| self.modules.list[*module].file == here.file;
        if to.iter().chain(via).all(stays) {
            return;
        }
        let defined =
            |module: ModuleId| (self.modules.list[module].file.to_owned(), self.path_of(module));
        self.uses.push(Use {
            file: here.file.to_owned(),
            line,
            module: here.path.clone(),
            name,
            kind,
            in_test: self.in_test,
            to: to.map(defined),
            via: via.iter().map(|module| self.path_of(*module)).collect(),
        });
    }

    /// An import of what lies below only makes it known, unless it is private and a trait, whose
    /// methods are called without a name.
    fn kind(
        &self,
        import: Option<&syn::ItemUse>,
        to: Option<ModuleId>,
        item: Option<&ItemId>,
    ) -> Kind {
        let (Some(import), Some(to)) = (import, to) else { return Kind::Named };
        let (here, to) = (&self.modules.list[self.at].path, &self.modules.list[to].path);
        let is_below = to.len() > here.len() && to.starts_with(here);
        let is_private = matches!(import.vis, syn::Visibility::Inherited);
        let is_trait = item.is_some_and(|item| self.modules.traits.contains(item));
        if is_below && !(is_private && is_trait) { Kind::Wiring } else { Kind::Named }
    }

    fn call(&mut self, receiver: &ItemId, method: &Ident) {
        if let Some(found) = self.types.method(receiver, &method.to_string()) {
            let name = format!("{}.{method}()", receiver.name);
            self.record(Some(found.module), &[], name, method.span().start().line, Kind::Called);
        }
    }

    fn type_of(&self, expression: &Expr) -> Option<ItemId> {
        match expression {
            Expr::Path(path) => {
                let name = path.path.get_ident()?;
                if name == "self" { self.own.clone() } else { self.local(name) }
            }
            Expr::Field(field) => {
                let name = match &field.member {
                    Member::Named(name) => name.to_string(),
                    Member::Unnamed(index) => index.index.to_string(),
                };
                self.types.field(&self.type_of(&field.base)?, &name).cloned()
            }
            Expr::Reference(reference) => self.type_of(&reference.expr),
            Expr::Paren(paren) => self.type_of(&paren.expr),
            Expr::Unary(unary) => self.type_of(&unary.expr),
            Expr::Struct(made) => self.item(&made.path),
            Expr::MethodCall(call) if call.method == "clone" => self.type_of(&call.receiver),
            Expr::MethodCall(call) => {
                let receiver = self.type_of(&call.receiver)?;
                self.types.method(&receiver, &call.method.to_string())?.output.clone()
            }
            Expr::Call(call) => match &*call.func {
                Expr::Path(function) => self.made_by(&function.path),
                _ => None,
            },
            _ => None,
        }
    }

    fn local(&self, name: &Ident) -> Option<ItemId> {
        self.locals.get(&name.to_string()).cloned()
    }

    fn item(&self, path: &syn::Path) -> Option<ItemId> {
        types::item(self.modules, self.at, self.own.as_ref(), path)
    }

    /// What an associated function such as `Type::new` returns.
    fn made_by(&self, function: &syn::Path) -> Option<ItemId> {
        let segments = types::segments(function);
        if let (Some(own), [own_name, member]) = (&self.own, &*segments)
            && own_name == "Self"
        {
            return self.types.method(own, member)?.output.clone();
        }
        self.modules.resolve(self.at, &segments).into_iter().find_map(|found| match found.end {
            End::Item(item) => self.types.method(&item, &found.member?)?.output.clone(),
            End::Module(_) | End::Outside => None,
        })
    }

    fn bind(&mut self, pattern: &Pat, found: Option<ItemId>) {
        match pattern {
            Pat::Ident(name) => {
                let name = name.ident.to_string();
                match found {
                    Some(found) => self.locals.insert(name, found),
                    None => self.locals.remove(&name),
                };
            }
            Pat::Type(typed) => {
                let found = types::named(self.modules, self.at, self.own.as_ref(), &typed.ty);
                self.bind(&typed.pat, found);
            }
            _ => {}
        }
    }

    /// Reads a function, whose variables are its own.
    fn function(&mut self, read: impl FnOnce(&mut Self)) {
        let outside = std::mem::take(&mut self.locals);
        read(self);
        self.locals = outside;
    }

    /// Reads what has variables that end with it.
    fn scope(&mut self, read: impl FnOnce(&mut Self)) {
        let outside = self.locals.clone();
        read(self);
        self.locals = outside;
    }

    fn as_test(&mut self, is_test: bool, read: impl FnOnce(&mut Self)) {
        let outside = self.in_test;
        self.in_test |= is_test;
        read(self);
        self.in_test = outside;
    }

    fn with_own(&mut self, own: Option<ItemId>, read: impl FnOnce(&mut Self)) {
        let outside = std::mem::replace(&mut self.own, own);
        read(self);
        self.own = outside;
    }

    /// Reads what is no expression (the pattern of `matches!`, attributes) for its paths and for
    /// methods called on variables and their fields.
    fn scan(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(first) if !after_dot(&tokens, at) => {
                    at = self.scan_path(&tokens, at, first);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Reads the path that begins at a token, and returns where it ends.
    fn scan_path(&mut self, tokens: &[TokenTree], at: usize, first: &Ident) -> usize {
        let mut segments = vec![first.to_string()];
        let mut end = at + 1;
        while let [TokenTree::Punct(one), TokenTree::Punct(two), TokenTree::Ident(next), ..] =
            &tokens[end..]
            && (one.as_char(), two.as_char()) == (':', ':')
        {
            segments.push(next.to_string());
            end += 3;
        }
        let of_self = (first == "self").then(|| self.own.clone()).flatten();
        let mut receiver = of_self.or_else(|| self.local(first)).filter(|_| segments.len() == 1);
        while let [TokenTree::Punct(dot), TokenTree::Ident(member), ..] = &tokens[end..]
            && dot.as_char() == '.'
        {
            end += 2;
            let is_call = matches!(tokens.get(end), Some(TokenTree::Group(arguments))
                if arguments.delimiter() == Delimiter::Parenthesis);
            match receiver.take() {
                Some(of) if is_call => self.call(&of, member),
                Some(of) => receiver = self.types.field(&of, &member.to_string()).cloned(),
                None => {}
            }
            if is_call {
                break;
            }
        }
        self.segments(segments, first.span().start().line);
        end
    }

    fn segments(&mut self, segments: Vec<String>, line: usize) {
        if segments[0] != "Self" {
            self.name(&segments, line, None);
        } else if let Some(own) = self.own.clone() {
            self.member(&own, segments.get(1).map(|name| &**name), &segments.join("::"), line);
        }
    }
}

fn after_dot(tokens: &[TokenTree], at: usize) -> bool {
    let is_dot =
        |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == '.');
    let is_range = at > 1 && is_dot(&tokens[at - 2]);
    at > 0 && is_dot(&tokens[at - 1]) && !is_range
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.as_test(is_test(attributes(item)), |reader| visit::visit_item(reader, item));
    }

    /// A module below is read by itself.
    fn visit_item_mod(&mut self, _: &'ast syn::ItemMod) {}

    fn visit_item_use(&mut self, declaration: &'ast syn::ItemUse) {
        for import in imports(&declaration.tree) {
            self.name(&import.segments, import.line, Some(declaration));
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let own = types::named(self.modules, self.at, None, &item.self_ty);
        self.with_own(own, |reader| visit::visit_item_impl(reader, item));
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        let own = ItemId { module: self.at, name: item.ident.to_string() };
        self.with_own(Some(own), |reader| visit::visit_item_trait(reader, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.with_own(None, |reader| {
            reader.function(|reader| visit::visit_item_fn(reader, item));
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.as_test(is_test(&item.attrs), |reader| {
            reader.function(|reader| visit::visit_impl_item_fn(reader, item));
        });
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(|reader| visit::visit_trait_item_fn(reader, item));
    }

    fn visit_signature(&mut self, signature: &'ast Signature) {
        visit::visit_signature(self, signature);
        for argument in &signature.inputs {
            if let FnArg::Typed(typed) = argument {
                let found = types::named(self.modules, self.at, self.own.as_ref(), &typed.ty);
                self.bind(&typed.pat, found);
            }
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        let found = local.init.as_ref().and_then(|init| self.type_of(&init.expr));
        local.init.iter().for_each(|init| self.visit_local_init(init));
        self.visit_pat(&local.pat);
        self.bind(&local.pat, found);
    }

    /// A name in any other pattern hides what it meant outside.
    fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
        self.locals.remove(&pattern.ident.to_string());
        visit::visit_pat_ident(self, pattern);
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.scope(|reader| visit::visit_block(reader, block));
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        self.scope(|reader| visit::visit_arm(reader, arm));
    }

    fn visit_expr_if(&mut self, expression: &'ast syn::ExprIf) {
        self.scope(|reader| visit::visit_expr_if(reader, expression));
    }

    fn visit_expr_while(&mut self, expression: &'ast syn::ExprWhile) {
        self.scope(|reader| visit::visit_expr_while(reader, expression));
    }

    fn visit_expr_for_loop(&mut self, expression: &'ast syn::ExprForLoop) {
        self.scope(|reader| visit::visit_expr_for_loop(reader, expression));
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        self.scope(|reader| {
            for input in &closure.inputs {
                reader.visit_pat(input);
                reader.bind(input, None);
            }
            reader.visit_return_type(&closure.output);
            reader.visit_expr(&closure.body);
        });
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if let Some(receiver) = self.type_of(&call.receiver) {
            self.call(&receiver, &call.method);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first() {
            self.segments(types::segments(path), first.ident.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        let list = Punctuated::<Expr, syn::Token![,]>::parse_terminated;
        match list.parse2(called.tokens.clone()) {
            Ok(arguments) => arguments.iter().for_each(|argument| self.visit_expr(argument)),
            Err(_) => self.scan(called.tokens.clone()),
        }
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone());
        }
    }
}
