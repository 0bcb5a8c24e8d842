//! The OpenAPI document, made from the table of routes and the types' schemas.

use axum::response::{IntoResponse, Response};
use riverrun_wire::http::{Code, Problem};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::routes::{Route, routes};

/// Errors that any path can answer.
const EVERYWHERE: &[Code] = &[
    Code::InvalidRequest,
    Code::Unauthorized,
    Code::HostNotAllowed,
    Code::OriginNotAllowed,
    Code::Busy,
    Code::Unavailable,
];

/// `GET /openapi.json`
pub(crate) async fn serve() -> Response {
    axum::Json(document()).into_response()
}

/// The document. `docs/openapi.json` is this, checked in.
pub fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut schemas = settings.into_generator();
    let problem = schemas.subschema_for::<Problem>();
    let mut paths = Map::new();
    for route in routes() {
        let item = paths.entry(route.path).or_insert_with(|| Value::Object(Map::new()));
        item[route.method.as_str().to_lowercase()] = operation(&route, &mut schemas);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Riverrun",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Durable runs on one journal. Errors are application/problem+json with a stable code.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "responses": {
                "Problem": {
                    "description": format!("The request was not done. Everywhere: {}", list(EVERYWHERE)),
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
        },
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "summary": route.summary,
        "operationId": operation_id(route),
        "parameters": parameters(route, schemas),
        "responses": responses(route, schemas),
    });
    if let Some(body) = route.body {
        operation["requestBody"] = json!({ "content": { "application/json": { "schema": body(schemas) } } });
    }
    operation
}

fn operation_id(route: &Route) -> String {
    let path = route.path.trim_start_matches("/v1").replace(['/', '{', '}', '.'], "_");
    let words: Vec<&str> = path.split('_').filter(|word| !word.is_empty()).collect();
    format!("{}_{}", route.method.as_str().to_lowercase(), words.join("_")).trim_end_matches('_').to_owned()
}

fn parameters(route: &Route, schemas: &mut SchemaGenerator) -> Vec<Value> {
    let mut parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    for (name, meaning) in route.headers {
        parameters.push(
            json!({ "name": name, "in": "header", "description": meaning, "schema": { "type": "string" } }),
        );
    }
    let query = route.query.map(|query| query(schemas).to_value());
    let required = |name: &str| {
        query.as_ref().is_some_and(|query| {
            query["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name))
        })
    };
    let properties = query.as_ref().and_then(|query| query["properties"].as_object());
    for (name, schema) in properties.into_iter().flatten() {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        parameters.push(json!({
            "name": name,
            "in": "query",
            "required": required(name),
            "description": description,
            "schema": schema,
        }));
    }
    parameters
}

fn responses(route: &Route, schemas: &mut SchemaGenerator) -> Map<String, Value> {
    let mut responses = Map::new();
    for (status, meaning, media, schema) in &route.answers {
        let mut response = json!({ "description": meaning });
        if !media.is_empty() {
            let schema = schema.map_or_else(|| json!({}), |schema| schema(schemas).to_value());
            response["content"] = json!({ *media: { "schema": schema } });
        }
        responses.insert(status.to_string(), response);
    }
    for code in route.errors {
        let status = code.status().to_string();
        let others: Vec<Code> =
            route.errors.iter().copied().filter(|other| other.status() == code.status()).collect();
        responses.insert(
            status,
            json!({
                "description": list(&others),
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            }),
        );
    }
    responses.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Problem" }));
    responses
}

fn list(codes: &[Code]) -> String {
    let texts: Vec<String> =
        codes.iter().map(|code| format!("`{code}`: {}", code.title().to_lowercase())).collect();
    texts.join("; ")
}
