//! What can be wrong with a file of weights, or with the model that they are meant for.

use super::report::LoadReport;
use std::fmt;

/// Where a file of weights stops making sense, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// Part of the file: `header`, `data.pkl`, `layer "conv1"`.
    pub part: String,
    /// Bytes before the place, counted from the start of the part's file or archive member.
    pub at: usize,
    /// What was wanted and what was got.
    pub what: String,
}

impl Defect {
    pub(super) fn new(part: impl Into<String>, at: usize, what: impl Into<String>) -> Defect {
        Defect { part: part.into(), at, what: what.into() }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, byte {}: {}", self.part, self.at, self.what)
    }
}

/// Why weights could not be read or used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The bytes are of no format that is known.
    #[error(
        "{origin}: wanted safetensors, .pth or .pt of torch.save, or a binary .caffemodel, got a file of {bytes} bytes that \
         begins with {start:02x?}; convert it to safetensors"
    )]
    Unknown {
        /// Path, or name of the bytes.
        origin: String,
        /// Its first bytes.
        start: Vec<u8>,
        /// Its length.
        bytes: usize,
    },
    /// The bytes are damaged, or hold something that no state dict does.
    #[error("{origin}: {format}: {defect}")]
    Format {
        /// Path, or name of the bytes.
        origin: String,
        /// The format that it was read as.
        format: super::Format,
        /// Where and why.
        defect: Defect,
    },
    /// The tensors are not those of the model. Nothing was changed.
    #[error("{origin}: the weights do not fit the model, and nothing was changed\n{report}")]
    OtherModel {
        /// Path, or name of the bytes.
        origin: String,
        /// Tensor by tensor.
        report: Box<LoadReport>,
    },
    /// Two tensors of the file get one name. Nothing was changed.
    #[error("{origin}: tensors {first:?} and {second:?} would both be {name:?}; change the name map")]
    Clash {
        /// Path, or name of the bytes.
        origin: String,
        /// One tensor of the file.
        first: String,
        /// Another one.
        second: String,
        /// Their name in the model.
        name: String,
    },
    /// The weights are for BGR, and which weight sees the channels cannot be told. Nothing was changed.
    #[error(
        "{origin}: weights for blue, green, red: wanted one weight [k, 3, r, s] in the model to turn, got {}; load them without \
         `bgr` and turn them before",
        if .found.is_empty() { "none".to_string() } else { .found.join(", ") }
    )]
    Channels {
        /// Path, or name of the bytes.
        origin: String,
        /// Weights with three input channels.
        found: Vec<String>,
    },
    /// The device did not give or take a parameter.
    #[error(transparent)]
    Tensor(#[from] wgrad_tensor::Error),
}
