//! Bytes to tensors and back.

use super::{Checkpoint, CheckpointError, OPTIMIZER, seal};
use crate::weights::{is_counter, safetensors};

impl Checkpoint {
    /// Parses the bytes of a safetensors file. Floating-point tensors become f32; tensors of whole numbers that carry no
    /// weights (`num_batches_tracked`) are left out.
    ///
    /// # Errors
    /// A broken header, a tensor of more than four dimensions or of a type that no weight has.
    pub fn parse(bytes: &[u8], origin: &str) -> Result<Checkpoint, CheckpointError> {
        let broken = |what: String| CheckpointError::Format { origin: origin.to_string(), what };
        let weights = safetensors::parse(bytes).map_err(|defect| broken(defect.to_string()))?;
        if let Some((name, what)) = weights.skipped.iter().find(|(name, _)| !is_counter(name)) {
            return Err(broken(format!("tensor {name:?} is of {what}, not floating-point")));
        }
        Ok(Checkpoint { tensors: weights.tensors, metadata: weights.metadata })
    }

    /// The bytes of a safetensors file; the same state gives the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        safetensors::to_bytes(&self.tensors, &self.metadata)
    }

    /// [`Checkpoint::to_bytes`] with a hash over all of them in the metadata, under `sha256`.
    #[must_use]
    pub fn to_sealed_bytes(&self) -> Vec<u8> {
        let mut metadata = self.metadata.clone();
        metadata.insert(seal::KEY.to_string(), seal::BLANK.to_string());
        let mut bytes = safetensors::to_bytes(&self.tensors, &metadata);
        let is_sealed = seal::seal(&mut bytes);
        debug_assert!(is_sealed, "the key was put there");
        bytes
    }

    /// Without the optimiser's state, and without `prefix` on names that have it.
    pub(super) fn model_tensors(self, prefix: &str) -> Checkpoint {
        let tensors = self.tensors.into_iter().filter(|(name, _)| !name.starts_with(OPTIMIZER));
        let tensors = tensors.map(|(name, array)| (name.strip_prefix(prefix).unwrap_or(&name).to_string(), array));
        Checkpoint { tensors: tensors.collect(), metadata: self.metadata }
    }
}
