//! Trains convolutional networks on any GPU that wgpu reaches: Vulkan, Metal, DX12.
//!
//! A network is traced once into a graph of coarse operations, differentiated as a graph, and compiled into a plan of GPU
//! dispatches that a training step replays. Three crates stand behind this one:
//!
//! * [`layers`]: the layers, the model zoo, and the trait [`layers::Layer`] to write one's own;
//! * [`trainer`]: data sets, augmentation, schedules, the training loop, metrics and checkpoints;
//! * [`tensor`]: graphs, operations, plans, devices; the place to add a kernel.
//!
//! ```no_run
//! use wgrad::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = models::by_name("resnet20", 3, 10).ok_or("no such model")?;
//! let data = data::open::cifar10("data/cifar-10-batches-bin".as_ref())?;
//! let trained = Trainer::new(model, data).epochs(30).schedule(Schedule::one_cycle(0.1, 30.0)?).run()?;
//! println!("{}", trained.report.result_line());
//! # Ok(())
//! # }
//! ```
//!
//! The folder `examples/` of the repository has complete programs.

pub use wgrad_layers as layers;
pub use wgrad_tensor as tensor;
pub use wgrad_trainer as trainer;

/// What nearly every program needs: `use wgrad::prelude::*;`.
pub mod prelude {
    pub use wgrad_layers::{Layer, ScopeExt, Summary, models};
    pub use wgrad_tensor::{Device, DeviceOptions, Graph, Init, Mode, Params, Scope, Tier, Value};
    pub use wgrad_trainer::{
        Augment, Border, Dataset, EvalStep, Loader, LoaderOptions, Output, Schedule, SgdConfig, Splits, StepOptions,
        TrainStep, Trainer, checkpoint, data, evaluate,
    };
}
