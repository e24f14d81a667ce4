//! What the attribute `#[graphql(…)]` says, as far as it concerns a gate.

use heck::{ToLowerCamelCase, ToPascalCase};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Expr, Ident, Lit, Meta, Result, Token};

/// The items of all attributes of a name, such as `graphql`.
pub fn items(attributes: &[Attribute], name: &str) -> Result<Vec<Meta>> {
    let mut all = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(name)) {
        all.extend(attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)?);
    }
    Ok(all)
}

/// True if there is an item of this name, unless it says `false`.
pub fn says(items: &[Meta], name: &str) -> bool {
    items.iter().any(|item| match item {
        Meta::Path(path) => path.is_ident(name),
        Meta::NameValue(pair) if pair.path.is_ident(name) => {
            !matches!(&pair.value, Expr::Lit(lit) if matches!(&lit.lit, Lit::Bool(no) if !no.value))
        }
        _ => false,
    })
}

/// The text of an item such as `name = "…"`.
pub fn text(items: &[Meta], name: &str) -> Option<String> {
    value(items, name).and_then(|value| match value {
        Expr::Lit(lit) => match &lit.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

/// The value of an item such as `default = 5`.
pub fn value<'m>(items: &'m [Meta], name: &str) -> Option<&'m Expr> {
    items.iter().find_map(|item| match item {
        Meta::NameValue(pair) if pair.path.is_ident(name) => Some(&pair.value),
        _ => None,
    })
}

/// Refuses what a gate would pass over in silence.
pub fn refuse(items: &[Meta], names: &[&str]) -> Result<()> {
    for item in items {
        if names.iter().any(|name| item.path().is_ident(name)) {
            return Err(Error::new_spanned(item, "a gate does not do this: it would be passed over"));
        }
    }
    Ok(())
}

/// The name of a field or an argument, unless its attributes say another. By the library that async-graphql's macros use, for
/// no two agree on digits, underscores and runs of capitals.
pub fn name_of(ident: &Ident, items: &[Meta]) -> String {
    text(items, "name").unwrap_or_else(|| ident.unraw().to_string().to_lower_camel_case())
}

/// The name of a type, likewise.
pub fn type_name_of(ident: &Ident, items: &[Meta]) -> String {
    text(items, "name").unwrap_or_else(|| ident.to_string().to_pascal_case())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_found_and_what_would_be_passed_over_is_refused() {
        let input: syn::DeriveInput = syn::parse_str("#[graphql(complex, name = \"Thing\", guard = \"x\")] struct T;").unwrap();
        let items = items(&input.attrs, "graphql").unwrap();
        assert!(says(&items, "complex") && !says(&items, "skip"));
        assert_eq!(text(&items, "name").as_deref(), Some("Thing"));
        assert!(refuse(&items, &["guard"]).is_err() && refuse(&items, &["flatten"]).is_ok());
    }
}
