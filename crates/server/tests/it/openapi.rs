//! The OpenAPI document and the pages on errors.

use riverrun_wire::http::Code;
use serde_json::Value;

use crate::support::Server;

/// Compares with the copy that is checked in; `RIVERRUN_UPDATE=1 cargo test -p riverrun-server openapi` writes it anew.
#[test]
fn the_document_is_the_one_that_is_checked_in() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let text = format!("{:#}\n", riverrun_server::openapi_document());
    if std::env::var_os("RIVERRUN_UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/openapi.json is not what the types say: run with RIVERRUN_UPDATE=1 and look at the change"
    );
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = riverrun_server::openapi_document();
    let text = document.to_string();
    let mut found = 0;
    for part in text.split("\"$ref\":\"#").skip(1) {
        let pointer = part.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
        found += 1;
    }
    assert!(found > 20);
}

#[test]
fn operations_have_unique_names() {
    let document = riverrun_server::openapi_document();
    let mut names: Vec<&str> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[tokio::test]
async fn the_document_is_served() {
    let server = Server::new().await;
    let answer = server.get("/openapi.json").await;
    assert_eq!(answer.body, riverrun_server::openapi_document());
    assert_eq!(answer.body["openapi"], Value::from("3.1.0"));
}

#[tokio::test]
async fn every_error_code_has_a_page_and_every_page_a_code() {
    let server = Server::new().await;
    for code in Code::ALL {
        let page = server.get(&format!("/errors/{code}")).await;
        page.is(200);
        assert!(page.text.starts_with(&format!("# `{code}`")), "{code}");
        assert!(page.text.contains(&format!("HTTP status {}", code.status())), "{code}");
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
    let pages = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(pages, Code::ALL.len());
}
