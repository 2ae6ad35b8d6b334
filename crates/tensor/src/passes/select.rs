//! Which algorithm computes each operation that has several.
//!
//! Every such operation is asked for its candidates; a lookup (the on-disk table, fresh measurements) may name one, else the
//! rules' stands. The pass is pure: it rewrites operations to the chosen algorithm and says why each was chosen.

use crate::graph::{GraphData, Node};
use crate::ops::{Candidate, OpDef, Target, node_cost};
use crate::shape::TensorDesc;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// Nodes that ask for the same choice: one operation with the same settings on operands of the same shapes.
#[derive(Clone, Debug)]
pub struct Work {
    /// Operation with its settings and operands, as text: what tables go by.
    pub key: String,
    /// What is computed.
    pub op: Rc<dyn OpDef>,
    /// The operands.
    pub x: Vec<TensorDesc>,
    /// The results.
    pub y: Vec<TensorDesc>,
    /// The ways there are, the rules' first.
    pub candidates: Vec<Candidate>,
    /// Label of the first of its nodes.
    pub label: String,
    /// Its nodes.
    pub nodes: Vec<usize>,
    /// Floating-point operations of all its nodes together.
    pub flops: f64,
}

/// Why an algorithm was taken.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// Fixed in the graph, or the only one there is.
    Fixed,
    /// The rules; nothing was measured.
    Rules,
    /// A table says that it was measured.
    Table(Timing),
    /// It was measured for this plan.
    Measured(Timing),
}

/// What a measurement found.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Milliseconds of the chosen algorithm.
    pub ms: f64,
    /// The best of the others, with its milliseconds.
    pub runner_up: Option<(String, f64)>,
}

/// An algorithm and why it was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Name of the algorithm.
    pub algorithm: &'static str,
    /// Why.
    pub why: Why,
}

/// The choices of a plan, by [`key`] of the operation with its algorithm fixed.
pub type Choices = BTreeMap<String, Choice>;

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ms", self.ms)?;
        match &self.runner_up {
            Some((name, ms)) => write!(f, ", {name} {ms:.3} ms"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.algorithm)?;
        match &self.why {
            Why::Fixed => f.write_str("fixed"),
            Why::Rules => f.write_str("by rule"),
            Why::Table(timing) => write!(f, "table, {timing}"),
            Why::Measured(timing) => write!(f, "measured, {timing}"),
        }
    }
}

/// An operation with its settings and operands, as text.
pub fn key(op: &dyn OpDef, x: &[TensorDesc]) -> String {
    let operands: Vec<String> = x.iter().map(TensorDesc::to_string).collect();
    format!("{op:?}({})", operands.join(", "))
}

/// [`key`] of a node.
pub fn node_key(graph: &GraphData, node: &Node) -> String {
    key(node.op.as_ref(), &graph.descs(&node.inputs))
}

/// The operations of a graph that have candidates, those that cost most first.
pub fn works(graph: &GraphData, target: &Target) -> Vec<Work> {
    let mut works: BTreeMap<String, Work> = BTreeMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let x = graph.descs(&node.inputs);
        let candidates = node.op.candidates(&x, target);
        if candidates.is_empty() {
            continue;
        }
        let key = key(node.op.as_ref(), &x);
        let y = graph.descs(&node.outputs);
        let (op, label) = (Rc::clone(&node.op), node.label());
        let new = Work { key: key.clone(), op, x, y, candidates, label, nodes: Vec::new(), flops: 0.0 };
        let work = works.entry(key).or_insert(new);
        work.nodes.push(index);
        work.flops += node_cost(graph, node).flops;
    }
    let mut works: Vec<Work> = works.into_values().collect();
    works.sort_by(|a, b| b.flops.total_cmp(&a.flops)); // Stable: equal costs stay in order of their keys.
    works
}

/// Fixes the algorithm of every operation that has candidates: the one that `find` names, if it is among them, else the
/// rules'.
pub fn select(
    graph: &GraphData,
    target: &Target,
    find: impl Fn(&Work) -> Option<(String, Why)>,
) -> (GraphData, Choices) {
    let mut graph = graph.clone();
    let mut choices = Choices::new();
    for work in works(&graph, target) {
        let found = find(&work).filter(|_| work.candidates.len() > 1).and_then(|(name, why)| {
            work.candidates.iter().find(|candidate| candidate.name == name).map(|candidate| (candidate, why))
        });
        let why = if work.candidates.len() > 1 { Why::Rules } else { Why::Fixed };
        let (candidate, why) = found.unwrap_or((&work.candidates[0], why));
        work.nodes.iter().for_each(|&node| graph.nodes[node].op = Rc::clone(&candidate.op));
        let choice = Choice { algorithm: candidate.name, why };
        choices.insert(key(candidate.op.as_ref(), &work.x), choice);
    }
    (graph, choices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::ops::Tier;
    use crate::ops::conv2d::{Conv2d, Conv2dConfig, ConvAlgo};

    /// Two convolutions alike, one larger, one with its algorithm fixed.
    fn graph() -> GraphData {
        let graph = Graph::new();
        let x = graph.feed("x", TensorDesc::f32([2, 16, 8, 8]));
        let w = graph.feed("w", TensorDesc::f32([16, 16, 3, 3]));
        let large = graph.feed("large", TensorDesc::f32([32, 16, 3, 3]));
        let config = Conv2dConfig { padding: [1, 1], ..Conv2dConfig::default() };
        let y = x.conv2d(w, config).conv2d(w, config).conv2d(large, config);
        graph.output("y", y);
        let fixed = Conv2d { algo: Some(ConvAlgo::WinogradF2), ..Conv2d::new(config) };
        graph.output("fixed", graph.apply1(fixed, &[x, w]));
        graph.data()
    }

    fn target() -> Target {
        Target { tier: Tier::Cpu, ..Target::default() }
    }

    fn algorithms(graph: &GraphData) -> Vec<String> {
        let algo = |node: &Node| format!("{:?}", node.op).split_once("algo: ").map(|(_, algo)| algo.to_string());
        graph.nodes.iter().filter_map(algo).collect()
    }

    #[test]
    fn equal_nodes_are_one_work_and_the_dearest_comes_first() {
        let works = works(&graph(), &target());
        let seen: Vec<(usize, usize)> = works.iter().map(|work| (work.nodes.len(), work.candidates.len())).collect();
        // The pair costs as much as the one with twice the filters.
        assert_eq!(seen.len(), 3, "{works:?}");
        assert!(works[0].flops == works[1].flops && works[1].flops > works[2].flops);
        assert_eq!(seen[2], (1, 1), "nothing is left to choose where the algorithm is fixed");
        assert!(works[0].candidates.len() >= 4);
    }

    #[test]
    fn rules_stand_where_nothing_is_known() {
        let (chosen, choices) = select(&graph(), &target(), |_| None);
        let text = algorithms(&chosen).join("\n");
        assert!(text.matches("Some(Implicit)").count() == 3 && text.contains("Some(WinogradF2)"), "{text}");
        let reasons: Vec<String> = choices.values().map(|choice| choice.to_string()).collect();
        assert!(reasons.iter().filter(|r| *r == "implicit: by rule").count() == 2, "{reasons:?}");
        assert!(reasons.contains(&"winograd-f2: fixed".to_string()), "{reasons:?}");
        for node in &chosen.nodes {
            assert!(choices.contains_key(&node_key(&chosen, node)), "{node:?}");
        }
    }

    #[test]
    fn a_lookup_decides_unless_it_names_what_is_not_there() {
        let timing = Timing { ms: 1.5, runner_up: Some(("implicit".to_string(), 2.0)) };
        let find = |work: &Work| match work.nodes.len() {
            2 => Some(("im2col".to_string(), Why::Table(timing.clone()))),
            _ => Some(("abacus".to_string(), Why::Table(timing.clone()))),
        };
        let (chosen, choices) = select(&graph(), &target(), find);
        let text = algorithms(&chosen);
        assert!(text[0].contains("Im2col") && text[1].contains("Im2col") && text[2].contains("Implicit"), "{text:?}");
        let reasons: Vec<String> = choices.values().map(|choice| choice.to_string()).collect();
        assert!(reasons.contains(&"im2col: table, 1.500 ms, implicit 2.000 ms".to_string()), "{reasons:?}");
    }
}
