//! `.caffemodel`: Caffe's `NetParameter` in protocol buffers, of which only the layers' names, types and blobs are read.
//!
//! Blob 0 of layer `conv1` becomes `conv1.weight`, blob 1 `conv1.bias`; a `BatchNorm` layer's three blobs become
//! `running_mean` and `running_var`, divided by the third, a moving count. Filters lie `[outputs, inputs, rows, columns]` as in
//! PyTorch. Both forms of layers are read (`layer`, field 100; `layers` of 2014, field 2); files from before 2014 are not.
//!
//! Caffe's networks want images as BGR from 0 to 255 with a mean subtracted: that is the image's business, not the weights'.
//!
//! Source: `src/caffe/proto/caffe.proto` of BVLC Caffe 1.0.

use super::error::Defect;
use super::wire::{Content, fields};
use super::{MAX_NAME_BYTES, MAX_TENSORS, Weights};
use wgrad_tensor::{Array, Shape};

/// Types of `V1LayerParameter` (field 5) that have blobs of their own form; all are convolutions or products else.
const V1_INNER_PRODUCT: u64 = 14;

/// A layer with blobs.
#[derive(Debug, Default)]
struct Layer<'a> {
    name: &'a str,
    kind: &'a str,
    blobs: Vec<Blob>,
}

/// Numbers and their extents, outermost first.
#[derive(Debug, Default)]
struct Blob {
    at: usize,
    /// `num`, `channels`, `height`, `width`, where there is no shape.
    legacy: [Option<u64>; 4],
    shape: Option<Vec<u64>>,
    data: Vec<f32>,
}

/// Parses a network's layers.
///
/// # Errors
/// Bytes that are cut off or no such message, blobs whose extents do not fit their numbers, names that stand there twice.
pub(super) fn parse(bytes: &[u8]) -> Result<Weights, Defect> {
    let mut weights = Weights::default();
    for field in fields(bytes, 0, "network") {
        let field = field?;
        let (new, message) = match (field.number, field.content) {
            (100, Content::Bytes(message)) => (true, message),
            (2, Content::Bytes(message)) => (false, message),
            (1, Content::Bytes(name)) => {
                weights.metadata.insert("name".to_string(), String::from_utf8_lossy(name).into_owned());
                continue;
            }
            _ => continue,
        };
        let layer = if new { layer(message, field.at)? } else { layer_v1(message, field.at)? };
        for (suffix, array) in layer.tensors()? {
            let name = format!("{}.{suffix}", layer.name);
            if weights.tensors.len() >= MAX_TENSORS {
                return Err(Defect::new("network", field.at, format!("more than {MAX_TENSORS} blobs")));
            }
            if weights.tensors.insert(name, array).is_some() {
                return Err(Defect::new(format!("layer {:?}", layer.name), field.at, "a second layer of that name"));
            }
        }
    }
    Ok(weights)
}

/// `LayerParameter`: name 1, type 2, blobs 7.
fn layer(message: &[u8], start: usize) -> Result<Layer<'_>, Defect> {
    let mut layer = Layer::default();
    for field in fields(message, start, "layer") {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Bytes(name)) => layer.name = text(name, field.at)?,
            (2, Content::Bytes(kind)) => layer.kind = text(kind, field.at)?,
            (7, Content::Bytes(message)) => layer.blobs.push(blob(message, field.at)?),
            _ => {}
        }
    }
    Ok(layer)
}

/// `V1LayerParameter`: the layer of still older files 1, name 4, type 5, blobs 6.
fn layer_v1(message: &[u8], start: usize) -> Result<Layer<'_>, Defect> {
    let mut layer = Layer::default();
    for field in fields(message, start, "layer") {
        let field = field?;
        match (field.number, field.content) {
            (1, _) => {
                let what = "a layer in the form from before 2014; convert it with Caffe's upgrade_net_proto_binary";
                return Err(Defect::new("layer", field.at, what));
            }
            (4, Content::Bytes(name)) => layer.name = text(name, field.at)?,
            (5, Content::Varint(V1_INNER_PRODUCT)) => layer.kind = "InnerProduct",
            (6, Content::Bytes(message)) => layer.blobs.push(blob(message, field.at)?),
            _ => {}
        }
    }
    Ok(layer)
}

fn text(bytes: &[u8], at: usize) -> Result<&str, Defect> {
    if bytes.len() > MAX_NAME_BYTES {
        let what = format!("a name of {} bytes, at most {MAX_NAME_BYTES} may be", bytes.len());
        return Err(Defect::new("layer", at, what));
    }
    std::str::from_utf8(bytes).map_err(|_| Defect::new("layer", at, "a name that is not UTF-8"))
}

/// `BlobProto`: four extents 1 to 4, data 5, shape 7, double data 8; derivatives (6, 9) are of no use.
fn blob(message: &[u8], start: usize) -> Result<Blob, Defect> {
    let mut blob = Blob { at: start, ..Blob::default() };
    for field in fields(message, start, "blob") {
        let field = field?;
        let ragged = |size: usize, length: usize| {
            Defect::new("blob", field.at, format!("{length} bytes of numbers of {size} bytes each"))
        };
        match (field.number, field.content) {
            (number @ 1..=4, Content::Varint(extent)) => blob.legacy[number as usize - 1] = Some(extent),
            (5, Content::Fixed32(bytes)) => blob.data.push(f32::from_le_bytes(bytes)),
            (5, Content::Bytes(packed)) => {
                let chunks = packed.chunks_exact(4);
                if !chunks.remainder().is_empty() {
                    return Err(ragged(4, packed.len()));
                }
                blob.data.extend(chunks.map(|bytes| f32::from_le_bytes(std::array::from_fn(|i| bytes[i]))));
            }
            (8, Content::Fixed64(bytes)) => blob.data.push(f64::from_le_bytes(bytes) as f32),
            (8, Content::Bytes(packed)) => {
                let chunks = packed.chunks_exact(8);
                if !chunks.remainder().is_empty() {
                    return Err(ragged(8, packed.len()));
                }
                let numbers = chunks.map(|bytes| f64::from_le_bytes(std::array::from_fn(|i| bytes[i])));
                blob.data.extend(numbers.map(|number| number as f32));
            }
            (7, Content::Bytes(message)) => blob.shape = Some(extents(message, field.at)?),
            _ => {}
        }
    }
    Ok(blob)
}

/// `BlobShape`: dim 1, packed or not.
fn extents(message: &[u8], start: usize) -> Result<Vec<u64>, Defect> {
    let mut extents = Vec::new();
    for field in fields(message, start, "shape") {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Varint(extent)) => extents.push(extent),
            (1, Content::Bytes(packed)) => {
                let mut cursor = super::cursor::Cursor::new(packed, "shape");
                while cursor.left() > 0 {
                    extents.push(cursor.varint()?);
                }
            }
            _ => {}
        }
    }
    Ok(extents)
}

impl Layer<'_> {
    /// The layer's tensors under PyTorch's names.
    fn tensors(&self) -> Result<Vec<(String, Array)>, Defect> {
        let part = format!("layer {:?}", self.name);
        let arrays = self.blobs.iter().enumerate().map(|(i, blob)| {
            let rank = match (i, self.kind) {
                (0, "InnerProduct") => 2,
                (1, _) => 1,
                _ => 4,
            };
            blob.array(rank).map_err(|what| Defect::new(part.clone(), blob.at, format!("blob {i}: {what}")))
        });
        let mut arrays: Vec<Array> = arrays.collect::<Result<_, _>>()?;
        if self.kind == "BatchNorm" {
            let count = arrays.get(2).and_then(|count| count.data.first().copied()).unwrap_or(1.0);
            let factor = if count == 0.0 { 0.0 } else { 1.0 / count };
            arrays.truncate(2);
            arrays.iter_mut().flat_map(|array| &mut array.data).for_each(|x| *x *= factor);
            return Ok(["running_mean", "running_var"].map(String::from).into_iter().zip(arrays).collect());
        }
        let names = (0..arrays.len()).map(|i| match i {
            0 => "weight".to_string(),
            1 => "bias".to_string(),
            _ => format!("blob{i}"),
        });
        Ok(names.zip(arrays).collect())
    }
}

impl Blob {
    /// The blob with at most `rank` dimensions: extents of 1 in front, which old files fill up with, are taken off.
    fn array(&self, rank: usize) -> Result<Array, String> {
        let all = match &self.shape {
            Some(shape) => shape.clone(),
            None if self.legacy.iter().any(Option::is_some) => {
                self.legacy.iter().map(|extent| extent.unwrap_or(1)).collect()
            }
            None => vec![self.data.len() as u64],
        };
        let surplus = all.len().saturating_sub(rank);
        let ones = all[..surplus].iter().take_while(|extent| **extent == 1).count();
        let kept = all[ones..].iter().map(|&extent| usize::try_from(extent).ok()).collect::<Option<Vec<usize>>>();
        let shape = kept.and_then(|kept| Shape::try_new(&kept));
        let shape = shape.ok_or_else(|| format!("extents {:?}, wanted at most {rank}", &all[..all.len().min(16)]))?;
        let numbers = self.data.len();
        Array::new(shape, self.data.clone()).ok_or_else(|| format!("{numbers} numbers for {shape}"))
    }
}
