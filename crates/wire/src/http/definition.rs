//! Definitions: deploying and reading them.

use riverrun_kernel::{Definition, DefinitionKind, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{KindSchema, time};

/// A deployment: `POST /v1/definitions`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// Its name.
    pub name: String,
    /// The flow, as YAML.
    pub source: String,
    /// The namespace; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// The same for a body that is the YAML itself (`content-type: text/yaml`).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeployQuery {
    /// Its name; needed with a YAML body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The namespace; `default` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Which definitions: `GET /v1/definitions`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DefinitionQuery {
    /// The namespace; `default` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// One definition, with its source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of that one this version; the newest unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Which definition to delete: `DELETE /v1/definitions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteDefinitionQuery {
    /// Its name.
    pub name: String,
    /// The namespace; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its kind, where a flow and a task have the same name; the flow unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<KindSchema>")]
    pub kind: Option<DefinitionKind>,
    /// Also where open runs or schedules use it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// Which flow to draw, and how: `GET /v1/definitions/graph`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DefinitionGraphQuery {
    /// Its name.
    pub name: String,
    /// The namespace; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The newest version unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `svg` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<super::GraphFormat>,
}

/// A definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionView {
    /// The namespace.
    pub namespace: String,
    /// Its kind.
    #[schemars(with = "KindSchema")]
    pub kind: DefinitionKind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it was deployed.
    pub deployed_at: String,
    /// The text as it was deployed; only where one definition is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What a task takes, as a JSON Schema, if its worker said so; only where one definition is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub parameters: Option<Json>,
}

impl DefinitionView {
    /// The definition without its source.
    pub fn brief(definition: &Definition) -> Self {
        DefinitionView {
            namespace: definition.reference.namespace.to_string(),
            kind: definition.reference.kind,
            name: definition.reference.name.to_string(),
            version: definition.reference.version.to_string(),
            deployed_at: time(definition.deployed),
            source: None,
            parameters: None,
        }
    }

    /// The definition with its source.
    pub fn full(definition: &Definition) -> Self {
        let brief = DefinitionView::brief(definition);
        match definition.reference.kind {
            // What is kept of a task is its schema: its source is the worker's.
            DefinitionKind::Task => DefinitionView {
                source: Some(String::new()),
                parameters: Json::parse(&definition.source).ok(),
                ..brief
            },
            _ => DefinitionView { source: Some(definition.source.to_string()), ..brief },
        }
    }
}

/// The newest version of each definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Definitions {
    /// The definitions.
    pub items: Vec<DefinitionView>,
}

/// A deployment's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deployed {
    /// The definition.
    #[serde(flatten)]
    pub definition: DefinitionView,
    /// Whether this version is new; else nothing changed.
    pub created: bool,
    /// What is legal and surely wrong.
    #[serde(default)]
    pub warnings: Vec<Diagnostic>,
}

/// How grave a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The definition was not deployed because of it.
    Error,
    /// The definition was deployed in spite of it.
    Warning,
}

/// A mistake or a warning in a definition, with its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnostic {
    /// How grave.
    pub severity: Severity,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The line, with a mark under the place; plain text.
    pub excerpt: String,
}
