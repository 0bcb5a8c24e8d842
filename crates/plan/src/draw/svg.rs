//! A scene as SVG: readable in light and dark, with a text for everything that is drawn.

use std::fmt::Write;

use super::overlay::{Mark, Overlay, StepState};
use super::scene::{self, Chip, ICON_ROOM, Item, LINE, SMALL_SIZE, Scene, Tone, What, Wire};
use super::stroke::number;
use super::text::{self, escape};
use super::{describe, icons};
use crate::graph::{Graph, Kind, StepIndex};

const STYLE: &str = include_str!("style.css");
/// Room around the drawing.
const PAD: f64 = 20.0;
const TITLE_SIZE: f64 = 15.0;

/// Writes a flow's picture.
pub(super) fn write(graph: &Graph, title: &str, overlay: Option<&Overlay>) -> String {
    let scene = scene::compose(graph, overlay);
    let mut svg = Svg { graph, overlay, text: String::new() };
    svg.whole(&scene, title);
    svg.text
}

struct Svg<'g> {
    graph: &'g Graph,
    overlay: Option<&'g Overlay>,
    text: String,
}

/// Appends formatted text.
macro_rules! put {
    ($svg:expr, $($what:tt)*) => {
        write!($svg.text, $($what)*).expect("a String takes everything")
    };
}

impl Svg<'_> {
    fn whole(&mut self, scene: &Scene, title: &str) {
        let caption = self.overlay.map(|overlay| overlay.caption.clone()).unwrap_or_default();
        let legend = self.states();
        let title_shown = text::clip(title, TITLE_SIZE, 560.0);
        let head = if title.is_empty() { 0.0 } else { 26.0 } + if caption.is_empty() { 0.0 } else { 18.0 };
        let legend_w = legend.iter().map(|state| text::width(state.word(), SMALL_SIZE) + 40.0).sum::<f64>();
        let widest = [
            scene.w,
            text::width(&title_shown, TITLE_SIZE) * text::BOLD,
            text::width(&caption, SMALL_SIZE) * 1.05,
            legend_w,
        ];
        let w = (widest.into_iter().fold(0.0, f64::max) + 2.0 * PAD).ceil();
        let foot = if legend.is_empty() { 0.0 } else { 34.0 };
        let h = (scene.h + head + foot + 2.0 * PAD).ceil();
        put!(
            self,
            r#"<svg xmlns="http://www.w3.org/2000/svg" class="rr" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="graphics-document document" aria-roledescription="flow diagram" aria-label="{label}">"#,
            label =
                escape(&if caption.is_empty() { title.to_owned() } else { format!("{title}: {caption}") })
        );
        put!(self, "\n<title>{}</title>\n<desc>{}</desc>", escape(title), escape(&self.summary(&caption)));
        put!(self, "\n<style>{STYLE}</style>\n<rect class=\"rr-bg\" width=\"{w}\" height=\"{h}\"/>\n");
        if !title.is_empty() {
            put!(
                self,
                r#"<text class="rr-title" x="{PAD}" y="{}">{}</text>"#,
                PAD + 12.0,
                escape(&title_shown)
            );
        }
        if !caption.is_empty() {
            put!(
                self,
                r#"<text class="rr-caption" x="{PAD}" y="{}">{}</text>"#,
                PAD + 31.0,
                escape(&caption)
            );
        }
        let dx = ((w - scene.w) / 2.0).round();
        put!(self, "\n<g transform=\"translate({} {})\">\n", number(dx), number(PAD + head));
        self.scene(scene);
        self.text.push_str("</g>\n");
        self.legend(&legend, h - PAD - 4.0);
        self.text.push_str("</svg>\n");
    }

    /// The picture in one sentence.
    fn summary(&self, caption: &str) -> String {
        let names: Vec<&str> = self.graph.steps.iter().map(|step| step.name.as_str()).take(40).collect();
        let more = self.graph.steps.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let run = if caption.is_empty() { String::new() } else { format!("{caption}. ") };
        format!("{run}A flow of {} steps: {}{more}.", self.graph.steps.len(), names.join(", "))
    }

    fn scene(&mut self, scene: &Scene) {
        for item in &scene.items {
            if let What::Group(step, header, fork) = item.what {
                self.group(item, step, header, fork);
            }
        }
        // What the run took lies above the rest.
        let is_taken = |wire: &&Wire| wire.lit.is_taken(self.graph, self.overlay);
        let (taken, others): (Vec<&Wire>, Vec<&Wire>) = scene.wires.iter().partition(is_taken);
        for wire in others {
            self.wire(wire, false);
        }
        for wire in taken {
            self.wire(wire, true);
        }
        for item in &scene.items {
            match &item.what {
                What::Start => self.start(item),
                What::End => self.end(item),
                What::Chip(chip) => self.chip(item, chip),
                What::Card(step) => self.card(item, *step),
                What::Group(..) => {}
            }
        }
    }

    fn mark(&self, step: StepIndex) -> Option<&Mark> {
        self.overlay.and_then(|overlay| overlay.steps.get(&self.graph.steps[step].name))
    }

    /// The class that colours a step by how it stands.
    fn standing(&self, step: StepIndex) -> &'static str {
        match (self.overlay, self.mark(step)) {
            (None, _) => "",
            (Some(_), None) => " rr-idle",
            (Some(_), Some(mark)) => state_class(mark.state),
        }
    }

    fn open_node(&mut self, step: StepIndex, class: &str) {
        let known = &self.graph.steps[step];
        let whole = describe::whole(self.graph, step, self.mark(step));
        put!(
            self,
            r#"<g class="{class}{}" data-step="{name}" role="graphics-symbol" aria-label="{name}: {whole}"><title>{name}</title><desc>{whole}</desc>"#,
            self.standing(step),
            name = escape(&known.name),
            whole = escape(&whole)
        );
    }

    fn group(&mut self, item: &Item, step: StepIndex, header: f64, fork: f64) {
        let kind = &self.graph.steps[step].kind;
        self.open_node(step, &format!("rr-group rr-is-{}", kind.word()));
        let (x, y, w, h) = (number(item.x), number(item.y), number(item.w), number(item.h));
        if matches!(kind, Kind::Foreach(_)) {
            // One sheet lies on others: the same again for each item.
            for shift in [8.0, 4.0] {
                let (x, y) = (number(item.x + shift), number(item.y + shift));
                put!(self, r#"<rect class="rr-sheet" x="{x}" y="{y}" width="{w}" height="{h}" rx="12"/>"#);
            }
        }
        put!(self, r#"<rect class="rr-frame" x="{x}" y="{y}" width="{w}" height="{h}" rx="12"/>"#);
        self.inscription(&Item { h: header, ..item.clone() }, step, true);
        let (dot_x, dot_y) = (number(item.x + fork), number(item.y + header));
        put!(self, r#"<circle class="rr-fork" cx="{dot_x}" cy="{dot_y}" r="3"/>"#);
        self.text.push_str("</g>\n");
    }

    fn card(&mut self, item: &Item, step: StepIndex) {
        let kind = &self.graph.steps[step].kind;
        self.open_node(step, &format!("rr-node rr-is-{}", kind.word()));
        let outline = outline(kind, item);
        if matches!(icons::of_step(kind).0, "flow") {
            // A flow has more under it.
            let (x, y) = (number(item.x + 4.0), number(item.y + 4.0));
            let (w, h) = (number(item.w), number(item.h));
            put!(self, r#"<rect class="rr-sheet" x="{x}" y="{y}" width="{w}" height="{h}" rx="9"/>"#);
        }
        put!(self, r#"<path class="rr-card" d="{outline}"/>"#);
        self.inscription(item, step, false);
        self.text.push_str("</g>\n");
    }

    /// Icon, name, and what stands under it.
    fn inscription(&mut self, item: &Item, step: StepIndex, is_header: bool) {
        let lines = scene::lines(self.graph, self.overlay, step);
        let count = lines.name.len() + lines.small.len();
        let kind = &self.graph.steps[step].kind;
        let inset = if is_header || matches!(kind, Kind::Pass | Kind::Task(_)) { 10.0 } else { 15.0 };
        let middle = item.y + item.h / 2.0;
        let (color, icon) = icons::of_step(kind);
        let (tile_x, tile_y) = (item.x + inset, middle - 11.0);
        put!(
            self,
            r#"<rect class="rr-tile rr-{color}" x="{}" y="{}" width="22" height="22" rx="6"/><path class="rr-icon rr-{color}" transform="translate({} {})" d="{icon}"/>"#,
            number(tile_x),
            number(tile_y),
            number(tile_x + 3.0),
            number(tile_y + 3.0)
        );
        let x = number(item.x + inset + ICON_ROOM - 10.0);
        let mut y = middle - count as f64 * LINE / 2.0 + 12.5;
        for line in &lines.name {
            put!(self, r#"<text class="rr-name" x="{x}" y="{}">{}</text>"#, number(y), escape(line));
            y += LINE;
        }
        let about_flow = lines.small.len() - lines.stats;
        for (at, line) in lines.small.iter().enumerate() {
            let class = if at < about_flow { "rr-small" } else { "rr-small rr-stat" };
            put!(self, r#"<text class="{class}" x="{x}" y="{}">{}</text>"#, number(y - 1.0), escape(line));
            y += LINE;
        }
        if let Some(mark) = self.mark(step) {
            self.badge(mark.state, item.x + item.w - 11.0, item.y - 6.0);
        }
    }

    fn badge(&mut self, state: StepState, x: f64, y: f64) {
        let (outline, sign) = icons::of_state(state);
        put!(
            self,
            r#"<g class="rr-badge{}" transform="translate({} {})"><path class="rr-outline" d="{outline}"/><path class="rr-sign" d="{sign}"/></g>"#,
            state_class(state),
            number(x),
            number(y)
        );
    }

    fn wire(&mut self, wire: &Wire, is_taken: bool) {
        let tone = tone_class(wire.tone);
        let taken = if is_taken { " rr-taken" } else { "" };
        put!(self, r#"<g class="rr-edge{tone}{taken}">"#);
        if !wire.title.is_empty() {
            put!(self, "<title>{}</title>", escape(&wire.title));
        }
        put!(self, r#"<path class="rr-line" d="{}"/>"#, wire.stroke.data());
        if wire.has_head {
            let size = if matches!(wire.tone, Tone::Loop | Tone::ErrorLoop) || is_taken { 9.0 } else { 7.5 };
            put!(self, r#"<path class="rr-head" d="{}"/>"#, wire.stroke.head(size));
        }
        self.text.push_str("</g>\n");
    }

    fn chip(&mut self, item: &Item, chip: &Chip) {
        let tone = tone_class(chip.tone);
        let taken = if chip.lit.is_taken(self.graph, self.overlay) { " rr-taken" } else { "" };
        put!(
            self,
            r#"<g class="rr-chip{tone}{taken}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="10"/><text x="{}" y="{}">{}</text></g>"#,
            escape(&chip.whole),
            number(item.x),
            number(item.y),
            number(item.w),
            number(item.h),
            number(item.x + item.w / 2.0),
            number(item.y + 14.0),
            escape(&chip.shown)
        );
        self.text.push('\n');
    }

    fn start(&mut self, item: &Item) {
        let r = item.w / 2.0;
        put!(
            self,
            r#"<g class="rr-mark"><title>start</title><circle class="rr-dot" cx="{}" cy="{}" r="{}"/></g>"#,
            number(item.x + r),
            number(item.y + r),
            number(r - 1.0)
        );
        self.text.push('\n');
    }

    fn end(&mut self, item: &Item) {
        let r = item.w / 2.0;
        let (x, y) = (number(item.x + r), number(item.y + r));
        put!(
            self,
            r#"<g class="rr-mark"><title>end</title><circle class="rr-ring" cx="{x}" cy="{y}" r="{}"/><circle class="rr-dot" cx="{x}" cy="{y}" r="{}"/></g>"#,
            number(r - 1.5),
            number(r - 5.5)
        );
        self.text.push('\n');
    }

    /// The states that are there, in a fixed order.
    fn states(&self) -> Vec<StepState> {
        const ALL: [StepState; 6] = [
            StepState::Succeeded,
            StepState::Running,
            StepState::Waiting,
            StepState::Caught,
            StepState::Failed,
            StepState::Cancelled,
        ];
        let marks = || self.overlay.iter().flat_map(|overlay| overlay.steps.values());
        ALL.into_iter().filter(|state| marks().any(|mark| mark.state == *state)).collect()
    }

    fn legend(&mut self, states: &[StepState], y: f64) {
        let mut x = PAD;
        for &state in states {
            self.badge(state, x, y - 12.0);
            put!(
                self,
                r#"<text class="rr-small" x="{}" y="{}">{}</text>"#,
                number(x + 21.0),
                number(y),
                state.word()
            );
            x += text::width(state.word(), SMALL_SIZE) + 40.0;
        }
        if !states.is_empty() {
            self.text.push('\n');
        }
    }
}

fn state_class(state: StepState) -> &'static str {
    match state {
        StepState::Succeeded => " rr-succeeded",
        StepState::Caught => " rr-caught",
        StepState::Cancelled => " rr-cancelled",
        StepState::Waiting => " rr-waiting",
        StepState::Running => " rr-running",
        StepState::Failed => " rr-failed",
    }
}

fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "",
        Tone::Error => " rr-error",
        Tone::Loop => " rr-loop",
        Tone::ErrorLoop => " rr-error rr-back",
    }
}

/// A card's outline: the kind of a step shows in its shape.
fn outline(kind: &Kind, item: &Item) -> String {
    let (x, y, w, h) = (item.x, item.y, item.w, item.h);
    let polygon = |points: &[(f64, f64)]| {
        let corners: Vec<String> =
            points.iter().map(|(px, py)| format!("{} {}", number(*px), number(*py))).collect();
        format!("M{}Z", corners.join("L"))
    };
    match kind {
        Kind::Choice(_) => {
            let cut = (h / 2.0).min(18.0);
            polygon(&[
                (x + cut, y),
                (x + w - cut, y),
                (x + w, y + h / 2.0),
                (x + w - cut, y + h),
                (x + cut, y + h),
                (x, y + h / 2.0),
            ])
        }
        Kind::Fail { .. } => {
            let cut = 11.0;
            polygon(&[
                (x + cut, y),
                (x + w - cut, y),
                (x + w, y + cut),
                (x + w, y + h - cut),
                (x + w - cut, y + h),
                (x + cut, y + h),
                (x, y + h - cut),
                (x, y + cut),
            ])
        }
        Kind::Wait(_) | Kind::Succeed => rounded(item, h / 2.0),
        Kind::Pass => rounded(item, 3.0),
        _ => rounded(item, 9.0),
    }
}

fn rounded(item: &Item, radius: f64) -> String {
    let Item { x, y, w, h, .. } = *item;
    let arc = number(radius);
    let (left, right) = (number(x + radius), number(x + w - radius));
    let (top, bottom) = (number(y + radius), number(y + h - radius));
    format!(
        "M{left} {}H{right}A{arc} {arc} 0 0 1 {} {top}V{bottom}A{arc} {arc} 0 0 1 {right} {}H{left}A{arc} {arc} 0 0 1 {} {bottom}V{top}A{arc} {arc} 0 0 1 {left} {}Z",
        number(y),
        number(x + w),
        number(y + h),
        number(x),
        number(y)
    )
}
