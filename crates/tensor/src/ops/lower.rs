//! What [`OpDef::lower`](super::OpDef::lower) records: dispatches with bindings by name. Plain data, no adapter needed.

use super::Cost;
use crate::graph::{GraphData, Node, TensorId};
use crate::kernel::KernelKey;
use crate::shape::TensorDesc;
use std::collections::HashMap;

/// Which family of kernels is used. Every operation works in every tier; `Base` implements everything, and what a tier
/// does not do in its own way is done as in `Base`. `Subgroup`, `F16` and `Coop` each contain those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// WebGPU's default limits, f32, tiles in workgroup memory: any GPU.
    Base,
    /// Software adapters: no barriers, no workgroup memory, large register tiles, one operand shared by subgroup
    /// broadcast.
    Cpu,
    /// Sums, reductions of rows and products of few rows through subgroups of whatever size.
    Subgroup,
    /// Where feature maps lie in f16, products take their operands from tiles in 16 bits.
    F16,
    /// These products by cooperative matrices.
    Coop,
}

impl Tier {
    /// All tiers.
    pub const ALL: [Tier; 5] = [Tier::Base, Tier::Cpu, Tier::Subgroup, Tier::F16, Tier::Coop];

    /// Name as used on command lines and in dumps.
    pub fn name(self) -> &'static str {
        Tier::NAMES[self as usize]
    }

    /// The names of [`Tier::ALL`].
    pub const NAMES: [&str; 5] = ["base", "cpu", "subgroup", "f16", "coop"];

    /// Whether lanes of a workgroup reduce through their subgroup first.
    pub fn reduces_by_subgroups(self) -> bool {
        matches!(self, Tier::Subgroup | Tier::F16 | Tier::Coop)
    }
}

impl std::str::FromStr for Tier {
    type Err = String;

    fn from_str(name: &str) -> Result<Tier, String> {
        let known = || format!("no tier {name:?}; there are: {}", Tier::NAMES.join(", "));
        Tier::ALL.into_iter().find(|tier| tier.name() == name).ok_or_else(known)
    }
}

/// What lowering needs to know about the device: plain numbers, so that it is tested without one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Family of kernels.
    pub tier: Tier,
    /// Lanes of the smallest subgroup. Tiers `cpu` and `coop` want every subgroup to have as many.
    pub subgroup_size: u32,
    /// Largest extent of a dispatch grid in one dimension.
    pub max_groups: u32,
    /// Bytes one workspace may take; operations that could use more work in chunks.
    pub workspace_bytes: u64,
    /// Largest storage binding.
    pub max_binding_bytes: u64,
    /// Required alignment of a binding's start.
    pub binding_align_bytes: u64,
    /// Whether kernels run with injected checks, which make large unrolled tiles slow to compile.
    pub checked: bool,
    /// Whether products may round their operands to f16: the tier can, and feature maps lie in f16 anyway.
    pub f16_products: bool,
    /// Rows and columns of the device's cooperative matrices, 0 outside tier `coop`.
    pub cooperative: u32,
}

impl Default for Target {
    fn default() -> Target {
        Target {
            tier: Tier::Base,
            subgroup_size: 8,
            max_groups: 65_535,
            // The transformed filters of 512 to 512 channels (Winograd, tiles of 4x4) take 36 MiB.
            workspace_bytes: 64 << 20,
            max_binding_bytes: 128 << 20,
            binding_align_bytes: 256,
            checked: false,
            f16_products: false,
            cooperative: 0,
        }
    }
}

/// A piece of device memory before it has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BufId {
    /// A tensor of the graph.
    Tensor(TensorId),
    /// A temporary of one operation.
    Workspace(usize),
}

/// A value in the uniform block `args` of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg {
    /// `u32`.
    U32(u32),
    /// `f32`.
    F32(f32),
}

impl From<usize> for Arg {
    fn from(value: usize) -> Arg {
        // Extents are checked against the binding limit (2^31 bytes) before any kernel runs.
        Arg::U32(value as u32)
    }
}

impl From<u32> for Arg {
    fn from(value: u32) -> Arg {
        Arg::U32(value)
    }
}

impl From<f32> for Arg {
    fn from(value: f32) -> Arg {
        Arg::F32(value)
    }
}

/// One kernel launch, by names.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// `layer path/operation`, with a part name when the operation needs several.
    pub label: String,
    /// Index of the node it belongs to.
    pub node: usize,
    /// Source and variant.
    pub kernel: KernelKey,
    /// Storage bindings: name in the shader, buffer, elements (`None`: the whole tensor).
    pub bindings: Vec<(&'static str, BufId, Option<usize>)>,
    /// Members of the uniform block.
    pub args: Vec<(&'static str, Arg)>,
    /// Workgroups in x, y, z.
    pub grid: [u32; 3],
}

/// A buffer once it has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BufferRef {
    /// Made by the plan: slots, gradients, feeds.
    Owned(usize),
    /// Belongs to the parameter store.
    Store(usize),
}

/// Where a tensor with a fixed home lies: flat buffer and first element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlatPlace {
    /// The flat buffer.
    pub buffer: BufferRef,
    /// First element.
    pub offset: usize,
}

/// The recorder handed to [`OpDef::lower`](super::OpDef::lower).
#[derive(Debug)]
pub struct Lower<'a> {
    graph: &'a GraphData,
    node_index: usize,
    target: Target,
    flat: &'a HashMap<TensorId, FlatPlace>,
    pub(crate) dispatches: Vec<Dispatch>,
    pub(crate) workspaces: Vec<usize>,
    first_workspace: usize,
}

impl<'a> Lower<'a> {
    pub(crate) fn new(
        graph: &'a GraphData,
        node_index: usize,
        target: Target,
        flat: &'a HashMap<TensorId, FlatPlace>,
        first_workspace: usize,
    ) -> Lower<'a> {
        Lower { graph, node_index, target, flat, dispatches: Vec::new(), workspaces: Vec::new(), first_workspace }
    }

    fn node(&self) -> &'a Node {
        &self.graph.nodes[self.node_index]
    }

    /// The device's numbers.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Family of kernels in use.
    pub fn tier(&self) -> Tier {
        self.target.tier
    }

    /// Shape and type of operand `i`.
    pub fn x_desc(&self, i: usize) -> TensorDesc {
        self.graph.desc(self.node().inputs[i])
    }

    /// Shape and type of result `i`.
    pub fn y_desc(&self, i: usize) -> TensorDesc {
        self.graph.desc(self.node().outputs[i])
    }

    /// Number of operands.
    pub fn x_count(&self) -> usize {
        self.node().inputs.len()
    }

    /// Buffer of operand `i`.
    pub fn x(&self, i: usize) -> BufId {
        BufId::Tensor(self.node().inputs[i])
    }

    /// Buffer of result `i`.
    pub fn y(&self, i: usize) -> BufId {
        BufId::Tensor(self.node().outputs[i])
    }

    /// A temporary of this many f32 or u32 elements, valid for this operation only.
    pub fn workspace(&mut self, elements: usize) -> BufId {
        self.workspaces.push(elements);
        BufId::Workspace(self.first_workspace + self.workspaces.len() - 1)
    }

    /// Where a tensor with a fixed home (a parameter, a gradient placed beside it) lies.
    pub fn flat_place(&self, buf: BufId) -> Option<FlatPlace> {
        match buf {
            BufId::Tensor(id) => self.flat.get(&id).copied(),
            BufId::Workspace(_) => None,
        }
    }

    /// Starts a dispatch of the shader `shaders/NAME.wgsl`.
    pub fn dispatch(&mut self, shader: &'static str) -> DispatchBuilder<'_, 'a> {
        self.dispatch_kernel(KernelKey::builtin(shader))
    }

    /// Starts a dispatch of a shader given as text: how operations outside this crate bring their kernels. Its indices and
    /// loops are checked while it runs, unlike those of wgrad's own kernels.
    pub fn dispatch_source(&mut self, name: &'static str, wgsl: &'static str) -> DispatchBuilder<'_, 'a> {
        self.dispatch_kernel(KernelKey::from_source(name, wgsl))
    }

    fn dispatch_kernel(&mut self, mut kernel: KernelKey) -> DispatchBuilder<'_, 'a> {
        // What lib/rounds.wgsl asks, of all kernels that count with it.
        if self.tier() == Tier::Cpu && kernel.text().is_some_and(|text| text.contains("#import rounds\n")) {
            kernel.define("ROLLED");
        }
        let dispatch = Dispatch {
            label: self.node().label(),
            node: self.node_index,
            kernel,
            bindings: Vec::new(),
            args: Vec::new(),
            grid: [1, 1, 1],
        };
        DispatchBuilder { lower: self, dispatch }
    }
}

/// Builds one [`Dispatch`]; ends with one of the `grid` methods.
#[derive(Debug)]
#[must_use = "a dispatch is recorded by its grid"]
pub struct DispatchBuilder<'b, 'a> {
    lower: &'b mut Lower<'a>,
    dispatch: Dispatch,
}

impl DispatchBuilder<'_, '_> {
    /// Names the part of an operation that takes several dispatches.
    pub fn part(mut self, part: &str) -> Self {
        self.dispatch.label = format!("{}.{part}", self.dispatch.label);
        self
    }

    /// Binds a buffer to a `var<storage>` of the shader.
    pub fn bind(mut self, name: &'static str, buf: BufId) -> Self {
        self.dispatch.bindings.push((name, buf, None));
        self
    }

    /// Binds a buffer if there is one.
    pub fn bind_some(self, name: &'static str, buf: Option<BufId>) -> Self {
        match buf {
            Some(buf) => self.bind(name, buf),
            None => self,
        }
    }

    /// Binds `elements` elements that start with `first`: a run of tensors that lie side by side in a flat buffer.
    pub fn bind_run(mut self, name: &'static str, first: BufId, elements: usize) -> Self {
        self.dispatch.bindings.push((name, first, Some(elements)));
        self
    }

    /// Sets a member of the uniform block.
    pub fn arg(mut self, name: &'static str, value: impl Into<Arg>) -> Self {
        self.dispatch.args.push((name, value.into()));
        self
    }

    /// Sets several members of the uniform block to extents.
    pub fn args(mut self, values: &[(&'static str, usize)]) -> Self {
        self.dispatch.args.extend(values.iter().map(|&(name, value)| (name, Arg::from(value))));
        self
    }

    /// Turns an `#ifdef` of the shader on.
    pub fn define(mut self, name: &'static str) -> Self {
        self.dispatch.kernel.define(name);
        self
    }

    /// Turns an `#ifdef` on when `condition` holds.
    pub fn define_if(self, condition: bool, name: &'static str) -> Self {
        if condition { self.define(name) } else { self }
    }

    /// Has the lanes of a workgroup reduce together where the tier lets them: what lib/tree.wgsl asks.
    pub fn tree(self) -> Self {
        let tier = self.lower.tier();
        self.define_if(tier != Tier::Cpu, "TREE").define_if(tier.reduces_by_subgroups(), "SUBGROUPS")
    }

    /// Sets an `override` constant of the shader.
    pub fn set(mut self, name: &'static str, value: u32) -> Self {
        self.dispatch.kernel.set(name, value);
        self
    }

    /// Records the dispatch with a grid of workgroups, each extent at most the device's limit; compiling refuses more.
    pub fn grid(mut self, x: usize, y: usize, z: usize) {
        self.dispatch.grid = [x, y, z].map(|extent| u32::try_from(extent).unwrap_or(u32::MAX));
        self.lower.dispatches.push(self.dispatch);
    }

    /// Records the dispatch with at least `groups` workgroups in x and y. The kernel numbers its workgroup
    /// `wid.y * num_workgroups.x + wid.x` and returns when that is too large.
    pub fn groups(self, groups: usize) {
        let max = self.lower.target.max_groups as usize;
        let rows = groups.div_ceil(max).max(1);
        let x = groups.div_ceil(rows).max(1);
        self.grid(x, rows, 1);
    }

    /// Records the dispatch with at least `invocations` invocations for a kernel with `override WG`: numbered
    /// `(wid.y * num_workgroups.x + wid.x) * WG + lid.x`.
    pub fn invocations(self, invocations: usize) {
        self.invocations_batched(invocations, 1);
    }

    /// [`DispatchBuilder::invocations`] for each `wid.z` below `batch`.
    pub fn invocations_batched(self, invocations: usize, batch: usize) {
        let size = match self.lower.tier() {
            Tier::Cpu => self.lower.target.subgroup_size,
            _ => 128,
        };
        let groups = invocations.div_ceil(size as usize);
        let rows = groups.div_ceil(self.lower.target.max_groups as usize).max(1);
        self.set("WG", size).grid(groups.div_ceil(rows).max(1), rows, batch);
    }
}

/// Cost of a node, for profiles.
pub(crate) fn node_cost(graph: &GraphData, node: &Node) -> Cost {
    node.op.cost(&graph.descs(&node.inputs), &graph.descs(&node.outputs))
}
