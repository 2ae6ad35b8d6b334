//! What a layer is given while it is traced: names for its parameters, the mode, and random streams.

use super::{Graph, Origin, Value};
use crate::shape::{Shape, TensorDesc};
use std::panic::Location;

/// Whether a trace is for training or for evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, dropout active.
    Train,
    /// Running statistics, dropout is the identity.
    Eval,
}

/// What a tensor of the parameter store is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ParamKind {
    /// Learned by the optimiser.
    Weight,
    /// Learned never, saved with the model: running statistics.
    Buffer,
    /// The optimiser's own memory: momentum. Saved for resuming, not with an exported model.
    Optimizer,
    /// Gradients added up over several steps. They lie apart from the optimiser's memory: one kernel reads them and writes that,
    /// and no dispatch may have a buffer for both.
    Gradient,
}

impl ParamKind {
    /// Whether it belongs to the model, and not to how it is trained.
    pub fn is_model(self) -> bool {
        matches!(self, ParamKind::Weight | ParamKind::Buffer)
    }
}

/// How a parameter starts. Fans follow PyTorch: `fan_in` = elements of one output's filter, `shape[1] * r * s`;
/// `fan_out` = `shape[0] * r * s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every element the same.
    Constant(f32),
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f32,
    },
    /// Uniform in `[-bound, bound)`.
    Uniform {
        /// Half width.
        bound: f32,
    },
    /// He et al., arXiv:1502.01852: normal, `std = gain / sqrt(fan_in)`; gain is `sqrt(2)` for ReLU.
    KaimingNormal {
        /// Gain of the non-linearity.
        gain: f32,
    },
    /// As [`Init::KaimingNormal`] with `fan_out`.
    KaimingNormalFanOut {
        /// Gain of the non-linearity.
        gain: f32,
    },
    /// Uniform, `bound = gain * sqrt(3 / fan_in)`. PyTorch's default for `Conv2d` and `Linear` weights has gain
    /// `sqrt(1/3)`.
    KaimingUniform {
        /// Gain of the non-linearity.
        gain: f32,
    },
    /// Glorot and Bengio 2010: normal, `std = gain * sqrt(2 / (fan_in + fan_out))`.
    XavierNormal {
        /// Gain of the non-linearity.
        gain: f32,
    },
    /// Glorot and Bengio 2010: uniform, `bound = gain * sqrt(6 / (fan_in + fan_out))`.
    XavierUniform {
        /// Gain of the non-linearity.
        gain: f32,
    },
}

impl Init {
    /// Resolves the fans: a constant, a normal or a uniform distribution.
    pub fn resolve(self, shape: &Shape) -> Init {
        let receptive = shape.dim(2) * shape.dim(3);
        let fan_in = (shape.dim(1) * receptive).max(1) as f32;
        let fan_out = (shape.dim(0) * receptive).max(1) as f32;
        match self {
            Init::Constant(_) | Init::Normal { .. } | Init::Uniform { .. } => self,
            Init::KaimingNormal { gain } => Init::Normal { std: gain / fan_in.sqrt() },
            Init::KaimingNormalFanOut { gain } => Init::Normal { std: gain / fan_out.sqrt() },
            Init::KaimingUniform { gain } => Init::Uniform { bound: gain * (3.0 / fan_in).sqrt() },
            Init::XavierNormal { gain } => Init::Normal { std: gain * (2.0 / (fan_in + fan_out)).sqrt() },
            Init::XavierUniform { gain } => Init::Uniform { bound: gain * (6.0 / (fan_in + fan_out)).sqrt() },
        }
    }
}

/// A tensor of the parameter store as a graph declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamDecl {
    /// Full dotted name, PyTorch's where there is one: `layer1.0.conv1.weight`.
    pub name: String,
    /// Extents in PyTorch's order.
    pub shape: Shape,
    /// What it is for.
    pub kind: ParamKind,
    /// How it starts.
    pub init: Init,
    /// Optimiser group; parameters of one group lie side by side.
    pub group: usize,
    /// Which rows of a larger tensor it is; `None`: a tensor of its own.
    pub rows: Option<Rows>,
}

/// Some rows of a tensor that is too large for one binding, see [`Scope::weight_rows`]. The store knows the tensor as a whole, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Name of the whole tensor.
    pub whole: String,
    /// First of the rows (of dimension 0).
    pub first: usize,
    /// Rows of the whole tensor.
    pub of: usize,
}

impl Rows {
    /// The name of `count` of these rows: `fc6.weight[0..2048]`.
    fn name(&self, count: usize) -> String {
        format!("{}[{}..{}]", self.whole, self.first, self.first + count)
    }
}

impl ParamDecl {
    /// The optimiser's memory of kind `state` beside this parameter: `optimizer.STATE.NAME`, zeros of the same extents.
    pub(crate) fn state(&self, state: &str, kind: ParamKind, group: usize) -> ParamDecl {
        let name = format!("optimizer.{state}.{}", self.name);
        let whole = |rows: &Rows| Rows { whole: format!("optimizer.{state}.{}", rows.whole), ..rows.clone() };
        let rows = self.rows.as_ref().map(whole);
        ParamDecl { name, shape: self.shape, kind, init: Init::Constant(0.0), group, rows }
    }

    /// The name of the tensor that this is, or is some rows of.
    pub fn whole_name(&self) -> &str {
        self.rows.as_ref().map_or(&self.name, |rows| &rows.whole)
    }
}

/// Names, mode and random streams for tracing one layer; children are made by [`Scope::enter`].
#[derive(Clone, Debug)]
pub struct Scope<'g> {
    graph: &'g Graph,
    path: String,
    mode: Mode,
}

impl<'g> Scope<'g> {
    /// The root scope of a trace.
    pub fn new(graph: &'g Graph, mode: Mode) -> Scope<'g> {
        Scope { graph, path: String::new(), mode }
    }

    /// The graph being traced.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// Train or eval.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether this trace is for training.
    pub fn is_training(&self) -> bool {
        self.mode == Mode::Train
    }

    /// Dotted path of the layer being traced.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Traces `body` under the name `child`: its parameters are called `path.child.…` and its nodes carry that path.
    pub fn enter<T>(&self, child: &str, body: impl FnOnce(&Scope<'g>) -> T) -> T {
        body(&self.child(child))
    }

    /// [`Scope::enter`] without a closure: the child is left when the guard is dropped. A closure would hide the line of
    /// the model from `#[track_caller]`, and mistakes would be reported at the library's own lines.
    pub fn child(&self, name: &str) -> Entered<'g> {
        self.entered(self.join(name), None)
    }

    /// Reports what is traced until the guard is dropped, children left out, at `location` instead of the caller's line: for
    /// a layer that remembers the line on which it was made. Its caller may be a container that knows no line of the model.
    pub fn at(&self, location: &'static Location<'static>) -> Entered<'g> {
        self.entered(self.path.clone(), Some(location))
    }

    fn entered(&self, path: String, location: Option<&'static Location<'static>>) -> Entered<'g> {
        let outer = (self.graph.path.replace(path.clone()), self.graph.location.replace(location));
        Entered { scope: Scope { graph: self.graph, path, mode: self.mode }, outer }
    }

    /// A learned parameter.
    #[track_caller]
    pub fn weight(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Value<'g> {
        self.declare(name, shape.into(), ParamKind::Weight, init)
    }

    /// A parameter as another graph declares it, by its full name.
    #[track_caller]
    pub fn parameter(&self, decl: ParamDecl) -> Value<'g> {
        self.declare_rows(decl.name, decl.shape, decl.kind, decl.init, decl.rows)
    }

    /// A learned parameter in blocks of rows (dimension 0), each small enough for a binding
    /// ([`Graph::set_largest_parameter`]); one block where the whole is. Together they start with the numbers that the whole
    /// would start with, and the parameter store reads and writes them as one tensor called `name`.
    #[track_caller]
    pub fn weight_rows(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Vec<Value<'g>> {
        let shape = shape.into();
        let count = shape.dim(0);
        let row = (shape.numel() / count.max(1)).max(1);
        // A block begins with a vec4, whatever the length of its rows.
        let most = ((self.graph.largest_parameter_bytes() / 4) as usize / row / 4 * 4).max(4);
        if count <= most || shape.rank() < 2 {
            return vec![self.weight(name, shape, init)];
        }
        let most = count.div_ceil(count.div_ceil(most)).next_multiple_of(4);
        let (whole, init) = (self.join(name), init.resolve(&shape));
        let blocks = (0..count).step_by(most).map(|first| {
            let rows = Rows { whole: whole.clone(), first, of: count };
            let shape = shape.with_rows(most.min(count - first));
            let name = rows.name(shape.dim(0));
            self.declare_rows(name, shape, ParamKind::Weight, init, Some(rows))
        });
        blocks.collect()
    }

    /// A tensor that is saved with the model but not learned, e.g. running statistics.
    #[track_caller]
    pub fn buffer(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Value<'g> {
        self.declare(name, shape.into(), ParamKind::Buffer, init)
    }

    /// Hands out the logits of an auxiliary classifier beside the model's result (Szegedy et al., arXiv:1409.4842): a training
    /// step adds `weight` times their loss to its own. [`Graph::auxiliary`] lists them. Meant for training traces.
    pub fn auxiliary(&self, logits: Value<'g>, weight: f32) {
        self.graph.with_data_mut(|data| data.auxiliary.push((logits.id(), weight)));
    }

    /// The feed `rng`: u32 `[4]` = seed (low, high), step, first sample of the batch. One per graph; random operations
    /// key their streams with it and with [`Scope::random_stream`].
    pub fn rng(&self) -> Value<'g> {
        let known = self.graph.with_data(|data| data.feeds().find(|(_, name)| *name == RNG_FEED).map(|(id, _)| id));
        match known {
            Some(id) => self.graph.value(id),
            None => self.graph.feed(RNG_FEED, TensorDesc::u32([4])),
        }
    }

    /// A stream number of this layer's own, another one with every call: FNV-1a of the path and, after the first call, of
    /// the calls before it, so that adding a layer elsewhere changes nothing here.
    pub fn random_stream(&self) -> u32 {
        let mut streams = self.graph.streams.borrow_mut();
        let calls = streams.entry(self.path.clone()).or_default();
        *calls += 1;
        if *calls == 1 { fnv1a(&self.path) } else { fnv1a(&format!("{}#{calls}", self.path)) }
    }

    fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }

    #[track_caller]
    fn declare(&self, name: &str, shape: Shape, kind: ParamKind, init: Init) -> Value<'g> {
        self.declare_rows(self.join(name), shape, kind, init, None)
    }

    #[track_caller]
    fn declare_rows(&self, name: String, shape: Shape, kind: ParamKind, init: Init, rows: Option<Rows>) -> Value<'g> {
        if self.graph.with_data(|data| data.params().any(|(_, decl)| decl.name == name)) {
            return self
                .graph
                .mistake("parameter", format!("{name:?} is declared twice; give each layer its own name"));
        }
        if let Err(message) = TensorDesc::f32(shape).check() {
            return self.graph.mistake("parameter", format!("{name:?}: {message}"));
        }
        declare_param(self.graph, ParamDecl { name, shape, kind, init, group: 0, rows })
    }
}

/// A scope while it is traced, see [`Scope::child`] and [`Scope::at`]; dropping it restores the graph's layer path and line.
#[derive(Debug)]
pub struct Entered<'g> {
    scope: Scope<'g>,
    outer: (String, Option<&'static Location<'static>>),
}

impl<'g> std::ops::Deref for Entered<'g> {
    type Target = Scope<'g>;

    fn deref(&self) -> &Scope<'g> {
        &self.scope
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let (path, location) = std::mem::take(&mut self.outer);
        self.scope.graph.path.replace(path);
        self.scope.graph.location.set(location);
    }
}

/// Name of the feed of [`Scope::rng`].
pub(crate) const RNG_FEED: &str = "rng";

/// Adds a parameter to a graph.
pub(crate) fn declare_param(graph: &Graph, decl: ParamDecl) -> Value<'_> {
    graph.add_tensor(TensorDesc::f32(decl.shape), Origin::Param(decl))
}

/// FNV-1a, 32 bits: stable names for random streams.
pub(crate) fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
