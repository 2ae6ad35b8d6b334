//! Training: data in, a trained network, its curves and a checkpoint out.
//!
//! Two ways in. [`Trainer`] is the whole loop behind a builder. [`TrainStep`] and [`EvalStep`] are the loop's two compiled
//! plans, for those who write the loop themselves (`examples/train_loop.rs`). Around them stand the parts that need no GPU:
//! [`data`], [`augment`], [`loader`], [`schedule`], [`metrics`], [`checkpoint`] and [`weights`].

pub mod augment;
pub mod checkpoint;
pub mod data;
mod error;
mod eval_step;
pub mod exit;
pub mod features;
pub mod inference;
pub mod loader;
mod lookahead;
pub mod metrics;
pub mod model_card;
mod parts;
mod pattern;
pub mod precision;
pub mod schedule;
mod sgd;
pub mod step;
pub mod train;
pub mod tuning;
pub mod update;
pub mod weights;

pub use augment::{Augment, Border, View};
pub use checkpoint::{Checkpoint, CheckpointError, Meta};
pub use data::{DataError, Dataset, Geometry, Pixels, Splits};
pub use error::TrainError;
pub use exit::Exit;
pub use inference::{Classifier, InferenceError, Overrides};
pub use loader::{
    Batch, Cursor, Custom, Epoch, Fault, LastBatch, Loader, LoaderError, LoaderOptions, Mix, NO_LABEL, OnBadImage,
};
pub use lookahead::Lookahead;
pub use metrics::{EpochRecord, EvaluationLine, Progress, ResultLine, RunLog, StepRecord};
pub use model_card::{ModelCard, Preprocessing};
pub use parts::Parts;
pub use pattern::Pattern;
pub use precision::Precision;
pub use schedule::{Schedule, ScheduleError};
pub use step::{Decay, EvalResult, EvalStep, SgdConfig, StepOptions, StepResult, TrainStep};
pub use train::{
    Airbench94, BodyRates, Evaluation, FileWriter, Output, Report, Resume, Show, Stop, StopReason, Trained, Trainer,
    evaluate, evaluate_mirror_translate, evaluate_views,
};
pub use tuning::{TuningError, TuningFile};
pub use update::{GroupRule, Optimizer, UpdateConfig};
pub use weights::{LoadOptions, LoadReport, NameMap, Naming, Weights, WeightsError};
