//! Errors, grouped by what the caller can do about them.

use std::fmt;
use std::panic::Location;

/// Everything that can go wrong between tracing a network and running it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model does not fit together: mend the model. Lists every mistake of the trace.
    #[error(transparent)]
    Shape(#[from] ShapeErrors),
    /// The GPU is absent, too small, out of memory or lost: choose another adapter or a smaller batch.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A name, feed or parameter does not match the plan: mend the call.
    #[error(transparent)]
    Usage(#[from] UsageError),
}

/// One place where shapes or types do not fit.
#[derive(Clone, Debug)]
pub struct ShapeError {
    /// The operation, e.g. `conv2d`.
    pub op: String,
    /// Path of the layer, e.g. `layer1.0.conv1`.
    pub path: String,
    /// The operands.
    pub inputs: Vec<String>,
    /// What was wanted, what was got and what to do.
    pub message: String,
    /// Line of the model's source.
    pub location: &'static Location<'static>,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "(model)" } else { &self.path };
        write!(f, "{path}: {}({}): {} [{}]", self.op, self.inputs.join(", "), self.message, self.location)
    }
}

/// All shape errors of a trace, in program order.
#[derive(Clone, Debug)]
pub struct ShapeErrors(pub Vec<ShapeError>);

impl fmt::Display for ShapeErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model has {} mistake{}:", self.0.len(), if self.0.len() == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for ShapeErrors {}

/// What can be wrong with the GPU.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// No adapter at all, or none that matches.
    #[error("no GPU adapter {wanted}; found: {found}. {hint}")]
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// The adapters there are.
        found: String,
        /// What to install or pass.
        hint: String,
    },
    /// The adapter refused to make a device.
    #[error("adapter {adapter} could not be opened: {message}")]
    Open {
        /// Adapter name.
        adapter: String,
        /// The driver's words.
        message: String,
    },
    /// A tensor or plan needs more than the device offers in one piece.
    #[error(
        "{what} needs {wanted_bytes} bytes ({}) in one binding, but {adapter} offers {limit_bytes} ({}); \
         make the batch or the layer smaller",
        mib(*wanted_bytes), mib(*limit_bytes)
    )]
    LimitExceeded {
        /// Tensor or workspace.
        what: String,
        /// Bytes wanted.
        wanted_bytes: u64,
        /// Bytes offered.
        limit_bytes: u64,
        /// Adapter name.
        adapter: String,
    },
    /// Allocation failed while compiling.
    #[error(
        "out of memory: the plan needs {planned_bytes} bytes ({}) and failed at {what}; \
         make the batch smaller or close other programs that use the GPU ({message})",
        mib(*planned_bytes)
    )]
    OutOfMemory {
        /// Bytes of the whole plan.
        planned_bytes: u64,
        /// Buffer that failed.
        what: String,
        /// The driver's words.
        message: String,
    },
    /// The device went away.
    #[error("the GPU device was lost: {0}")]
    Lost(String),
    /// A dispatch needs more workgroups along one dimension than the device offers.
    #[error(
        "{what} needs {wanted:?} workgroups, but {adapter} offers {limit} in each dimension; \
         make the batch or the layer smaller"
    )]
    GridExceeded {
        /// The operation.
        what: String,
        /// Workgroups wanted in x, y and z.
        wanted: [u32; 3],
        /// Workgroups offered in each dimension.
        limit: u32,
        /// Adapter name.
        adapter: String,
    },
    /// The adapter cannot run the kernels of a tier.
    #[error("adapter {adapter} cannot run tier {tier}, which needs {missing}; {hint}")]
    Tier {
        /// Adapter name.
        adapter: String,
        /// The tier that was asked for, or `base` where nobody asked and none of the usual ones runs.
        tier: &'static str,
        /// What the tier needs, and what the adapter has.
        missing: String,
        /// The tiers that it runs and how to ask for one.
        hint: String,
    },
    /// The device lacks something that only this call needs.
    #[error("adapter {adapter} has no {feature}; {hint}")]
    Unsupported {
        /// Adapter name.
        adapter: String,
        /// What is missing.
        feature: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// wgpu or the driver refused something that had been checked before: a bug in wgrad or in the driver, except when the
    /// words say that memory ran out.
    #[error("the GPU driver refused {what}: {message}; if memory ran out, make the batch smaller, else report this")]
    Refused {
        /// What was being made or run.
        what: String,
        /// The driver's words.
        message: String,
    },
    /// A kernel failed to compile: a bug in the kernel.
    #[error("kernel {kernel}: {message}")]
    Kernel {
        /// Shader and variant.
        kernel: String,
        /// The validator's words.
        message: String,
    },
}

/// Mistakes in calling a plan or parameter store.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// A feed or output that the plan does not have.
    #[error("no {kind} named {name:?}; there {}", match known.as_str() {
        "" => "are none".to_string(),
        many if many.contains(',') => format!("are {many}"),
        one => format!("is {one}"),
    })]
    UnknownName {
        /// `feed`, `output` or `parameter`.
        kind: &'static str,
        /// Name asked for.
        name: String,
        /// Names there are.
        known: String,
    },
    /// Data of another length, shape or type.
    #[error("{kind} {name:?} wants {wanted}, got {got}")]
    Mismatch {
        /// `feed`, `output` or `parameter`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What was wanted.
        wanted: String,
        /// What was got.
        got: String,
    },
    /// A value that makes no sense, e.g. a learning rate of NaN.
    #[error("{name} must be {wanted}, got {got}")]
    Value {
        /// Argument name.
        name: String,
        /// Rule.
        wanted: String,
        /// Value.
        got: String,
    },
    /// Temporaries do not fit the bytes that were allowed, whatever is computed twice.
    #[error(
        "temporaries may take {budget_bytes} bytes ({}), but at least {least_bytes} ({}) are needed even with recomputation; \
         allow more or make the batch smaller",
        mib(*budget_bytes), mib(*least_bytes)
    )]
    Budget {
        /// Bytes allowed.
        budget_bytes: u64,
        /// The least that was found.
        least_bytes: u64,
    },
    /// An operation that has no gradient stands between the loss and a parameter.
    #[error("{path}: {op} has no gradient, but a parameter below it needs one")]
    NotDifferentiable {
        /// The operation.
        op: String,
        /// Path of the layer.
        path: String,
    },
}

/// Bytes as a human reads them.
pub fn mib(bytes: u64) -> String {
    if bytes >= 1 << 30 {
        format!("{:.2} GiB", bytes as f64 / (1u64 << 30) as f64)
    } else {
        format!("{:.1} MiB", bytes as f64 / (1u64 << 20) as f64)
    }
}

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
