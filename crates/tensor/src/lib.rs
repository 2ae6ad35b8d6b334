//! Graphs of array operations, differentiated as graphs and compiled into plans of GPU dispatches.
//!
//! Start reading at [`graph`] (what a trace is), then [`ops`] (what an operation states), then [`plan`] (how it runs).

pub mod array;
pub mod device;
pub mod dtype;
pub mod error;
pub mod graph;
pub mod kernel;
pub mod ops;
pub mod params;
pub mod passes;
pub mod philox;
pub mod plan;
pub mod precision;
pub mod reference;
pub mod shape;
pub mod tune;

pub use array::Array;
pub use device::{AdapterInfo, Device, DeviceOptions, adapters};
pub use dtype::DType;
pub use error::{DeviceError, Error, Result, ShapeError, ShapeErrors, UsageError};
pub use graph::{Graph, Init, Mode, ParamDecl, ParamKind, Rows, Scope, Value};
pub use ops::{Activation, Tier};
pub use params::{Params, Snapshot, Snapshots};
pub use passes::differentiate::{gradients, weights};
pub use plan::{CompileOptions, Feed, Plan, Ticket};
pub use precision::{Rounding, Storage, StoragePolicy};
pub use shape::{Shape, TensorDesc};
pub use tune::{TuneReport, Tuning};
