//! Lines of a drawing: pieces, straight or curved, that begin where the last one ended.

use std::fmt::Write;

/// One piece of a line.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Piece {
    Line(f64, f64),
    /// Two control points and the end.
    Curve([(f64, f64); 3]),
}

/// A line from edge to edge.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stroke {
    start: (f64, f64),
    pieces: Vec<Piece>,
}

/// Radius of corners.
const RADIUS: f64 = 9.0;

impl Stroke {
    pub(super) fn from(x: f64, y: f64) -> Self {
        Stroke { start: (x, y), pieces: Vec::new() }
    }

    pub(super) fn end(&self) -> (f64, f64) {
        match self.pieces.last() {
            None => self.start,
            Some(Piece::Line(x, y)) => (*x, *y),
            Some(Piece::Curve(points)) => points[2],
        }
    }

    /// Straight down.
    pub(super) fn down_to(&mut self, y: f64) {
        let (x, from) = self.end();
        if y - from > 0.1 {
            self.pieces.push(Piece::Line(x, y));
        }
    }

    /// Down to a point that may stand aside: it leaves and arrives upright.
    pub(super) fn curve_to(&mut self, x: f64, y: f64) {
        let (from_x, from_y) = self.end();
        if (from_x - x).abs() < 2.0 {
            self.pieces.push(Piece::Line(x, y));
            return;
        }
        let bend = (y - from_y) * 0.6;
        self.pieces.push(Piece::Curve([(from_x, from_y + bend), (x, y - bend), (x, y)]));
    }

    /// A line with rounded corners.
    pub(super) fn rounded(corners: &[(f64, f64)]) -> Self {
        let mut stroke = Stroke::from(corners[0].0, corners[0].1);
        for (at, &(x, y)) in corners.iter().enumerate().skip(1) {
            let (from_x, from_y) = stroke.end();
            let Some(&(next_x, next_y)) = corners.get(at + 1) else {
                stroke.pieces.push(Piece::Line(x, y));
                break;
            };
            let (before, after) = ((x - from_x).hypot(y - from_y), (next_x - x).hypot(next_y - y));
            let radius = RADIUS.min(before / 2.0).min(after / 2.0);
            if radius < 0.5 {
                stroke.pieces.push(Piece::Line(x, y));
                continue;
            }
            let toward = |to: (f64, f64), length: f64| {
                (x + (to.0 - x) / length * radius, y + (to.1 - y) / length * radius)
            };
            let enter = toward((from_x, from_y), before);
            let leave = toward((next_x, next_y), after);
            stroke.pieces.push(Piece::Line(enter.0, enter.1));
            stroke.pieces.push(Piece::Curve([(x, y), (x, y), leave]));
        }
        stroke
    }

    pub(super) fn shift(&mut self, dx: f64, dy: f64) {
        let move_point = |point: &mut (f64, f64)| {
            point.0 += dx;
            point.1 += dy;
        };
        move_point(&mut self.start);
        for piece in &mut self.pieces {
            match piece {
                Piece::Line(x, y) => (*x, *y) = (*x + dx, *y + dy),
                Piece::Curve(points) => points.iter_mut().for_each(move_point),
            }
        }
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let inner = self.pieces.iter().flat_map(|piece| match piece {
            Piece::Line(x, y) => vec![(*x, *y)],
            Piece::Curve(points) => points.to_vec(),
        });
        std::iter::once(self.start).chain(inner)
    }

    /// Its leftmost and rightmost coordinate.
    pub(super) fn width(&self) -> (f64, f64) {
        self.points().fold((f64::MAX, f64::MIN), |(left, right), (x, _)| (left.min(x), right.max(x)))
    }

    /// Which way it points where it ends.
    fn direction(&self) -> (f64, f64) {
        let points: Vec<(f64, f64)> = self.points().collect();
        let end = self.end();
        let before = points.iter().rev().find(|point| (point.0 - end.0).hypot(point.1 - end.1) > 0.5);
        before.map_or((0.0, 1.0), |before| {
            let length = (end.0 - before.0).hypot(end.1 - before.1);
            ((end.0 - before.0) / length, (end.1 - before.1) / length)
        })
    }

    /// As SVG's path data.
    pub(super) fn data(&self) -> String {
        let mut text = format!("M{} {}", number(self.start.0), number(self.start.1));
        for piece in &self.pieces {
            let written = match piece {
                Piece::Line(x, y) => write!(text, "L{} {}", number(*x), number(*y)),
                Piece::Curve(points) => {
                    let points = points.map(|(x, y)| format!("{} {}", number(x), number(y)));
                    write!(text, "C{}", points.join(" "))
                }
            };
            written.expect("a String takes everything");
        }
        text
    }

    /// The arrowhead at its end, as path data.
    pub(super) fn head(&self, size: f64) -> String {
        let (x, y) = self.end();
        let (dx, dy) = self.direction();
        let (back_x, back_y) = (x - dx * size, y - dy * size);
        let half = size * 0.55;
        format!(
            "M{} {}L{} {}L{} {}Z",
            number(x),
            number(y),
            number(back_x - dy * half),
            number(back_y + dx * half),
            number(back_x + dy * half),
            number(back_y - dx * half)
        )
    }
}

/// A coordinate with one digit after the point, if it needs one.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".to_owned(),
        Some(whole) => whole.to_owned(),
        None => text,
    }
}
