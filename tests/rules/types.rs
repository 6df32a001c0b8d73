//! As much of the types as it takes to see whose method a call means: those of fields, parameters
//! and results that a signature spells out.

use std::collections::HashMap;

use syn::{GenericArgument, ImplItem, Item, PathArguments, ReturnType, Type, TypeParamBound};

use super::modules::{End, ItemId, ModuleId, Modules};
use super::syntax::{attributes, is_test};

/// A method or an associated function.
pub struct Method {
    /// The module that defines it, which may be another than that of its type.
    pub module: ModuleId,
    pub output: Option<ItemId>,
}

/// Whose methods are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Methods {
    OfTraits,
    OfTypes,
}

impl Methods {
    fn of(item: &syn::ItemImpl) -> Self {
        if item.trait_.is_some() { Self::OfTraits } else { Self::OfTypes }
    }
}

/// The members of the types of the crate.
#[derive(Default)]
pub struct Types {
    fields: HashMap<ItemId, HashMap<String, ItemId>>,
    methods: HashMap<ItemId, HashMap<String, Method>>,
}

impl Types {
    pub fn new(modules: &Modules<'_>) -> Self {
        let mut types = Self::default();
        // Methods of the type itself come after those of traits, since they go before them.
        for methods in [Methods::OfTraits, Methods::OfTypes] {
            for (at, module) in modules.list.iter().enumerate().filter(|(_, m)| !m.in_test) {
                for item in module.items.iter().filter(|item| !is_test(attributes(item))) {
                    types.read(modules, at, item, methods);
                }
            }
        }
        types
    }

    pub fn field(&self, of: &ItemId, name: &str) -> Option<&ItemId> {
        self.fields.get(of)?.get(name)
    }

    pub fn method(&self, of: &ItemId, name: &str) -> Option<&Method> {
        self.methods.get(of)?.get(name)
    }

    fn read(&mut self, modules: &Modules<'_>, at: ModuleId, item: &Item, methods: Methods) {
        match item {
            Item::Struct(item) if methods == Methods::OfTypes => {
                let id = ItemId { module: at, name: item.ident.to_string() };
                let named = item.fields.iter().enumerate().filter_map(|(n, field)| {
                    let name =
                        field.ident.as_ref().map_or_else(|| n.to_string(), ToString::to_string);
                    Some((name, named(modules, at, None, &field.ty)?))
                });
                self.fields.insert(id, named.collect());
            }
            Item::Trait(item) if methods == Methods::OfTraits => {
                let id = ItemId { module: at, name: item.ident.to_string() };
                for function in &item.items {
                    if let syn::TraitItem::Fn(function) = function {
                        self.add(modules, at, &id, &function.sig);
                    }
                }
            }
            Item::Impl(item) if methods == Methods::of(item) => {
                let Some(id) = named(modules, at, None, &item.self_ty) else { return };
                for function in &item.items {
                    match function {
                        ImplItem::Fn(function) if !is_test(&function.attrs) => {
                            self.add(modules, at, &id, &function.sig);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, modules: &Modules<'_>, at: ModuleId, of: &ItemId, sig: &syn::Signature) {
        let output = match &sig.output {
            ReturnType::Type(_, output) => named(modules, at, Some(of), output),
            ReturnType::Default => None,
        };
        let methods = self.methods.entry(of.clone()).or_default();
        methods.insert(sig.ident.to_string(), Method { module: at, output });
    }
}

/// The item that a type is, behind references and the pointers that lend their contents' methods.
pub fn named(
    modules: &Modules<'_>,
    at: ModuleId,
    own: Option<&ItemId>,
    found: &Type,
) -> Option<ItemId> {
    let bound = |bounds: &syn::punctuated::Punctuated<TypeParamBound, syn::token::Plus>| {
        bounds.iter().find_map(|bound| match bound {
            TypeParamBound::Trait(bound) => item(modules, at, own, &bound.path),
            _ => None,
        })
    };
    match found {
        Type::Reference(reference) => named(modules, at, own, &reference.elem),
        Type::Paren(paren) => named(modules, at, own, &paren.elem),
        Type::Group(group) => named(modules, at, own, &group.elem),
        Type::TraitObject(object) => bound(&object.bounds),
        Type::ImplTrait(object) => bound(&object.bounds),
        Type::Path(path) => match pointee(&path.path) {
            Some(pointee) => named(modules, at, own, pointee),
            None => item(modules, at, own, &path.path),
        },
        _ => None,
    }
}

fn pointee(path: &syn::Path) -> Option<&Type> {
    let last = path.segments.last()?;
    let is_pointer = ["Arc", "Box", "Rc"].iter().any(|pointer| last.ident == pointer);
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) if is_pointer => {
            arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(pointee) => Some(pointee),
                _ => None,
            })
        }
        _ => None,
    }
}

/// The item that a path to a type ends at.
pub fn item(
    modules: &Modules<'_>,
    at: ModuleId,
    own: Option<&ItemId>,
    path: &syn::Path,
) -> Option<ItemId> {
    if path.is_ident("Self") {
        return own.cloned();
    }
    modules.resolve(at, &segments(path)).into_iter().find_map(|found| match found.end {
        End::Item(item) => Some(item),
        End::Module(_) | End::Outside => None,
    })
}

pub fn segments(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}
