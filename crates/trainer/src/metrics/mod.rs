//! What a run says about itself: records, progress on the terminal, log files, curves, and the result line.

mod log;
pub mod plot;
mod progress;
mod record;
mod result;

pub use log::RunLog;
pub use progress::Progress;
pub use record::{EpochRecord, StepRecord};
pub use result::{EvaluationLine, ResultLine};
