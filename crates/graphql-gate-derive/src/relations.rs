//! `#[relations]`: the fields of an object that are not in its struct. Each becomes a method under async-graphql's
//! `ComplexObject`, which makes the schema, and a relation that a gate loads for all rows of a level.

use crate::attributes::{items, name_of, refuse, says, text, value};
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{
    Attribute, Error, Expr, FnArg, GenericArgument, Ident, ImplItem, ImplItemFn, ItemImpl, Lit, Pat, PathArguments, Result, ReturnType,
    Type,
};

const NOT_DONE: &[&str] = &["guard", "flatten", "derived", "directive"];

/// An argument of a field.
struct Argument {
    attributes: Vec<Attribute>,
    ident: Ident,
    ty: Type,
}

/// A method, taken apart.
struct Relation {
    method: ImplItemFn,
    /// The value for one row: `T` of `&self` methods, `Result<T>` of those for all rows.
    ty: Type,
    is_for_all: bool,
    has_selection: bool,
    arguments: Vec<Argument>,
}

pub fn expand(mut input: ItemImpl) -> Result<TokenStream> {
    let of = input.self_ty.clone();
    let (mut methods, mut loads, mut finds, mut arms) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut number = 0_u16;
    for item in std::mem::take(&mut input.items) {
        let ImplItem::Fn(method) = item else { return Err(Error::new_spanned(item, "only methods are fields")) };
        let of_method = items(&method.attrs, "graphql")?;
        if says(&of_method, "skip") {
            methods.push(quote!(#method));
            continue;
        }
        refuse(&of_method, NOT_DONE)?;
        let relation = Relation::of(method)?;
        finds.push(relation.find(number, &of_method)?);
        arms.push(relation.arm(number));
        methods.push(relation.method_for_one());
        loads.extend(relation.method_for_all());
        number += 1;
    }
    Ok(quote! {
        #[::graphql_gate::hidden::async_graphql::ComplexObject]
        impl #of {
            #(#methods)*
        }

        impl #of {
            #(#loads)*

            #[doc(hidden)]
            fn load_relation<'r>(
                rows: &'r [::graphql_gate::hidden::Row<'r>],
                step: &'r ::graphql_gate::hidden::Step,
                ctx: &'r ::graphql_gate::hidden::async_graphql::Context<'r>,
            ) -> ::graphql_gate::hidden::BoxFuture<'r, ::graphql_gate::hidden::Column> {
                ::std::boxed::Box::pin(async move {
                    let rows = ::graphql_gate::hidden::rows_of::<Self>(rows);
                    match step.field() - ::graphql_gate::hidden::FIRST_RELATION {
                        #(#arms)*
                        _ => ::core::default::Default::default(),
                    }
                })
            }
        }

        impl ::graphql_gate::hidden::Relations for #of {
            const LOAD: ::core::option::Option<::graphql_gate::hidden::Loader> = Some(Self::load_relation);

            fn find<'a>(
                compiler: &::graphql_gate::hidden::Compiler<'_, 'a>,
                name: &str,
                fields: &::graphql_gate::hidden::Fields<'a>,
            ) -> ::graphql_gate::hidden::async_graphql::ServerResult<::graphql_gate::hidden::Found> {
                Ok(match name {
                    #(#finds)*
                    _ => None,
                })
            }
        }
    })
}

impl Relation {
    fn of(mut method: ImplItemFn) -> Result<Self> {
        let is_for_all = !matches!(method.sig.inputs.first(), Some(FnArg::Receiver(_)));
        let (mut arguments, mut has_selection, mut has_context) = (Vec::new(), false, false);
        for input in method.sig.inputs.iter_mut().skip(1) {
            let FnArg::Typed(typed) = input else { continue };
            if is_reference_to(&typed.ty, "Context") {
                has_context = true;
                continue;
            }
            if is_reference_to(&typed.ty, "Plan") {
                has_selection = true;
                continue;
            }
            let Pat::Ident(pattern) = &*typed.pat else { return Err(Error::new_spanned(&typed.pat, "an argument has a name")) };
            let attributes = if is_for_all { std::mem::take(&mut typed.attrs) } else { typed.attrs.clone() };
            arguments.push(Argument { attributes, ident: pattern.ident.clone(), ty: (*typed.ty).clone() });
        }
        if is_for_all && !has_context {
            return Err(Error::new_spanned(&method.sig, "a method for all rows takes `ctx: &Context<'_>` after them"));
        }
        if !is_for_all && has_selection {
            return Err(Error::new_spanned(&method.sig, "a method for one row takes no selection; take `rows: &[&Self]`"));
        }
        let ReturnType::Type(_, ty) = &method.sig.output else { return Err(Error::new_spanned(&method.sig, "a field has a type")) };
        let ty = if is_for_all {
            let each = argument_of(ty, "Result").and_then(|list| argument_of(list, "Vec"));
            let each = each.ok_or_else(|| Error::new_spanned(ty, "a method for all rows gives a `Result<Vec<T>>`"))?;
            // where a failure is a null of its own, async-graphql wants it inside
            match argument_of(each, "Option") {
                Some(inner) => syn::parse_quote!(::core::option::Option<::graphql_gate::hidden::async_graphql::Result<#inner>>),
                None => syn::parse_quote!(::graphql_gate::hidden::async_graphql::Result<#each>),
            }
        } else {
            (**ty).clone()
        };
        Ok(Self { method, ty, is_for_all, has_selection, arguments })
    }

    fn argument_names(&self) -> Vec<&Ident> {
        self.arguments.iter().map(|argument| &argument.ident).collect()
    }

    /// How the field is compiled.
    fn find(&self, number: u16, of_method: &[syn::Meta]) -> Result<TokenStream> {
        let name = name_of(&self.method.sig.ident, of_method);
        let ty = &self.ty;
        let mut reads = Vec::new();
        for Argument { attributes, ident, ty } in &self.arguments {
            let of_argument = items(attributes, "graphql")?;
            refuse(&of_argument, &["validator", "process_with"])?;
            let name = name_of(ident, &of_argument);
            let default = default_of(&of_argument)?.map_or_else(|| quote!(None), |default| quote!(Some(|| -> #ty { #default })));
            reads.push(quote!(compiler.argument::<#ty>(fields, #name, #default)?));
        }
        Ok(quote! {
            #name => Some((
                ::graphql_gate::hidden::FIRST_RELATION + #number,
                compiler.behind_a_relation(|compiler| <#ty as ::graphql_gate::Output>::compile(compiler, fields))?,
                (|| Ok(::std::boxed::Box::new((#(#reads,)*)) as _))(),
            )),
        })
    }

    /// How it is loaded for all rows of a level.
    fn arm(&self, number: u16) -> TokenStream {
        let (method, names, ty) = (&self.method.sig.ident, self.argument_names(), &self.ty);
        let types = self.arguments.iter().map(|argument| &argument.ty);
        let values = if self.is_for_all {
            let load = self.load_name();
            let selection = self.has_selection.then(|| quote!(step.plan(),));
            quote! {
                let loaded = Self::#load(&rows, ctx, #selection #(::core::clone::Clone::clone(#names)),*).await;
                let values: ::std::vec::Vec<#ty> = ::graphql_gate::hidden::for_each_row(rows.len(), loaded);
            }
        } else if self.method.sig.asyncness.is_some() {
            quote! {
                let values = rows.iter().map(|row| Self::#method(row, ctx, #(::core::clone::Clone::clone(#names)),*));
                let values = ::graphql_gate::hidden::join_all(values).await;
            }
        } else {
            quote! {
                let values = rows.iter().map(|row| Self::#method(row, ctx, #(::core::clone::Clone::clone(#names)),*));
                let values = values.collect::<::std::vec::Vec<_>>();
            }
        };
        quote! {
            #number => {
                let (#(#names,)*) = match ::graphql_gate::hidden::args_of::<(#(#types,)*)>(step) {
                    Ok(arguments) => arguments,
                    Err(error) => return ::graphql_gate::hidden::Column::failed::<#ty>(rows.len(), &error),
                };
                #values
                ::graphql_gate::hidden::render_step(&values, step, ctx).await
            }
        }
    }

    fn load_name(&self) -> Ident {
        format_ident!("load_{}", self.method.sig.ident)
    }

    /// What async-graphql makes the schema of, and what its own executor would call.
    fn method_for_one(&self) -> TokenStream {
        let Self { method, ty, arguments, .. } = self;
        if !self.is_for_all {
            return quote!(#method);
        }
        let (attributes, name, load, names) = (&method.attrs, &method.sig.ident, self.load_name(), self.argument_names());
        let declared = arguments.iter().map(|Argument { attributes, ident, ty }| quote!(#(#attributes)* #ident: #ty));
        let selection = self.has_selection.then(|| quote!(&selection,));
        let compile = self.has_selection.then(|| {
            quote! {
                let selection = match ::graphql_gate::selection::<#ty>(ctx) {
                    Ok(selection) => selection,
                    Err(error) => return ::graphql_gate::hidden::OfRow::failure(::graphql_gate::hidden::async_graphql::Error::new(error.message)),
                };
            }
        });
        quote! {
            #(#attributes)*
            async fn #name(&self, ctx: &::graphql_gate::hidden::async_graphql::Context<'_>, #(#declared),*) -> #ty {
                #compile
                let loaded = Self::#load(&[self], ctx, #selection #(#names),*).await;
                ::graphql_gate::hidden::for_one_row(loaded)
            }
        }
    }

    fn method_for_all(&self) -> Option<TokenStream> {
        self.is_for_all.then(|| {
            let mut method = self.method.clone();
            method.sig.ident = self.load_name();
            method.attrs.retain(|attribute| !attribute.path().is_ident("graphql"));
            quote!(#method)
        })
    }
}

fn default_of(of_argument: &[syn::Meta]) -> Result<Option<TokenStream>> {
    if let Some(text) = text(of_argument, "default_with") {
        let expression: Expr = syn::parse_str(&text)?;
        return Ok(Some(quote!(#expression)));
    }
    if let Some(value) = value(of_argument, "default") {
        let is_text = matches!(value, Expr::Lit(lit) if matches!(lit.lit, Lit::Str(_)));
        return Ok(Some(if is_text { quote!(::core::convert::Into::into(#value)) } else { quote!(#value) }));
    }
    Ok(says(of_argument, "default").then(|| quote!(::core::default::Default::default())))
}

/// True for `&Name<…>`.
fn is_reference_to(ty: &Type, name: &str) -> bool {
    match ty {
        Type::Reference(reference) => match &*reference.elem {
            Type::Path(path) => path.path.segments.last().is_some_and(|segment| segment.ident == name),
            _ => false,
        },
        _ => false,
    }
}

/// `T` of `Name<T>`.
pub fn argument_of<'t>(ty: &'t Type, name: &str) -> Option<&'t Type> {
    let Type::Path(path) = ty else { return None };
    let segment = path.path.segments.last().filter(|segment| segment.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}
