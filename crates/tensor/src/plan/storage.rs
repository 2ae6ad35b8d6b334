//! Which tensors lie in 16 bits: a decision about memory, made when the dispatches are known and nothing has a place yet.

use super::lower::Kernels;
use crate::dtype::DType;
use crate::error::{Error, Result, UsageError};
use crate::graph::{GraphData, Origin, TensorId};
use crate::kernel::reflect::Element;
use crate::kernel::storage::reads_back;
use crate::ops::{BufId, Dispatch};
use crate::params::layout::StoreLayout;
use crate::precision::{Rounding, Storage, StoragePolicy};
use std::collections::{HashMap, HashSet};

/// Storage buffers of one stage under WebGPU's default limits.
const MAX_STORAGE_BINDINGS: usize = 8;

/// The storage of every tensor that is not f32, by root.
///
/// Parameters have what the store gave them, and so have their new values. Temporaries follow the policy where every
/// dispatch can: whole vec4s are written, none is summed in place over several dispatches (each would round), and random
/// rounding has a binding left for its key.
///
/// # Errors
/// A parameter in 16 bits whose new value no kernel can store so.
pub(super) fn choose(
    graph: &GraphData,
    root: &[TensorId],
    dispatches: &[Dispatch],
    kernels: &mut Kernels,
    store: &StoreLayout,
    policy: &StoragePolicy,
) -> Result<HashMap<TensorId, Storage>> {
    let mut chosen: HashMap<TensorId, Storage> = HashMap::new();
    for (id, decl) in graph.params() {
        if let Some(entry) = store.get(&decl.name).filter(|entry| entry.storage != Storage::F32) {
            chosen.insert(id, entry.storage);
        }
    }
    // What is computed a second time lies in memory as the first time, whoever reads it.
    let unfit = unfit(dispatches, kernels, policy, &updates(graph, root))?;
    let unfit: HashSet<TensorId> = unfit.into_iter().map(|id| graph.first(id)).collect();
    for &(param, value) in &graph.write_backs {
        let Some(&storage) = chosen.get(&param) else { continue };
        let value = root[value.0];
        let fits = matches!(graph.tensors[value.0].origin, Origin::Node { .. }) && !unfit.contains(&value);
        if !fits && chosen.get(&value) != Some(&storage) {
            return Err(Error::Usage(UsageError::Mismatch {
                kind: "parameter",
                name: graph.param(param).map(|decl| decl.name.clone()).unwrap_or_default(),
                wanted: format!("a new value that is stored in {storage}"),
                got: "one that is no result of a kernel, or of one that writes single elements".to_string(),
            }));
        }
        chosen.insert(value, storage);
    }
    if policy.activations == Storage::F32 {
        return Ok(chosen);
    }
    let outputs = graph.outputs.iter().map(|(_, id)| id).chain(graph.write_backs.iter().map(|(_, id)| id));
    let gradients = graph.flat_gradients.iter().map(|(id, _)| id);
    let kept: HashSet<TensorId> = outputs.chain(gradients).map(|id| graph.first(root[id.0])).collect();
    for node in &graph.nodes {
        for &id in &node.outputs {
            let desc = graph.desc(id);
            if root[id.0] == id
                && desc.dtype == DType::F32
                && desc.shape.rank() >= 2
                && !kept.contains(&graph.first(id))
                && !unfit.contains(&graph.first(id))
            {
                chosen.insert(id, policy.activations);
            }
        }
    }
    Ok(chosen)
}

/// What parameters hold after the step: wherever it is computed, it is rounded as weights are.
pub(super) fn updates(graph: &GraphData, root: &[TensorId]) -> HashSet<TensorId> {
    graph.write_backs.iter().map(|(_, value)| root[value.0]).collect()
}

/// Tensors that some dispatch cannot read or write in 16 bits.
fn unfit(
    dispatches: &[Dispatch],
    kernels: &mut Kernels,
    policy: &StoragePolicy,
    updates: &HashSet<TensorId>,
) -> Result<HashSet<TensorId>> {
    let mut unfit = HashSet::new();
    for dispatch in dispatches {
        let (text, reflection) = kernels.get(dispatch, &dispatch.kernel)?;
        for &(name, buf, _) in &dispatch.bindings {
            let (BufId::Tensor(id), Some(binding)) = (buf, reflection.storage.get(name)) else { continue };
            let rounding = if updates.contains(&id) { policy.weight_rounding } else { policy.activation_rounding };
            // Random keys are one binding more. (An alias would be one less, but is not known yet.)
            let crowded = rounding == Rounding::Stochastic && dispatch.bindings.len() >= MAX_STORAGE_BINDINGS;
            let fits = match binding.element {
                Element::Vec4F32 if binding.writes => !crowded && !reads_back(text, name).unwrap_or(true),
                Element::Vec4F32 => true,
                Element::F32 => !binding.writes,
                Element::Other => false,
            };
            if !fits {
                unfit.insert(id);
            }
        }
    }
    Ok(unfit)
}
