//! A layered drawing of one list of steps: which vertex stands in which layer, and in which order.
//!
//! A goto stays within its list, so no edge crosses the border of a container but the one that goes on from it. Each list is
//! therefore laid out by itself and becomes a box in the list around it; a general layout of nested graphs would
//! solve a harder problem and keep less of the order in which the steps were written.

use std::collections::{BTreeMap, HashMap};

/// A box to be placed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vertex {
    pub(super) w: f64,
    pub(super) h: f64,
    /// Room to its neighbours.
    pub(super) margin: f64,
    /// Where edges enter it, seen from the middle.
    pub(super) in_dx: f64,
}

/// An edge to be routed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Where it leaves its source, seen from the middle.
    pub(super) from_dx: f64,
    /// How much it wants to be straight.
    pub(super) weight: f64,
    /// Layers from source to target, at least.
    pub(super) length: usize,
    /// Edges to the same target share their way if this is the same, too.
    pub(super) kind: u8,
    /// Only keeps its target below its source.
    pub(super) hidden: bool,
}

/// Vertices in layers. Those beyond the given ones are bends of long edges.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) vertices: Vec<Vertex>,
    pub(super) rank: Vec<usize>,
    /// The vertices of each layer, from left to right.
    pub(super) order: Vec<Vec<usize>>,
    /// Of each link: the vertices it passes, its own ends included. Empty for one that takes a lane beside the layers.
    pub(super) chains: Vec<Vec<usize>>,
    /// Of each link: whether it leads back.
    pub(super) back: Vec<bool>,
    /// Between neighbouring layers: upper and lower vertex, how far aside the lower one would stand if the segment were
    /// straight, its weight.
    pub(super) segments: Vec<(usize, usize, f64, f64)>,
}

/// Bends in one drawing. Beyond that, long edges take lanes, which cost nothing.
const MAX_BENDS: usize = 40_000;
/// Layers that an edge may pass where there are too many bends.
const SHORT: usize = 4;
/// Sweeps over the layers.
const SWEEPS: usize = 12;
/// Room around a bend.
const BEND_MARGIN: f64 = 7.0;

impl Layers {
    /// Ranks, bends and order. The first vertex is the entry; the order of the vertices is that of the text.
    pub(super) fn of(vertices: &[Vertex], links: &[Link]) -> Layers {
        let (back, finished) = walk(vertices.len(), links);
        let rank = ranks(links, &back, &finished);
        let mut layers = Layers {
            vertices: vertices.to_vec(),
            rank,
            order: Vec::new(),
            chains: Vec::new(),
            back,
            segments: Vec::new(),
        };
        layers.bend(links);
        layers.order_initially(links);
        layers.uncross();
        layers
    }

    /// Gives every long edge a bend in each layer that it passes; edges to the same target share them.
    fn bend(&mut self, links: &[Link]) {
        let span = |rank: &[usize], link: &Link| rank[link.to].saturating_sub(rank[link.from]);
        let wanted: usize = links.iter().map(|link| span(&self.rank, link)).sum();
        let longest = if wanted > MAX_BENDS { SHORT } else { usize::MAX };
        let mut shared: HashMap<(usize, u8, usize), usize> = HashMap::new();
        let mut heavy: BTreeMap<(usize, usize), (f64, f64)> = BTreeMap::new();
        for (number, link) in links.iter().enumerate() {
            if self.back[number] || span(&self.rank, link) > longest {
                self.chains.push(Vec::new());
                continue;
            }
            let mut chain = vec![link.from];
            for rank in self.rank[link.from] + 1..self.rank[link.to] {
                let bend = *shared.entry((link.to, link.kind, rank)).or_insert_with(|| {
                    self.vertices.push(Vertex { w: 0.0, h: 0.0, margin: BEND_MARGIN, in_dx: 0.0 });
                    self.rank.push(rank);
                    self.vertices.len() - 1
                });
                chain.push(bend);
            }
            chain.push(link.to);
            if !link.hidden {
                for (at, pair) in chain.windows(2).enumerate() {
                    let inner = if at > 0 && at + 2 < chain.len() { 3.0 } else { 1.0 };
                    let dx = if at == 0 { link.from_dx } else { 0.0 } - self.vertices[pair[1]].in_dx;
                    let known = heavy.entry((pair[0], pair[1])).or_insert((dx, 0.0));
                    known.1 = f64::max(known.1, link.weight * inner);
                }
            }
            self.chains.push(chain);
        }
        self.segments = heavy.into_iter().map(|((a, b), (dx, weight))| (a, b, dx, weight)).collect();
    }

    /// Depth first from the entry, so that what follows each other stands below each other.
    fn order_initially(&mut self, links: &[Link]) {
        let height = self.rank.iter().max().map_or(0, |rank| rank + 1);
        self.order = vec![Vec::new(); height];
        let mut below: Vec<Vec<usize>> = vec![Vec::new(); self.vertices.len()];
        // Where the edge to a vertex leaves the one above it.
        let mut leaves_at = vec![0.0_f64; self.vertices.len()];
        for (chain, link) in self.chains.iter().zip(links) {
            for (at, pair) in chain.windows(2).enumerate() {
                if !below[pair[0]].contains(&pair[1]) {
                    below[pair[0]].push(pair[1]);
                }
                if at == 0 {
                    leaves_at[pair[1]] = link.from_dx;
                }
            }
        }
        // What leads back stands outside, on the left.
        let leads_back = |vertex: usize, back: &[bool]| {
            links.iter().zip(back).any(|(link, &back)| back && link.from == vertex)
        };
        let loops: Vec<bool> = (0..self.vertices.len())
            .map(|vertex| below[vertex].is_empty() && leads_back(vertex, &self.back))
            .collect();
        for lower in &mut below {
            lower.sort_by(|&a, &b| loops[b].cmp(&loops[a]).then(leaves_at[a].total_cmp(&leaves_at[b])));
        }
        let mut seen = vec![false; self.vertices.len()];
        for root in 0..self.vertices.len() {
            let mut open = vec![root];
            while let Some(vertex) = open.pop() {
                if std::mem::replace(&mut seen[vertex], true) {
                    continue;
                }
                self.order[self.rank[vertex]].push(vertex);
                open.extend(below[vertex].iter().rev());
            }
        }
    }

    /// Sweeps up and down, each vertex to the middle of its neighbours, and keeps the order with the fewest crossings.
    fn uncross(&mut self) {
        let count = self.vertices.len();
        let mut above: Vec<Vec<usize>> = vec![Vec::new(); count];
        let mut below: Vec<Vec<usize>> = vec![Vec::new(); count];
        for &(upper, lower, _, _) in &self.segments {
            above[lower].push(upper);
            below[upper].push(lower);
        }
        let mut place = places(&self.order, count);
        let mut best = (crossings(&self.order, &below, &place), self.order.clone());
        for sweep in 0..SWEEPS {
            if best.0 == 0 {
                break;
            }
            let downward = sweep % 2 == 0;
            let neighbours = if downward { &above } else { &below };
            let height = self.order.len();
            for step in 0..height {
                let rank = if downward { step } else { height - 1 - step };
                let middle = |vertex: usize| {
                    let near = &neighbours[vertex];
                    if near.is_empty() {
                        return place[vertex] as f64;
                    }
                    near.iter().map(|&other| place[other] as f64).sum::<f64>() / near.len() as f64
                };
                let mut keyed: Vec<(f64, usize)> =
                    self.order[rank].iter().map(|&vertex| (middle(vertex), vertex)).collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                for (at, &(_, vertex)) in keyed.iter().enumerate() {
                    place[vertex] = at;
                }
                self.order[rank] = keyed.into_iter().map(|(_, vertex)| vertex).collect();
            }
            let found = crossings(&self.order, &below, &place);
            if found < best.0 {
                best = (found, self.order.clone());
            }
        }
        self.order = best.1;
    }
}

/// Depth first: which links lead back, and the vertices in the order in which they were finished.
fn walk(count: usize, links: &[Link]) -> (Vec<bool>, Vec<usize>) {
    let mut out: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (number, link) in links.iter().enumerate() {
        out[link.from].push(number);
    }
    let mut back = vec![false; links.len()];
    let mut finished = Vec::with_capacity(count);
    // 0: not seen, 1: on the way, 2: finished.
    let mut state = vec![0_u8; count];
    for root in 0..count {
        if state[root] != 0 {
            continue;
        }
        state[root] = 1;
        let mut way = vec![(root, 0)];
        while let Some((vertex, next)) = way.pop() {
            let Some(&number) = out[vertex].get(next) else {
                state[vertex] = 2;
                finished.push(vertex);
                continue;
            };
            way.push((vertex, next + 1));
            let to = links[number].to;
            match state[to] {
                0 => {
                    state[to] = 1;
                    way.push((to, 0));
                }
                1 => back[number] = true,
                _ => {}
            }
        }
    }
    (back, finished)
}

/// The layer of each vertex: below everything that leads to it.
fn ranks(links: &[Link], back: &[bool], finished: &[usize]) -> Vec<usize> {
    let mut out: Vec<Vec<&Link>> = vec![Vec::new(); finished.len()];
    for (link, _) in links.iter().zip(back).filter(|(_, back)| !**back) {
        out[link.from].push(link);
    }
    let mut rank = vec![0; finished.len()];
    for &vertex in finished.iter().rev() {
        for link in &out[vertex] {
            rank[link.to] = rank[link.to].max(rank[vertex] + link.length);
        }
    }
    rank
}

fn places(order: &[Vec<usize>], count: usize) -> Vec<usize> {
    let mut place = vec![0; count];
    for layer in order {
        for (at, &vertex) in layer.iter().enumerate() {
            place[vertex] = at;
        }
    }
    place
}

/// How many pairs of segments cross.
fn crossings(order: &[Vec<usize>], below: &[Vec<usize>], place: &[usize]) -> usize {
    let mut found = 0;
    for (rank, layer) in order.iter().enumerate() {
        let width = order.get(rank + 1).map_or(0, Vec::len);
        // A tree of counts: how many segments so far end at or left of a place.
        let mut tree = vec![0_usize; width + 1];
        let mut total = 0;
        for &vertex in layer {
            let mut ends: Vec<usize> = below[vertex].iter().map(|&lower| place[lower]).collect();
            ends.sort_unstable();
            for &end in &ends {
                let mut at = end + 1;
                let mut left = 0;
                while at > 0 {
                    left += tree[at];
                    at &= at - 1;
                }
                found += total - left;
            }
            for end in ends {
                let mut at = end + 1;
                while at <= width {
                    tree[at] += 1;
                    at += at & at.wrapping_neg();
                }
                total += 1;
            }
        }
    }
    found
}
