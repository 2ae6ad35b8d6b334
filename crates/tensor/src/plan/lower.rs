//! Graph to plan data: records every node's dispatches, places every tensor, resolves every binding. Needs no adapter.

use super::desc::{BufferDesc, Place, PlanDesc, PlannedDispatch, PortDesc};
use super::frozen::{self, Frozen};
use super::{CompileOptions, storage};
use crate::error::{DeviceError, Error, Result};
use crate::graph::{GraphData, Node, Origin, RNG_FEED, TensorId};
use crate::kernel::storage::{RNG_BINDING, STREAM_ARG, Stored};
use crate::kernel::{KernelKey, Reflection, reflect, source};
use crate::ops::{Arg, BufId, BufferRef, Dispatch, FlatPlace, Lower, Target, Tier};
use crate::params::layout::{StoreLayout, aligned_elements};
use crate::passes::memory::{Lifetime, assign_slots, live_peak_bytes};
use crate::passes::schedule::Dependencies;
use crate::passes::select::Choices;
use crate::precision::{Rounding, Storage, StoragePolicy};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Alignment of uniform blocks and ports: WebGPU's default for both kinds of offset.
const ALIGN_BYTES: u64 = 256;

/// Compiles a scheduled graph into plan data.
///
/// # Errors
/// A tensor or workspace above the binding limit; a kernel whose text or bindings do not fit (a bug in that kernel).
pub fn lower(
    graph: GraphData,
    store: &StoreLayout,
    target: Target,
    adapter: &str,
    options: &CompileOptions,
) -> Result<PlanDesc> {
    let mut kernels = Kernels::default();
    let (mut lowering, mut dispatches, workspaces) = Lowering::recorded(graph, store, target, options, &mut kernels)?;
    lowering.check_limits(&dispatches, &workspaces, adapter)?;
    let (feeds, feed_bytes) = lowering.place_feeds();
    let (unshared_bytes, live) = lowering.place_temporaries(&dispatches, &workspaces);
    let snapshots = lowering.place_snapshots();
    let copies = lowering.copies();
    let (planned, args) = lowering.resolve(&mut dispatches, &mut kernels)?;
    let (outputs, output_bytes) = lowering.outputs();
    if !args.is_empty() {
        lowering.buffers.push(BufferDesc { label: "arguments".to_string(), bytes: args.len() as u64 });
    }
    let frozen = lowering.frozen_desc();
    Ok(PlanDesc {
        target,
        graph: lowering.graph,
        choices: Choices::new(),
        buffers: lowering.buffers,
        snapshots,
        dispatches: planned,
        frozen,
        copies,
        args,
        feeds,
        feed_bytes,
        outputs,
        output_bytes,
        unshared_bytes,
        live_peak_bytes: live,
    })
}

/// Bytes of the slots that [`lower`] would make for a scheduled graph: activations, their gradients and workspaces.
/// `kernels` are kept between calls.
///
/// # Errors
/// A kernel that cannot be read, a parameter that cannot be stored as its new value.
pub(super) fn temporary_bytes(
    graph: GraphData,
    store: &StoreLayout,
    target: Target,
    options: &CompileOptions,
    kernels: &mut Kernels,
) -> Result<u64> {
    let (mut lowering, dispatches, workspaces) = Lowering::recorded(graph, store, target, options, kernels)?;
    lowering.place_feeds();
    let first = lowering.buffers.len();
    lowering.place_temporaries(&dispatches, &workspaces);
    Ok(lowering.buffers[first..].iter().map(|buffer| buffer.bytes).sum())
}

/// A storage binding of a dispatch, resolved.
struct Bound {
    name: &'static str,
    buf: BufId,
    place: Place,
    writes: bool,
}

/// A value that may be computed where the parameter that takes it lies.
struct Update {
    param: TensorId,
    value: TensorId,
    place: FlatPlace,
}

/// The kernels of a plan, expanded and read once.
#[derive(Default)]
pub(super) struct Kernels {
    known: HashMap<KernelKey, (String, Reflection)>,
}

impl Kernels {
    /// Text and reflection of a kernel; `dispatch` is who wants it.
    pub(super) fn get(&mut self, dispatch: &Dispatch, key: &KernelKey) -> Result<(&str, &Reflection)> {
        if !self.known.contains_key(key) {
            let text = source::expand(key).map_err(|message| broken(dispatch, message))?;
            let (_, reflection) = reflect::reflect(&text).map_err(|message| broken(dispatch, message))?;
            self.known.insert(key.clone(), (text, reflection));
        }
        let (text, reflection) = &self.known[key];
        Ok((text, reflection))
    }
}

fn broken(dispatch: &Dispatch, message: String) -> Error {
    Error::Device(DeviceError::Kernel { kernel: format!("{} ({})", dispatch.kernel, dispatch.label), message })
}

pub(super) struct Lowering {
    pub(super) graph: GraphData,
    target: Target,
    pub(super) policy: StoragePolicy,
    /// Storage of a view is its root's.
    pub(super) root: Vec<TensorId>,
    pub(super) flat: HashMap<TensorId, FlatPlace>,
    /// What is not f32, by root.
    storage: HashMap<TensorId, Storage>,
    places: HashMap<BufId, Place>,
    /// Where the old value of a parameter is kept for the end of the step.
    snapshots: BTreeMap<TensorId, Place>,
    buffers: Vec<BufferDesc>,
    /// Where independent branches shall have no buffer in common.
    dependencies: Option<Dependencies>,
    /// What runs once for each version of the weights.
    pub(super) frozen: Frozen,
}

impl Lowering {
    fn new(graph: GraphData, target: Target, policy: StoragePolicy) -> Lowering {
        let can_round = matches!(target.tier, Tier::F16 | Tier::Coop);
        Lowering {
            root: graph.roots(),
            graph,
            target: Target { f16_products: can_round && policy.activations == Storage::F16, ..target },
            policy,
            flat: HashMap::new(),
            storage: HashMap::new(),
            places: HashMap::new(),
            snapshots: BTreeMap::new(),
            buffers: Vec::new(),
            dependencies: None,
            frozen: Frozen::default(),
        }
    }

    /// How a tensor, view or root, is stored.
    pub(super) fn storage(&self, id: TensorId) -> Storage {
        self.storage.get(&self.root[id.0]).copied().unwrap_or_default()
    }

    /// Records all dispatches, after everything with a fixed home has been placed.
    fn recorded(
        graph: GraphData,
        store: &StoreLayout,
        target: Target,
        options: &CompileOptions,
        kernels: &mut Kernels,
    ) -> Result<(Lowering, Vec<Dispatch>, Vec<usize>)> {
        let mut lowering = Lowering::new(graph, target, options.storage);
        lowering.dependencies = options.overlap.then(|| Dependencies::of(&lowering.graph));
        lowering.find_params(store);
        lowering.find_gradients();
        // Before recording, so that an operation sees which of its results lie in flat buffers.
        lowering.find_write_backs();
        let (mut dispatches, workspaces) = lowering.record();
        let policy = &options.storage;
        lowering.storage = storage::choose(&lowering.graph, &lowering.root, &dispatches, kernels, store, policy)?;
        lowering.place_flat();
        let limit_bytes = frozen::limit_bytes(options, &target);
        lowering.frozen = lowering.find_frozen(&mut dispatches, &workspaces, kernels, limit_bytes)?;
        Ok((lowering, dispatches, workspaces))
    }

    pub(super) fn bytes(&self, id: TensorId) -> u64 {
        // Kernels may read and write whole vec4s, so the tail is rounded up.
        (self.graph.desc(id).shape.numel().next_multiple_of(4) * self.storage(id).size_bytes()) as u64
    }

    /// Turns flat places, which count elements, into ranges of buffers, now that the size of an element is known.
    fn place_flat(&mut self) {
        for (&id, flat) in &self.flat {
            let offset_bytes = (flat.offset * self.storage(id).size_bytes()) as u64;
            let place = Place { buffer: flat.buffer, offset_bytes, size_bytes: self.bytes(id) };
            self.places.insert(BufId::Tensor(id), place);
        }
    }

    fn find_params(&mut self, store: &StoreLayout) {
        let known = self.graph.params().filter_map(|(id, decl)| store.get(&decl.name).map(|entry| (id, entry.place)));
        self.flat.extend(known);
    }

    /// Gives gradients places that mirror their parameters': the same distances, in buffers of their own. A gradient that
    /// is computed from another one stays out: a dispatch cannot read a buffer that it writes.
    fn find_gradients(&mut self) {
        let gradients: HashSet<TensorId> = self.graph.flat_gradients.iter().map(|(id, _)| self.root[id.0]).collect();
        let mut homes: BTreeMap<BufferRef, Vec<(usize, TensorId)>> = BTreeMap::new();
        for (gradient, param) in self.graph.flat_gradients.clone() {
            let id = self.root[gradient.0];
            let Origin::Node { node, .. } = self.graph.tensors[id.0].origin else { continue };
            let apart = self.graph.nodes[node].inputs.iter().all(|x| !gradients.contains(&self.root[x.0]));
            let same_size = self.graph.desc(id).shape.numel() == self.graph.desc(param).shape.numel();
            let taken = homes.values().flatten().any(|(_, known)| *known == id);
            if let (Some(place), true) = (self.flat.get(&param), apart && same_size && !taken) {
                homes.entry(place.buffer).or_default().push((place.offset, id));
            }
        }
        for (number, (_, mut members)) in homes.into_iter().enumerate() {
            members.sort();
            let first = members[0].0;
            let end = members
                .iter()
                .map(|&(offset, id)| offset + aligned_elements(self.graph.desc(id).shape.numel(), &self.target));
            let elements = end.max().unwrap_or(first) - first;
            let buffer = BufferRef::Owned(self.buffers.len());
            self.buffers.push(BufferDesc { label: format!("gradients {number}"), bytes: elements as u64 * 4 });
            for (offset, id) in members {
                self.flat.insert(id, FlatPlace { buffer, offset: offset - first });
            }
        }
    }

    fn record(&self) -> (Vec<Dispatch>, Vec<usize>) {
        // Views answer with their root's home, so that an optimiser sees through them.
        let mut flat = self.flat.clone();
        for (i, root) in self.root.iter().enumerate() {
            if let Some(place) = self.flat.get(root) {
                flat.insert(TensorId(i), *place);
            }
        }
        let mut dispatches = Vec::new();
        let mut workspaces = Vec::new();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            if node.op.view_of(&self.graph.descs(&node.inputs)).is_some() {
                continue;
            }
            let mut lower = Lower::new(&self.graph, index, self.target, &flat, workspaces.len());
            node.op.lower(&mut lower);
            dispatches.append(&mut lower.dispatches);
            workspaces.append(&mut lower.workspaces);
        }
        for dispatch in &mut dispatches {
            for (_, buf, _) in &mut dispatch.bindings {
                if let BufId::Tensor(id) = buf {
                    *id = self.root[id.0];
                }
            }
        }
        (dispatches, workspaces)
    }

    fn check_limits(&self, dispatches: &[Dispatch], workspaces: &[usize], adapter: &str) -> Result<()> {
        let limit_bytes = self.target.max_binding_bytes;
        let too_large = |what: String, wanted_bytes: u64| {
            Error::Device(DeviceError::LimitExceeded { what, wanted_bytes, limit_bytes, adapter: adapter.to_string() })
        };
        // What nodes that were dropped would have computed needs no memory, so results are found through the nodes.
        let feeds = self.graph.feeds().map(|(id, name)| (id, format!("feed {name:?}")));
        let params = self.graph.params().map(|(id, decl)| (id, format!("parameter {:?}", decl.name)));
        let results =
            self.graph.nodes.iter().flat_map(|node| node.outputs.iter().map(|&id| (id, node.label() + " ->")));
        if let Some((id, what)) = feeds.chain(params).chain(results).find(|(id, _)| self.bytes(*id) > limit_bytes) {
            return Err(too_large(format!("{what} {}", self.graph.desc(id)), self.bytes(id)));
        }
        let limit = self.target.max_groups;
        if let Some(dispatch) = dispatches.iter().find(|d| d.grid.iter().any(|&extent| extent > limit)) {
            let (what, wanted, adapter) = (dispatch.label.clone(), dispatch.grid, adapter.to_string());
            return Err(Error::Device(DeviceError::GridExceeded { what, wanted, limit, adapter }));
        }
        match workspaces.iter().map(|&elements| elements as u64 * 4).find(|&bytes| bytes > limit_bytes) {
            Some(bytes) => Err(too_large("a workspace".to_string(), bytes)),
            None => Ok(()),
        }
    }

    fn place_feeds(&mut self) -> (Vec<PortDesc>, u64) {
        let mut ports = Vec::new();
        let mut end = 0;
        let buffer = BufferRef::Owned(self.buffers.len());
        let feeds: Vec<(TensorId, String)> = self.graph.feeds().map(|(id, name)| (id, name.to_string())).collect();
        for (id, name) in feeds {
            let place = Place { buffer, offset_bytes: end, size_bytes: self.bytes(id) };
            self.places.insert(BufId::Tensor(id), place);
            ports.push(PortDesc { name, desc: self.graph.desc(id), storage: Storage::F32, place, offset_bytes: end });
            end = (end + place.size_bytes).next_multiple_of(ALIGN_BYTES);
        }
        if end > 0 {
            self.buffers.push(BufferDesc { label: "feeds".to_string(), bytes: end });
        }
        (ports, end)
    }

    /// Whether a node may write its result where the operand storage `root` lies: every operand that is read from there
    /// must stand in a pair with that result. (An operand that is also read in another role would change under it.)
    fn may_share(&self, node: &Node, root: TensorId, output: usize) -> bool {
        let pairs = node.op.may_overwrite();
        let mut readers = (0..node.inputs.len()).filter(|&i| self.root[node.inputs[i].0] == root);
        readers.all(|i| pairs.contains(&(i, output)))
    }

    /// Whether all of `users` come before node `next` for their operands' sake, if that is asked for.
    fn sharing_is_free(&self, users: &BTreeSet<usize>, next: Option<&usize>) -> bool {
        let (Some(known), Some(&next)) = (&self.dependencies, next) else { return true };
        users.iter().all(|&user| known.ordered(user, next))
    }

    /// Puts a parameter's new value into the parameter's own storage, where its producer may overwrite it or does not
    /// read it. (All other readers come earlier: `schedule` has checked that.) What stays out is copied at the end.
    fn find_write_backs(&mut self) {
        let values: Vec<TensorId> = self.graph.write_backs.iter().map(|(_, value)| self.root[value.0]).collect();
        // By producer, in order, so that the places of its operands are settled when they are asked for.
        let mut updates: BTreeMap<(usize, BufferRef), Vec<Update>> = BTreeMap::new();
        for (&(param, _), &value) in self.graph.write_backs.iter().zip(&values) {
            let Origin::Node { node, output } = self.graph.tensors[value.0].origin else { continue };
            let Some(&place) = self.flat.get(&param) else { continue };
            // The value of two parameters stays out: copying it from one to the other could be within one buffer.
            let is_free = !self.flat.contains_key(&value) && values.iter().filter(|v| **v == value).count() == 1;
            if is_free && self.may_share(&self.graph.nodes[node], param, output) {
                updates.entry((node, place.buffer)).or_default().push(Update { param, value, place });
            }
        }
        for ((node, buffer), updates) in updates {
            // A dispatch cannot read a buffer that it writes, except where the reads go through the result.
            let mut operands = self.graph.nodes[node].inputs.iter().map(|id| self.root[id.0]);
            let reads_beside = operands.any(|x| {
                self.flat.get(&x).is_some_and(|place| place.buffer == buffer)
                    && updates.iter().all(|update| update.param != x)
            });
            if !reads_beside {
                self.flat.extend(updates.into_iter().map(|update| (update.value, update.place)));
            }
        }
    }

    /// Plans slots for everything that has no place yet. Returns unshared and live-peak bytes.
    fn place_temporaries(&mut self, dispatches: &[Dispatch], workspaces: &[usize]) -> (u64, u64) {
        let mut spans: BTreeMap<usize, (BufId, Lifetime)> = BTreeMap::new();
        let mut position: HashMap<BufId, usize> = HashMap::new();
        let mut last_node: HashMap<BufId, usize> = HashMap::new();
        let mut users: HashMap<usize, BTreeSet<usize>> = HashMap::new();
        for (at, dispatch) in dispatches.iter().enumerate() {
            for &(_, buf, _) in &dispatch.bindings {
                if self.places.contains_key(&buf) {
                    continue;
                }
                let next = position.len();
                let key = *position.entry(buf).or_insert(next);
                let bytes = self.buffer_bytes(buf, workspaces);
                spans.entry(key).or_insert((buf, Lifetime { bytes, first: at, last: at })).1.last = at;
                last_node.insert(buf, dispatch.node);
                users.entry(key).or_default().insert(dispatch.node);
            }
        }
        // Until the run has ended, or until another run reads it: for good, since all others begin later.
        let kept: HashSet<BufId> = self.asked_for().union(&self.frozen.kept).copied().collect();
        for (buf, life) in spans.values_mut() {
            if kept.contains(buf) {
                life.last = dispatches.len();
            }
        }
        let unshared = spans.values().map(|(_, life)| life.bytes).sum();

        // In-place pairs: a result moves into the storage of an operand that dies at its node.
        let mut home: HashMap<BufId, BufId> = HashMap::new();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            for (i, o) in &node.op.may_overwrite() {
                let (Some(operand), Some(result)) = (node.inputs.get(*i), node.outputs.get(*o)) else { continue };
                let x = BufId::Tensor(self.root[operand.0]);
                let y = BufId::Tensor(self.root[result.0]);
                let x_home = *home.get(&x).unwrap_or(&x);
                let (Some(&px), Some(&py)) = (position.get(&x_home), position.get(&y)) else { continue };
                let dies_here = last_node.get(&x) == Some(&index)
                    && !kept.contains(&x)
                    && self.may_share(node, self.root[operand.0], *o);
                // A result that moved already has no span of its own any more.
                let (Some((_, life_x)), Some((_, life_y))) = (spans.get(&px), spans.get(&py)) else { continue };
                let (life_x, life_y) = (*life_x, *life_y);
                let x_is_last_tenant = life_x.last <= life_y.last && life_x.last < dispatches.len();
                let unmoved = !home.contains_key(&y) && px != py;
                let same_storage = self.storage(*operand) == self.storage(*result);
                if dies_here
                    && same_storage
                    && unmoved
                    && x_is_last_tenant
                    && life_x.bytes == life_y.bytes
                    && last_node[&x_home] <= index
                    && self.sharing_is_free(&users[&px], Some(&index))
                {
                    let moved = users.remove(&py).unwrap_or_default();
                    users.entry(px).or_default().extend(moved);
                    if let Some(span) = spans.get_mut(&px) {
                        span.1.last = life_y.last;
                    }
                    spans.remove(&py);
                    home.insert(y, x_home);
                    let node_of_y = last_node.get(&y).copied().unwrap_or(index);
                    last_node.insert(x_home, node_of_y);
                    last_node.insert(y, node_of_y);
                }
            }
        }
        let lifetimes: Vec<Lifetime> = spans.values().map(|(_, life)| *life).collect();
        let users: Vec<&BTreeSet<usize>> = spans.keys().map(|key| &users[key]).collect();
        let slots = assign_slots(&lifetimes, &|a, b| {
            let (a, b) = if lifetimes[a].first < lifetimes[b].first { (a, b) } else { (b, a) };
            !self.sharing_is_free(users[a], users[b].first())
        });
        let first = self.buffers.len();
        for (number, &bytes) in slots.slot_bytes.iter().enumerate() {
            self.buffers.push(BufferDesc { label: format!("slot {number}"), bytes });
        }
        for ((buf, life), slot) in spans.values().zip(&slots.slot_of) {
            let place = Place { buffer: BufferRef::Owned(first + slot), offset_bytes: 0, size_bytes: life.bytes };
            self.places.insert(*buf, place);
        }
        for (y, x) in home {
            if let Some(&place) = self.places.get(&x) {
                self.places.insert(y, place);
            }
        }
        (unshared, live_peak_bytes(&lifetimes))
    }

    fn place(&self, id: TensorId) -> Option<Place> {
        self.places.get(&BufId::Tensor(self.root[id.0])).copied()
    }

    /// Gives a place to the old values of parameters that are asked for at the end of the step, when the parameters may
    /// hold new ones: as an output, or as the new value of another parameter. Returns the copies that begin the step.
    fn place_snapshots(&mut self) -> Vec<(Place, Place)> {
        let updates: Vec<(TensorId, TensorId)> =
            self.graph.write_backs.iter().map(|&(param, value)| (param, self.root[value.0])).collect();
        let outputs = self.graph.outputs.iter().map(|(_, id)| self.root[id.0]);
        let outputs = outputs.filter(|id| updates.iter().any(|(param, value)| param == id && param != value));
        let sources = updates.iter().filter(|(param, value)| param != value).map(|&(_, value)| value);
        let wanted: BTreeSet<TensorId> = outputs.chain(sources).collect();
        let buffer = BufferRef::Owned(self.buffers.len());
        let mut end = 0;
        let mut copies = Vec::new();
        for id in wanted.into_iter().filter(|id| self.graph.param(*id).is_some()) {
            let Some(&from) = self.places.get(&BufId::Tensor(id)) else { continue };
            let to = Place { buffer, offset_bytes: end, ..from };
            self.snapshots.insert(id, to);
            copies.push((from, to));
            end = (end + to.size_bytes).next_multiple_of(ALIGN_BYTES);
        }
        if end > 0 {
            self.buffers.push(BufferDesc { label: "snapshots".to_string(), bytes: end });
        }
        copies
    }

    /// Where a tensor's value is found when the step ends.
    fn final_place(&self, id: TensorId) -> Option<Place> {
        self.snapshots.get(&self.root[id.0]).copied().or_else(|| self.place(id))
    }

    /// The copies that end the step. They read buffers of the plan and write the store's, so their order is free.
    fn copies(&self) -> Vec<(Place, Place)> {
        let pairs = self.graph.write_backs.iter().filter(|(param, value)| self.root[value.0] != *param);
        pairs
            .filter_map(|&(param, value)| Some((self.final_place(value)?, self.place(param)?)))
            .filter(|(from, to)| from != to)
            .collect()
    }

    fn outputs(&self) -> (Vec<PortDesc>, u64) {
        let mut end = 0;
        let mut ports = Vec::new();
        for (name, id) in &self.graph.outputs {
            if let Some(place) = self.final_place(*id) {
                let (name, desc, storage) = (name.clone(), self.graph.desc(*id), self.storage(*id));
                ports.push(PortDesc { name, desc, storage, place, offset_bytes: end });
                end = (end + place.size_bytes).next_multiple_of(ALIGN_BYTES);
            }
        }
        (ports, end)
    }

    /// Whether a node declares that the operand in `read` may share storage with the result in `written`.
    fn is_pair(&self, node: usize, read: BufId, written: BufId) -> bool {
        let (BufId::Tensor(read), BufId::Tensor(written)) = (read, written) else { return false };
        let node = &self.graph.nodes[node];
        let output = node.outputs.iter().position(|id| self.root[id.0] == written);
        output.is_some_and(|output| self.may_share(node, read, output))
    }

    fn buffer_storage(&self, buf: BufId) -> Storage {
        match buf {
            BufId::Tensor(id) => self.storage(id),
            BufId::Workspace(_) => Storage::F32,
        }
    }

    /// Redirects a dispatch's kernel to the storage of what it binds. Stochastic rounding adds the feed of random keys, and a
    /// stream of the tensor's own.
    fn store_in_half(&self, dispatch: &mut Dispatch, kernels: &mut Kernels) -> Result<()> {
        let (_, reflection) = kernels.get(dispatch, &dispatch.kernel)?;
        let updates = storage::updates(&self.graph, &self.root);
        let mut stream = None;
        let mut stored = Vec::new();
        for &(name, buf, _) in &dispatch.bindings {
            let (BufId::Tensor(id), storage) = (buf, self.buffer_storage(buf)) else { continue };
            if storage == Storage::F32 {
                continue;
            }
            let writes = reflection.storage.get(name).is_some_and(|binding| binding.writes);
            let rounding =
                if updates.contains(&id) { self.policy.weight_rounding } else { self.policy.activation_rounding };
            let rounding = if writes { rounding } else { Rounding::Nearest };
            if rounding == Rounding::Stochastic {
                stream = Some(self.graph.first(id).0 as u32);
            }
            stored.push((name, Stored { storage, rounding }));
        }
        for (name, stored) in stored {
            dispatch.kernel.store(name, stored);
        }
        let Some(stream) = stream else { return Ok(()) };
        let rng = self.graph.feeds().find(|(_, name)| *name == RNG_FEED).map(|(id, _)| BufId::Tensor(id));
        let rng = rng.ok_or_else(|| broken(dispatch, format!("stochastic rounding wants the feed {RNG_FEED:?}")))?;
        dispatch.bindings.push((RNG_BINDING, rng, None));
        dispatch.args.push((STREAM_ARG, Arg::U32(stream)));
        Ok(())
    }

    /// Turns names into places and argument blocks; finds bindings that share storage and switches their kernels.
    fn resolve(&self, dispatches: &mut [Dispatch], kernels: &mut Kernels) -> Result<(Vec<PlannedDispatch>, Vec<u8>)> {
        let mut args: Vec<u8> = Vec::new();
        let mut known_args: HashMap<Vec<u8>, u64> = HashMap::new();
        let mut planned = Vec::with_capacity(dispatches.len());
        for dispatch in dispatches {
            self.store_in_half(dispatch, kernels)?;
            let broken = |message: String| broken(dispatch, message);
            let (_, reflection) = kernels.get(dispatch, &dispatch.kernel)?;
            let mut bindings: Vec<Bound> = Vec::new();
            for &(name, buf, elements) in &dispatch.bindings {
                let binding = reflection.storage.get(name);
                let binding = binding.ok_or_else(|| broken(format!("the shader has no storage binding {name}")))?;
                let mut place = *self.places.get(&buf).ok_or_else(|| broken(format!("{name} has no place")))?;
                if let Some(elements) = elements {
                    place.size_bytes = (elements * self.buffer_storage(buf).size_bytes()) as u64;
                }
                bindings.push(Bound { name, buf, place, writes: binding.writes });
            }
            let is_bound = |name: &str| bindings.iter().any(|bound| bound.name == name);
            if let Some(name) = reflection.storage.keys().find(|name| !is_bound(name)) {
                return Err(broken(format!("{name} is not bound")));
            }
            let mut kernel = dispatch.kernel.clone();
            let mut kept = Vec::new();
            for &Bound { name, buf, place, writes } in &bindings {
                let written = bindings.iter().find(|b| b.writes && b.name != name && b.place.overlaps(&place));
                match written {
                    Some(other) if !writes && place == other.place && self.is_pair(dispatch.node, buf, other.buf) => {
                        kernel.alias(name, other.name);
                    }
                    Some(other) => {
                        let other = other.name;
                        return Err(broken(format!("{name} and {other} overlap, but may not share their storage")));
                    }
                    None if !writes && bindings.iter().any(|b| b.writes && b.place.buffer == place.buffer) => {
                        return Err(broken(format!("{name} is read from a buffer that the same dispatch writes")));
                    }
                    None => kept.push((name, place)),
                }
            }
            let block = reflection.pack(&dispatch.args).map_err(broken)?;
            let args_offset_bytes = reflection.uniform.map(|_| {
                *known_args.entry(block).or_insert_with_key(|block| {
                    let offset = args.len() as u64;
                    args.extend_from_slice(block);
                    args.resize(args.len().next_multiple_of(ALIGN_BYTES as usize), 0);
                    offset
                })
            });
            planned.push(PlannedDispatch {
                label: dispatch.label.clone(),
                node: dispatch.node,
                kernel,
                bindings: kept,
                args_offset_bytes,
                grid: dispatch.grid,
            });
        }
        Ok((planned, args))
    }
}
