//! What the attribute `#[graphql(…)]` says, as far as it concerns a gate.

use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Expr, Lit, Meta, Result, Token};

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

/// `total_count` as `totalCount`: async-graphql's default for fields and arguments.
pub fn camel_case(name: &str) -> String {
    let name = name.strip_prefix("r#").unwrap_or(name);
    let mut out = String::with_capacity(name.len());
    let mut after_underscore = false;
    for c in name.chars() {
        match c {
            '_' if !out.is_empty() => after_underscore = true,
            c if after_underscore => {
                out.extend(c.to_uppercase());
                after_underscore = false;
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_schema() {
        assert_eq!(["id", "total_count", "r#type", "a_b_c", "score2"].map(camel_case), ["id", "totalCount", "type", "aBC", "score2"]);
    }

    #[test]
    fn items_are_found_and_what_would_be_passed_over_is_refused() {
        let input: syn::DeriveInput = syn::parse_str("#[graphql(complex, name = \"Thing\", guard = \"x\")] struct T;").unwrap();
        let items = items(&input.attrs, "graphql").unwrap();
        assert!(says(&items, "complex") && !says(&items, "skip"));
        assert_eq!(text(&items, "name").as_deref(), Some("Thing"));
        assert!(refuse(&items, &["guard"]).is_err() && refuse(&items, &["flatten"]).is_ok());
    }
}
