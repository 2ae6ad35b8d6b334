//! What follows from parameters alone: transformed filters and the like, computed once for each version of the weights.
//!
//! A dispatch is **frozen** if everything that it binds is a parameter that this plan does not change, or is written by
//! frozen dispatches only. Those dispatches are moved to the front of the plan. A run leaves them out when none of the
//! parameters that they read has been written since; what others read of their results is **kept** from run to run, in
//! storage that nothing else gets. (The buffers between frozen dispatches are free again when those have run.)

use super::CompileOptions;
use super::desc::FrozenDesc;
use super::lower::{Kernels, Lowering};
use crate::error::Result;
use crate::graph::{Origin, TensorId};
use crate::ops::{BufId, Dispatch, Target};
use crate::precision::Storage;
use std::collections::{BTreeSet, HashSet};

/// The frozen part of a plan.
#[derive(Debug, Default)]
pub(super) struct Frozen {
    /// How many dispatches, the first ones.
    pub(super) dispatches: usize,
    /// The parameters that they read.
    pub(super) params: BTreeSet<TensorId>,
    /// Their results that others read.
    pub(super) kept: HashSet<BufId>,
    /// Bytes of those.
    pub(super) bytes: u64,
}

impl Lowering {
    /// Finds what follows from parameters that the plan does not change, and moves it to the front.
    pub(super) fn find_frozen(
        &self,
        dispatches: &mut Vec<Dispatch>,
        workspaces: &[usize],
        kernels: &mut Kernels,
        limit_bytes: u64,
    ) -> Result<Frozen> {
        let updated: HashSet<TensorId> = self.graph.write_backs.iter().map(|(param, _)| *param).collect();
        let asked_for = self.asked_for();
        let is_param = |buf| matches!(buf, BufId::Tensor(id) if self.graph.param(id).is_some());
        let changes = |buf| match buf {
            BufId::Tensor(id) if is_param(buf) => updated.contains(&id),
            BufId::Tensor(id) => {
                let at_random = self.storage(id) != Storage::F32 && self.policy.is_stochastic();
                !matches!(self.graph.tensors[id.0].origin, Origin::Node { .. })
                    || self.flat.contains_key(&id)
                    || at_random
            }
            BufId::Workspace(_) => false,
        };
        let facts = Facts {
            is_param: &is_param,
            changes: &changes,
            is_asked_for: &|buf| asked_for.contains(&buf),
            bytes: &|buf| self.buffer_bytes(buf, workspaces),
        };
        split(dispatches, kernels, &facts, limit_bytes)
    }

    pub(super) fn frozen_desc(&self) -> FrozenDesc {
        let params = self.frozen.params.iter().filter_map(|id| self.graph.param(*id));
        FrozenDesc {
            dispatches: self.frozen.dispatches,
            params: params.map(|decl| decl.name.clone()).collect(),
            bytes: self.frozen.bytes,
        }
    }

    /// What is read when the last dispatch has run.
    pub(super) fn asked_for(&self) -> HashSet<BufId> {
        let outputs = self.graph.outputs.iter().map(|(_, id)| id);
        let values = self.graph.write_backs.iter().map(|(_, id)| id);
        outputs.chain(values).map(|id| BufId::Tensor(self.root[id.0])).collect()
    }

    pub(super) fn buffer_bytes(&self, buf: BufId, workspaces: &[usize]) -> u64 {
        match buf {
            BufId::Tensor(id) => self.bytes(id),
            BufId::Workspace(i) => (workspaces[i] as u64 * 4).next_multiple_of(16),
        }
    }
}

/// What is known of buffers before they have a place.
struct Facts<'a> {
    /// Whether it is a parameter.
    is_param: &'a dyn Fn(BufId) -> bool,
    /// Whether it may hold something else in every run whoever writes it: feeds, parameters that the plan updates, what lies
    /// in buffers of the store, what is rounded at random.
    changes: &'a dyn Fn(BufId) -> bool,
    /// Whether it is read when the run has ended.
    is_asked_for: &'a dyn Fn(BufId) -> bool,
    /// Its bytes.
    bytes: &'a dyn Fn(BufId) -> u64,
}

/// Workspaces that may be kept where nothing else is said: a net of some million weights wants more than one (ResNet-9 with its
/// filters in the form of Winograd: 100 MB), and a plan shall not become a multiple of what it was.
const WORKSPACES: u64 = 2;

/// Most bytes to keep: see [`CompileOptions::frozen_bytes`].
pub(super) fn limit_bytes(options: &CompileOptions, target: &Target) -> u64 {
    let usual = if options.temporary_bytes.is_some() { 0 } else { WORKSPACES * target.workspace_bytes };
    options.frozen_bytes.unwrap_or(usual)
}

/// Moves frozen dispatches to the front, as many as can be kept within `limit_bytes`: results that exceed it are computed in
/// every run.
///
/// # Errors
/// A kernel that cannot be read.
fn split(dispatches: &mut Vec<Dispatch>, kernels: &mut Kernels, facts: &Facts<'_>, limit_bytes: u64) -> Result<Frozen> {
    if limit_bytes == 0 {
        return Ok(Frozen::default());
    }
    let mut uses: Vec<Vec<(BufId, bool)>> = Vec::with_capacity(dispatches.len());
    for dispatch in dispatches.iter() {
        let (_, reflection) = kernels.get(dispatch, &dispatch.kernel)?;
        let writes = |name: &str| reflection.storage.get(name).is_none_or(|binding| binding.writes);
        uses.push(dispatch.bindings.iter().map(|&(name, buf, _)| (buf, writes(name))).collect());
    }
    let mut changing: HashSet<BufId> =
        uses.iter().flatten().map(|&(buf, _)| buf).filter(|&buf| (facts.changes)(buf)).collect();
    // A run of tensors is named by its first: whether the others change is not seen from here.
    let bindings = dispatches.iter().flat_map(|dispatch| &dispatch.bindings);
    changing.extend(bindings.filter(|(_, _, run)| run.is_some()).map(|&(_, buf, _)| buf));
    loop {
        let is_frozen = frozen(&uses, &mut changing);
        let split = |wanted: bool| uses.iter().zip(&is_frozen).filter(move |(_, frozen)| **frozen == wanted);
        let read_later: HashSet<BufId> = split(false).flat_map(|(uses, _)| uses).map(|&(buf, _)| buf).collect();
        let mut found = Frozen::default();
        let mut excess = None;
        for &(buf, _) in split(true).flat_map(|(uses, _)| uses) {
            if let (BufId::Tensor(id), true) = (buf, (facts.is_param)(buf)) {
                found.params.insert(id);
            } else if (read_later.contains(&buf) || (facts.is_asked_for)(buf)) && found.kept.insert(buf) {
                found.bytes += (facts.bytes)(buf);
                if found.bytes > limit_bytes {
                    excess = Some(buf);
                    break;
                }
            }
        }
        if let Some(buf) = excess {
            changing.insert(buf);
            continue;
        }
        found.dispatches = split(true).count();
        let mut is_frozen = is_frozen.into_iter();
        let (first, then): (Vec<Dispatch>, Vec<Dispatch>) =
            std::mem::take(dispatches).into_iter().partition(|_| is_frozen.next() == Some(true));
        dispatches.extend(first.into_iter().chain(then));
        return Ok(found);
    }
}

/// Which dispatches are frozen; adds what the others write to `changing`. What reads nothing is cheaper to do than to keep.
fn frozen(uses: &[Vec<(BufId, bool)>], changing: &mut HashSet<BufId>) -> Vec<bool> {
    loop {
        let reads_nothing = |uses: &[(BufId, bool)]| uses.iter().all(|&(_, writes)| writes);
        let is_frozen: Vec<bool> = uses
            .iter()
            .map(|uses| !reads_nothing(uses) && uses.iter().all(|(buf, _)| !changing.contains(buf)))
            .collect();
        let before = changing.len();
        for (uses, _) in uses.iter().zip(&is_frozen).filter(|(_, frozen)| !**frozen) {
            changing.extend(uses.iter().filter(|(_, writes)| *writes).map(|(buf, _)| *buf));
        }
        if changing.len() == before {
            return is_frozen;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn buf(i: usize) -> BufId {
        BufId::Workspace(i)
    }

    #[test]
    fn what_touches_anything_that_changes_is_not_frozen() {
        // 0 a parameter, 1 a feed; 2 follows from 0; 3 from 2 and 1; 4 is filled; 5 follows from 2, but is added to from 1.
        let uses = [
            vec![(buf(0), false), (buf(2), true)],
            vec![(buf(2), false), (buf(1), false), (buf(3), true)],
            vec![(buf(4), true)],
            vec![(buf(2), false), (buf(5), true)],
            vec![(buf(1), false), (buf(5), true)],
            vec![(buf(2), false), (buf(6), true)],
            vec![(buf(6), false), (buf(4), false), (buf(7), true)],
        ];
        let mut changing = HashSet::from([buf(1)]);
        assert_eq!(frozen(&uses, &mut changing), [true, false, false, false, false, true, false]);
        assert_eq!(changing, [1, 3, 4, 5, 7].map(buf).into());
    }
}
