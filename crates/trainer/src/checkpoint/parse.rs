//! Bytes to tensors and back.

use super::{Checkpoint, CheckpointError, OPTIMIZER};
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use wgrad_tensor::{Array, Shape};

impl Checkpoint {
    /// Parses the bytes of a safetensors file. Floating-point tensors become f32; tensors of whole numbers that carry no
    /// weights (`num_batches_tracked`) are left out.
    ///
    /// # Errors
    /// A broken header, a tensor of more than four dimensions or of a type that no weight has.
    pub fn parse(bytes: &[u8], origin: &str) -> Result<Checkpoint, CheckpointError> {
        let broken = |what: String| CheckpointError::Format { origin: origin.to_string(), what };
        let (_, header) =
            SafeTensors::read_metadata(bytes).map_err(|error| broken(format!("the header says: {error}")))?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| broken(error.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            if is_counter(name) {
                continue;
            }
            let shape = Shape::try_new(view.shape())
                .ok_or_else(|| broken(format!("tensor {name:?} has {} dimensions, more than 4", view.shape().len())))?;
            let data = to_f32(view.dtype(), view.data())
                .ok_or_else(|| broken(format!("tensor {name:?} is of type {:?}, not floating-point", view.dtype())))?;
            let array = Array::new(shape, data)
                .ok_or_else(|| broken(format!("tensor {name:?} of shape {shape} has another number of elements")))?;
            tensors.insert(name.to_string(), array);
        }
        Ok(Checkpoint { tensors, metadata: metadata(&header) })
    }

    /// The bytes of a safetensors file. Tensors stand in the order of their names and keys are sorted, so that the same
    /// state gives the same bytes (the crate's own writer keeps metadata in a hash map, whose order is random).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut header = serde_json::Map::new();
        if !self.metadata.is_empty() {
            let pairs = self.metadata.iter().map(|(key, value)| (key.clone(), value.clone().into()));
            header.insert("__metadata__".to_string(), serde_json::Value::Object(pairs.collect()));
        }
        let mut end = 0;
        for (name, array) in &self.tensors {
            let start = end;
            end += array.data.len() * 4;
            let entry = serde_json::json!({
                "dtype": "F32", "shape": array.shape.dims(), "data_offsets": [start, end]
            });
            header.insert(name.clone(), entry);
        }
        let mut header = serde_json::Value::Object(header).to_string();
        // Data shall begin at a multiple of 8 bytes; JSON may end in spaces.
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        let mut bytes = Vec::with_capacity(8 + header.len() + end);
        bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        for value in self.tensors.values().flat_map(|array| &array.data) {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// Without the optimiser's state, and without `prefix` on names that have it.
    pub(super) fn model_tensors(self, prefix: &str) -> Checkpoint {
        let tensors = self.tensors.into_iter().filter(|(name, _)| !name.starts_with(OPTIMIZER));
        let tensors = tensors.map(|(name, array)| (name.strip_prefix(prefix).unwrap_or(&name).to_string(), array));
        Checkpoint { tensors: tensors.collect(), metadata: self.metadata }
    }
}

/// PyTorch counts batches in every batch norm; nothing is computed from it.
fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}

fn metadata(header: &Metadata) -> BTreeMap<String, String> {
    header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Little-endian elements as f32, or `None` for a type that no weight has.
fn to_f32(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    fn each<const N: usize>(data: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        let chunks = data.chunks_exact(N);
        chunks.map(|chunk| convert(std::array::from_fn(|i| chunk[i]))).collect()
    }
    Some(match dtype {
        Dtype::F32 => each(data, f32::from_le_bytes),
        Dtype::F64 => each(data, |bytes| f64::from_le_bytes(bytes) as f32),
        Dtype::BF16 => each(data, |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)),
        Dtype::F16 => each(data, |bytes| half_to_f32(u16::from_le_bytes(bytes))),
        _ => return None,
    })
}

/// IEEE 754 binary16 to binary32, exactly.
pub(super) fn half_to_f32(half: u16) -> f32 {
    let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (half >> 10 & 0x1f, f32::from(half & 0x3ff));
    match exponent {
        0 => sign * fraction * (-24f32).exp2(),
        0x1f if fraction == 0.0 => sign * f32::INFINITY,
        0x1f => f32::NAN,
        _ => sign * (1024.0 + fraction) * f32::from(exponent as i16 - 25).exp2(),
    }
}
