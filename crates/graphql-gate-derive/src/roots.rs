//! `#[roots]`: the fields of a root object. Above async-graphql's `Object`, it sends every answer through a gate.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, GenericArgument, ImplItem, ItemImpl, PathArguments, Result, ReturnType, Type, parse_quote};

use crate::attributes::{items, says};
use crate::relations::argument_of;

pub fn expand(mut input: ItemImpl) -> Result<TokenStream> {
    for item in &mut input.items {
        let ImplItem::Fn(method) = item else { continue };
        if says(&items(&method.attrs, "graphql")?, "skip") {
            continue;
        }
        let ReturnType::Type(_, ty) = &method.sig.output else { return Err(Error::new_spanned(&method.sig, "a field has a type")) };
        let (gated, wrap): (Type, TokenStream) = match argument_of(ty, "Result") {
            Some(value) => (with_argument(ty, &parse_quote!(::graphql_gate::Gate<#value>)), quote!(answer.map(::graphql_gate::Gate))),
            None => match argument_of(ty, "Option").and_then(|result| argument_of(result, "Result").map(|value| (result, value))) {
                Some((result, value)) => {
                    let result = with_argument(result, &parse_quote!(::graphql_gate::Gate<#value>));
                    (with_argument(ty, &result), quote!(answer.map(|answer| answer.map(::graphql_gate::Gate))))
                }
                None => (parse_quote!(::graphql_gate::Gate<#ty>), quote!(::graphql_gate::Gate(answer))),
            },
        };
        let block = &method.block;
        // boxed: the future of a root is as large as that of the largest method, and is moved with each of them
        let body = if method.sig.asyncness.is_some() {
            quote!(::std::boxed::Box::pin(async move #block).await)
        } else {
            quote!((move || #block)())
        };
        method.block = parse_quote!({
            let answer: #ty = #body;
            #wrap
        });
        method.sig.output = parse_quote!(-> #gated);
    }
    Ok(quote!(#input))
}

/// The same type with another first argument.
fn with_argument(ty: &Type, argument: &Type) -> Type {
    let mut ty = ty.clone();
    if let Type::Path(path) = &mut ty
        && let Some(segment) = path.path.segments.last_mut()
        && let PathArguments::AngleBracketed(arguments) = &mut segment.arguments
        && let Some(first) = arguments.args.first_mut()
    {
        *first = GenericArgument::Type(argument.clone());
    }
    ty
}
