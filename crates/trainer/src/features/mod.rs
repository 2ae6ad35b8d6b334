//! Transfer learning on features: what a trained network makes of every image is computed once and kept in a record file
//! ([`extract`]); a linear classifier learns from that in seconds ([`LinearFit`]); and its weights become the network's head
//! ([`LinearClassifier::into_head`]), so that the whole is a network like any other.

mod extract;
mod head;
mod linear;
mod tap;

pub use extract::{ExtractOptions, Extracted, FeatureStep, extract, source, weights_crc};
pub use linear::{LinearClassifier, LinearFit, LinearLoss};
pub use tap::Tap;
