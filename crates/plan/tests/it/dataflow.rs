//! Inputs, outputs, locals and mappings: section 4 of the reference, rule by rule.

use serde_json::{Value, json};

use crate::harness::{Run, flow, output, run, warnings};

fn echo(_: &str, input: &Value, _: u32) -> Result<Value, riverrun_kernel::Failure> {
    Ok(json!({"echo": input}))
}

#[test]
fn without_mappings_the_input_is_the_parent_s_input_and_local_and_local_wins() {
    let source = flow(
        "  - {type: pass, name: A, outputMappings: [{target: both, source: local}, {target: b, source: 2}]}\n  - {type: task, name: T, resourceArn: s/t}\n",
    );
    let (outcome, _) = run(&source, &json!({"a": 1, "both": "input"}), &echo);
    assert_eq!(outcome.expect("succeeds")["echo"], json!({"a": 1, "both": "local", "b": 2}));
}

#[test]
fn input_mappings_build_the_input_from_nothing() {
    let source = flow(
        "  - {type: pass, name: A, outputMappings: [{target: x, source: 2}]}\n  - {type: task, name: T, resourceArn: s/t, inputMappings: [{target: i, source: $input.a}, {target: l, source: $local.x}]}\n",
    );
    let (outcome, _) = run(&source, &json!({"a": 1}), &echo);
    assert_eq!(outcome.expect("succeeds")["echo"], json!({"i": 1, "l": 2}));
}

#[test]
fn output_mappings_see_the_step_s_own_input_and_local() {
    let source = flow(
        "  - {type: pass, name: A, outputMappings: [{target: x, source: 2}]}\n  - {type: task, name: T, resourceArn: s/t, inputMappings: [{target: mine, source: $local.x}], outputMappings: [{target: in, source: $input}, {target: out, source: $local.echo.mine}, {target: no, source: $local.x}]}\n",
    );
    let (outcome, _) = run(&source, &json!({"a": 1}), &echo);
    assert_eq!(outcome, Ok(json!({"x": 2, "in": {"mine": 2}, "out": 2, "no": null})));
}

#[test]
fn a_later_step_s_key_overwrites_and_merging_is_shallow() {
    let source = flow(
        "  - {type: pass, name: A, outputMappings: [{target: o, source: {a: 1}}, {target: k, source: 1}]}\n  - {type: pass, name: B, outputMappings: [{target: o, source: {b: 2}}]}\n",
    );
    assert_eq!(output(&source, &json!({})), json!({"o": {"b": 2}, "k": 1}));
}

#[test]
fn a_pass_without_mappings_gives_nothing() {
    assert_eq!(output(&flow("  - {type: pass, name: A}\n"), &json!({"a": 1})), json!({}));
}

#[test]
fn constants_are_of_any_type() {
    let source = r#"
version: v1
type: flow
steps:
  - type: pass
    name: A
    outputMappings:
      - {target: zero, source: 0}
      - {target: empty, source: ""}
      - {target: object, source: {}}
      - {target: list, source: []}
      - {target: nested, source: {a: [1, {b: ~}], "2": yes}}
      - {target: text, source: plain text}
      - {target: url, source: http://example.com/a?b=c}
      - {target: date, source: 2030-01-01T00:00:00Z}
      - {target: day, source: 2030-01-01}
      - {target: "on", source: on}
      - {target: hex, source: 0x1F}
      - {target: octal, source: 0o17}
      - {target: float, source: 1.50}
      - {target: exponent, source: 1e3}
      - {target: plus, source: +5}
      - {target: yes, source: true}
      - {target: quoted, source: "12"}
      - {target: clock, source: 12:30:45}
      - {target: version, source: 1.2.3}
      - {target: under, source: 1_000}
      - {target: absent}
      - {target: nothing, source: ~}
      - {target: tagged, source: !!str 12}
"#;
    assert_eq!(
        output(source, &json!({})),
        json!({
            "zero": 0, "empty": "", "object": {}, "list": [], "nested": {"a": [1, {"b": null}], "2": "yes"},
            "text": "plain text", "url": "http://example.com/a?b=c", "date": "2030-01-01T00:00:00Z", "day": "2030-01-01",
            "on": "on", "hex": 31, "octal": 15, "float": 1.5, "exponent": 1000.0, "plus": 5, "yes": true, "quoted": "12",
            "clock": "12:30:45", "version": "1.2.3", "under": "1_000", "absent": null, "nothing": null, "tagged": "12",
        })
    );
}

#[test]
fn numbers_leave_as_they_came() {
    let source = flow(
        "  - {type: pass, name: A, outputMappings: [{target: big, source: 123456789012345678901234567890}, {target: given, source: $input.n}]}\n",
    );
    let mut run = Run::new(&source, &json!({}));
    run.set_input(r#"{"n": [1e400, 0.1000, 98765432109876543210987654321]}"#);
    run.turn_text();
    assert_eq!(
        run.last_output.as_deref(),
        Some(
            r#"{"big":123456789012345678901234567890,"given":[1e400, 0.1000, 98765432109876543210987654321]}"#
        )
    );
}

#[test]
fn paths_reach_into_objects_and_arrays() {
    let input = json!({
        "events": [{"oss": {"object": {"key": "k"}}}],
        "groups": [{"parts": [1, 2]}, {"parts": []}, {"none": 0}, {"parts": [3]}],
        "a b": {"c.d": 1}, "i": "x",
    });
    let mapped = |path: &str| {
        let source = format!(
            "version: v1\ntype: flow\nsteps:\n  - type: pass\n    name: A\n    outputMappings:\n      - target: found\n        source: {path}\n"
        );
        output(&source, &input)["found"].clone()
    };
    assert_eq!(mapped("$input"), input);
    assert_eq!(mapped("$input.events[0].oss.object.key"), "k");
    assert_eq!(mapped("$input.groups[*].parts[*]"), json!([1, 2, 3]));
    assert_eq!(mapped("$input.groups[*].parts"), json!([[1, 2], [], [3]]));
    assert_eq!(mapped("$input.groups[3].parts[0]"), 3);
    assert_eq!(mapped("$input['a b']['c.d']"), 1);
    assert_eq!(mapped("$input[\"i\"]"), "x");
    assert_eq!(mapped("$input.events[1]"), Value::Null);
    assert_eq!(mapped("$input.i.j.k"), Value::Null);
    assert_eq!(mapped("$input.i[0]"), Value::Null);
    assert_eq!(mapped("$input.none[*].x"), json!([]));
    assert_eq!(mapped("$local.none"), Value::Null);
}

#[test]
fn a_mapped_path_that_finds_nothing_gives_null() {
    let source = flow(
        "  - {type: task, name: T, resourceArn: s/t, inputMappings: [{target: prefix, source: $input.prefix}]}\n",
    );
    assert_eq!(run(&source, &json!({}), &echo).0.expect("succeeds")["echo"], json!({"prefix": null}));
}

#[test]
fn of_a_repeated_target_the_last_wins() {
    let source = flow(
        "  - {type: choice, name: C, inputMappings: [{target: x, source: 1}, {target: x, source: 2}], choices: [{condition: $.x == 2, goto: D}], default: {goto: F}}\n  - {type: fail, name: F}\n  - {type: pass, name: D, outputMappings: [{target: x, source: 1}, {target: x, source: 2}]}\n",
    );
    assert_eq!(output(&source, &json!({})), json!({"x": 2}));
}

#[test]
fn a_dotted_target_is_one_key() {
    let source = flow("  - {type: pass, name: A, outputMappings: [{target: a.b, source: 1}]}\n");
    assert_eq!(output(&source, &json!({})), json!({"a.b": 1}));
}

#[test]
fn the_flow_s_own_mappings_shape_its_input_and_output() {
    let source = "version: v1\ntype: flow\ninputMappings: [{target: x, source: $input.a.b}, {target: c, source: 7}]\noutputMappings: [{target: y, source: $local.echo.x}, {target: z, source: $input.c}]\nsteps:\n  - {type: task, name: T, resourceArn: s/t}\n";
    let (outcome, log) = run(source, &json!({"a": {"b": 1}, "hidden": true}), &echo);
    assert_eq!((outcome, log.as_str()), (Ok(json!({"y": 1, "z": 7})), r#"call T s/t {"x":1,"c":7}"#));
}

#[test]
fn the_context_names_flow_run_and_step() {
    let source = flow(
        "  - {type: pass, name: A, outputMappings: [{target: f, source: $context.flow.name}, {target: s, source: $context.step.name}, {target: e, source: $context.execution.name}]}\n",
    );
    assert_eq!(
        output(&source, &json!({})),
        json!({"f": "test", "s": "A", "e": "run_00000000000000000000000007"})
    );
}

#[test]
fn a_bare_dollar_path_is_the_input_with_a_warning() {
    let source = flow("  - {type: pass, name: A, outputMappings: [{target: x, source: $.tag}]}\n");
    assert_eq!(output(&source, &json!({"tag": "t"})), json!({"x": "t"}));
    assert_eq!(warnings(&source), "4:64 warning: `$.tag` is read as `$input.tag`\n      write `$input.tag`");
}

#[test]
fn what_only_looks_like_a_path_is_a_constant_with_a_warning() {
    let source = flow(
        "  - {type: pass, name: A, outputMappings: [{target: x, source: $inputs.a}, {target: y, source: {z: $input.a}}, {target: w, source: $5}]}\n",
    );
    assert_eq!(
        output(&source, &json!({"a": 1})),
        json!({"x": "$inputs.a", "y": {"z": "$input.a"}, "w": "$5"})
    );
    let warned = warnings(&source);
    assert!(warned.contains("did you mean `input`?") && warned.contains("inside a constant"), "{warned}");
}

#[test]
fn inside_a_branch_the_parent_is_the_innermost_container() {
    let source = r"
version: v1
type: flow
steps:
  - {type: pass, name: A, outputMappings: [{target: outer, source: 1}]}
  - type: choice
    name: C
    inputMappings: [{target: only, source: $local.outer}]
    choices:
      - condition: $.only == 1
        steps:
          - {type: pass, name: B, outputMappings: [{target: b, source: 2}, {target: seen, source: $input}]}
          - {type: task, name: T, resourceArn: s/t}
    outputMappings: [{target: inner, source: $local}]
";
    let (outcome, log) = run(source, &json!({"given": 1}), &echo);
    assert_eq!(log, r#"call T s/t {"only":1,"b":2,"seen":{"only":1}}"#);
    let inner = json!({"b": 2, "seen": {"only": 1}, "echo": {"only": 1, "b": 2, "seen": {"only": 1}}});
    assert_eq!(outcome, Ok(json!({"outer": 1, "inner": inner})));
}
