//! Checkpoints: all parameters in one safetensors file, under PyTorch's names and in PyTorch's shapes.
//!
//! Beside weights and running statistics, a checkpoint holds the optimiser's state under `optimizer.…` and says in its
//! metadata what it is (`format`, `version`, `model`, `step`, `epoch`, `seed`, and `data`, the training images' fingerprint).
//! Parsers take bytes ([`Checkpoint::parse`]); only [`read`] and [`save`] touch files. Loading checks every name and shape
//! before it changes anything. The same state gives the same bytes.

mod file;
mod folder;
mod parse;
mod seal;
#[cfg(test)]
mod tests;

pub(crate) use file::write_whole;
pub use file::{read, save_bytes};
pub(crate) use folder::sweep;
pub use folder::{Checkpoints, Newest};

use crate::data::Dataset;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use wgrad_tensor::{Array, ParamKind, Params, Shape, Snapshot};

/// What the optimiser's state is called in a file.
pub(crate) const OPTIMIZER: &str = "optimizer.";

/// Why a checkpoint could not be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file is not there or may not be read.
    #[error("{path}: cannot be read: {source}; check the path and its permissions", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be written. An earlier one of that name stands as it was.
    #[error("{path}: the file cannot be written: {source}; check the folder, its permissions and the free space", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are no safetensors file, or one that cannot be used.
    #[error("{origin}: wanted a safetensors file, got one where {what}; it may be damaged or of another format")]
    Format {
        /// Path, or name of the bytes.
        origin: String,
        /// What is wrong.
        what: String,
    },
    /// It was written by something else, or by a later wgrad.
    #[error("{origin}: wanted a checkpoint of format wgrad, version {version}, got {got}; {hint}", version = VERSION)]
    Foreign {
        /// Path, or name of the bytes.
        origin: String,
        /// What the metadata says.
        got: String,
        /// What to do.
        hint: &'static str,
    },
    /// The parameters are not those of this model. Nothing was changed.
    #[error("{origin}: {difference}; nothing was changed")]
    OtherModel {
        /// Path, or name of the bytes.
        origin: String,
        /// What differs.
        difference: Box<Difference>,
    },
    /// The run learned from other images. Nothing was changed.
    #[error(
        "{origin}: wanted the training images that the run began with (fingerprint {wanted:08x}), got data set {name} \
         ({got:08x}); name the data of that run, or take other data on purpose with force_data"
    )]
    OtherData {
        /// Path, or name of the bytes.
        origin: String,
        /// The fingerprint in the checkpoint.
        wanted: u32,
        /// Name of the data set given.
        name: String,
        /// Its fingerprint.
        got: u32,
    },
    /// The device did not give or take a parameter.
    #[error(transparent)]
    Tensor(#[from] wgrad_tensor::Error),
}

/// How the tensors of a file differ from the parameters of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The first tensor that differs, in the model's order.
    pub first: String,
    /// Its shape in the model, if it has it.
    pub wanted: Option<String>,
    /// Its shape in the file, if it has it.
    pub got: Option<String>,
    /// Parameters that the file lacks.
    pub missing: usize,
    /// Tensors that the model lacks.
    pub unexpected: usize,
    /// Tensors of another shape.
    pub reshaped: usize,
    /// Whether all of these are the optimiser's state.
    pub optimizer_only: bool,
    /// The model that the file was made of, if it says so.
    pub model: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |shape: &Option<String>| shape.clone().unwrap_or_else(|| "no such tensor".to_string());
        write!(
            f,
            "tensor {:?}: the model wants {}, the file has {} ({} missing, {} unexpected, {} of another shape in all)",
            self.first,
            text(&self.wanted),
            text(&self.got),
            self.missing,
            self.unexpected,
            self.reshaped
        )?;
        if let Some(model) = &self.model {
            write!(f, "; it is a checkpoint of {model:?}")?;
        }
        match (self.optimizer_only, self.missing, self.unexpected, self.reshaped) {
            (true, _, 0, 0) => write!(f, "; it holds no optimiser's state: start from its weights with load_weights"),
            (true, 0, _, 0) => write!(f, "; it holds an optimiser's state, too: go on from it with load"),
            _ => Ok(()),
        }
    }
}

/// The version of the format written.
pub const VERSION: &str = "1";

/// What a checkpoint says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Name of the model.
    pub model: String,
    /// Steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: u32,
    /// The run's seed.
    pub seed: u64,
    /// [`Dataset::fingerprint`] of the training images; none in files of older versions.
    pub data: Option<u32>,
}

impl Meta {
    /// As the file's metadata have it.
    fn metadata(&self) -> BTreeMap<String, String> {
        let metadata = [
            ("format", "wgrad".to_string()),
            ("version", VERSION.to_string()),
            ("model", self.model.clone()),
            ("step", self.step.to_string()),
            ("epoch", self.epoch.to_string()),
            ("seed", self.seed.to_string()),
        ];
        let metadata = metadata.into_iter().chain(self.data.map(|data| ("data", format!("{data:08x}"))));
        metadata.map(|(key, value)| (key.to_string(), value)).collect()
    }

    /// Whether a run that goes on from this checkpoint would learn from the images that the run learned from so far. What is
    /// not known is not refused, and `force` takes any data. To start from a checkpoint's weights alone asks for no such thing.
    ///
    /// # Errors
    /// Another fingerprint than that of `train`.
    pub fn check_data(&self, train: &Dataset, force: bool, origin: &str) -> Result<(), CheckpointError> {
        let got = train.fingerprint();
        match self.data.filter(|&wanted| wanted != got && !force) {
            None => Ok(()),
            Some(wanted) => {
                let (origin, name) = (origin.to_string(), train.name.clone());
                Err(CheckpointError::OtherData { origin, wanted, name, got })
            }
        }
    }
}

/// Which parameters a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Everything that training needs to go on: weights, running statistics, the optimiser's state.
    All,
    /// What the model needs to be used: weights and running statistics.
    Model,
}

impl Contents {
    fn holds(self, kind: ParamKind) -> bool {
        self == Contents::All || kind.is_model()
    }
}

/// The tensors of a safetensors file, in host memory, as f32.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Array>,
    /// The file's metadata, whoever wrote it.
    pub metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Reads all parameters of `contents` back from the device.
    ///
    /// # Errors
    /// A lost device.
    pub fn of(params: &Params, meta: &Meta, contents: Contents) -> Result<Checkpoint, CheckpointError> {
        let mut tensors = BTreeMap::new();
        for decl in params.decls().filter(|decl| contents.holds(decl.kind)) {
            tensors.insert(file_name(&decl.name, decl.kind), params.get(&decl.name)?);
        }
        Ok(Checkpoint { tensors, metadata: meta.metadata() })
    }

    /// [`Checkpoint::of`] of parameters that were read back before; touches no device.
    #[must_use]
    pub fn of_snapshot(snapshot: &Snapshot, meta: &Meta, contents: Contents) -> Checkpoint {
        let decls = snapshot.decls().filter(|decl| contents.holds(decl.kind));
        let tensors = decls.map(|decl| (file_name(&decl.name, decl.kind), snapshot.get(&decl)));
        Checkpoint { tensors: tensors.collect(), metadata: meta.metadata() }
    }

    /// What the file says about itself.
    ///
    /// # Errors
    /// A file of another program, of a later version, or with a number that is none.
    pub fn meta(&self, origin: &str) -> Result<Meta, CheckpointError> {
        let text = |key: &str| self.metadata.get(key).map_or("", String::as_str);
        let foreign = |got: String, hint| CheckpointError::Foreign { origin: origin.to_string(), got, hint };
        if text("format") != "wgrad" {
            let got = format!("format {:?}", text("format"));
            return Err(foreign(got, "to start from the weights of another program, use load_weights"));
        }
        if text("version") != VERSION {
            let got = format!("version {:?}", text("version"));
            return Err(foreign(got, "read it with the wgrad that wrote it"));
        }
        let number = |key: &'static str| {
            text(key).parse::<u64>().map_err(|_| CheckpointError::Format {
                origin: origin.to_string(),
                what: format!("the metadata {key:?} is {:?}, no whole number", text(key)),
            })
        };
        let epoch = u32::try_from(number("epoch")?).map_err(|_| CheckpointError::Format {
            origin: origin.to_string(),
            what: format!("the metadata \"epoch\" is {}, more than can be", text("epoch")),
        })?;
        let data = match self.metadata.get("data") {
            None => None,
            Some(digits) => Some(u32::from_str_radix(digits, 16).map_err(|_| CheckpointError::Format {
                origin: origin.to_string(),
                what: format!("the metadata \"data\" is {digits:?}, no number of eight hexadecimal digits"),
            })?),
        };
        Ok(Meta { model: text("model").to_string(), step: number("step")?, epoch, seed: number("seed")?, data })
    }

    /// How the tensors differ from what a model wants, given as names and shapes in the model's order.
    #[must_use]
    pub fn difference(&self, wanted: &[(String, Shape)]) -> Option<Difference> {
        let mut first = None;
        let (mut missing, mut reshaped, mut optimizer_only) = (0, 0, true);
        for (name, shape) in wanted {
            let got = self.tensors.get(name).map(|array| array.shape);
            match got {
                None => missing += 1,
                Some(got) if got != *shape => reshaped += 1,
                Some(_) => continue,
            }
            optimizer_only &= name.starts_with(OPTIMIZER);
            first.get_or_insert_with(|| (name.clone(), Some(shape.to_string()), got.map(|got| got.to_string())));
        }
        let unexpected = self.tensors.iter().filter(|(name, _)| wanted.iter().all(|(known, _)| known != *name));
        let mut surplus = 0;
        for (name, array) in unexpected {
            surplus += 1;
            optimizer_only &= name.starts_with(OPTIMIZER);
            first.get_or_insert_with(|| (name.clone(), None, Some(array.shape.to_string())));
        }
        let (first, wanted, got) = first?;
        let model = self.metadata.get("model").cloned();
        Some(Difference { first, wanted, got, missing, unexpected: surplus, reshaped, optimizer_only, model })
    }

    /// The first tensor that holds a NaN or an infinity, and that number.
    #[must_use]
    pub fn not_finite(&self) -> Option<(&str, f32)> {
        self.tensors.iter().find_map(|(name, array)| {
            let number = array.data.iter().find(|number| !number.is_finite())?;
            Some((name.as_str(), *number))
        })
    }

    /// Writes the tensors to the device, after checking that all of them are parameters of the store, of the same shape,
    /// and that none is missing.
    ///
    /// # Errors
    /// Any difference (nothing is changed then), or a lost device.
    pub fn apply(&self, params: &mut Params, contents: Contents, origin: &str) -> Result<(), CheckpointError> {
        let wanted: Vec<(String, String, Shape)> = params
            .decls()
            .filter(|decl| contents.holds(decl.kind))
            .map(|decl| (decl.name.clone(), file_name(&decl.name, decl.kind), decl.shape))
            .collect();
        let shapes: Vec<(String, Shape)> = wanted.iter().map(|(_, file, shape)| (file.clone(), *shape)).collect();
        if let Some(difference) = self.difference(&shapes) {
            return Err(CheckpointError::OtherModel { origin: origin.to_string(), difference: Box::new(difference) });
        }
        for (name, file, _) in &wanted {
            if let Some(array) = self.tensors.get(file) {
                params.set(name, array)?;
            }
        }
        Ok(())
    }
}

/// The optimiser's state stands under `optimizer.`, whatever the store calls it.
fn file_name(name: &str, kind: ParamKind) -> String {
    if !kind.is_model() && !name.starts_with(OPTIMIZER) { format!("{OPTIMIZER}{name}") } else { name.into() }
}

/// Saves the parameters under `path`: written beside it, flushed to the disk, then renamed, so that a crash leaves either
/// the old file or the new one.
///
/// # Errors
/// A file that cannot be written, or a lost device.
pub fn save(path: &Path, params: &Params, meta: &Meta, contents: Contents) -> Result<(), CheckpointError> {
    save_bytes(path, &Checkpoint::of(params, meta, contents)?.to_bytes())
}

/// Restores parameters and the optimiser's state from a checkpoint of [`save`] with [`Contents::All`].
///
/// # Errors
/// Bytes that are no such checkpoint; one of another model, which changes nothing.
pub fn load(bytes: &[u8], params: &mut Params, origin: &str) -> Result<Meta, CheckpointError> {
    let checkpoint = Checkpoint::parse(bytes, origin)?;
    let meta = checkpoint.meta(origin)?;
    checkpoint.apply(params, Contents::All, origin)?;
    Ok(meta)
}

/// Restores weights and running statistics, and leaves the optimiser's state alone. Takes the files of [`save`] and of
/// PyTorch: `strip_prefix` is taken off names that have it (`module.` of `DataParallel`), `num_batches_tracked` is ignored,
/// f16, bf16 and f64 become f32.
///
/// # Errors
/// Bytes that are no safetensors file; one of another model, which changes nothing.
pub fn load_weights(
    bytes: &[u8],
    strip_prefix: &str,
    params: &mut Params,
    origin: &str,
) -> Result<(), CheckpointError> {
    let checkpoint = Checkpoint::parse(bytes, origin)?.model_tensors(strip_prefix);
    checkpoint.apply(params, Contents::Model, origin)
}
