//! The intermediate representation: a network traced once.
//!
//! A [`Graph`] is a list of **nodes** (an operation applied to tensors) and **tensors** (shape, type, and where they come
//! from). Tracing appends to it: every method of [`Value`] adds one node and returns handles to its outputs, so creation
//! order is a topological order, and stays one through differentiation (the backward pass is appended) and the optimiser.
//! Nothing is computed here. Four kinds of tensors exist, told apart by [`Origin`]:
//!
//! * **feeds**, handed to every run: images, labels, the learning rate;
//! * **parameters**, which outlive the graph in a store shared between plans: weights, running statistics, momentum;
//! * **results** of nodes, which live in memory planned for them;
//! * **poison**, the result of an operation that did not fit. Poison spreads silently, so that model code needs no `?`:
//!   the mistake is recorded once, with layer path and source line, and `Plan::compile` returns all of them together.
//!
//! A parameter is updated by [`Graph::write_back`]: "when the step ends, the storage of this parameter holds that value".
//! The graph stays free of side effects; the planner turns the pair into an update in place where it may.

mod dump;
mod scope;
mod value;

pub use scope::{Entered, Init, Mode, ParamDecl, ParamKind, Rows, Scope};
pub(crate) use scope::{RNG_FEED, declare_param, fnv1a};
pub use value::Value;

use crate::error::{ShapeError, ShapeErrors};
use crate::ops::OpDef;
use crate::shape::{Shape, TensorDesc};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::Location;
use std::rc::Rc;

/// Index of a tensor in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub usize);

/// Where a tensor comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Handed to every run under this name.
    Feed(String),
    /// Lives in the parameter store.
    Param(ParamDecl),
    /// Output number `output` of node `node`.
    Node {
        /// Index into [`GraphData::nodes`].
        node: usize,
        /// Which output.
        output: usize,
    },
    /// Result of an operation whose operands did not fit.
    Poison,
}

/// One tensor of the graph.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Shape and type.
    pub desc: TensorDesc,
    /// Where it comes from.
    pub origin: Origin,
}

/// One operation of the graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is computed.
    pub op: Rc<dyn OpDef>,
    /// Operands.
    pub inputs: Vec<TensorId>,
    /// Results.
    pub outputs: Vec<TensorId>,
    /// Path of the layer that traced it, e.g. `layer1.0.conv1`.
    pub path: String,
    /// Line of the model's source.
    pub location: &'static Location<'static>,
}

impl Node {
    /// `path/op`, the label used in traces and dumps.
    pub fn label(&self) -> String {
        if self.path.is_empty() { self.op.name().to_string() } else { format!("{}/{}", self.path, self.op.name()) }
    }
}

/// The plain data of a graph: what passes read and return.
#[derive(Clone, Debug, Default)]
pub struct GraphData {
    /// All tensors.
    pub tensors: Vec<TensorInfo>,
    /// All nodes, in a topological order.
    pub nodes: Vec<Node>,
    /// Named results that are read back after a run.
    pub outputs: Vec<(String, TensorId)>,
    /// Pairs (parameter, its value after the step).
    pub write_backs: Vec<(TensorId, TensorId)>,
    /// Pairs (gradient, its parameter): gradients that shall lie in flat buffers, packed like their parameters.
    pub flat_gradients: Vec<(TensorId, TensorId)>,
    /// Further logits that a model hands out in training, with the weights of their losses; see [`Scope::auxiliary`].
    pub auxiliary: Vec<(TensorId, f32)>,
    /// The first tensor of the backward pass; what is traced before it is the forward pass.
    pub first_gradient: Option<TensorId>,
    /// Results that are computed a second time, by the first: the same bits in the same storage.
    pub repeats: HashMap<TensorId, TensorId>,
    /// What did not fit.
    pub errors: Vec<ShapeError>,
}

impl GraphData {
    /// Shape and type of a tensor.
    pub fn desc(&self, id: TensorId) -> TensorDesc {
        self.tensors[id.0].desc
    }

    /// Descriptions of several tensors.
    pub fn descs(&self, ids: &[TensorId]) -> Vec<TensorDesc> {
        ids.iter().map(|&id| self.desc(id)).collect()
    }

    /// The declaration behind a tensor that is a parameter.
    pub fn param(&self, id: TensorId) -> Option<&ParamDecl> {
        match &self.tensors[id.0].origin {
            Origin::Param(decl) => Some(decl),
            _ => None,
        }
    }

    /// All parameters, in order of declaration.
    pub fn params(&self) -> impl Iterator<Item = (TensorId, &ParamDecl)> {
        (0..self.tensors.len()).filter_map(|i| self.param(TensorId(i)).map(|decl| (TensorId(i), decl)))
    }

    /// All feeds, in order of declaration.
    pub fn feeds(&self) -> impl Iterator<Item = (TensorId, &str)> {
        self.tensors.iter().enumerate().filter_map(|(i, t)| match &t.origin {
            Origin::Feed(name) => Some((TensorId(i), name.as_str())),
            _ => None,
        })
    }

    /// Adds the feed of random keys, if nothing random was traced.
    pub(crate) fn ensure_rng(&mut self) {
        if self.feeds().all(|(_, name)| name != RNG_FEED) {
            let (desc, origin) = (TensorDesc::u32([4]), Origin::Feed(RNG_FEED.to_string()));
            self.tensors.push(TensorInfo { desc, origin });
        }
    }

    /// The tensor whose value this one repeats, or itself.
    pub fn first(&self, id: TensorId) -> TensorId {
        self.repeats.get(&id).copied().unwrap_or(id)
    }

    /// Whose storage each tensor has: its own, or for a view that of what it views in the end. Two tensors are the same
    /// bytes exactly if their roots are equal.
    pub fn roots(&self) -> Vec<TensorId> {
        let mut roots: Vec<TensorId> = (0..self.tensors.len()).map(TensorId).collect();
        for node in &self.nodes {
            if let Some(viewed) = node.op.view_of(&self.descs(&node.inputs)) {
                roots[node.outputs[0].0] = roots[node.inputs[viewed].0];
            }
        }
        roots
    }

    /// The recorded mistakes, if there are any.
    pub fn check(&self) -> Result<(), ShapeErrors> {
        if self.errors.is_empty() { Ok(()) } else { Err(ShapeErrors(self.errors.clone())) }
    }
}

/// [`OpDef::infer`] with what holds for every operation checked before and after it.
fn infer(op: &dyn OpDef, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
    if let Some(wanted) = op.operand_types()
        && !wanted.iter().eq(x.iter().map(|desc| &desc.dtype))
    {
        let wanted: Vec<String> = wanted.iter().map(|dtype| dtype.to_string()).collect();
        return Err(format!("wanted {} operands of types [{}]", wanted.len(), wanted.join(", ")));
    }
    let results = op.infer(x)?;
    results.iter().try_for_each(TensorDesc::check)?;
    Ok(results)
}

/// A graph under construction. Handles into it ([`Value`], [`Scope`]) borrow it.
#[derive(Debug, Default)]
pub struct Graph {
    data: RefCell<GraphData>,
    path: RefCell<String>,
    /// The line that a layer remembers, while it is traced; see [`Scope::at`].
    location: Cell<Option<&'static Location<'static>>>,
    /// How many random streams each layer path has been given.
    streams: RefCell<HashMap<String, u32>>,
    /// Bytes, where they were set.
    largest_parameter: Cell<Option<u64>>,
}

/// WebGPU's default limit of a storage binding.
const LARGEST_PARAMETER_BYTES: u64 = 128 << 20;

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Most bytes of a block of [`Scope::weight_rows`], in f32; for what is traced from here on. Default: 128 MiB, WebGPU's default
    /// limit of a binding, on every adapter, so that a network's sums are the same everywhere.
    pub fn set_largest_parameter(&self, bytes: u64) {
        self.largest_parameter.set(Some(bytes));
    }

    fn largest_parameter_bytes(&self) -> u64 {
        self.largest_parameter.get().unwrap_or(LARGEST_PARAMETER_BYTES)
    }

    /// A tensor that every run is handed under `name`.
    #[track_caller]
    pub fn feed(&self, name: &str, desc: TensorDesc) -> Value<'_> {
        if self.with_data(|data| data.feeds().any(|(_, known)| known == name)) {
            return self.mistake("feed", format!("{name:?} is declared twice; give each feed its own name"));
        }
        match desc.check() {
            Ok(()) => self.add_tensor(desc, Origin::Feed(name.to_string())),
            Err(message) => self.mistake("feed", format!("{name:?}: {message}")),
        }
    }

    /// Marks a value to be read back after each run, under `name`. A parameter is read back as the run found it.
    #[track_caller]
    pub fn output(&self, name: &str, value: Value<'_>) {
        if self.with_data(|data| data.outputs.iter().any(|(known, _)| known == name)) {
            self.mistake("output", format!("{name:?} is marked twice; give each output its own name"));
        } else if self.owns_all("output", &[value]) {
            self.with_data_mut(|data| data.outputs.push((name.to_string(), value.id())));
        }
    }

    /// States that `param` holds `value` when the step has ended.
    #[track_caller]
    pub fn write_back(&self, param: Value<'_>, value: Value<'_>) {
        if !self.owns_all("write_back", &[param, value]) || param.is_poison() || value.is_poison() {
            return;
        }
        let known = self.with_data(|data| data.param(param.id()).map(|decl| decl.name.clone()));
        let is_second = self.with_data(|data| data.write_backs.iter().any(|(known, _)| *known == param.id()));
        match known {
            None => drop(self.mistake("write_back", format!("wanted a parameter to update, got {param:?}"))),
            Some(name) if is_second => {
                self.mistake("write_back", format!("{name:?} is updated twice; a step has one new value for it"));
            }
            Some(name) if param.desc() != value.desc() => {
                let (wanted, got) = (param.desc(), value.desc());
                self.mistake("write_back", format!("{name:?} is {wanted}, its new value {got}; they must be alike"));
            }
            Some(_) => self.with_data_mut(|data| data.write_backs.push((param.id(), value.id()))),
        }
    }

    /// Whether all values are this graph's; records the mistake if not.
    #[track_caller]
    pub(crate) fn owns_all(&self, op: &str, values: &[Value<'_>]) -> bool {
        let foreign = values.iter().position(|value| !std::ptr::eq(value.graph(), self));
        if let Some(i) = foreign {
            self.mistake(op, format!("operand {i} belongs to another graph; trace everything into one"));
        }
        foreign.is_none()
    }

    /// Asks for `gradient` to lie in a flat buffer at the place that mirrors `param`'s, so that an optimiser can treat
    /// many parameters in one dispatch. A gradient can have one such home; later requests for the same one are ignored.
    pub(crate) fn place_gradient(&self, gradient: Value<'_>, param: Value<'_>) {
        let mut data = self.data.borrow_mut();
        if data.flat_gradients.iter().all(|&(g, _)| g != gradient.id()) {
            data.flat_gradients.push((gradient.id(), param.id()));
        }
    }

    /// Applies an operation and returns its outputs; on a mismatch records the mistake and returns poison.
    #[track_caller]
    pub fn apply(&self, op: impl OpDef, inputs: &[Value<'_>]) -> Vec<Value<'_>> {
        self.apply_rc(Rc::new(op), inputs)
    }

    /// [`Graph::apply`] for an operation with one output.
    #[track_caller]
    pub fn apply1(&self, op: impl OpDef, inputs: &[Value<'_>]) -> Value<'_> {
        let outputs = self.apply(op, inputs);
        outputs.into_iter().next().unwrap_or_else(|| self.poison())
    }

    /// [`Graph::apply`] for an operation that is shared.
    #[track_caller]
    pub fn apply_rc(&self, op: Rc<dyn OpDef>, inputs: &[Value<'_>]) -> Vec<Value<'_>> {
        let location = self.here();
        let output_count = op.output_count();
        if !self.owns_all(op.name(), inputs) || inputs.iter().any(|value| value.is_poison()) {
            return (0..output_count).map(|_| self.poison()).collect();
        }
        let ids: Vec<TensorId> = inputs.iter().map(|value| value.id()).collect();
        let descs = self.data.borrow().descs(&ids);
        let path = self.path.borrow().clone();
        match infer(op.as_ref(), &descs) {
            Ok(results) => {
                let node = self.data.borrow().nodes.len();
                let outputs: Vec<Value<'_>> = results
                    .iter()
                    .enumerate()
                    .map(|(output, &desc)| self.add_tensor(desc, Origin::Node { node, output }))
                    .collect();
                let node =
                    Node { op, inputs: ids, outputs: outputs.iter().map(|value| value.id()).collect(), path, location };
                self.data.borrow_mut().nodes.push(node);
                outputs
            }
            Err(message) => {
                self.data.borrow_mut().errors.push(ShapeError {
                    op: op.name().to_string(),
                    path,
                    inputs: descs.iter().map(|desc| desc.to_string()).collect(),
                    message,
                    location,
                });
                (0..output_count).map(|_| self.poison()).collect()
            }
        }
    }

    /// Records a mistake that is not tied to one operation, e.g. a layer given an impossible argument.
    #[track_caller]
    pub fn mistake(&self, op: &str, message: impl Into<String>) -> Value<'_> {
        let error = ShapeError {
            op: op.to_string(),
            path: self.path.borrow().clone(),
            inputs: Vec::new(),
            message: message.into(),
            location: self.here(),
        };
        self.data.borrow_mut().errors.push(error);
        self.poison()
    }

    /// A snapshot of the traced data.
    pub fn data(&self) -> GraphData {
        self.data.borrow().clone()
    }

    /// What the model has handed out beside its result, and the weights of its losses: [`Scope::auxiliary`].
    pub fn auxiliary(&self) -> Vec<(Value<'_>, f32)> {
        let known = self.data.borrow().auxiliary.clone();
        known.into_iter().map(|(id, weight)| (self.value(id), weight)).collect()
    }

    /// The handle of a tensor of this graph.
    pub fn value(&self, id: TensorId) -> Value<'_> {
        Value::new(self, id)
    }

    pub(crate) fn with_data<T>(&self, read: impl FnOnce(&GraphData) -> T) -> T {
        read(&self.data.borrow())
    }

    pub(crate) fn with_data_mut<T>(&self, write: impl FnOnce(&mut GraphData) -> T) -> T {
        write(&mut self.data.borrow_mut())
    }

    /// Runs `body` with the layer path replaced, restoring it afterwards.
    pub(crate) fn at_path<T>(&self, path: &str, body: impl FnOnce() -> T) -> T {
        let outer = self.path.replace(path.to_string());
        let result = body();
        self.path.replace(outer);
        result
    }

    /// The line of the model: the one that its layer remembers, else the caller's.
    #[track_caller]
    fn here(&self) -> &'static Location<'static> {
        self.location.get().unwrap_or(Location::caller())
    }

    pub(crate) fn add_tensor(&self, desc: TensorDesc, origin: Origin) -> Value<'_> {
        let mut data = self.data.borrow_mut();
        data.tensors.push(TensorInfo { desc, origin });
        Value::new(self, TensorId(data.tensors.len() - 1))
    }

    fn poison(&self) -> Value<'_> {
        self.add_tensor(TensorDesc::f32(Shape::scalar()), Origin::Poison)
    }
}
