//! From lists to one drawing: every list is laid out by itself, and becomes part of a box in the list around it.

use super::describe;
use super::layers::{Link, Vertex};
use super::outline::Lit;
use super::overlay::Overlay;
use super::place;
use super::stroke::Stroke;
use super::text;
use crate::graph::{Graph, Kind, List, ListIndex, StepIndex};
use crate::ways::{Goal, Reach, Way};

/// Sizes of texts.
pub(super) const NAME_SIZE: f64 = 13.0;
pub(super) const SMALL_SIZE: f64 = 11.0;
/// Room for the icon at the left of a card.
pub(super) const ICON_ROOM: f64 = 40.0;
pub(super) const LINE: f64 = 16.0;
const CARD_MIN: f64 = 128.0;
const TEXT_MAX: f64 = 214.0;
const CHIP_MAX: f64 = 178.0;
const CHIP_H: f64 = 20.0;
/// Inside of containers.
const PAD: f64 = 14.0;
const COLUMN_GAP: f64 = 26.0;
const HEADER: f64 = 34.0;
const FORK: f64 = 22.0;
const WAYS_IN_A_ROW: usize = 7;

/// What stands in a drawing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    Start,
    End,
    Card(StepIndex),
    /// The frame of a container: the height of its header, and where its branches part.
    Group(StepIndex, f64, f64),
    /// Words on an edge.
    Chip(Chip),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chip {
    pub(super) shown: String,
    pub(super) whole: String,
    pub(super) tone: Tone,
    pub(super) lit: Lit,
}

/// What an edge is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// A catch took an error.
    Error,
    /// It leads back.
    Loop,
    /// Both.
    ErrorLoop,
}

impl Tone {
    fn leading_back(self) -> Self {
        match self {
            Tone::Plain | Tone::Loop => Tone::Loop,
            Tone::Error | Tone::ErrorLoop => Tone::ErrorLoop,
        }
    }

    fn is_loop(self) -> bool {
        matches!(self, Tone::Loop | Tone::ErrorLoop)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) what: What,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) w: f64,
    pub(super) h: f64,
}

/// An edge, or a part of one between its words and its ends.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub(super) stroke: Stroke,
    pub(super) tone: Tone,
    pub(super) has_head: bool,
    pub(super) lit: Lit,
    /// `A → B`; empty for the parts inside a container that only lead in and out.
    pub(super) title: String,
}

/// Something laid out; coordinates begin at its upper left corner.
#[derive(Debug, Clone, Default)]
pub(super) struct Scene {
    pub(super) w: f64,
    pub(super) h: f64,
    pub(super) items: Vec<Item>,
    pub(super) wires: Vec<Wire>,
    /// Where it is entered from above, and left below.
    entry: f64,
    exit: Option<f64>,
}

impl Scene {
    fn add(&mut self, inner: Scene, dx: f64, dy: f64) {
        self.items.extend(inner.items.into_iter().map(|item| Item {
            x: item.x + dx,
            y: item.y + dy,
            ..item
        }));
        self.wires.extend(inner.wires.into_iter().map(|mut wire| {
            wire.stroke.shift(dx, dy);
            wire
        }));
    }

    fn wire(&mut self, stroke: Stroke, tone: Tone, has_head: bool, lit: Lit) {
        self.wires.push(Wire { stroke, tone, has_head, lit, title: String::new() });
    }
}

/// Whether a step is drawn as a container.
pub(super) fn is_group(kind: &Kind) -> bool {
    match kind {
        Kind::Parallel(_) | Kind::Foreach(_) => true,
        Kind::Choice(branches) => branches.iter().any(|branch| branch.steps.is_some()),
        _ => false,
    }
}

/// Lays out a whole flow.
pub(super) fn compose(graph: &Graph, overlay: Option<&Overlay>) -> Scene {
    if graph.lists.is_empty() {
        return Scene::default();
    }
    Composer { graph, overlay, reach: graph.reach() }.list(0, None)
}

struct Composer<'g> {
    graph: &'g Graph,
    overlay: Option<&'g Overlay>,
    reach: Reach,
}

/// A step as a box, and where its ways leave it: offsets from its middle.
struct Block {
    scene: Scene,
    ports: Vec<(Vec<Way>, f64)>,
}

/// The vertices and links of one list, as they are collected.
#[derive(Default)]
struct Parts {
    scenes: Vec<Scene>,
    vertices: Vec<Vertex>,
    links: Vec<Link>,
    wires: Vec<Option<(Tone, bool, Lit, String)>>,
}

impl Parts {
    fn vertex(&mut self, scene: Scene, margin: f64) -> usize {
        let in_dx = scene.entry - scene.w / 2.0;
        self.vertices.push(Vertex { w: scene.w, h: scene.h, margin, in_dx });
        self.scenes.push(scene);
        self.vertices.len() - 1
    }

    fn link(&mut self, link: Link, wire: Option<(Tone, bool, Lit, String)>) {
        self.links.push(link);
        self.wires.push(wire);
    }
}

/// A column of a container: what lights the edge to it, and its way out: which one, and whether that jumps.
type Column = (Scene, Lit, Option<(Way, bool)>);

impl Composer<'_> {
    /// Lays out a list: the flow's own, or one that belongs to the step `owner`.
    fn list(&self, list: ListIndex, owner: Option<StepIndex>) -> Scene {
        let List { steps, .. } = &self.graph.lists[list];
        let mut parts = Parts::default();
        let marker = |what: What, size: f64| {
            let item = Item { what, x: 0.0, y: 0.0, w: size, h: size };
            Scene { w: size, h: size, items: vec![item], entry: size / 2.0, ..Scene::default() }
        };
        let entry =
            parts.vertex(if owner.is_none() { marker(What::Start, 18.0) } else { Scene::default() }, 8.0);
        let blocks: Vec<Block> = steps.iter().map(|&step| self.block(step)).collect();
        let mut ports = Vec::with_capacity(blocks.len());
        let first = parts.vertices.len();
        for block in blocks {
            ports.push(block.ports);
            parts.vertex(block.scene, 15.0);
        }
        let exit = self.reach.completes[list].then(|| {
            parts.vertex(if owner.is_none() { marker(What::End, 22.0) } else { Scene::default() }, 8.0)
        });
        self.enter(&mut parts, steps, (entry, exit), owner);
        for (place, &step) in steps.iter().enumerate() {
            if !self.reach.steps[step] {
                parts.link(link(first + place - usize::from(place > 0), first + place, 2).hidden(), None);
            }
            let goal = |goal: Goal| match goal {
                Goal::Step(step) => Some(first + self.graph.steps[step].place),
                Goal::End => exit,
            };
            self.leave(&mut parts, step, first + place, &ports[place], goal);
        }
        assemble(parts, entry, exit)
    }

    /// The edge from a list's entry to its first step.
    fn enter(
        &self,
        parts: &mut Parts,
        steps: &[StepIndex],
        (entry, exit): (usize, Option<usize>),
        owner: Option<StepIndex>,
    ) {
        let length = if owner.is_none() { 2 } else { 1 };
        match (steps.first(), exit, owner) {
            (Some(&step), _, _) => {
                let title = format!("start → {}", self.graph.steps[step].name);
                let title = if owner.is_none() { title } else { String::new() };
                let wire = (Tone::Plain, true, Lit::Entered(step), title);
                parts.link(Link { weight: 8.0, ..link(entry, entry + 1, length) }, Some(wire));
            }
            (None, Some(exit), Some(owner)) => {
                let wire = (Tone::Plain, false, Lit::Entered(owner), String::new());
                parts.link(Link { weight: 8.0, ..link(entry, exit, 1) }, Some(wire));
            }
            _ => {}
        }
    }

    /// The edges out of a step, with chips for their words.
    fn leave(
        &self,
        parts: &mut Parts,
        step: StepIndex,
        vertex: usize,
        ports: &[(Vec<Way>, f64)],
        goal: impl Fn(Goal) -> Option<usize>,
    ) {
        let known = &self.graph.steps[step];
        let ways = self.graph.ways(step, &self.reach);
        // The ways of a choice that has very many stand in rows of about the same length.
        let in_a_row = ports.len().div_ceil(ports.len().div_ceil(WAYS_IN_A_ROW).max(1)).max(1);
        for (number, (of_port, dx)) in ports.iter().enumerate() {
            let Some(&(way, target)) = ways.iter().find(|(way, _)| of_port.contains(way)) else { continue };
            let Some(to) = goal(target) else { continue };
            let is_error = matches!(way, Way::Catch(_));
            let tone = if is_error { Tone::Error } else { Tone::Plain };
            let lit = Lit::Ways(step, of_port.clone());
            let to_name = match target {
                Goal::Step(step) => self.graph.steps[step].name.as_str(),
                Goal::End => "end",
            };
            let kind = u8::from(is_error);
            let words = if of_port.len() == 1 { describe::label(known, way) } else { None };
            let words_shown = words.as_ref().map_or(String::new(), |words| format!(": {words}"));
            let title = format!("{} → {to_name}{words_shown}", known.name);
            // A container shows them inside.
            let label = words.filter(|_| !is_group(&known.kind));
            // An end that belongs to a container has no arrow: the container's own edge goes on from there.
            let has_head = parts.vertices[to].w > 0.0;
            let Some(whole) = label else {
                // What goes on stays straight, rather than what jumps.
                let goes_on = match (way, &known.kind) {
                    (Way::Branch(at), Kind::Choice(branches)) => branches[at].goto.is_none(),
                    _ => true,
                };
                let weight = if goes_on { 8.0 } else { 1.5 };
                let length = if has_head { 2 } else { 1 };
                let straight = Link { from_dx: *dx, weight, kind, ..link(vertex, to, length) };
                parts.link(straight, Some((tone, has_head, lit, title)));
                continue;
            };
            let chip = parts.vertex(chip(whole, tone, lit.clone()), 6.0);
            let weight = if is_error { 0.5 } else { 1.0 };
            let lead = Link { from_dx: *dx, weight, kind, ..link(vertex, chip, 1 + 2 * (number / in_a_row)) };
            parts.link(lead, Some((tone, false, lit.clone(), String::new())));
            parts.link(
                Link { weight: 2.0 * weight, kind, ..link(chip, to, 1) },
                Some((tone, has_head, lit, title)),
            );
        }
    }

    fn block(&self, step: StepIndex) -> Block {
        let known = &self.graph.steps[step];
        let all = || -> Vec<(Vec<Way>, f64)> {
            let ways = self.graph.ways(step, &self.reach);
            let catches = ways.iter().filter(|(way, _)| matches!(way, Way::Catch(_))).count() as f64;
            let mut caught = 0.0;
            ways.into_iter()
                .map(|(way, _)| {
                    let is_catch = matches!(way, Way::Catch(_));
                    caught += f64::from(u8::from(is_catch));
                    // Errors leave on the right of what goes on.
                    let dx = if is_catch { 26.0 + 24.0 * caught / catches.max(1.0) } else { 0.0 };
                    (vec![way], dx)
                })
                .collect()
        };
        match &known.kind {
            Kind::Parallel(lists) => {
                let columns =
                    lists.iter().map(|&list| (self.list(list, Some(step)), Lit::Entered(step), None));
                self.group(step, columns.collect())
            }
            Kind::Foreach(foreach) => {
                self.group(step, vec![(self.list(foreach.steps, Some(step)), Lit::Entered(step), None)])
            }
            Kind::Choice(branches) if is_group(&known.kind) => {
                let ways = self.graph.ways(step, &self.reach);
                let mut columns = Vec::new();
                for (at, branch) in branches.iter().enumerate() {
                    let way = Way::Branch(at);
                    let first = branch.steps.and_then(|list| self.graph.lists[list].steps.first());
                    let lit = first.map_or(Lit::Ways(step, vec![way]), |&first| Lit::Entered(first));
                    let chip = chip(describe::condition(branch), Tone::Plain, lit.clone());
                    let inner = branch.steps.map(|list| self.list(list, Some(step)));
                    let leaves = ways.iter().any(|(known, _)| *known == way);
                    let out = leaves.then_some((way, branch.goto.is_some()));
                    columns.push((under(chip, inner), lit, out));
                }
                if ways.iter().any(|(way, _)| *way == Way::Otherwise) {
                    let lit = Lit::Ways(step, vec![Way::Otherwise]);
                    let chip = chip("none of these".to_owned(), Tone::Plain, lit.clone());
                    columns.push((under(chip, None), lit, Some((Way::Otherwise, false))));
                }
                self.group(step, columns)
            }
            _ => Block { scene: self.card(step), ports: all() },
        }
    }

    /// The box of a step that contains no others.
    fn card(&self, step: StepIndex) -> Scene {
        let known = &self.graph.steps[step];
        let lines = self.lines(step);
        let widest = lines.name.iter().map(|line| text::width(line, NAME_SIZE) * text::BOLD);
        let widest = widest.chain(lines.small.iter().map(|line| text::width(line, SMALL_SIZE)));
        let sides =
            if matches!(known.kind, Kind::Choice(_) | Kind::Wait(_) | Kind::Succeed | Kind::Fail { .. }) {
                30.0
            } else {
                16.0
            };
        let w = (widest.fold(0.0, f64::max) + ICON_ROOM + sides).max(CARD_MIN).round();
        let h = (lines.name.len() + lines.small.len()) as f64 * LINE + 14.0;
        let item = Item { what: What::Card(step), x: 0.0, y: 0.0, w, h };
        Scene { w, h, items: vec![item], entry: w / 2.0, exit: Some(w / 2.0), ..Scene::default() }
    }

    fn lines(&self, step: StepIndex) -> Lines {
        lines(self.graph, self.overlay, step)
    }

    /// A container: columns side by side under a header. Each comes with what lights the edge to it, and with its way out: which
    /// one, and whether that jumps. Without ways (`None` everywhere) all of them lead to the one way on.
    fn group(&self, step: StepIndex, columns: Vec<Column>) -> Block {
        let lines = self.lines(step);
        let name = lines.name.iter().map(|line| text::width(line, NAME_SIZE) * text::BOLD);
        let small = lines.small.iter().map(|line| text::width(line, SMALL_SIZE));
        let title_w = name.chain(small).fold(0.0, f64::max) + ICON_ROOM + 24.0;
        let header = HEADER.max((lines.name.len() + lines.small.len()) as f64 * LINE + 12.0);
        let inner_w = columns.iter().map(|(scene, _, _)| scene.w).sum::<f64>()
            + COLUMN_GAP * columns.len().saturating_sub(1) as f64;
        let w = (inner_w + 2.0 * PAD).max(title_w).max(CARD_MIN).round();
        let is_choice = matches!(self.graph.steps[step].kind, Kind::Choice(_));

        let mut x = (w - inner_w) / 2.0;
        // A single column is entered where it begins.
        let entry = match columns.as_slice() {
            [(only, _, _)] => x + only.entry,
            _ => w / 2.0,
        };
        let mut scene = Scene { w, entry, ..Scene::default() };
        let places: Vec<f64> = columns
            .iter()
            .map(|(column, _, _)| {
                let at = x;
                x += column.w + COLUMN_GAP;
                at
            })
            .collect();
        let reach = columns.iter().zip(&places).map(|((column, _, _), at)| (at + column.entry - entry).abs());
        let least = if columns.len() > 1 { FORK } else { 4.0 };
        let fork = least.max((reach.fold(0.0, f64::max) * 0.1).min(60.0));
        let bottom = header + fork + columns.iter().map(|(column, _, _)| column.h).fold(0.0, f64::max);
        scene.h = (bottom + fork.max(8.0) * 0.9).round();
        let frame = Item { what: What::Group(step, header, entry), x: 0.0, y: 0.0, w, h: scene.h };
        scene.items.push(frame);

        // Where what does not jump comes together: under the middle of it.
        let goes_on = |out: &Option<(Way, bool)>| !is_choice || out.is_some_and(|(_, jumps)| !jumps);
        let exits: Vec<f64> = columns
            .iter()
            .zip(&places)
            .filter(|((_, _, out), _)| goes_on(out))
            .filter_map(|((column, _, _), at)| Some(at + column.exit?))
            .collect();
        let jumps = columns.iter().any(|(_, _, out)| out.is_some_and(|(_, jumps)| jumps));
        let join = match (exits.first(), exits.last()) {
            (Some(only), _) if jumps || exits.len() == 1 => *only,
            (Some(first), Some(last)) if is_choice => f64::midpoint(*first, *last),
            _ => w / 2.0,
        };
        let mut ports = Vec::new();
        let mut joined = Vec::new();
        for ((column, lit, out), at) in columns.into_iter().zip(places) {
            let mut lead = Stroke::from(entry, header);
            lead.curve_to(at + column.entry, header + fork);
            scene.wire(lead, Tone::Plain, false, lit);
            if let Some(exit) = column.exit.filter(|_| !is_choice || out.is_some()) {
                let mut lead = Stroke::from(at + exit, header + fork + column.h);
                lead.down_to(bottom);
                let (way, jumps) = out.unwrap_or((Way::Next, false));
                if jumps {
                    lead.down_to(scene.h);
                    ports.push((vec![way], at + exit - w / 2.0));
                } else {
                    lead.curve_to(join, scene.h);
                    if !joined.contains(&way) {
                        joined.push(way);
                    }
                }
                scene.wire(lead, Tone::Plain, false, Lit::Ways(step, vec![way]));
            }
            scene.add(column, at, header + fork);
        }
        if !joined.is_empty() {
            ports.push((joined, join - w / 2.0));
        }
        Block { scene, ports }
    }
}

/// The texts of a card or header.
pub(super) struct Lines {
    pub(super) name: Vec<String>,
    pub(super) small: Vec<String>,
    /// How many of the small ones are about a run.
    pub(super) stats: usize,
}

pub(super) fn lines(graph: &Graph, overlay: Option<&Overlay>, step: StepIndex) -> Lines {
    let known = &graph.steps[step];
    let name = text::wrap(&known.name, NAME_SIZE * text::BOLD, TEXT_MAX, 2);
    let detail = describe::detail(known);
    let retries = describe::retries(known).unwrap_or_default();
    let mut small = Vec::new();
    if !detail.is_empty() {
        let room = TEXT_MAX - text::width(&retries, SMALL_SIZE);
        small.push(text::clip(&detail, SMALL_SIZE, room) + &retries);
    }
    let before = small.len();
    if let Some(mark) = overlay.and_then(|overlay| overlay.steps.get(&known.name)) {
        let stats = describe::stats(mark);
        if !stats.is_empty() {
            small.push(text::clip(&stats, SMALL_SIZE, TEXT_MAX));
        }
        // A `fail` step has said it already.
        if let Some(error) = mark.error.as_ref().filter(|error| **error != detail) {
            small.push(text::clip(error, SMALL_SIZE, TEXT_MAX));
        }
    }
    let stats = small.len() - before;
    Lines { name, small, stats }
}

fn link(from: usize, to: usize, length: usize) -> Link {
    Link { from, to, from_dx: 0.0, weight: 1.0, length, kind: 0, hidden: false }
}

impl Link {
    fn hidden(self) -> Self {
        Link { hidden: true, kind: 2, ..self }
    }
}

fn chip(whole: String, tone: Tone, lit: Lit) -> Scene {
    let shown = text::clip(&whole, SMALL_SIZE, CHIP_MAX);
    let w = (text::width(&shown, SMALL_SIZE) + 18.0).max(30.0).round();
    let item = Item { what: What::Chip(Chip { shown, whole, tone, lit }), x: 0.0, y: 0.0, w, h: CHIP_H };
    Scene { w, h: CHIP_H, items: vec![item], entry: w / 2.0, exit: Some(w / 2.0), ..Scene::default() }
}

/// A column of a choice: the condition, and under it the branch.
fn under(chip: Scene, inner: Option<Scene>) -> Scene {
    let Some(inner) = inner else { return chip };
    let shift = inner.entry - chip.entry;
    let (chip_x, inner_x) = (shift.max(0.0), (-shift).max(0.0));
    let mut column = Scene {
        w: (chip_x + chip.w).max(inner_x + inner.w),
        h: chip.h + inner.h,
        entry: chip_x + chip.entry,
        exit: inner.exit.map(|exit| inner_x + exit),
        ..Scene::default()
    };
    let height = chip.h;
    column.add(chip, chip_x, 0.0);
    column.add(inner, inner_x, height);
    column
}

/// Places the parts of a list.
fn assemble(mut parts: Parts, entry: usize, exit: Option<usize>) -> Scene {
    let placed = place::place(&parts.vertices, &parts.links);
    let mut scene = Scene {
        w: placed.w,
        h: placed.h,
        entry: placed.at[entry].0,
        exit: exit.map(|exit| placed.at[exit].0),
        ..Scene::default()
    };
    let backward: Vec<usize> =
        parts.links.iter().zip(&placed.back).filter(|(_, back)| **back).map(|(link, _)| link.from).collect();
    for &vertex in &backward {
        if let [Item { what: What::Chip(chip), .. }] = parts.scenes[vertex].items.as_mut_slice() {
            chip.tone = chip.tone.leading_back();
        }
    }
    let loops: Vec<bool> = parts
        .links
        .iter()
        .zip(&placed.back)
        .map(|(link, back)| {
            *back
                || matches!(parts.scenes[link.to].items.as_slice(), [Item { what: What::Chip(chip), .. }] if chip.tone.is_loop())
        })
        .collect();
    for ((inner, vertex), (x, y)) in parts.scenes.into_iter().zip(&parts.vertices).zip(&placed.at) {
        scene.add(inner, x - vertex.w / 2.0, *y);
    }
    for ((stroke, wire), is_loop) in placed.strokes.into_iter().zip(parts.wires).zip(loops) {
        if let (Some(stroke), Some((tone, has_head, lit, title))) = (stroke, wire) {
            let tone = if is_loop { tone.leading_back() } else { tone };
            scene.wires.push(Wire { stroke, tone, has_head, lit, title });
        }
    }
    scene
}
