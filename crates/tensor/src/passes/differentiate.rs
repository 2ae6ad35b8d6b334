//! Reverse-mode differentiation of the graph: appends the backward pass as ordinary nodes.

use crate::error::{Result, UsageError};
use crate::graph::{Graph, Origin, TensorId, Value};
use crate::ops::Backward;
use crate::shape::TensorDesc;
use std::collections::HashMap;

/// Emits the gradient of the scalar `loss` with respect to each of `wanted`; `None` where the loss does not depend on it.
/// A loss of more than one element is a mistake of the trace.
///
/// Gradients that meet are added in reverse order of the forward pass, so the order of summation is fixed. Nodes that no
/// wanted tensor feeds into emit nothing.
///
/// # Errors
/// When an operation without a derivative stands between the loss and a wanted tensor.
#[track_caller]
pub fn gradients<'g>(loss: Value<'g>, wanted: &[Value<'g>]) -> Result<Vec<Option<Value<'g>>>> {
    if loss.shape().numel() != 1 {
        let message = format!("the loss must be a scalar, got {}; take its mean or sum first", loss.desc());
        loss.graph().mistake("gradients", message);
    }
    let seed = if loss.is_poison() { loss } else { loss.graph().constant(loss.shape(), 1.0) };
    gradients_seeded(&[(loss, seed)], wanted)
}

/// [`gradients`] of `sum_i <y_i, seed_i>` for several results at once.
///
/// # Errors
/// As [`gradients`].
#[track_caller]
pub fn gradients_seeded<'g>(seeds: &[(Value<'g>, Value<'g>)], wanted: &[Value<'g>]) -> Result<Vec<Option<Value<'g>>>> {
    let Some((first, _)) = seeds.first() else { return Ok(vec![None; wanted.len()]) };
    let graph = first.graph();
    let values: Vec<Value<'g>> =
        seeds.iter().flat_map(|(value, seed)| [*value, *seed]).chain(wanted.to_vec()).collect();
    graph.owns_all("gradients", &values);
    let data = graph.data();
    if !data.errors.is_empty() {
        // The mistakes are reported by `compile`; there is nothing sensible to differentiate.
        return Ok(vec![None; wanted.len()]);
    }

    let mut needed = vec![false; data.tensors.len()];
    for value in wanted {
        needed[value.id().0] = true;
    }
    for node in &data.nodes {
        if node.inputs.iter().any(|id| needed[id.0]) {
            node.outputs.iter().for_each(|id| needed[id.0] = true);
        }
    }

    let first = TensorId(data.tensors.len());
    graph.with_data_mut(|data| data.first_gradient = data.first_gradient.or(Some(first)));
    let mut gradients: HashMap<TensorId, Value<'g>> = HashMap::new();
    for (value, seed) in seeds {
        accumulate(&mut gradients, graph, value.id(), *seed);
    }
    for node in data.nodes.iter().rev() {
        let arrived = node.outputs.iter().enumerate();
        let dy: Vec<Option<Value<'g>>> =
            arrived.map(|(i, id)| gradients.get(id).copied().filter(|_| node.op.is_differentiable(i))).collect();
        let needs: Vec<bool> = node.inputs.iter().map(|id| needed[id.0] && is_float(data.desc(*id))).collect();
        if dy.iter().all(Option::is_none) || !needs.contains(&true) {
            continue;
        }
        let cx = Backward {
            graph,
            inputs: node.inputs.iter().map(|&id| graph.value(id)).collect(),
            outputs: node.outputs.iter().map(|&id| graph.value(id)).collect(),
            gradients: dy,
            needs,
        };
        let emitted = graph
            .at_path(&node.path, || node.op.backward(&cx))
            .ok_or_else(|| UsageError::NotDifferentiable { op: node.op.name().to_string(), path: node.path.clone() })?;
        for (&id, dx) in node.inputs.iter().zip(emitted) {
            if let (true, Some(dx)) = (needed[id.0], dx) {
                graph.at_path(&node.path, || accumulate(&mut gradients, graph, id, dx));
            }
        }
    }
    Ok(wanted.iter().map(|value| gradients.get(&value.id()).copied()).collect())
}

fn is_float(desc: TensorDesc) -> bool {
    desc.dtype == crate::dtype::DType::F32
}

fn accumulate<'g>(gradients: &mut HashMap<TensorId, Value<'g>>, graph: &'g Graph, id: TensorId, dx: Value<'g>) {
    debug_assert!(
        dx.is_poison() || graph.with_data(|data| data.desc(id).shape == dx.shape()),
        "gradient of %{} has shape {}",
        id.0,
        dx.shape()
    );
    let sum = match gradients.get(&id) {
        Some(&known) => known + dx,
        None => dx,
    };
    gradients.insert(id, sum);
}

/// All weights of a graph, in order of declaration: what an optimiser differentiates for.
pub fn weights(graph: &Graph) -> Vec<Value<'_>> {
    graph.with_data(|data| {
        data.tensors
            .iter()
            .enumerate()
            .filter(|(_, tensor)| {
                matches!(&tensor.origin, Origin::Param(decl) if decl.kind == crate::graph::ParamKind::Weight)
            })
            .map(|(i, _)| graph.value(TensorId(i)))
            .collect()
    })
}
