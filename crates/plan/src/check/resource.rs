//! What a task calls: resource names, service parameters and patterns.

use riverrun_kernel::Json;
use riverrun_kernel::driver::is_address;

use super::fields::Fields;
use super::mapping;
use crate::diagnostic::Report;
use crate::graph::{ChildFlow, Function, Message, Param, Target};
use crate::yaml::Node;

const FORMS: &str = "write `service/function`, `!Ref service/function`, `acs:fc:::services/SERVICE/functions/FUNCTION`, \
                     `acs:fnf:::flow/NAME`, `acs:mns:::/queues/QUEUE/messages` or an address";
/// The longest address, in bytes.
const LONGEST_ADDRESS: usize = 2048;

/// What a `resourceArn` names.
enum Resource {
    Function(String),
    Flow(String),
    Queue(String),
}

/// Reads what the task calls, and whether it waits for a callback.
pub(super) fn target(fields: Fields, report: &mut Report) -> (Option<Target>, bool) {
    let pattern = fields.one_of("pattern", &["requestResponse", "sync", "waitForCallback"], report);
    let callback = pattern == Some("waitForCallback");
    let resource = match (fields.get("resourceArn"), fields.get("action")) {
        (Some(node), None) => resource(fields, node, report),
        (None, Some(_)) => return (action(fields, pattern, report), callback),
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
            let is_left_alone = function_params(fields, pattern, report);
            Some(Target::Function(Function { name, params: None, is_left_alone }))
        }
        Some(Resource::Queue(queue)) => {
            if pattern == Some("sync") {
                report.error(
                    fields.key_span("pattern"),
                    format!("{} cannot wait for what becomes of a message", fields.what()),
                    "leave `pattern` out, or use `pattern: waitForCallback`".to_owned(),
                );
            }
            Some(Target::Message(message(fields, queue, report)))
        }
        Some(Resource::Flow(name)) => Some(Target::Flow(child(fields, Some(name), pattern, report))),
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
        if text.contains("://") || text.starts_with("http:") || text.starts_with("https:") {
            return address(text).map(Resource::Function);
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
        ("mns", ["", "queues" | "topics", name, "messages"]) if named(name) => {
            Ok(Resource::Queue((*name).to_owned()))
        }
        ("mns", _) => Err((
            format!("`{text}` names no queue"),
            "write `acs:mns:::/queues/QUEUE/messages` or `acs:mns:::/topics/TOPIC/messages`".to_owned(),
        )),
        (other, _) => Err((format!("`acs:{other}` is not a service that a task can call"), FORMS.to_owned())),
    }
}

/// An address that can be called. Passwords do not belong there: it stands in journals and pictures.
fn address(text: &str) -> Result<String, (String, String)> {
    let refuse = |problem: &str, advice: &str| Err((format!("`{text}` {problem}"), advice.to_owned()));
    if !is_address(text) {
        return refuse(
            "is no address that can be called",
            "write it as `https://HOST/PATH` or `http://HOST/PATH`",
        );
    }
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        let advice = "name its headers in the server's configuration, `[functions.\"ADDRESS\".headers]`, and take the user out of the address";
        return Err((
            "an address holds a user or a password, which everybody would see".to_owned(),
            advice.to_owned(),
        ));
    }
    let is_host = |host: &str| {
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._[]:".contains(c))
    };
    if !is_host(authority) || authority.starts_with(':') {
        return refuse("names no host", "write it as `https://HOST/PATH`");
    }
    if text.len() > LONGEST_ADDRESS {
        return refuse(
            "is too long for an address",
            "keep it under 2,048 bytes, and put the rest into the input",
        );
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return refuse("holds a blank", "write blanks in an address as `%20`");
    }
    Ok(text.to_owned())
}

/// A call of a cloud service, which stands for a function of that name. Its input is what `serviceParams` give.
fn action(fields: Fields, pattern: Option<&str>, report: &mut Report) -> Option<Target> {
    let name = fields.text("action", report)?;
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    if !matches!(name.split_once(':'), Some((service, operation)) if is_word(service) && is_word(operation)) {
        let message = format!("`{name}` is not a service and its operation");
        report.error(fields.key_span("action"), message, "write it as `service:Operation`".to_owned());
        return None;
    }
    if name == "fnf:StartExecution" {
        return Some(Target::Flow(child(fields, None, pattern, report)));
    }
    if name.starts_with("fnf:") {
        let message = format!("{} calls `{name}`, which is not served", fields.what());
        let advice = "a flow starts another one with `action: fnf:StartExecution` or `resourceArn: acs:fnf:::flow/NAME`; what else is \
                      to happen to executions, a function asks for over the API";
        report.error(fields.key_span("action"), message, advice.to_owned());
        return None;
    }
    let params = fields.get("serviceParams");
    let params = params.and_then(|node| mapping::param(node, "`serviceParams`", report));
    Some(Target::Function(Function { name: name.to_owned(), params, is_left_alone: false }))
}

/// What a message is made of.
fn message(fields: Fields, queue: String, report: &mut Report) -> Message {
    const PARTS: [(&str, &str); 3] = [
        ("MessageBody", "Message"),
        ("MessageTag", "MessageTag"),
        ("MessageAttributes", "MessageAttributes"),
    ];
    let mut message = Message { queue, parts: Vec::new(), delay_ms: None, priority: 0 };
    let what = format!("`serviceParams` of {}", fields.what());
    if let Some(params) = fields.get("serviceParams").and_then(|node| Fields::of(node, &what, report)) {
        params
            .mostly(&["MessageBody", "MessageTag", "MessageAttributes", "DelaySeconds", "Priority"], report);
        for (key, name) in PARTS {
            let part = params.get(key).and_then(|node| mapping::param(node, &format!("`{key}`"), report));
            message.parts.extend(part.map(|part| (name.to_owned(), part)));
        }
        message.delay_ms = params.whole("DelaySeconds", 0, report).map(|seconds| seconds * 1000);
        // Theirs go from 1, the most urgent, to 16.
        let priority = params.whole("Priority", 1, report).map_or(16, |priority| priority.min(16));
        message.priority = ((16 - priority) * 9 / 15) as u8;
    }
    if message.parts.first().is_none_or(|(name, _)| name != "Message") {
        message.parts.insert(0, ("Message".to_owned(), Param::Path(Vec::new())));
    }
    message
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

/// Whether the function is called and left alone.
fn function_params(fields: Fields, pattern: Option<&str>, report: &mut Report) -> bool {
    let Some(node) = fields.get("serviceParams") else {
        return false;
    };
    let what = format!("`serviceParams` of {}", fields.what());
    let Some(params) = Fields::of(node, &what, report) else {
        return false;
    };
    params.mostly(&["InvocationType", "StatefulAsyncInvocationID"], report);
    let kind = params.one_of("InvocationType", &["Sync", "Async"], report);
    kind == Some("Async") && pattern.is_none_or(|pattern| pattern == "requestResponse")
}

/// The flow that a task starts: named by the resource, or by the parameter `FlowName` of the operation.
fn child(fields: Fields, name: Option<String>, pattern: Option<&str>, report: &mut Report) -> ChildFlow {
    const PARAMS: &[&str] = &["FlowName", "Input", "ExecutionName"];
    let is_action = name.is_none();
    let named = |name: String| Param::Constant(Json::from(serde_json::Value::from(name)));
    let mut flow = ChildFlow {
        name: named(name.unwrap_or_default()),
        input: None,
        execution: None,
        waits: pattern == Some("sync"),
    };
    let what = format!("`serviceParams` of {}", fields.what());
    let params = fields.get("serviceParams").and_then(|node| Fields::of(node, &what, report));
    if let Some(params) = params {
        params.mostly(if is_action { PARAMS } else { &PARAMS[1..] }, report);
        let mut read =
            |key: &str| params.get(key).and_then(|node| mapping::param(node, &format!("`{key}`"), report));
        flow.input = read("Input");
        flow.execution = read("ExecutionName");
        if let Some(name) = read("FlowName").filter(|_| is_action) {
            flow.name = name;
        }
    }
    if !is_action {
        return flow;
    }
    let span = params.map_or(fields.key_span("action"), |params| params.key_span("FlowName"));
    let problem = match (&flow.name, flow.known_name()) {
        (Param::Path(_), _) => return flow,
        (_, Some(name)) if is_flow(&name) => return flow,
        (_, Some(name)) if name.is_empty() => format!("{} does not say which flow it starts", fields.what()),
        (_, Some(name)) => format!("`{name}` is no name of a flow"),
        (_, None) => format!("`FlowName` of {} is no name of a flow", fields.what()),
    };
    report.error(span, problem, "name it in `serviceParams`: `FlowName: NAME`".to_owned());
    flow
}
