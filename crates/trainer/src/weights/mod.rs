//! Weights of other programs: named tensors from safetensors, `.pth`/`.pt` and `.caffemodel` files, into a model and back.
//!
//! Parsers take bytes and give arrays; they run no code of a file, bound every size before they allocate, and say which part of a
//! file is wrong at which byte. [`Weights::load_into`] puts the tensors into a parameter store and reports what became of each.
//! [`Weights::of`] and [`Weights::to_bytes`] are the way back: a safetensors file with PyTorch's names and layouts.
//!
//! ```no_run
//! use wgrad_trainer::weights::{LoadOptions, Weights};
//! # fn load(params: &mut wgrad_tensor::Params) -> Result<(), Box<dyn std::error::Error>> {
//! let bytes = std::fs::read("resnet18.pth")?;
//! let report = Weights::parse(&bytes, "resnet18.pth")?.load_into(params, &LoadOptions::new().fresh("fc"), "resnet18.pth")?;
//! println!("{report}");
//! # Ok(())
//! # }
//! ```

mod assign;
mod caffemodel;
mod cursor;
mod element;
mod error;
mod names;
mod naming;
mod pickle;
mod pth;
mod report;
pub(crate) mod safetensors;
mod wire;
mod zip;

pub use assign::LoadOptions;
pub use error::{Defect, WeightsError};
pub use names::NameMap;
pub use naming::Naming;
pub use report::LoadReport;

use std::collections::BTreeMap;
use std::fmt;
use wgrad_tensor::{Array, Params};

/// Most tensors of a file. The largest networks of the zoo have a thousand.
const MAX_TENSORS: usize = 1 << 16;

/// Longest name, in bytes. A name may be told many times in a file that holds it once.
const MAX_NAME_BYTES: usize = 1024;

/// Formats of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON header and raw tensors.
    Safetensors,
    /// `torch.save` since PyTorch 1.6: a zip archive.
    PthZip,
    /// `torch.save` before: pickles and raw storages.
    PthLegacy,
    /// Caffe's `NetParameter` in binary.
    Caffemodel,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Safetensors => "safetensors",
            Format::PthZip => ".pth of PyTorch 1.6 and later",
            Format::PthLegacy => ".pth of PyTorch before 1.6",
            Format::Caffemodel => ".caffemodel",
        })
    }
}

impl Format {
    /// The format of a file, by its first bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Format> {
        // A caffemodel has no magic number: it begins with the network's name or a layer.
        let caffe = [0x0a, 0x12, 0xa2].iter().any(|tag| bytes.first() == Some(tag));
        match bytes {
            [b'P', b'K', 3 | 5, 4 | 6, ..] => Some(Format::PthZip),
            _ if bytes.starts_with(pth::LEGACY_START) => Some(Format::PthLegacy),
            [_, _, _, _, _, _, _, _, b'{', ..] => Some(Format::Safetensors),
            _ if caffe => Some(Format::Caffemodel),
            _ => None,
        }
    }
}

/// Named tensors in host memory, as f32, in PyTorch's layouts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Array>,
    /// What the file says about itself.
    pub metadata: BTreeMap<String, String>,
    /// Entries that are no weights (whole numbers, text, settings), and what they are.
    pub skipped: Vec<(String, String)>,
}

impl Weights {
    /// Parses a file of any known format; `origin` is its name in messages.
    ///
    /// # Errors
    /// Another format; damaged bytes; tensors of more than four dimensions; a pickle that wants to call more than what builds
    /// tensors.
    pub fn parse(bytes: &[u8], origin: &str) -> Result<Weights, WeightsError> {
        let Some(format) = Format::of(bytes) else {
            let (origin, start) = (origin.to_string(), bytes.iter().take(8).copied().collect());
            return Err(WeightsError::Unknown { origin, start, bytes: bytes.len() });
        };
        let parsed = match format {
            Format::Safetensors => safetensors::parse(bytes),
            Format::PthZip => pth::parse_zip(bytes),
            Format::PthLegacy => pth::parse_legacy(bytes),
            Format::Caffemodel => caffemodel::parse(bytes),
        };
        let nameable = |weights: Weights| match weights.tensors.contains_key(safetensors::METADATA) {
            true => Err(Defect::new(safetensors::METADATA, 0, "a tensor of this name, which is not a tensor's")),
            false => Ok(weights),
        };
        let parsed = parsed.and_then(nameable);
        parsed.map_err(|defect| WeightsError::Format { origin: origin.to_string(), format, defect })
    }

    /// Reads all weights and running statistics of a store back from the device.
    ///
    /// # Errors
    /// A lost device.
    pub fn of(params: &Params) -> Result<Weights, WeightsError> {
        let mut weights = Weights::default();
        for decl in params.decls().filter(|decl| decl.kind.is_model()) {
            weights.tensors.insert(decl.name.clone(), params.get(&decl.name)?);
        }
        // What readers of PyTorch's look for.
        weights.metadata.insert("format".to_string(), "pt".to_string());
        Ok(weights)
    }

    /// [`Weights::of`] with the averages that [`UpdateConfig::ema`](crate::UpdateConfig::ema) keeps in place of the weights that
    /// have one.
    ///
    /// # Errors
    /// A lost device.
    pub fn averaged(params: &Params) -> Result<Weights, WeightsError> {
        let mut weights = Weights::of(params)?;
        for (name, array) in &mut weights.tensors {
            let average = format!("optimizer.{}.{name}", crate::update::EMA);
            if params.decls().any(|decl| decl.name == average) {
                *array = params.get(&average)?;
            }
        }
        Ok(weights)
    }

    /// The bytes of a safetensors file with these tensors in f32 and the metadata; what was skipped is not in it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        safetensors::to_bytes(&self.tensors, &self.metadata)
    }
}

/// PyTorch counts batches in every batch norm; nothing is computed from it.
pub(crate) fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}
