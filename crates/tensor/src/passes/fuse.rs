//! Fusion: a bias, a residual sum, an activation or another pointwise operation becomes the epilogue of the one before it.
//!
//! `conv2d -> add_bias -> relu`, `matmul -> add_bias`, `batch_norm -> add -> relu` and, in the backward pass,
//! `conv2d.backward_input -> add` (the gradient of a shortcut) each become one operation. Likewise the gradient of an
//! activation becomes the prologue of the batch norm's backward pass behind it. Pointwise operations that are left in a row
//! become one chain. The pass knows no operation by name: it asks
//! the one what it is as an epilogue or prologue, and the other whether it can take it.

use super::schedule::renumber;
use crate::graph::{GraphData, Origin, TensorId};
use crate::ops::OpDef;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

/// Rewrites the graph until no rule applies. Values, outputs and write-backs keep their meaning.
pub fn fuse(graph: &GraphData) -> GraphData {
    let mut graph = graph.clone();
    // A convolution shall not lose its epilogue to a scaling that could take it just as well.
    fuse_epilogues(&mut graph, &|earlier| earlier.as_epilogue().is_none());
    let mut at = 0;
    while at < graph.nodes.len() {
        match fuse_prologue(&mut graph, at) {
            Some(merged) => at = merged,
            None => at += 1,
        }
    }
    fuse_epilogues(&mut graph, &|_| true);
    graph
}

/// Moves epilogues into the earlier nodes that `takes` allows.
fn fuse_epilogues(graph: &mut GraphData, takes: &dyn Fn(&dyn OpDef) -> bool) {
    let mut at = 0;
    while at < graph.nodes.len() {
        // After a rewrite the same position is looked at again: the fused node may be an epilogue's operand in turn.
        if !fuse_at(graph, at, takes) {
            at += 1;
        }
    }
}

/// Tries to move a node in front of node `at` into it; returns where `at` is then.
fn fuse_prologue(graph: &mut GraphData, at: usize) -> Option<usize> {
    let updated: HashSet<TensorId> = graph.write_backs.iter().map(|(param, _)| *param).collect();
    let roots = graph.roots();
    for (i, &operand) in graph.nodes[at].inputs.iter().enumerate() {
        let Origin::Node { node: producer, output: 0 } = graph.tensors[operand.0].origin else { continue };
        let before = &graph.nodes[producer];
        let Some(prologue) = before.op.as_prologue() else { continue };
        // The fused node reads where the later one stood; a parameter may have its new value there.
        if uses(graph, operand) != 1 || before.inputs.iter().any(|id| updated.contains(&roots[id.0])) {
            continue;
        }
        let Some(fused) = graph.nodes[at].op.with_prologue(i, prologue) else { continue };
        let (&through, others) = before.inputs.split_first()?;
        let others = others.to_vec();
        let later = &mut graph.nodes[at];
        later.op = fused;
        later.inputs[i] = through;
        later.inputs.extend(others);
        graph.nodes.remove(producer);
        renumber(graph);
        return Some(at - 1);
    }
    None
}

/// Tries to move node `at` into the node before it.
fn fuse_at(graph: &mut GraphData, at: usize, takes: &dyn Fn(&dyn OpDef) -> bool) -> bool {
    let node = &graph.nodes[at];
    let Some(epilogue) = node.op.as_epilogue() else { return false };
    let operands = node.inputs.clone();
    let result = node.outputs[0];
    let mut choices = vec![(operands[0], operands.get(1).copied())];
    if epilogue.is_symmetric() {
        choices.push((operands[1], Some(operands[0])));
    }
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
        let earlier = graph.nodes[producer].op.as_ref();
        let Some(fused) = takes(earlier).then(|| earlier.with_epilogue(epilogue)).flatten() else { continue };
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
        // The sum and its tanh are a chain.
        assert_eq!(fuse(&graph.data()).nodes.len(), 3);
    }

    #[test]
    fn the_gradient_of_an_activation_is_taken_on_load_unless_another_node_reads_it() {
        use crate::passes::differentiate::gradients;
        for shortcut in [false, true] {
            let graph = Graph::new();
            let scope = Scope::new(&graph, Mode::Train);
            let x = scope.weight("x", [5, 3], Init::Constant(1.0));
            let [w, b] = ["w", "b"].map(|name| scope.weight(name, [3], Init::Constant(1.0)));
            let y = x.scale(2.0).batch_norm(w, b, 1e-5).0;
            let y = if shortcut { y + x.tanh() } else { y };
            for gradient in gradients(y.relu().sum(), &[x, w]).expect("differentiable").into_iter().flatten() {
                graph.output(&format!("{}", gradient.id().0), gradient);
            }
            let fused = super::super::schedule::schedule(&fuse(&graph.data())).expect("in order");
            let apart = fused.nodes.iter().filter(|node| format!("{:?}", node.op).contains("ActivateBackward")).count();
            // With the shortcut the sum's gradient goes on two ways; that of tanh is in a chain.
            assert_eq!(apart, usize::from(shortcut), "{:?}", names(&fused));
        }
    }

    #[test]
    fn the_residual_may_be_computed_later() {
        let graph = Graph::new();
        let x = graph.feed("x", TensorDesc::f32([3, 3]));
        let product = x.matmul(x);
        let later = x.tanh().scale(2.0);
        graph.output("y", product + later);
        let fused = fuse(&graph.data());
        let order: Vec<&str> = fused.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(order, ["chain", "matmul"]);
    }
}
