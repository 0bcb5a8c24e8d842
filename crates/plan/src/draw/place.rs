//! Coordinates: where the vertices of layers stand, and the strokes of the edges between them.

use std::collections::BTreeMap;

use super::layers::{Layers, Link, Vertex};
use super::stroke::Stroke;

/// A list, laid out. Coordinates begin at its upper left corner.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) w: f64,
    pub(super) h: f64,
    /// Of each vertex: the middle of its upper side.
    pub(super) at: Vec<(f64, f64)>,
    /// Of each link: its way; `None` for a hidden one.
    pub(super) strokes: Vec<Option<Stroke>>,
    /// Of each link: whether it leads back.
    pub(super) back: Vec<bool>,
}

/// Room between layers.
const GAP: f64 = 17.0;
/// Room between parallel lanes, and between a lane and what it passes.
const LANE: f64 = 12.0;
const LANE_CLEAR: f64 = 18.0;
/// Rounds of straightening.
const ROUNDS: usize = 24;

/// Lays out a list. The first vertex is its entry.
pub(super) fn place(vertices: &[Vertex], links: &[Link]) -> Placed {
    let layers = Layers::of(vertices, links);
    let x = straighten(&layers);
    let lanes = Lanes::of(&layers, links, &x);
    let (top, bottom) = rows(&layers, &x, &lanes);
    let mut strokes = Vec::with_capacity(links.len());
    for (number, link) in links.iter().enumerate() {
        strokes.push(if link.hidden {
            None
        } else if layers.chains[number].is_empty() {
            Some(lanes.stroke(&layers, number, link, &x, (&top, &bottom)))
        } else {
            Some(through(&layers, &layers.chains[number], link, &x, (&top, &bottom)))
        });
    }
    let at = (0..vertices.len()).map(|vertex| (x[vertex], top[layers.rank[vertex]])).collect();
    let last = layers.order.len().saturating_sub(1);
    let h = bottom.get(last).copied().unwrap_or(0.0) + lanes.room(last + 1, &layers).0;
    let mut placed = Placed { w: 0.0, h, at, strokes, back: layers.back };
    placed.move_to_origin(vertices);
    placed
}

impl Placed {
    /// Moves everything so that the leftmost thing stands at 0.
    fn move_to_origin(&mut self, vertices: &[Vertex]) {
        let (mut left, mut right) = (f64::MAX, f64::MIN);
        for (vertex, (x, _)) in vertices.iter().zip(&self.at) {
            left = left.min(x - vertex.w / 2.0);
            right = right.max(x + vertex.w / 2.0);
        }
        for stroke in self.strokes.iter().flatten() {
            let (from, to) = stroke.width();
            left = left.min(from);
            right = right.max(to);
        }
        if left > right {
            (left, right) = (0.0, 0.0);
        }
        self.w = right - left;
        for (x, _) in &mut self.at {
            *x -= left;
        }
        for stroke in self.strokes.iter_mut().flatten() {
            stroke.shift(-left, 0.0);
        }
    }
}

/// The middle of each vertex: every layer in turn as near as possible to where its neighbours are, their order kept.
fn straighten(layers: &Layers) -> Vec<f64> {
    let count = layers.vertices.len();
    let mut above: Vec<Vec<(usize, f64, f64)>> = vec![Vec::new(); count];
    let mut below = above.clone();
    for &(upper, lower, dx, weight) in &layers.segments {
        above[lower].push((upper, dx, weight));
        below[upper].push((lower, -dx, weight));
    }
    let mut x = vec![0.0; count];
    for layer in &layers.order {
        let wanted = vec![0.0; layer.len()];
        let weights = vec![1.0; layer.len()];
        for (&vertex, at) in layer.iter().zip(settle(&wanted, &weights, &room(layers, layer))) {
            x[vertex] = at;
        }
    }
    let cost = |x: &[f64]| -> f64 {
        layers
            .segments
            .iter()
            .map(|&(upper, lower, dx, weight)| weight * (x[upper] + dx - x[lower]).abs())
            .sum()
    };
    let mut best = (f64::MAX, x.clone());
    let height = layers.order.len();
    for round in 0..ROUNDS {
        let downward = round % 2 == 0;
        for step in 0..height {
            let layer = &layers.order[if downward { step } else { height - 1 - step }];
            let mut wanted = Vec::with_capacity(layer.len());
            let mut weights = Vec::with_capacity(layer.len());
            for &vertex in layer {
                let near = if downward { &above[vertex] } else { &below[vertex] };
                let weight: f64 = near.iter().map(|(_, _, weight)| weight).sum();
                wanted.push(middle(near, &x).unwrap_or(x[vertex]));
                // To the third power, so that what is straight stays so when something light pushes.
                weights.push(if near.is_empty() { 0.05 } else { weight.powi(3) });
            }
            for (&vertex, at) in layer.iter().zip(settle(&wanted, &weights, &room(layers, layer))) {
                x[vertex] = at;
            }
        }
        let found = cost(&x);
        if found < best.0 - 0.01 {
            best = (found, x.clone());
        }
    }
    best.1
}

/// The weighted median of where the neighbours want a vertex.
fn middle(near: &[(usize, f64, f64)], x: &[f64]) -> Option<f64> {
    let mut wishes: Vec<(f64, f64)> =
        near.iter().map(|&(other, dx, weight)| (x[other] + dx, weight)).collect();
    wishes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = wishes.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    for (at, &(wish, weight)) in wishes.iter().enumerate() {
        sum += weight;
        if (sum - half).abs() < 1e-6 {
            // Between two that weigh the same: in the middle of them.
            return Some(wishes.get(at + 1).map_or(wish, |(next, _)| f64::midpoint(wish, *next)));
        }
        if sum > half {
            return Some(wish);
        }
    }
    None
}

/// How far apart the middles of neighbours in a layer must be.
fn room(layers: &Layers, layer: &[usize]) -> Vec<f64> {
    let pair = |pair: &[usize]| {
        let (a, b) = (layers.vertices[pair[0]], layers.vertices[pair[1]]);
        f64::midpoint(a.w, b.w) + a.margin + b.margin
    };
    layer.windows(2).map(pair).collect()
}

/// Positions nearest to the wanted ones (least squares) that keep order and room: pools of neighbours that pushed each other.
fn settle(wanted: &[f64], weights: &[f64], room: &[f64]) -> Vec<f64> {
    let mut offsets = Vec::with_capacity(wanted.len());
    let mut offset = 0.0;
    for at in 0..wanted.len() {
        offsets.push(offset);
        offset += room.get(at).copied().unwrap_or(0.0);
    }
    // Each pool: sum of weighted wishes, weight, members.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for at in 0..wanted.len() {
        let mut pool = ((wanted[at] - offsets[at]) * weights[at], weights[at], 1);
        while let Some(last) = pools.last().copied() {
            if last.0 / last.1 <= pool.0 / pool.1 {
                break;
            }
            pools.pop();
            pool = (pool.0 + last.0, pool.1 + last.1, pool.2 + last.2);
        }
        pools.push(pool);
    }
    let values =
        pools.into_iter().flat_map(|(sum, weight, members)| std::iter::repeat_n(sum / weight, members));
    values.zip(offsets).map(|(value, offset)| value + offset).collect()
}

/// Top and bottom of each layer.
fn rows(layers: &Layers, x: &[f64], lanes: &Lanes) -> (Vec<f64>, Vec<f64>) {
    let height = layers.order.len();
    let mut spread = vec![0.0_f64; height];
    for &(upper, lower, dx, _) in &layers.segments {
        let rank = layers.rank[upper];
        spread[rank] = spread[rank].max((x[upper] + dx - x[lower]).abs());
    }
    let (mut top, mut bottom, mut y) = (Vec::new(), Vec::new(), 0.0);
    for rank in 0..height {
        let (below, above) = lanes.room(rank, layers);
        y += below + above;
        if rank > 0 {
            let flat = (spread[rank - 1] * 0.07).min(56.0);
            y += GAP + (flat - GAP).max(0.0);
        }
        top.push(y);
        let tallest = layers.order[rank].iter().map(|&vertex| layers.vertices[vertex].h).fold(0.0, f64::max);
        y += tallest;
        bottom.push(y);
    }
    (top, bottom)
}

/// An edge through the layers: straight down where it passes one, curved between them.
fn through(layers: &Layers, chain: &[usize], link: &Link, x: &[f64], rows: (&[f64], &[f64])) -> Stroke {
    let (top, bottom) = rows;
    let first = chain[0];
    let rank = layers.rank[first];
    let mut stroke = Stroke::from(x[first] + link.from_dx, top[rank] + layers.vertices[first].h);
    stroke.down_to(bottom[rank]);
    for &vertex in &chain[1..] {
        let rank = layers.rank[vertex];
        let is_last = vertex == link.to;
        // Where a layer holds nothing, the curve may as well go on.
        if !is_last && bottom[rank] - top[rank] < 0.5 {
            continue;
        }
        stroke.curve_to(x[vertex] + layers.vertices[vertex].in_dx, top[rank]);
        if !is_last {
            stroke.down_to(bottom[rank]);
        }
    }
    stroke
}

/// A lane beside the layers: edges that lead back, bundled by where they lead.
#[derive(Debug)]
struct Lane {
    /// Layers that it passes, both included.
    from: usize,
    to: usize,
    is_left: bool,
    x: f64,
}

/// All lanes of a list, and the place of their horizontal parts in the gaps between layers.
#[derive(Debug, Default)]
struct Lanes {
    all: Vec<Lane>,
    /// Of each link that takes one.
    of: BTreeMap<usize, usize>,
    /// Horizontal parts under a layer: which source vertex, by layer.
    leaving: BTreeMap<(usize, usize), usize>,
    /// Horizontal parts above a layer: which lane, by layer.
    entering: BTreeMap<(usize, usize), usize>,
}

impl Lanes {
    fn of(layers: &Layers, links: &[Link], x: &[f64]) -> Lanes {
        let mut lanes = Lanes::default();
        let mut bundles: BTreeMap<(usize, u8), Vec<usize>> = BTreeMap::new();
        for (number, link) in links.iter().enumerate() {
            if layers.chains[number].is_empty() && !link.hidden {
                bundles.entry((link.to, link.kind)).or_default().push(number);
            }
        }
        let mut bundles: Vec<Vec<usize>> = bundles.into_values().collect();
        let span = |bundle: &Vec<usize>| {
            let ranks = |number: &usize| [layers.rank[links[*number].from], layers.rank[links[*number].to]];
            let all = bundle.iter().flat_map(ranks);
            (all.clone().min().unwrap_or(0), all.max().unwrap_or(0))
        };
        // Inner loops are nearer.
        bundles.sort_by_key(|bundle| {
            let (from, to) = span(bundle);
            (to - from, from)
        });
        let (lefts, rights) = bounds(layers, x);
        for bundle in bundles {
            let (from, to) = span(&bundle);
            let left = lefts[from..=to].iter().copied().fold(f64::MAX, f64::min);
            let right = rights[from..=to].iter().copied().fold(f64::MIN, f64::max);
            let ends: Vec<f64> = bundle
                .iter()
                .flat_map(|&number| {
                    let Link { from, to, from_dx, .. } = links[number];
                    [x[from] + from_dx, x[to] + layers.vertices[to].in_dx]
                })
                .collect();
            let reach = |edge: f64| ends.iter().map(|end| (end - edge).abs()).sum::<f64>();
            let is_left = reach(left) <= reach(right) * 1.5;
            let beside = |lane: &&Lane| lane.is_left == is_left && lane.from <= to && from <= lane.to;
            let taken = lanes.all.iter().filter(beside).map(|lane| lane.x);
            let at = if is_left {
                taken.map(|taken| taken - LANE).fold(left - LANE_CLEAR, f64::min)
            } else {
                taken.map(|taken| taken + LANE).fold(right + LANE_CLEAR, f64::max)
            };
            let lane = lanes.all.len();
            lanes.all.push(Lane { from, to, is_left, x: at });
            for number in bundle {
                let link = &links[number];
                lanes.of.insert(number, lane);
                if !is_outermost(layers, link.from, is_left) || link.from_dx != 0.0 {
                    let next =
                        lanes.leaving.keys().filter(|(rank, _)| *rank == layers.rank[link.from]).count();
                    lanes.leaving.entry((layers.rank[link.from], link.from)).or_insert(next);
                }
                if !is_outermost(layers, link.to, is_left) || links[number].from == link.to {
                    let next =
                        lanes.entering.keys().filter(|(rank, _)| *rank == layers.rank[link.to]).count();
                    lanes.entering.entry((layers.rank[link.to], lane)).or_insert(next);
                }
            }
        }
        lanes
    }

    /// Room for horizontal parts between layer `rank - 1` and `rank`: those that leave the upper, those that enter the lower.
    fn room(&self, rank: usize, layers: &Layers) -> (f64, f64) {
        let count = |map: &BTreeMap<(usize, usize), usize>, rank: usize| {
            map.range((rank, 0)..(rank + 1, 0)).count() as f64
        };
        let below = rank.checked_sub(1).map_or(0.0, |above| count(&self.leaving, above));
        let above = if rank < layers.order.len() { count(&self.entering, rank) } else { 0.0 };
        let pad = |count: f64| if count > 0.0 { 4.0 + count * 7.0 } else { 0.0 };
        (pad(below), pad(above))
    }

    /// Out to the lane, along it, and in: at the side of a vertex that is the outermost of its layer, else through the gap.
    fn stroke(
        &self,
        layers: &Layers,
        number: usize,
        link: &Link,
        x: &[f64],
        (top, bottom): (&[f64], &[f64]),
    ) -> Stroke {
        let at = self.of[&number];
        let lane = &self.all[at];
        let side = if lane.is_left { -1.0 } else { 1.0 };
        let (from, to) = (layers.vertices[link.from], layers.vertices[link.to]);
        let (from_rank, to_rank) = (layers.rank[link.from], layers.rank[link.to]);
        let mut corners = Vec::new();
        if let Some(slot) = self.leaving.get(&(from_rank, link.from)) {
            let y = bottom[from_rank] + 8.0 + *slot as f64 * 7.0;
            let start = x[link.from] + link.from_dx;
            corners.extend([(start, top[from_rank] + from.h), (start, y), (lane.x, y)]);
        } else {
            let y = top[from_rank] + side_height(from);
            corners.extend([(x[link.from] + side * from.w / 2.0, y), (lane.x, y)]);
        }
        if let Some(slot) = self.entering.get(&(to_rank, at)) {
            let y = top[to_rank] - 12.0 - *slot as f64 * 7.0;
            let end = x[link.to] + to.in_dx;
            corners.extend([(lane.x, y), (end, y), (end, top[to_rank])]);
        } else {
            let y = top[to_rank] + side_height(to);
            corners.extend([(lane.x, y), (x[link.to] + side * to.w / 2.0, y)]);
        }
        Stroke::rounded(&corners)
    }
}

/// How far down its side an edge meets a vertex: in the middle of a card, at the head of a container.
fn side_height(vertex: Vertex) -> f64 {
    (vertex.h / 2.0).min(26.0)
}

fn is_outermost(layers: &Layers, vertex: usize, is_left: bool) -> bool {
    let layer = &layers.order[layers.rank[vertex]];
    let outermost = if is_left { layer.first() } else { layer.last() };
    outermost == Some(&vertex)
}

/// Left and right bound of each layer.
fn bounds(layers: &Layers, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let side = |vertex: usize, sign: f64| x[vertex] + sign * layers.vertices[vertex].w / 2.0;
    let bound = |layer: &Vec<usize>| {
        let left = layer.iter().map(|&vertex| side(vertex, -1.0)).fold(f64::MAX, f64::min);
        let right = layer.iter().map(|&vertex| side(vertex, 1.0)).fold(f64::MIN, f64::max);
        (left, right)
    };
    layers.order.iter().map(bound).unzip()
}
