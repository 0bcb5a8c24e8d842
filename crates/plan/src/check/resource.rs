//! What a task calls: resource names, service parameters and patterns.

use super::fields::Fields;
use super::mapping;
use crate::diagnostic::Report;
use crate::graph::Target;
use crate::yaml::Node;

const FORMS: &str = "write `service/function`, `!Ref service/function`, `acs:fc:::services/SERVICE/functions/FUNCTION` \
                     or `acs:fnf:::flow/NAME`";

/// What a `resourceArn` names.
enum Resource {
    Function(String),
    Flow(String),
}

/// Reads what the task calls, and whether it waits for a callback.
pub(super) fn target(fields: Fields, report: &mut Report) -> (Option<Target>, bool) {
    let pattern = fields.one_of("pattern", &["requestResponse", "sync", "waitForCallback"], report);
    let callback = pattern == Some("waitForCallback");
    let resource = match (fields.get("resourceArn"), fields.get("action")) {
        (Some(node), None) => resource(fields, node, report),
        (None, Some(_)) => {
            let action = fields.text("action", report).unwrap_or_default();
            report.error(
                fields.key_span("action"),
                format!("{} calls the cloud service `{action}`, which is not served yet", fields.what()),
                "call a function of yours that calls the service: `resourceArn: service/function`".to_owned(),
            );
            None
        }
        (Some(_), Some(_)) => {
            let message = format!("{} has both `resourceArn` and `action`", fields.what());
            report.error(fields.key_span("action"), message, "keep one of them".to_owned());
            None
        }
        (None, None) => {
            report.error(
                fields.mark(),
                format!("{} does not say what to call", fields.what()),
                FORMS.to_owned(),
            );
            None
        }
    };
    let target = match resource {
        Some(Resource::Function(name)) => {
            function_params(fields, pattern, report);
            Some(Target::Function(name))
        }
        Some(Resource::Flow(name)) => {
            if callback {
                report.error(
                    fields.key_span("pattern"),
                    format!("{} gives a callback token to a flow, which is not served yet", fields.what()),
                    "use `pattern: sync` to wait for the flow's end".to_owned(),
                );
            }
            Some(child(fields, name, pattern == Some("sync"), report))
        }
        None => None,
    };
    (target, callback)
}

fn resource(fields: Fields, node: &Node, report: &mut Report) -> Option<Resource> {
    let text = fields.text("resourceArn", report)?;
    match &node.tag {
        Some(tag) if tag != "Ref" => {
            report.error(node.span, format!("the tag `!{tag}` has no meaning here"), FORMS.to_owned());
            return None;
        }
        Some(_) if !is_function(text) || !text.contains('/') => {
            let message = format!("`!Ref {text}` names no function");
            report.error(node.span, message, "write `!Ref service/function`".to_owned());
            return None;
        }
        Some(_) => return Some(Resource::Function(text.to_owned())),
        None => {}
    }
    match read(text) {
        Ok(resource) => Some(resource),
        Err((message, advice)) => {
            report.error(node.span, message, advice);
            None
        }
    }
}

fn read(text: &str) -> Result<Resource, (String, String)> {
    let Some(arn) = text.strip_prefix("acs:") else {
        if text.starts_with("http:") || text.starts_with("https:") {
            let advice =
                "call a function of yours that sends the request: `resourceArn: service/function`".to_owned();
            return Err((format!("`{text}` is an address, and addresses are not served yet"), advice));
        }
        if is_function(text) {
            return Ok(Resource::Function(text.to_owned()));
        }
        return Err((format!("`{text}` names no function"), FORMS.to_owned()));
    };
    let parts: Vec<&str> = arn.splitn(4, ':').collect();
    let [service, _region, _account, resource] = parts.as_slice() else {
        let advice =
            "it has five parts: `acs:SERVICE:REGION:ACCOUNT:RESOURCE`; region and account may be empty"
                .to_owned();
        return Err((format!("`{text}` is not a whole resource name"), advice));
    };
    let pieces: Vec<&str> = resource.split('/').collect();
    let named = |name: &str| is_function(name) && !name.contains('/');
    match (*service, pieces.as_slice()) {
        ("fc", ["services", service, "functions", function]) if named(service) && named(function) => {
            // A qualifier picks a version of the code; here the worker's code is the version.
            let service = service.split('.').next().unwrap_or(service);
            Ok(Resource::Function(format!("{service}/{function}")))
        }
        ("fc", ["functions", function] | ["functions", function, _]) if named(function) => {
            Ok(Resource::Function((*function).to_owned()))
        }
        ("fc", _) => Err((
            format!("`{text}` names no function"),
            "write `acs:fc:::services/SERVICE/functions/FUNCTION`, with the names filled in".to_owned(),
        )),
        ("fnf", ["flow", name]) if is_flow(name) => Ok(Resource::Flow((*name).to_owned())),
        ("fnf", _) => Err((format!("`{text}` names no flow"), "write `acs:fnf:::flow/NAME`".to_owned())),
        ("mns", _) => Err((
            format!("`{text}` is a message queue or topic, and these are not served yet"),
            "call a function of yours that sends the message: `resourceArn: service/function`".to_owned(),
        )),
        (other, _) => Err((format!("`acs:{other}` is not a service that a task can call"), FORMS.to_owned())),
    }
}

/// `name` or `service/function`, of characters that may stand in a file's name.
fn is_function(text: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
            && !name.contains("..")
    };
    let pieces: Vec<&str> = text.split('/').collect();
    pieces.len() <= 2 && pieces.into_iter().all(is_name)
}

fn is_flow(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

fn function_params(fields: Fields, pattern: Option<&str>, report: &mut Report) {
    let Some(node) = fields.get("serviceParams") else {
        return;
    };
    let what = format!("`serviceParams` of {}", fields.what());
    let Some(params) = Fields::of(node, &what, report) else {
        return;
    };
    params.mostly(&["InvocationType", "StatefulAsyncInvocationID"], report);
    let kind = params.one_of("InvocationType", &["Sync", "Async"], report);
    if kind == Some("Async") && pattern.is_none_or(|pattern| pattern == "requestResponse") {
        report.error(
            params.key_span("InvocationType"),
            format!("{} does not wait for its function, which is not served yet", fields.what()),
            "add `pattern: sync` to wait for its result, or `pattern: waitForCallback`".to_owned(),
        );
    }
}

fn child(fields: Fields, name: String, waits: bool, report: &mut Report) -> Target {
    let mut input = None;
    let mut execution = None;
    if let Some(node) = fields.get("serviceParams") {
        let what = format!("`serviceParams` of {}", fields.what());
        if let Some(params) = Fields::of(node, &what, report) {
            params.mostly(&["Input", "ExecutionName"], report);
            let mut read = |key: &str| {
                params.get(key).and_then(|node| mapping::param(node, &format!("`{key}`"), report))
            };
            input = read("Input");
            execution = read("ExecutionName");
        }
    }
    Target::Flow { name, input, execution, waits }
}
