//! Safetensors: a JSON header of names, types, shapes and offsets, then the bytes of all tensors without a gap.
//!
//! The crate `safetensors` checks that offsets follow each other, that shapes have as many bytes as they say, and that nothing is
//! left over. Before it sees the header, this module bounds its length and the number of tensors, and refuses names that stand
//! there twice (of which a hash map would silently keep the last) and lists that are longer than any shape.

use super::element::Element;
use super::error::Defect;
use super::{MAX_NAME_BYTES, MAX_TENSORS, Weights};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use wgrad_tensor::{Array, Shape};

/// Longest header, in bytes. 65,536 tensors with names of a hundred letters take 13 MB.
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// Most lines of metadata.
const MAX_METADATA: usize = 4096;
/// Most numbers in a shape or a pair of offsets; tensors of more than four dimensions are refused by name.
const MAX_LIST: usize = 16;
/// Longest name: one of another format and what is added to it.
const MAX_KEY_BYTES: usize = 2 * MAX_NAME_BYTES;
/// What a header calls its texts. No tensor has that name.
pub(super) const METADATA: &str = "__metadata__";
const HEADER: &str = "header";

/// Tensors of floating-point numbers as f32; others are listed as left out.
///
/// # Errors
/// A broken or oversized header, offsets that overlap or leave gaps, a tensor of more than four dimensions.
pub(crate) fn parse(bytes: &[u8]) -> Result<Weights, Defect> {
    check_header(bytes)?;
    let refused = |error: safetensors::SafeTensorError| Defect::new(HEADER, 8, error.to_string());
    let (header_bytes, header) = SafeTensors::read_metadata(bytes).map_err(refused)?;
    let start = header_bytes + 8;
    let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut weights = Weights { metadata, ..Weights::default() };
    for (name, info) in header.tensors() {
        let (first, end) = (start + info.data_offsets.0, start + info.data_offsets.1);
        let broken = |what: String| Defect::new(format!("tensor {name:?}"), first, what);
        let Some(element) = element(info.dtype) else {
            weights.skipped.push((name, format!("{:?} numbers", info.dtype)));
            continue;
        };
        let shape = Shape::try_new(&info.shape)
            .ok_or_else(|| broken(format!("{} dimensions, more than 4", info.shape.len())))?;
        let data = bytes.get(first..end).and_then(|data| element.to_f32(data));
        let data = data.ok_or_else(|| broken("its data lie outside the file".to_string()))?;
        let array = Array::new(shape, data).ok_or_else(|| broken(format!("its data are not those of {shape}")))?;
        weights.tensors.insert(name, array);
    }
    weights.skipped.sort();
    Ok(weights)
}

/// The bytes of a safetensors file with f32 tensors. Tensors stand in the order of their names and keys are sorted, so that the
/// same state gives the same bytes (the crate's own writer keeps metadata in a hash map, whose order is random).
pub(crate) fn to_bytes(tensors: &BTreeMap<String, Array>, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        let pairs = metadata.iter().map(|(key, value)| (key.clone(), value.clone().into()));
        header.insert(METADATA.to_string(), serde_json::Value::Object(pairs.collect()));
    }
    let mut end = 0;
    for (name, array) in tensors {
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
    for value in tensors.values().flat_map(|array| &array.data) {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

fn element(dtype: Dtype) -> Option<Element> {
    Some(match dtype {
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        _ => return None,
    })
}

fn check_header(bytes: &[u8]) -> Result<(), Defect> {
    let mut cursor = super::cursor::Cursor::new(bytes, HEADER);
    let length = cursor.u64()?;
    if length > MAX_HEADER_BYTES {
        return Err(Defect::new(HEADER, 0, format!("it would take {length} bytes, at most {MAX_HEADER_BYTES} may be")));
    }
    let text = cursor.text(length as usize)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let checked = json.deserialize_map(Names).and_then(|()| json.end());
    checked.map_err(|error| Defect::new(HEADER, 8, error.to_string()))
}

/// Passes over the header and keeps only the names. The crate holds all of a header in memory, at up to 32 bytes for two of text,
/// so what could be many is counted here: tensors, lines of metadata, numbers of a list.
struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if seen.len() > MAX_TENSORS {
                return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
            }
            if name.len() > MAX_KEY_BYTES {
                let what = format!("a name of {} bytes, at most {MAX_KEY_BYTES} may be", name.len());
                return Err(A::Error::custom(what));
            }
            if seen.contains(&name) {
                return Err(A::Error::custom(format!("tensor {name:?} stands there twice")));
            }
            match &*name {
                METADATA => map.next_value::<Metadata>().map(drop)?,
                _ => map.next_value::<Info>().map(drop)?,
            }
            seen.insert(name);
        }
        Ok(())
    }
}

/// Texts by name, passed over.
struct Metadata;

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Metadata, D::Error> {
        json.deserialize_any(Metadata)
    }
}

impl<'de> Visitor<'de> for Metadata {
    type Value = Metadata;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("texts by name")
    }

    fn visit_unit<E: Error>(self) -> Result<Metadata, E> {
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
        let mut count = 0;
        while let Some((IgnoredAny, IgnoredAny)) = map.next_entry()? {
            count += 1;
            if count > MAX_METADATA {
                return Err(A::Error::custom(format!("more than {MAX_METADATA} lines of metadata")));
            }
        }
        Ok(self)
    }
}

/// What a tensor is, passed over.
struct Info;

impl<'de> Deserialize<'de> for Info {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Info, D::Error> {
        json.deserialize_map(Info)
    }
}

impl<'de> Visitor<'de> for Info {
    type Value = Info;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Info, A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "shape" | "data_offsets" => map.next_value::<Short>().map(drop)?,
                "dtype" => map.next_value::<IgnoredAny>().map(drop)?,
                _ => {
                    let key: String = key.chars().take(40).collect();
                    return Err(A::Error::custom(format!("a tensor has no {key:?}")));
                }
            }
        }
        Ok(self)
    }
}

/// A list of few numbers, passed over.
struct Short;

impl<'de> Deserialize<'de> for Short {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Short, D::Error> {
        json.deserialize_seq(Short)
    }
}

impl<'de> Visitor<'de> for Short {
    type Value = Short;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX_LIST} numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Short, A::Error> {
        let mut count = 0;
        while list.next_element::<u64>()?.is_some() {
            count += 1;
            if count > MAX_LIST {
                return Err(A::Error::invalid_length(count, &self));
            }
        }
        Ok(self)
    }
}
