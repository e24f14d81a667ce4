//! `#[derive(Output)]`: on structs and on the enums of interfaces, unions and words.

use crate::attributes::{items, name_of, refuse, says, type_name_of};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataEnum, DeriveInput, Error, Fields, Result};

/// What has no effect inside a gate.
const NOT_DONE: &[&str] = &["guard", "flatten", "derived", "rename_fields", "process_with", "directive", "concrete", "name_type"];

pub fn expand(input: &DeriveInput) -> Result<TokenStream> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(&input.generics, "a gate's types have no parameters"));
    }
    if says(&items(&input.attrs, "gate")?, "scalar") {
        let value = quote!(::graphql_gate::hidden::async_graphql::ScalarType::to_value(self));
        return Ok(leaf(input, &quote!(writer.value(&#value))));
    }
    match &input.data {
        Data::Struct(data) => object(input, &data.fields),
        Data::Enum(data) if data.variants.iter().all(|variant| variant.fields.is_empty()) => {
            Ok(leaf(input, &quote!(::graphql_gate::hidden::write_word(self, writer))))
        }
        Data::Enum(data) => one_of(input, data),
        Data::Union(_) => Err(Error::new_spanned(input, "structs and enums only")),
    }
}

fn object(input: &DeriveInput, fields: &Fields) -> Result<TokenStream> {
    let of_type = items(&input.attrs, "graphql")?;
    refuse(&of_type, NOT_DONE)?;
    let name = &input.ident;
    let type_name = type_name_of(name, &of_type);
    let (mut finds, mut gathers, mut writes) = (Vec::new(), Vec::new(), Vec::new());
    let mut number = 0_u16;
    for field in fields {
        let of_field = items(&field.attrs, "graphql")?;
        if says(&of_field, "skip") || says(&of_field, "skip_output") {
            continue;
        }
        refuse(&of_field, NOT_DONE)?;
        let Some(ident) = &field.ident else { return Err(Error::new_spanned(field, "fields have names")) };
        let schema_name = name_of(ident, &of_field);
        let ty = &field.ty;
        finds.push(
            quote!(#schema_name => (#number, <#ty as ::graphql_gate::Output>::compile(compiler, fields)?, Ok(::std::boxed::Box::new(()))),),
        );
        gathers.push(quote!(#number => ::graphql_gate::Output::gather(&self.#ident, step.plan(), rows),));
        writes.push(quote!(#number => writer.field(step, &self.#ident),));
        number += 1;
    }
    let complex = says(&of_type, "complex");
    let (load, otherwise, push) = if complex {
        (
            quote!(<Self as ::graphql_gate::hidden::Relations>::LOAD),
            quote!(return <Self as ::graphql_gate::hidden::Relations>::find(compiler, name, fields)),
            quote!(rows.push(plan, self);),
        )
    } else {
        (quote!(None), quote!(return Ok(None)), quote!())
    };
    Ok(quote! {
        const _: () = {
            use ::graphql_gate::hidden::{Compiler, Fields, Null, Plan, Rows, Writer};

            #[automatically_derived]
            impl ::graphql_gate::Output for #name {
                fn compile<'a>(compiler: &Compiler<'_, 'a>, fields: &Fields<'a>) -> ::graphql_gate::hidden::async_graphql::ServerResult<Plan> {
                    compiler.object(#type_name, fields, #load, &|compiler, name, fields| {
                        Ok(Some(match name {
                            #(#finds)*
                            _ => #otherwise,
                        }))
                    })
                }

                fn gather<'r>(&'r self, plan: &'r Plan, rows: &mut Rows<'r>) {
                    if !plan.has_relations() {
                        return;
                    }
                    #push
                    for step in plan.steps() {
                        match step.field() {
                            #(#gathers)*
                            _ => {}
                        }
                    }
                }

                fn write(&self, plan: &Plan, writer: &mut Writer) -> ::core::result::Result<(), Null> {
                    writer.object(#type_name, plan, |writer, step| match step.field() {
                        #(#writes)*
                        _ => Ok(()),
                    })
                }
            }
        };
    })
}

fn one_of(input: &DeriveInput, data: &DataEnum) -> Result<TokenStream> {
    let name = &input.ident;
    let (mut compiles, mut gathers, mut writes) = (Vec::new(), Vec::new(), Vec::new());
    for (index, variant) in data.variants.iter().enumerate() {
        refuse(&items(&variant.attrs, "graphql")?, NOT_DONE)?;
        let (Fields::Unnamed(fields), ident) = (&variant.fields, &variant.ident) else {
            return Err(Error::new_spanned(variant, "each variant holds one type"));
        };
        let Some(field) = fields.unnamed.first().filter(|_| fields.unnamed.len() == 1) else {
            return Err(Error::new_spanned(variant, "each variant holds one type"));
        };
        let ty = &field.ty;
        compiles.push(quote!(<#ty as ::graphql_gate::Output>::compile(compiler, fields)?));
        gathers.push(quote!(Self::#ident(value) => ::graphql_gate::Output::gather(value, plan.variant(#index), rows),));
        writes.push(quote!(Self::#ident(value) => ::graphql_gate::Output::write(value, plan.variant(#index), writer),));
    }
    Ok(quote! {
        const _: () = {
            use ::graphql_gate::hidden::{Compiler, Fields, Null, Plan, Rows, Writer};

            #[automatically_derived]
            impl ::graphql_gate::Output for #name {
                fn compile<'a>(compiler: &Compiler<'_, 'a>, fields: &Fields<'a>) -> ::graphql_gate::hidden::async_graphql::ServerResult<Plan> {
                    Ok(Compiler::variants(::std::vec![#(#compiles),*]))
                }

                fn gather<'r>(&'r self, plan: &'r Plan, rows: &mut Rows<'r>) {
                    if plan.has_relations() {
                        match self {
                            #(#gathers)*
                        }
                    }
                }

                fn write(&self, plan: &Plan, writer: &mut Writer) -> ::core::result::Result<(), Null> {
                    match self {
                        #(#writes)*
                    }
                }
            }
        };
    })
}

/// A type without fields: written as this says.
fn leaf(input: &DeriveInput, write: &TokenStream) -> TokenStream {
    let name = &input.ident;
    quote! {
        #[automatically_derived]
        impl ::graphql_gate::Output for #name {
            fn write(
                &self,
                _: &::graphql_gate::hidden::Plan,
                writer: &mut ::graphql_gate::hidden::Writer,
            ) -> ::core::result::Result<(), ::graphql_gate::hidden::Null> {
                #write;
                Ok(())
            }
        }
    }
}
