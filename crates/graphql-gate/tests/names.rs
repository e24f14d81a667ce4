//! The names that the gate knows are those of the schema, which async-graphql's derives make of names in Rust by a rule of their
//! own. Everything that the schema has is asked for by its name: what the gate does not know by it would be an error.

#![expect(non_snake_case, non_camel_case_types, clippy::used_underscore_binding, reason = "names that are awkward are what is tested")]

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};
use async_graphql::{Context, EmptyMutation, EmptySubscription, Enum, Object, Result, Schema, SimpleObject, Union};
use graphql_gate::{Gate, Output, Stock, relations, respond};
use std::fmt::Write;

#[derive(Clone, Copy, PartialEq, Eq, Enum, Output)]
enum Word_2 {
    HTTPReply2XX,
    r#Match_it,
}

#[derive(SimpleObject, Output)]
#[graphql(complex)]
struct HTTPReply2XX_v2 {
    r#type: i32,
    r#match_it: i32,
    _leading: i32,
    __two: i32,
    trailing_: i32,
    double__inside: i32,
    x1: i32,
    x_2: i32,
    x3_y: i32,
    x4y_z5: i32,
    y_6z: i32,
    a_b_c: i32,
    HTTPServer: i32,
    http2XX: i32,
    alreadyCamel: i32,
    PascalCase: i32,
    SHOUTED_NAME: i32,
    url_URL: i32,
    #[graphql(name = "as_It_Is__said")]
    renamed: i32,
    words: Vec<Word_2>,
}

#[relations]
impl HTTPReply2XX_v2 {
    fn r#loop(&self, r#in: i32) -> i32 {
        self.x1 + r#in
    }

    async fn of_4All(
        rows: &[&Self],
        _ctx: &Context<'_>,
        r#ref: i32,
        _under_1: i32,
        URLPath2: i32,
        #[graphql(name = "as_It_Is")] r: i32,
    ) -> Result<Vec<i32>> {
        Ok(rows.iter().map(|row| row.x1 + r#ref + 2 * _under_1 + 3 * URLPath2 + 4 * r).collect())
    }

    async fn others__2(&self) -> Vec<Other_Thing> {
        vec![Other_Thing::A_1(A_1 { n_1: 1 }), Other_Thing::OK(OK { r#fn: 2 })]
    }
}

#[derive(SimpleObject, Output)]
struct A_1 {
    n_1: i32,
}

#[derive(SimpleObject, Output)]
struct OK {
    r#fn: i32,
}

#[derive(Union, Output)]
enum Other_Thing {
    A_1(A_1),
    OK(OK),
}

struct Query;

#[Object]
impl Query {
    async fn reply(&self) -> Gate<HTTPReply2XX_v2> {
        Gate(HTTPReply2XX_v2 {
            r#type: 1,
            r#match_it: 2,
            _leading: 3,
            __two: 4,
            trailing_: 5,
            double__inside: 6,
            x1: 7,
            x_2: 8,
            x3_y: 9,
            x4y_z5: 10,
            y_6z: 11,
            a_b_c: 12,
            HTTPServer: 13,
            http2XX: 14,
            alreadyCamel: 15,
            PascalCase: 16,
            SHOUTED_NAME: 17,
            url_URL: 18,
            renamed: 19,
            words: vec![Word_2::HTTPReply2XX, Word_2::Match_it],
        })
    }
}

#[tokio::test]
async fn names_are_those_of_the_schema() {
    let schema = Schema::build(Query, EmptyMutation, EmptySubscription).finish();
    let sdl = schema.sdl();
    let mut document = String::from("{ reply { __typename ");
    for definition in parse_schema(&sdl).expect("a schema").definitions {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let TypeKind::Object(object) = definition.node.kind else { continue };
        if !object.fields.iter().any(|field| field.node.name.node == "x1") {
            continue;
        }
        for field in &object.fields {
            let arguments: Vec<_> = field.node.arguments.iter().map(|argument| format!("{}: 1", argument.node.name.node)).collect();
            let arguments = if arguments.is_empty() { String::new() } else { format!("({})", arguments.join(", ")) };
            let is_composite = field.node.ty.node.to_string().contains("Other");
            let below = if is_composite { "{ __typename ... on A1 { n1 } ... on Ok { fn } }" } else { "" };
            write!(document, "{}{arguments} {below} ", field.node.name.node).expect("a text");
        }
    }
    document.push_str("} }");
    let gated = respond::to_string(&schema.execute(&document).await);
    let stock = respond::to_string(&schema.execute(async_graphql::Request::new(&document).data(Stock)).await);
    assert_eq!(gated, stock, "{document}");
    assert!(gated.starts_with("{\"data\":{\"reply\":{\"__typename\":") && !gated.contains("\"errors\""), "{gated}");
    // every value is there, and so every field was asked for
    assert!((1..=19).all(|n| gated.contains(&format!(":{n},"))), "{gated}");
    assert_eq!(gated.matches("\"__typename\"").count(), 3, "{gated}");
}
