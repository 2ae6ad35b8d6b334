//! First fusion rules: a bias, a residual sum or an activation becomes the epilogue of the operation before it.
//!
//! `conv2d -> add_bias -> relu`, `matmul -> add_bias`, `batch_norm -> add -> relu` and, in the backward pass,
//! `conv2d.backward_input -> add` (the gradient of a shortcut) each become one operation. The pass knows no operation by
//! name: it asks the later one what it is as an epilogue and the earlier one whether it can take it.

use super::schedule::renumber;
use crate::graph::{GraphData, Origin, TensorId};
use crate::ops::Epilogue;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

/// Rewrites the graph until no rule applies. Values, outputs and write-backs keep their meaning.
pub fn fuse(graph: &GraphData) -> GraphData {
    let mut graph = graph.clone();
    let mut at = 0;
    while at < graph.nodes.len() {
        // After a rewrite the same position is looked at again: the fused node may be an epilogue's operand in turn.
        if !fuse_at(&mut graph, at) {
            at += 1;
        }
    }
    graph
}

/// Tries to move node `at` into the node before it.
fn fuse_at(graph: &mut GraphData, at: usize) -> bool {
    let node = &graph.nodes[at];
    let Some(epilogue) = node.op.as_epilogue() else { return false };
    let operands = node.inputs.clone();
    let result = node.outputs[0];
    let choices = match epilogue {
        Epilogue::Residual => vec![(operands[0], Some(operands[1])), (operands[1], Some(operands[0]))],
        Epilogue::Bias => vec![(operands[0], Some(operands[1]))],
        Epilogue::Activation(_) => vec![(operands[0], None)],
    };
    // The fused node stands where the earlier one stood; an update there could come before its parameter's last reader.
    let roots = graph.roots();
    if graph.write_backs.iter().any(|(_, value)| roots[value.0] == result) {
        return false;
    }
    for (through, extra) in choices {
        let Origin::Node { node: producer, output: 0 } = graph.tensors[through.0].origin else { continue };
        if extra == Some(through) || uses(graph, through) != 1 {
            continue;
        }
        let Some(fused) = graph.nodes[producer].op.with_epilogue(epilogue) else { continue };
        if extra.is_some_and(|extra| depends_on(graph, extra, producer)) {
            continue;
        }
        let earlier = &mut graph.nodes[producer];
        earlier.op = fused;
        earlier.inputs.extend(extra);
        earlier.outputs[0] = result;
        graph.nodes.remove(at);
        renumber(graph);
        sort(graph);
        return true;
    }
    false
}

/// How often a tensor is used, as an operand or by being kept.
fn uses(graph: &GraphData, id: TensorId) -> usize {
    let operands = graph.nodes.iter().flat_map(|node| &node.inputs).filter(|input| **input == id).count();
    let kept = graph.outputs.iter().filter(|(_, output)| *output == id).count();
    let written = graph.write_backs.iter().filter(|(_, value)| *value == id).count();
    let flat = graph.flat_gradients.iter().filter(|(gradient, _)| *gradient == id).count();
    operands + kept + written + flat
}

/// Whether `id` is computed from a result of node `ancestor`.
fn depends_on(graph: &GraphData, id: TensorId, ancestor: usize) -> bool {
    let mut open = vec![id];
    let mut seen = HashSet::new();
    while let Some(id) = open.pop() {
        let Origin::Node { node, .. } = graph.tensors[id.0].origin else { continue };
        if node == ancestor {
            return true;
        }
        if seen.insert(node) {
            open.extend(&graph.nodes[node].inputs);
        }
    }
    false
}

/// Restores a topological order, keeping the present one wherever operands allow.
fn sort(graph: &mut GraphData) {
    let count = graph.nodes.len();
    let mut waiting = vec![0usize; count];
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (index, node) in graph.nodes.iter().enumerate() {
        for input in &node.inputs {
            if let Origin::Node { node: producer, .. } = graph.tensors[input.0].origin {
                waiting[index] += 1;
                followers[producer].push(index);
            }
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = (0..count).filter(|&i| waiting[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &follower in &followers[index] {
            waiting[follower] -= 1;
            if waiting[follower] == 0 {
                ready.push(Reverse(follower));
            }
        }
    }
    debug_assert_eq!(order.len(), count, "fusion made a cycle");
    if order.iter().enumerate().any(|(i, &index)| i != index) {
        graph.nodes = order.into_iter().map(|index| graph.nodes[index].clone()).collect();
        renumber(graph);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Init, Mode, Scope};
    use crate::shape::TensorDesc;

    fn names(graph: &GraphData) -> Vec<String> {
        graph.nodes.iter().map(|node| format!("{:?}", node.op)).collect()
    }

    #[test]
    fn a_chain_becomes_one_product() {
        let graph = Graph::new();
        let scope = Scope::new(&graph, Mode::Eval);
        let x = graph.feed("x", TensorDesc::f32([2, 3]));
        let other = graph.feed("other", TensorDesc::f32([2, 4]));
        let w = scope.weight("w", [4, 3], Init::Constant(1.0));
        graph.output("y", (other + x.matmul_transposed(w)).relu());
        let fused = fuse(&graph.data());
        let only = names(&fused);
        assert_eq!(only.len(), 1);
        assert!(only[0].contains("residual: true") && only[0].contains("Relu"), "{only:?}");
        assert_eq!(fused.nodes[0].inputs.len(), 3);
    }

    #[test]
    fn a_value_used_twice_is_kept() {
        let graph = Graph::new();
        let x = graph.feed("x", TensorDesc::f32([2, 3]));
        let y = x.matmul_transposed(x);
        graph.output("product", y);
        graph.output("relu", y.relu());
        graph.output("doubled", (y + y).tanh());
        assert_eq!(fuse(&graph.data()).nodes.len(), 4);
    }

    #[test]
    fn the_residual_may_be_computed_later() {
        let graph = Graph::new();
        let x = graph.feed("x", TensorDesc::f32([3, 3]));
        let product = x.matmul(x);
        let later = x.tanh().scale(2.0);
        graph.output("y", product + later);
        let fused = fuse(&graph.data());
        assert_eq!(fused.nodes.len(), 3);
        assert_eq!(fused.nodes[2].op.name(), "matmul");
    }
}
