//! Where the stock executor breaks the specification and the gate does not: the list of the README, one test each.

use crate::compare::both;
use graphql_gate::generate::Document;

/// The stock executor fails what is around such a field although the field itself may be null.
#[tokio::test]
async fn an_argument_that_cannot_be_read_makes_its_field_null_where_it_may_be() {
    let query = "query($n: Int = -1) { author(id: 2) { id friend: maybeFriend(after: $n) { name } } ok: author(id: 3) { id } }";
    let (gated, stock) = both(&Document::of(query)).await;
    let data = "{\"data\":{\"author\":{\"id\":\"a2\",\"friend\":null},\"ok\":{\"id\":\"a3\"}}";
    let (errors, of_stock) = (gated.strip_prefix(data).expect(&gated), stock.split_once(",\"errors\"").expect(&stock));
    assert_eq!(of_stock.0, "{\"data\":{\"author\":null,\"ok\":{\"id\":\"a3\"}}");
    assert_eq!(errors, format!(",\"errors\"{}", of_stock.1));
    assert!(errors.contains("\"path\":[\"author\",\"friend\"]"), "{errors}");
}

/// The stock executor writes null even where the schema says that nothing is null.
#[tokio::test]
async fn numbers_that_are_not_finite_are_failures() {
    let (gated, stock) = both(&Document::of("{ maybeAuthors { odds } }")).await;
    assert_eq!(stock, r#"{"data":{"maybeAuthors":[{"odds":null},{"odds":1.0},null,{"odds":null}]}}"#);
    let errors = [0, 3].map(|row| {
        format!(r#"{{"message":"Float cannot represent inf","locations":[{{"line":1,"column":18}}],"path":["maybeAuthors",{row},"odds"]}}"#)
    });
    assert_eq!(gated, format!(r#"{{"data":{{"maybeAuthors":[null,{{"odds":1.0}},null,null]}},"errors":[{}]}}"#, errors.join(",")));

    let (gated, stock) = both(&Document::of("{ author(id: 1) { maybeOdds } }")).await;
    let (data, errors) = gated.split_at(stock.len() - 1);
    assert_eq!(data, stock.strip_suffix('}').expect("an object"));
    let error = r#"{"message":"Float cannot represent NaN","locations":[{"line":1,"column":19}],"path":["author","maybeOdds",0]}"#;
    assert_eq!(errors, format!(",\"errors\":[{error}]}}"));
}

/// The stock executor fails what is around it.
#[tokio::test]
async fn a_failure_in_place_of_an_optional_value_is_null() {
    let (gated, stock) = both(&Document::of("{ author(id: 1) { id memo } ok: author(id: 2) { memo } }")).await;
    let error = r#""errors":[{"message":"no memo","locations":[{"line":1,"column":22}],"path":["author","memo"]}]"#;
    assert_eq!(gated, format!(r#"{{"data":{{"author":{{"id":"a1","memo":null}},"ok":{{"memo":null}}}},{error}}}"#));
    assert_eq!(stock, format!(r#"{{"data":{{"author":null,"ok":{{"memo":null}}}},{error}}}"#));
}

/// The stock executor shows what the places without a failure gave, if they come first. `compare` takes its second report away.
#[tokio::test]
async fn a_repeated_field_that_fails_in_one_place_has_failed() {
    let (gated, stock) = both(&Document::of("{ author(id: 1) { f: maybeFriend { name } f: maybeFriend { must } } }")).await;
    let error = r#""errors":[{"message":"it must","locations":[{"line":1,"column":60}],"path":["author","f","must"]}]"#;
    assert_eq!(gated, format!(r#"{{"data":{{"author":{{"f":null}}}},{error}}}"#));
    assert!(stock.starts_with(r#"{"data":{"author":{"f":{"name":"#) && stock.ends_with(&format!("{error}}}")), "{stock}");
}

/// In the stock executor they come in the order in which they were found, which is the same while nothing has to wait.
#[tokio::test]
async fn errors_come_in_the_order_of_the_answer() {
    let query = "{ maybeAuthors { maybeFriend { must } best { title } } }";
    let response = crate::schema::schema().execute(query).await;
    let paths: Vec<_> = response.errors.iter().map(|error| serde_json::to_string(&error.path).expect("a path")).collect();
    let expected = [
        r#"["maybeAuthors",1,"maybeFriend","must"]"#,
        r#"["maybeAuthors",1,"best"]"#,
        r#"["maybeAuthors",3,"maybeFriend","must"]"#,
        r#"["maybeAuthors",3,"best"]"#,
    ];
    assert_eq!(paths, expected);
}
