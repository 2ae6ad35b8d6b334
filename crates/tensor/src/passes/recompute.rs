//! Recomputation: activations that the backward pass reads are dropped and computed again where it needs them, until
//! temporaries fit a budget of bytes.
//!
//! The graph has a **turning point**, the node before which most bytes wait for nodes behind it: the end of the forward
//! pass. A set of early results is **kept** across it; every other one that a late node reads is computed again, right
//! before the first late node that reads it, from what is kept. The sets that are tried are those of Chen et al.
//! (arXiv:1604.06174): the early nodes are cut into segments of about equally many bytes where the cut is narrow, and what
//! crosses a cut is kept. As long as the budget allows it the dearest results per byte (convolutions before batch norms)
//! are then kept as well.
//!
//! Results keep their bits: the same kernels run on the same numbers, statistics are not taken twice
//! ([`OpDef::again`](crate::ops::OpDef::again)), updates are not made twice, and masks are drawn from counters. The pass
//! names no operation.

use crate::graph::{GraphData, Node, Origin, TensorId, TensorInfo};
use crate::ops::node_cost;
use std::collections::{HashMap, HashSet};

/// FLOP that take as long as one byte of traffic: between a software adapter (about 2) and a large GPU (about 15).
const FLOPS_PER_BYTE: f64 = 8.0;

/// Numbers of segments to try: none is wanted beyond the square root of the depth, and few nets have more than 400 layers.
const SEGMENTS: [usize; 9] = [2, 3, 4, 5, 6, 8, 11, 15, 20];

/// How many of the segmentations are improved upon, and into how many parts at least the results that they drop are divided
/// to see which of them fit after all. More costs compile time: each question plans the memory of the whole step.
const STARTS: usize = 3;
const GRAIN: usize = 24;

/// What was found.
#[derive(Clone, Debug)]
pub struct Recomputed {
    /// The graph that computes the same with less memory.
    pub graph: GraphData,
    /// What `planned_bytes` says of it; above the budget if nothing was found that fits, and then the least.
    pub bytes: u64,
    /// Nodes that run a second time.
    pub nodes: usize,
}

/// Rewrites a scheduled graph so that `planned_bytes` of it is at most `budget_bytes`, with as little work done twice as
/// was found. `planned_bytes` is asked some dozens of times.
pub fn recompute(graph: &GraphData, budget_bytes: u64, planned_bytes: &dyn Fn(&GraphData) -> u64) -> Recomputed {
    let bytes = planned_bytes(graph);
    let unchanged = Recomputed { graph: graph.clone(), bytes, nodes: 0 };
    if bytes <= budget_bytes {
        return unchanged;
    }
    let timeline = Timeline::new(graph);
    let try_keeping = |kept: &HashSet<TensorId>| {
        let graph = timeline.rewrite(kept);
        Candidate { bytes: planned_bytes(&graph), cost: timeline.added_cost(&graph), graph }
    };
    let mut starts: Vec<(Candidate, HashSet<TensorId>)> = Vec::new();
    for segments in SEGMENTS {
        let kept = timeline.segments(segments);
        if starts.iter().all(|(_, known)| *known != kept) {
            starts.push((try_keeping(&kept), kept));
        }
    }
    // Those with most room left are worth the questions.
    starts.sort_by_key(|(candidate, _)| candidate.bytes);
    starts.truncate(STARTS);
    for (found, kept) in starts.iter_mut().filter(|(found, _)| found.bytes <= budget_bytes) {
        let wanted = timeline.dearest_first(kept);
        let least = wanted.len().div_ceil(GRAIN);
        keep_more(&wanted, least, kept, found, &|kept| {
            Some(try_keeping(kept)).filter(|candidate| candidate.bytes <= budget_bytes)
        });
    }
    let best = starts.into_iter().map(|(candidate, _)| candidate).min_by(|a, b| {
        let over = |candidate: &Candidate| candidate.bytes.max(budget_bytes);
        over(a).cmp(&over(b)).then(a.cost.total_cmp(&b.cost))
    });
    match best.filter(|best| best.bytes < bytes) {
        Some(best) => {
            let nodes = best.graph.nodes.len() - graph.nodes.len();
            Recomputed { graph: best.graph, bytes: best.bytes, nodes }
        }
        None => unchanged,
    }
}

struct Candidate {
    graph: GraphData,
    bytes: u64,
    cost: f64,
}

/// Keeps as many of `wanted` as fit, in halves down to runs of `least`: a run that fits as a whole costs one question.
fn keep_more(
    wanted: &[TensorId],
    least: usize,
    kept: &mut HashSet<TensorId>,
    found: &mut Candidate,
    fits: &dyn Fn(&HashSet<TensorId>) -> Option<Candidate>,
) {
    if wanted.is_empty() {
        return;
    }
    let more: HashSet<TensorId> = kept.iter().chain(wanted).copied().collect();
    match fits(&more) {
        Some(candidate) => {
            *kept = more;
            // What is kept without need costs bytes elsewhere; a candidate that is no cheaper changes nothing.
            if candidate.cost < found.cost {
                *found = candidate;
            }
        }
        None if wanted.len() > least => {
            let (dear, cheap) = wanted.split_at(wanted.len() / 2);
            keep_more(dear, least, kept, found, fits);
            keep_more(cheap, least, kept, found, fits);
        }
        None => {}
    }
}

/// A scheduled graph with its turning point and the lives of its early results.
struct Timeline<'g> {
    graph: &'g GraphData,
    roots: Vec<TensorId>,
    /// First late node.
    turn: usize,
    /// Node that updates a parameter in place.
    updated_at: HashMap<TensorId, usize>,
    /// The first results of early nodes: with the last early node that uses each.
    early: Vec<Early>,
}

/// The first result of an early node.
struct Early {
    id: TensorId,
    node: usize,
    last_early_use: usize,
    is_used_late: bool,
}

impl<'g> Timeline<'g> {
    fn new(graph: &'g GraphData) -> Timeline<'g> {
        let roots = graph.roots();
        let mut uses: Vec<Vec<usize>> = vec![Vec::new(); graph.tensors.len()];
        for (index, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|id| uses[roots[id.0].0].push(index));
        }
        // Gradients of parameters lie in buffers of their own, however long they wait for the optimiser.
        let apart: HashSet<TensorId> = graph.flat_gradients.iter().map(|(id, _)| roots[id.0]).collect();
        let mut waiting = vec![0i64; graph.nodes.len() + 1];
        let results = graph.nodes.iter().enumerate().flat_map(|(i, node)| node.outputs.iter().map(move |id| (i, *id)));
        for (index, id) in results.filter(|(_, id)| roots[id.0] == *id && !apart.contains(id)) {
            if let Some(&last) = uses[id.0].last() {
                let bytes = graph.desc(id).size_bytes() as i64;
                waiting[index + 1] += bytes;
                waiting[last + 1] -= bytes;
            }
        }
        let mut sum = 0;
        let held: Vec<i64> = waiting.iter().map(|change| (sum += change, sum).1).collect();
        let turn = (0..held.len()).rev().max_by_key(|&i| held[i]).unwrap_or(0);

        let producer = |id: TensorId| match graph.tensors[roots[id.0].0].origin {
            Origin::Node { node, .. } => Some(node),
            _ => None,
        };
        let updated_at =
            graph.write_backs.iter().filter_map(|(param, value)| Some((*param, producer(*value)?))).collect();
        let early =
            graph.nodes[..turn].iter().enumerate().filter(|(_, node)| roots[node.outputs[0].0] == node.outputs[0]);
        let early = early
            .map(|(index, node)| {
                let id = node.outputs[0];
                let last_early_use = uses[id.0].iter().copied().filter(|&at| at < turn).max().unwrap_or(index);
                Early { id, node: index, last_early_use, is_used_late: uses[id.0].iter().any(|&at| at >= turn) }
            })
            .collect();
        Timeline { graph, roots, turn, updated_at, early }
    }

    /// The results to keep when the early nodes are cut into about `count` segments: those that cross a cut on their way
    /// to an early node, and all of the last segment, which the backward pass reads first.
    fn segments(&self, count: usize) -> HashSet<TensorId> {
        let bytes = |early: &Early| self.graph.desc(early.id).size_bytes();
        let total: u64 = self.early.iter().filter(|early| early.is_used_late).map(bytes).sum();
        let crosses = |early: &Early, cut: usize| early.node < cut && cut <= early.last_early_use;
        let width = |cut: usize| self.early.iter().filter(|early| crosses(early, cut)).map(bytes).sum::<u64>();
        let mut cuts: Vec<usize> = Vec::new();
        let (mut filled, mut begin) = (0, 1);
        for early in &self.early {
            filled += if early.is_used_late { bytes(early) } else { 0 };
            if filled * count as u64 >= total && cuts.len() + 1 < count {
                // The narrowest place of the segment's second half, the later of two.
                let half = begin + (early.node + 1 - begin.min(early.node)) / 2;
                let cut = (half..=early.node + 1).rev().min_by_key(|&cut| width(cut)).unwrap_or(early.node + 1);
                cuts.push(cut);
                (filled, begin) = (0, cut + 1);
            }
        }
        let last = cuts.last().copied().unwrap_or(0);
        let is_kept = |early: &&Early| early.node >= last || cuts.iter().any(|&cut| crosses(early, cut));
        self.early.iter().filter(is_kept).map(|early| early.id).collect()
    }

    /// Early results that are not kept, those whose recomputation costs most per byte first.
    fn dearest_first(&self, kept: &HashSet<TensorId>) -> Vec<TensorId> {
        let price = |early: &Early| {
            time(self.graph, &self.graph.nodes[early.node]) / self.graph.desc(early.id).size_bytes().max(1) as f64
        };
        let mut rest: Vec<&Early> = self.early.iter().filter(|early| !kept.contains(&early.id)).collect();
        rest.sort_by(|a, b| price(b).total_cmp(&price(a)));
        rest.into_iter().map(|early| early.id).collect()
    }

    /// Estimated time of the nodes that a rewritten graph has beyond this one, in bytes of traffic.
    fn added_cost(&self, rewritten: &GraphData) -> f64 {
        let whole = |graph: &GraphData| graph.nodes.iter().map(|node| time(graph, node)).sum::<f64>();
        whole(rewritten) - whole(self.graph)
    }

    /// The graph whose late nodes read only `kept` ones of the early first results, and compute the others again.
    fn rewrite(&self, kept: &HashSet<TensorId>) -> GraphData {
        let mut rewrite = Rewrite { timeline: self, kept, again: HashMap::new(), result: self.graph.clone() };
        rewrite.result.nodes.truncate(self.turn);
        for (at, node) in self.graph.nodes.iter().enumerate().skip(self.turn) {
            let inputs = node.inputs.iter().map(|&id| rewrite.available(id, at)).collect();
            rewrite.result.nodes.push(Node { inputs, ..node.clone() });
        }
        super::schedule::renumber(&mut rewrite.result);
        rewrite.result
    }
}

fn time(graph: &GraphData, node: &Node) -> f64 {
    if node.op.view_of(&graph.descs(&node.inputs)).is_some() {
        return 0.0;
    }
    let cost = node_cost(graph, node);
    cost.bytes + cost.flops / FLOPS_PER_BYTE
}

struct Rewrite<'t> {
    timeline: &'t Timeline<'t>,
    kept: &'t HashSet<TensorId>,
    /// Early results by what holds them after the turning point.
    again: HashMap<TensorId, TensorId>,
    result: GraphData,
}

impl Rewrite<'_> {
    /// The tensor that holds what `id` held, for a late node that stands at `at` in the old graph; computes it again if it
    /// must.
    fn available(&mut self, id: TensorId, at: usize) -> TensorId {
        let graph = self.timeline.graph;
        let Origin::Node { node: index, output } = graph.tensors[id.0].origin else { return id };
        // Further results (statistics) are small, and what computes them again would compute the first one, too.
        if index >= self.timeline.turn || output != 0 || self.kept.contains(&id) {
            return id;
        }
        if let Some(&known) = self.again.get(&id) {
            return known;
        }
        let node = &graph.nodes[index];
        let (op, operands) =
            node.op.again(&node.inputs, &node.outputs).unwrap_or((node.op.clone(), node.inputs.clone()));
        let root = |id: &TensorId| self.timeline.roots[id.0];
        let reads_new_values =
            operands.iter().any(|id| self.timeline.updated_at.get(&root(id)).is_some_and(|&u| u < at));
        if reads_new_values {
            return id;
        }
        let inputs: Vec<TensorId> = operands.iter().map(|&operand| self.available(operand, at)).collect();
        let is_view = self.timeline.roots[id.0] != id;
        if is_view && inputs == operands {
            return id;
        }
        let outputs: Vec<TensorId> = (0..op.output_count())
            .map(|output| {
                let desc = graph.desc(node.outputs[output]);
                let twin = TensorId(self.result.tensors.len());
                self.result.tensors.push(TensorInfo { desc, origin: Origin::Poison });
                self.result.repeats.insert(twin, node.outputs[output]);
                twin
            })
            .collect();
        self.again.insert(id, outputs[0]);
        let (path, location) = (format!("{} again", node.path), node.location);
        let first = outputs[0];
        self.result.nodes.push(Node { op, inputs, outputs, path, location });
        first
    }
}
