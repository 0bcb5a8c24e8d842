//! Pictures: what is drawn, once each, side by side, whatever the flow.

use std::collections::BTreeSet;
use std::fmt::Write;

use proptest::prelude::*;
use riverrun_plan::{Flow, Format};

use crate::harness::{flow, parse};
use crate::seed::POLLING;

/// A box: left, top, right, bottom.
type Area = (f64, f64, f64, f64);

/// What stands in an SVG.
#[derive(Debug, Default)]
struct Drawn {
    cards: Vec<(String, Area)>,
    groups: Vec<(String, Area)>,
    chips: Vec<(String, Area)>,
    /// The titles of edges.
    edges: Vec<String>,
}

fn svg(source: &str) -> String {
    parse(source).draw(Format::Svg, "test", None)
}

fn drawn(svg: &str) -> Drawn {
    let mut drawn = Drawn::default();
    for line in svg.lines() {
        let title = between(line, "<title>", "</title>").unwrap_or_default().to_owned();
        if line.starts_with("<g class=\"rr-node") {
            drawn
                .cards
                .push((title, outline(between(line, "class=\"rr-card\" d=\"", "\"").expect("a card"))));
        } else if line.starts_with("<g class=\"rr-group") {
            let frame = &line[line.find("class=\"rr-frame\"").expect("a frame")..];
            drawn.groups.push((title, rectangle(frame)));
        } else if line.starts_with("<g class=\"rr-chip") {
            drawn.chips.push((title, rectangle(line)));
        } else if line.starts_with("<g class=\"rr-edge") && !title.is_empty() {
            drawn.edges.push(title);
        }
    }
    drawn
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let start = text.find(before)? + before.len();
    Some(&text[start..start + text[start..].find(after)?])
}

fn rectangle(text: &str) -> Area {
    let number = |name: &str| -> f64 {
        let written = between(text, &format!(" {name}=\""), "\"").expect("a number");
        written.parse().expect("a number")
    };
    let (x, y) = (number("x"), number("y"));
    (x, y, x + number("width"), y + number("height"))
}

/// The bounds of a card's outline: its corners and what `H` and `V` name.
fn outline(data: &str) -> Area {
    let mut area = (f64::MAX, f64::MAX, f64::MIN, f64::MIN);
    let spaced = data.chars().fold(String::new(), |mut text, c| {
        if c.is_ascii_alphabetic() {
            text.extend([' ', c, ' ']);
        } else {
            text.push(c);
        }
        text
    });
    let mut words = spaced.split_whitespace();
    let next = |words: &mut std::str::SplitWhitespace| -> f64 {
        words.next().expect("a number").parse().expect("a number")
    };
    while let Some(word) = words.next() {
        let (mut x, mut y) = (None, None);
        match word {
            "M" | "L" => (x, y) = (Some(next(&mut words)), Some(next(&mut words))),
            "H" => x = Some(next(&mut words)),
            "V" => y = Some(next(&mut words)),
            "A" => {
                for _ in 0..5 {
                    next(&mut words);
                }
                (x, y) = (Some(next(&mut words)), Some(next(&mut words)));
            }
            "Z" => {}
            // Corners follow a corner without a letter.
            other => (x, y) = (Some(other.parse().expect("a number")), Some(next(&mut words))),
        }
        if let Some(x) = x {
            (area.0, area.2) = (area.0.min(x), area.2.max(x));
        }
        if let Some(y) = y {
            (area.1, area.3) = (area.1.min(y), area.3.max(y));
        }
    }
    area
}

fn overlap(a: Area, b: Area) -> bool {
    const SLACK: f64 = 0.3;
    a.0 + SLACK < b.2 && b.0 + SLACK < a.2 && a.1 + SLACK < b.3 && b.1 + SLACK < a.3
}

fn contains(outer: Area, inner: Area) -> bool {
    const SLACK: f64 = 0.3;
    outer.0 <= inner.0 + SLACK
        && outer.1 <= inner.1 + SLACK
        && inner.2 <= outer.2 + SLACK
        && inner.3 <= outer.3 + SLACK
}

/// Whether the tags of an XML text close each other in order.
fn is_balanced(xml: &str) -> bool {
    let mut open: Vec<&str> = Vec::new();
    for piece in xml.split('<').skip(1) {
        let Some((tag, _)) = piece.split_once('>') else { return false };
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return false;
            }
        } else if !tag.ends_with('/') {
            open.push(tag.split([' ', '\n']).next().unwrap_or(tag));
        }
    }
    open.is_empty()
}

/// What must hold of every picture.
fn check(source: &str) {
    let flow = parse(source);
    let svg = flow.draw(Format::Svg, "test", None);
    assert!(is_balanced(&svg), "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    let drawn = drawn(&svg);

    let mut names: Vec<&str> =
        drawn.cards.iter().chain(&drawn.groups).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let mut wanted: Vec<&str> = flow.steps().into_iter().map(|(name, _)| name).collect();
    wanted.sort_unstable();
    assert_eq!(names, wanted, "every step is drawn once");

    let titles: BTreeSet<&String> = drawn.edges.iter().collect();
    assert_eq!(titles.len(), drawn.edges.len(), "an edge is drawn twice in {:?}", drawn.edges);

    let solid: Vec<&(String, Area)> = drawn.cards.iter().chain(&drawn.chips).collect();
    for (at, (name, area)) in solid.iter().enumerate() {
        for (other, beside) in &solid[at + 1..] {
            assert!(!overlap(*area, *beside), "`{name}` and `{other}` overlap in\n{source}");
        }
        for (group, frame) in &drawn.groups {
            assert!(
                contains(*frame, *area) || !overlap(*frame, *area),
                "`{name}` stands on the border of `{group}` in\n{source}"
            );
        }
    }
    for (at, (name, area)) in drawn.groups.iter().enumerate() {
        for (other, beside) in &drawn.groups[at + 1..] {
            let apart = !overlap(*area, *beside) || contains(*area, *beside) || contains(*beside, *area);
            assert!(apart, "`{name}` and `{other}` overlap in\n{source}");
        }
    }

    // The other formats have the same steps and no fewer edges.
    let (dot, chart) = (flow.draw(Format::Dot, "test", None), flow.draw(Format::Mermaid, "test", None));
    for step in 0..wanted.len() {
        assert_eq!(dot.matches(&format!("\n{}s{step} [", indent(&dot, step))).count(), 1, "{dot}");
    }
    let is_edge = |line: &&str| {
        line.starts_with("  ") && ["-->", "---", "-.->"].iter().any(|arrow| line.contains(arrow))
    };
    assert_eq!(dot.matches(" -> ").count(), chart.lines().filter(is_edge).count(), "{dot}\n{chart}");
}

/// The spaces before a node's line.
fn indent(dot: &str, step: usize) -> String {
    let line = dot.lines().find(|line| line.trim_start().starts_with(&format!("s{step} ["))).expect("a node");
    " ".repeat(line.len() - line.trim_start().len())
}

#[test]
fn the_polling_flow() {
    check(POLLING);
    insta::assert_snapshot!("polling.svg", svg(POLLING));
    insta::assert_snapshot!("polling.dot", parse(POLLING).draw(Format::Dot, "polling", None));
    insta::assert_snapshot!("polling.mermaid", parse(POLLING).draw(Format::Mermaid, "polling", None));
}

const CONTAINERS: &str = r"
- type: foreach
  name: EachOrder
  iterationMapping: {collection: $.orders, item: order}
  steps:
  - type: parallel
    name: Prepare
    branches:
    - steps: [{type: task, name: Pack, resourceArn: shop/pack, catch: [{errors: [FnF.ALL], goto: Unpack}]},
              {type: succeed, name: Packed}, {type: task, name: Unpack, resourceArn: shop/unpack}]
    - steps: []
- type: choice
  name: Gift
  choices:
  - {condition: $.gift, steps: [{type: task, name: Wrap, resourceArn: shop/wrap}], goto: Ship}
  - {condition: $.late, goto: Complain}
- {type: wait, name: Rest, duration: 90}
- {type: task, name: Ship, resourceArn: 'acs:fnf:::flow/shipping', pattern: sync, end: true}
- {type: fail, name: Complain, error: TooLate}
";

#[test]
fn containers_and_what_leaves_them() {
    check(&flow(CONTAINERS));
    insta::assert_snapshot!("containers.svg", svg(&flow(CONTAINERS)));
    insta::assert_snapshot!("containers.dot", parse(&flow(CONTAINERS)).draw(Format::Dot, "containers", None));
    insta::assert_snapshot!(
        "containers.mermaid",
        parse(&flow(CONTAINERS)).draw(Format::Mermaid, "containers", None)
    );
}

#[test]
fn loops_are_told_from_what_goes_on() {
    let drawing = svg(POLLING);
    assert_eq!(drawing.matches("rr-edge rr-loop").count(), 2, "to its words, and from there");
    let waiting = drawing.lines().find(|line| line.contains("→ Wait10s: ")).expect("the loop's edge");
    assert!(waiting.starts_with("<g class=\"rr-edge rr-loop"), "{waiting}");
}

#[test]
fn text_is_escaped_everywhere() {
    let source = flow(
        "- {type: choice, name: 'Q\"&<b>', choices: [{condition: '$.a < 3 && $.b > \"]]>\"', goto: Z}]}\n\
         - {type: fail, name: Z, error: '<script>&', cause: '--> ]]> \u{202e}'}\n",
    );
    check(&source.replace("'Q\"&<b>'", "Q"));
    let flow = parse(&source);
    let svg = flow.draw(Format::Svg, "</title><script>", None);
    assert!(is_balanced(&svg) && !svg.contains("<script") && !svg.contains('\u{202e}'), "{svg}");
    let dot = flow.draw(Format::Dot, "a\"b\\", None);
    assert!(dot.contains(r#"label="a\"b\\""#), "{dot}");
    let chart = flow.draw(Format::Mermaid, "a\"b", None);
    assert!(!chart.contains("<script") && chart.contains(r#"title: "a\"b""#), "{chart}");
}

#[test]
fn very_wide_and_very_long_flows_are_drawn() {
    let mut wide = "- type: choice\n  name: Route\n  choices:\n".to_owned();
    for kind in 0..40 {
        writeln!(wide, "  - {{condition: '$.kind == {kind}', goto: Handle{kind}}}").expect("a string");
    }
    for kind in 0..40 {
        writeln!(wide, "- {{type: task, name: Handle{kind}, resourceArn: s/f, end: true}}")
            .expect("a string");
    }
    check(&flow(&wide));
    let mut long = String::new();
    for step in 0..300 {
        let to = step * 7 % 300;
        let catch = format!("[{{errors: [E], goto: S{to}}}]");
        writeln!(long, "- {{type: task, name: S{step}, resourceArn: s/f, catch: {catch}}}")
            .expect("a string");
    }
    check(&flow(&long));
    let names = "一个名字非常长的步骤用来检查图形中的文字会不会超出边框";
    check(&flow(&format!("- {{type: pass, name: {names}}}\n- {{type: fail, name: {names}二}}\n")));
}

/// A list of steps, as nested text; the gotos are chosen by number among the siblings.
#[derive(Debug, Clone)]
enum Step {
    Pass(bool),
    Task(Vec<usize>),
    Wait,
    Succeed,
    Fail,
    Choice(Vec<(Vec<Step>, Option<usize>)>, bool),
    Parallel(Vec<Vec<Step>>),
    Foreach(Vec<Step>),
}

fn steps(depth: u32) -> impl Strategy<Value = Vec<Step>> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Step::Pass),
        proptest::collection::vec(0..20_usize, 0..3).prop_map(Step::Task),
        Just(Step::Wait),
        Just(Step::Succeed),
        Just(Step::Fail),
    ];
    let step = leaf.prop_recursive(depth, 40, 5, |inner| {
        let list = proptest::collection::vec(inner, 0..5);
        prop_oneof![
            2 => (proptest::collection::vec((list.clone(), proptest::option::of(0..20_usize)), 1..5), any::<bool>())
                .prop_map(|(branches, default)| Step::Choice(branches, default)),
            1 => proptest::collection::vec(list.clone(), 1..4).prop_map(Step::Parallel),
            1 => list.prop_map(Step::Foreach),
        ]
    });
    proptest::collection::vec(step, 1..8)
}

fn write(list: &[Step], serial: &mut usize) -> String {
    let names: Vec<String> = list
        .iter()
        .map(|_| {
            *serial += 1;
            format!("S{serial}")
        })
        .collect();
    let to = |number: &usize| names[number % names.len()].clone();
    let mut text = Vec::new();
    for (name, step) in names.iter().zip(list) {
        let what = match step {
            Step::Pass(end) => format!("type: pass, end: {end}"),
            Step::Task(catches) => {
                let catches: Vec<String> = catches
                    .iter()
                    .enumerate()
                    .map(|(at, goto)| format!("{{errors: [E{at}], goto: {}}}", to(goto)))
                    .collect();
                format!("type: task, resourceArn: s/f, catch: [{}]", catches.join(","))
            }
            Step::Wait => "type: wait, duration: 1".to_owned(),
            Step::Succeed => "type: succeed".to_owned(),
            Step::Fail => "type: fail".to_owned(),
            Step::Choice(branches, has_default) => {
                let branches: Vec<String> = branches
                    .iter()
                    .map(|(inner, goto)| {
                        let goto =
                            goto.as_ref().map_or(String::new(), |goto| format!(", goto: {}", to(goto)));
                        format!("steps: [{}]{goto}", write(inner, serial))
                    })
                    .collect();
                let (last, conditions) = branches.split_last().expect("at least one");
                let conditions = if *has_default { conditions } else { &branches };
                let listed: Vec<String> = conditions
                    .iter()
                    .enumerate()
                    .map(|(at, branch)| format!("{{condition: $.x{at}, {branch}}}"))
                    .collect();
                let default = if *has_default { format!(", default: {{{last}}}") } else { String::new() };
                format!("type: choice, choices: [{}]{default}", listed.join(","))
            }
            Step::Parallel(branches) => {
                let branches: Vec<String> =
                    branches.iter().map(|inner| format!("{{steps: [{}]}}", write(inner, serial))).collect();
                format!("type: parallel, branches: [{}]", branches.join(","))
            }
            Step::Foreach(inner) => format!(
                "type: foreach, iterationMapping: {{collection: $.l, item: i}}, steps: [{}]",
                write(inner, serial)
            ),
        };
        text.push(format!("{{name: {name}, {what}}}"));
    }
    text.join(",")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_flow_nothing_overlaps_and_everything_is_there(list in steps(3)) {
        let source = format!("{{version: v1, type: flow, steps: [{}]}}", write(&list, &mut 0));
        if Flow::parse(&source).is_ok() {
            check(&source);
        }
    }
}
