//! Using what was trained: a file of weights and what it says about itself become a [`Classifier`], which gives every image its
//! probabilities, averaged over as many views of it as are wanted.
//!
//! ```no_run
//! use std::sync::Arc;
//! use wgrad_tensor::{CompileOptions, Device, DeviceOptions};
//! use wgrad_trainer::data::folder;
//! use wgrad_trainer::inference::{Classifier, Overrides, top};
//! use wgrad_trainer::{LoaderOptions, Weights, checkpoint};
//! # fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let name = "runs/resnet18-001/model.safetensors";
//! let weights = Weights::parse(&checkpoint::read(name.as_ref())?, name)?;
//! let card = Overrides::default().resolve(&weights, name)?;
//! let device = Device::open(&DeviceOptions::default())?;
//! let mut classifier = Classifier::new(&device, &weights, card, 16, CompileOptions::default(), name)?;
//! let images = classifier.prepare(folder::unlabelled(&["photos".into()], 0)?)?;
//! let (views, names) = ([classifier.card().preprocessing.view], classifier.card().class_names.clone());
//! classifier.classify(&Arc::new(images), &views, &LoaderOptions::eval(16), |image, probabilities| match probabilities {
//!     Ok(probabilities) => {
//!         top(probabilities, 5).iter().for_each(|&(class, share)| println!("{image}: {} {share}", names[class]));
//!     }
//!     Err(error) => println!("{image}: {error}"),
//! })?;
//! # Ok(())
//! # }
//! ```

mod classifier;
mod crops;
mod resolve;
mod scores;
mod table;
mod tally;

pub use classifier::Classifier;
pub use crops::Crops;
pub use resolve::Overrides;
pub use scores::{score_views, softmax, top};
pub use table::table;
pub use tally::{ClassTally, Confusion, Tally};

use crate::error::TrainError;
use crate::model_card::CardError;
use crate::weights::WeightsError;

/// Why weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    /// The file does not say how it is used, and nobody else did.
    #[error("{origin}: the file does not say how it is used; give {missing}")]
    Unsaid {
        /// Path, or name of the bytes.
        origin: String,
        /// What has to be given, as the examples' arguments.
        missing: String,
    },
    /// No network of the zoo has this name.
    #[error(
        "network (--model): wanted one of {known}, got {got:?}; a network of your own goes by Classifier::of_network"
    )]
    Architecture {
        /// All names.
        known: String,
        /// The name.
        got: String,
    },
    /// The weights lack what the network needs to be built.
    #[error(
        "{origin}: wanted the weights of {architecture}, got a file without its last layer {head:?}; name the network (--model)"
    )]
    OtherNetwork {
        /// Path, or name of the bytes.
        origin: String,
        /// The network.
        architecture: String,
        /// The weight that tells the number of classes.
        head: String,
    },
    /// The class names are not as many as the network has classes.
    #[error(
        "{origin}: wanted the names of {classes} classes, as the last layer has them, got {names}; give them (--classes)"
    )]
    ClassNames {
        /// Path, or name of the bytes.
        origin: String,
        /// Classes of the network.
        classes: usize,
        /// Names.
        names: usize,
    },
    /// A weight that is no number: the training it comes from has diverged, or the file is damaged.
    #[error("{origin}: tensor {tensor:?} holds {value}; take an earlier file of this training")]
    NotFinite {
        /// Path, or name of the bytes.
        origin: String,
        /// The tensor.
        tensor: String,
        /// The value.
        value: f32,
    },
    /// Images in memory have one size, and it is not the network's.
    #[error(
        "data set {dataset}: wanted images of {wanted} pixels and channels, got {got}; give the size (--size), or other data"
    )]
    Images {
        /// Name of the data set.
        dataset: String,
        /// Height, width, channels of the network's images.
        wanted: String,
        /// Those of the data set.
        got: String,
    },
    /// What the file says about itself is wrong.
    #[error(transparent)]
    Card(#[from] CardError),
    /// Class names that do not fit.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// The weights do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A setting, the device or the data.
    #[error(transparent)]
    Train(#[from] TrainError),
}
