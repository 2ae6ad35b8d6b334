//! The f64 interpreter: runs a graph through the operations' own reference functions, on the host.
//!
//! Slow and obvious; the yardstick for every kernel and, through finite differences, for every gradient.

use crate::error::{Error, Result, UsageError};
use crate::graph::{GraphData, Origin, TensorId};
use crate::ops::{View, ViewMut};
use std::collections::HashMap;

/// Tensors by name, elements in PyTorch's order.
pub type Tensors = HashMap<String, Vec<f64>>;

/// Values of all tensors of a graph after one run.
#[derive(Debug)]
pub struct Run {
    values: Vec<Vec<f64>>,
}

impl Run {
    /// Elements of a tensor in PyTorch's order.
    pub fn value(&self, id: TensorId) -> &[f64] {
        &self.values[id.0]
    }

    /// A named output.
    pub fn output(&self, graph: &GraphData, name: &str) -> Option<&[f64]> {
        graph.outputs.iter().find(|(known, _)| known == name).map(|(_, id)| self.value(*id))
    }
}

/// Runs `graph` once; `params` are updated by the graph's write-backs.
///
/// # Errors
/// Shape mistakes of the trace; a feed or parameter that is missing or of another length.
pub fn run(graph: &GraphData, feeds: &Tensors, params: &mut Tensors) -> Result<Run> {
    graph.check()?;
    let mut values: Vec<Vec<f64>> = vec![Vec::new(); graph.tensors.len()];
    for (i, tensor) in graph.tensors.iter().enumerate() {
        let (kind, name, source) = match &tensor.origin {
            Origin::Feed(name) => ("feed", name, feeds.get(name)),
            Origin::Param(decl) => ("parameter", &decl.name, params.get(&decl.name)),
            Origin::Node { .. } | Origin::Poison => continue,
        };
        let wanted = tensor.desc.shape.numel();
        match source {
            Some(data) if data.len() == wanted => values[i] = data.clone(),
            other => {
                return Err(Error::Usage(UsageError::Mismatch {
                    kind,
                    name: name.clone(),
                    wanted: format!("{wanted} elements"),
                    got: other.map_or("nothing".to_string(), |data| format!("{} elements", data.len())),
                }));
            }
        }
    }
    for node in &graph.nodes {
        let mut results: Vec<Vec<f64>> =
            node.outputs.iter().map(|id| vec![0.0; graph.desc(*id).shape.numel()]).collect();
        let x: Vec<View<'_>> =
            node.inputs.iter().map(|id| View { shape: graph.desc(*id).shape, data: &values[id.0] }).collect();
        let mut y: Vec<ViewMut<'_>> = node
            .outputs
            .iter()
            .zip(&mut results)
            .map(|(id, data)| ViewMut { shape: graph.desc(*id).shape, data })
            .collect();
        node.op.reference(&x, &mut y);
        for (id, data) in node.outputs.iter().zip(results) {
            values[id.0] = data;
        }
    }
    for (param, value) in &graph.write_backs {
        if let Some(decl) = graph.param(*param) {
            params.insert(decl.name.clone(), values[value.0].clone());
        }
    }
    Ok(Run { values })
}
