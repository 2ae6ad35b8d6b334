//! Which nodes run, in which order.

use crate::error::{ShapeError, ShapeErrors};
use crate::graph::{GraphData, Node, Origin, TensorId};
use std::collections::HashMap;

/// Drops nodes whose results nobody uses. The rest keep their order of creation, which is topological: forward,
/// backward, optimiser. A weight gradient thus stands right behind the activation gradient that shares its operands,
/// which is where its workspace and the activation die soonest.
///
/// # Errors
/// When a node reads a parameter after its updated value was computed: an update in place would change what it reads.
pub fn schedule(graph: &GraphData) -> Result<GraphData, ShapeErrors> {
    let mut live = vec![false; graph.tensors.len()];
    let roots = graph.outputs.iter().map(|(_, id)| id).chain(graph.write_backs.iter().map(|(_, value)| value));
    roots.for_each(|id| live[id.0] = true);
    let mut keep = vec![false; graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        if node.outputs.iter().any(|id| live[id.0]) {
            keep[i] = true;
            node.inputs.iter().for_each(|id| live[id.0] = true);
        }
    }
    let mut result = graph.clone();
    result.nodes = graph.nodes.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(node, _)| node.clone()).collect();
    result.flat_gradients.retain(|(gradient, _)| live[gradient.0]);
    renumber(&mut result);
    let late = late_reads(&result);
    if late.is_empty() { Ok(result) } else { Err(ShapeErrors(late)) }
}

/// Orders nodes by the longest chain of nodes that must come before them, so that independent branches stand side by side.
/// Where that would let a node read a parameter after its update, the order stays as it is.
pub fn side_by_side(graph: &GraphData) -> GraphData {
    let mut depth = vec![0usize; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        depth[index] = producers(graph, node).map(|producer| depth[producer] + 1).max().unwrap_or(0);
    }
    let mut order: Vec<usize> = (0..graph.nodes.len()).collect();
    order.sort_by_key(|&index| depth[index]);
    let mut result = graph.clone();
    result.nodes = order.into_iter().map(|index| graph.nodes[index].clone()).collect();
    renumber(&mut result);
    if late_reads(&result).is_empty() { result } else { graph.clone() }
}

/// The nodes whose results a node takes.
fn producers<'g>(graph: &'g GraphData, node: &'g Node) -> impl Iterator<Item = usize> + 'g {
    node.inputs.iter().filter_map(|id| match graph.tensors[id.0].origin {
        Origin::Node { node, .. } => Some(node),
        _ => None,
    })
}

/// Which nodes depend on which, through any number of others.
#[derive(Clone, Debug)]
pub struct Dependencies {
    /// Bit `j` of row `i`: node `i` depends on node `j`.
    rows: Vec<Vec<u64>>,
}

impl Dependencies {
    /// Of a graph in topological order.
    pub fn of(graph: &GraphData) -> Dependencies {
        let mut rows: Vec<Vec<u64>> = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            let mut row = vec![0u64; graph.nodes.len().div_ceil(64)];
            for producer in producers(graph, node) {
                row.iter_mut().zip(&rows[producer]).for_each(|(word, more)| *word |= more);
                row[producer / 64] |= 1 << (producer % 64);
            }
            rows.push(row);
        }
        Dependencies { rows }
    }

    /// Whether node `later` can only run after node `earlier`, or is the same.
    pub fn ordered(&self, earlier: usize, later: usize) -> bool {
        earlier == later || self.rows[later][earlier / 64] >> (earlier % 64) & 1 == 1
    }
}

/// Makes the tensors' origins agree with the nodes' positions.
pub(super) fn renumber(graph: &mut GraphData) {
    for (index, node) in graph.nodes.iter().enumerate() {
        for (position, id) in node.outputs.iter().enumerate() {
            graph.tensors[id.0].origin = Origin::Node { node: index, output: position };
        }
    }
}

fn late_reads(graph: &GraphData) -> Vec<ShapeError> {
    let roots = graph.roots();
    let mut written_at: HashMap<TensorId, usize> = HashMap::new();
    for (param, value) in &graph.write_backs {
        if let Origin::Node { node, .. } = graph.tensors[roots[value.0].0].origin {
            written_at.insert(*param, node);
        }
    }
    let complaint = |node: &Node, id: &TensorId| ShapeError {
        op: node.op.name().to_string(),
        path: node.path.clone(),
        inputs: vec![format!("%{}", id.0)],
        message: "reads a parameter after its update was traced; trace all readers first".to_string(),
        location: node.location,
    };
    let mut found = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        if node.op.view_of(&graph.descs(&node.inputs)).is_some() {
            continue; // A view reads nothing; whoever reads the view is asked.
        }
        let late = node.inputs.iter().filter(|id| written_at.get(&roots[id.0]).is_some_and(|&at| at < index));
        found.extend(late.map(|id| complaint(node, id)));
    }
    found
}
