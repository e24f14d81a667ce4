//! The macros of graphql-gate. They read the attributes that async-graphql's own macros read, so that both agree on names;
//! what a gate does not do is refused here rather than ignored.

mod attributes;
mod output;
mod relations;
mod roots;

use proc_macro::TokenStream;

/// See graphql-gate.
#[proc_macro_derive(Output, attributes(graphql, gate))]
pub fn output(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    output::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// See graphql-gate.
#[proc_macro_attribute]
pub fn roots(arguments: TokenStream, input: TokenStream) -> TokenStream {
    if let Some(refused) = refuse_arguments(arguments) {
        return refused;
    }
    let input = syn::parse_macro_input!(input as syn::ItemImpl);
    roots::expand(input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// See graphql-gate.
#[proc_macro_attribute]
pub fn relations(arguments: TokenStream, input: TokenStream) -> TokenStream {
    if let Some(refused) = refuse_arguments(arguments) {
        return refused;
    }
    let input = syn::parse_macro_input!(input as syn::ItemImpl);
    relations::expand(input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// What `Object` and `ComplexObject` would be told here would be lost, guards among it.
fn refuse_arguments(arguments: TokenStream) -> Option<TokenStream> {
    let arguments = proc_macro2::TokenStream::from(arguments);
    (!arguments.is_empty()).then(|| syn::Error::new_spanned(arguments, "this attribute takes no arguments").to_compile_error().into())
}
