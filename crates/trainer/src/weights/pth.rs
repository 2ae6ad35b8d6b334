//! `.pth` and `.pt`: what `torch.save` writes, in both of its forms.
//!
//! * **zip**, since PyTorch 1.6: an archive with `data.pkl`, which describes the tensors, and one member for each storage;
//! * **legacy**: five pickles one after another (magic number, version, machine, the object, the storages' keys), then each
//!   storage as its number of elements and their bytes.
//!
//! A file holds a state dict, or a dictionary with one inside (`state_dict`, `model` and the like): the first that holds tensors
//! is taken, [`NESTED`] first. Strided tensors are gathered; what has no floating-point numbers is listed as left out.

use super::cursor::Cursor;
use super::element::Element;
use super::error::Defect;
use super::pickle::{Id, Object, Pickle, Strided, kind};
use super::zip::Archive;
use super::{MAX_NAME_BYTES, MAX_TENSORS, Weights};
use std::collections::HashMap;
use wgrad_tensor::{Array, Shape};

/// How a legacy file begins: protocol 2 and torch's magic number of ten bytes.
pub(super) const LEGACY_START: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// Version of the legacy form.
const LEGACY_VERSION: i64 = 1001;
/// Largest pickle of an archive, in bytes. It has no numbers: the largest networks take a megabyte.
const MAX_PICKLE_BYTES: usize = 64 << 20;
/// Where a state dict lies in a dictionary of more.
const NESTED: [&str; 6] = ["state_dict", "model_state_dict", "model", "net", "weights", "params"];
const PICKLE: &str = "pickle";

/// Parses the zip form.
///
/// # Errors
/// A damaged archive, a pickle that wants more than tensors, tensors that reach outside their storage.
pub(super) fn parse_zip(bytes: &[u8]) -> Result<Weights, Defect> {
    let archive = Archive::parse(bytes)?;
    let pickle_name = archive.names().find(|name| *name == "data.pkl" || name.ends_with("/data.pkl"));
    let pickle_name = pickle_name.ok_or_else(|| {
        Defect::new("zip directory", 0, "no data.pkl among its members; torch.save always writes one")
    })?;
    let folder = pickle_name.strip_suffix("data.pkl").unwrap_or_default();
    if archive.get(&format!("{folder}byteorder"))?.is_some_and(|order| order != b"little") {
        return Err(Defect::new("byteorder", 0, "numbers with their highest byte first; save it on a common machine"));
    }
    let pickled = archive.get(pickle_name)?.unwrap_or_default();
    if pickled.len() > MAX_PICKLE_BYTES {
        let what = format!("{} bytes, at most {MAX_PICKLE_BYTES} may be", pickled.len());
        return Err(Defect::new(pickle_name, 0, what));
    }
    let pickle = Pickle::read(&mut Cursor::new(pickled, pickle_name))?;
    let mut storages: HashMap<&str, &[u8]> = HashMap::new();
    let mut read = 0;
    collect(&pickle, bytes.len(), |key| {
        if let Some(&storage) = storages.get(key) {
            return Ok(storage);
        }
        let name = format!("{folder}data/{key}");
        let missing = || Defect::new("zip directory", 0, format!("no member {name:?}, which a tensor needs"));
        let storage = archive.get(&name)?.ok_or_else(missing)?;
        // Members of a directory that was tampered with may overlap; each is read for its check sum.
        read += storage.len();
        if read > bytes.len() {
            return Err(Defect::new("zip directory", 0, "members overlap"));
        }
        storages.insert(key, storage);
        Ok(storage)
    })
}

/// Parses the legacy form.
///
/// # Errors
/// As [`parse_zip`].
pub(super) fn parse_legacy(bytes: &[u8]) -> Result<Weights, Defect> {
    let mut cursor = Cursor::at(bytes, LEGACY_START.len(), PICKLE);
    let start = cursor.clone();
    match Pickle::read(&mut cursor)?.root() {
        Object::Int(LEGACY_VERSION) => {}
        other => return Err(start.defect(format!("wanted version {LEGACY_VERSION} of the format, got {other:?}"))),
    }
    // Sizes of a C compiler's types; all machines that are left have the lowest byte first.
    Pickle::read(&mut cursor)?;
    let pickle = Pickle::read(&mut cursor)?;
    let start = cursor.clone();
    let keys = Pickle::read(&mut cursor)?;
    let Object::List(items) = keys.root() else {
        return Err(start.defect(format!("wanted the list of storages, got {}", kind(keys.root()))));
    };
    // A storage says its number of elements, not their size: only the tensors know the type.
    let elements = storage_elements(&pickle);
    let mut storages: HashMap<&str, &[u8]> = HashMap::new();
    for &id in items {
        let Object::Str(key) = keys.get(id) else {
            return Err(start.defect(format!("wanted a storage's name, got {}", kind(keys.get(id)))));
        };
        let numel = cursor.length(true)?;
        let element =
            elements.get(key).ok_or_else(|| cursor.defect(format!("nothing says what storage {key} is of")))?;
        let data = cursor.take(numel.saturating_mul(element.size_bytes()))?;
        storages.insert(key, data);
    }
    let end = cursor.clone();
    collect(&pickle, bytes.len(), |key| {
        storages.get(key).copied().ok_or_else(|| end.defect(format!("no storage {key}, which a tensor needs")))
    })
}

/// Types of all storages that a pickle names.
fn storage_elements<'a>(pickle: &Pickle<'a>) -> HashMap<&'a str, Element> {
    let storages = pickle.objects().filter_map(|object| match object {
        Object::Storage(storage) => Some((storage.key, storage.element)),
        _ => None,
    });
    storages.collect()
}

/// Finds the state dict and makes its tensors, from storages that `data` returns by key.
fn collect<'a, 'd>(
    pickle: &Pickle<'a>,
    file_bytes: usize,
    mut data: impl FnMut(&'a str) -> Result<&'d [u8], Defect>,
) -> Result<Weights, Defect> {
    let mut weights = Weights::default();
    // Tensors may share storages and repeat elements, so that a small file could ask for any amount of memory. Honest files
    // have fewer elements than bytes.
    let mut elements_left = file_bytes;
    let entries = state_dict(pickle)?;
    if entries.len() > MAX_TENSORS {
        return Err(Defect::new(PICKLE, 0, format!("{} entries, at most {MAX_TENSORS} may be", entries.len())));
    }
    for &(key, value) in entries {
        let Object::Str(name) = pickle.get(key) else {
            weights.skipped.push((format!("a key that is {}", kind(pickle.get(key))), "no name".to_string()));
            continue;
        };
        if name.len() > MAX_NAME_BYTES {
            let what = format!("a name of {} bytes, at most {MAX_NAME_BYTES} may be", name.len());
            return Err(Defect::new(PICKLE, 0, what));
        }
        match pickle.get(value) {
            Object::Tensor(tensor) if matches!(tensor.storage.element, Element::Whole(_)) => {
                weights.skipped.push((name.to_string(), "whole numbers".to_string()));
            }
            Object::Tensor(tensor) => {
                let broken = |what| Defect::new(format!("tensor {name:?}"), 0, what);
                let places = Places::of(tensor, &mut elements_left).map_err(broken)?;
                let storage = data(tensor.storage.key)?;
                let array = places.gather(tensor, storage).map_err(broken)?;
                weights.tensors.insert(name.to_string(), array);
            }
            other => weights.skipped.push((name.to_string(), kind(other).to_string())),
        }
    }
    weights.skipped.sort();
    Ok(weights)
}

/// The dictionary that holds tensors: the object itself, or one inside it.
fn state_dict<'p>(pickle: &'p Pickle<'_>) -> Result<&'p [(Id, Id)], Defect> {
    fn tensors<'p>(pickle: &'p Pickle<'_>, object: &'p Object<'_>) -> Option<&'p [(Id, Id)]> {
        let Object::Dict(entries) = object else { return None };
        let has = entries.iter().any(|(_, value)| matches!(pickle.get(*value), Object::Tensor(_)));
        has.then_some(entries.as_slice())
    }
    let root = pickle.root();
    let Object::Dict(entries) = root else {
        return Err(Defect::new(PICKLE, 0, format!("wanted a dictionary of tensors, got {}", kind(root))));
    };
    let named = |id: &Id| match pickle.get(*id) {
        Object::Str(name) => Some(*name),
        _ => None,
    };
    let inside = |wanted: &str| {
        let entry = entries.iter().rev().find(|(key, _)| named(key) == Some(wanted))?;
        tensors(pickle, pickle.get(entry.1))
    };
    if let Some(found) = NESTED.iter().find_map(|name| inside(name)) {
        return Ok(found);
    }
    if let Some(found) = tensors(pickle, root) {
        return Ok(found);
    }
    let mut others = entries.iter().filter_map(|(_, value)| tensors(pickle, pickle.get(*value)));
    match (others.next(), others.next()) {
        (Some(only), None) => Ok(only),
        (None, _) if entries.is_empty() => Ok(entries),
        (first, _) => {
            let names: Vec<&str> = entries.iter().filter_map(|(key, _)| named(key)).take(8).collect();
            let what = if first.is_none() { "no dictionary of tensors" } else { "several dictionaries of tensors" };
            Err(Defect::new(PICKLE, 0, format!("{what} under {}; save the state dict alone", names.join(", "))))
        }
    }
}

/// Where the elements of a tensor lie in its storage: checked, so that reading cannot leave it.
struct Places {
    shape: Shape,
    strides: Vec<usize>,
    first: usize,
    numel: usize,
}

impl Places {
    fn of(tensor: &Strided<'_>, elements_left: &mut usize) -> Result<Places, String> {
        let lengths = |values: &[i64], what: &str| -> Result<Vec<usize>, String> {
            let length = |&value| usize::try_from(value).map_err(|_| format!("{what} {value}, wanted at least 0"));
            values.iter().map(length).collect()
        };
        let (size, strides) = (lengths(&tensor.size, "an extent of")?, lengths(&tensor.stride, "a stride of")?);
        if size.len() > 4 || strides.len() != size.len() {
            return Err(format!("{} extents and {} strides, wanted as many, at most 4", size.len(), strides.len()));
        }
        let shape = Shape::try_new(&size).ok_or_else(|| format!("{} dimensions, more than 4", size.len()))?;
        let numel = shape.numel();
        if numel > *elements_left {
            return Err(format!("{shape} has more elements than the whole file has bytes"));
        }
        *elements_left -= numel;
        let storage = &tensor.storage;
        let offset = usize::try_from(tensor.offset).map_err(|_| format!("an offset of {}", tensor.offset))?;
        let reach = |sum: usize, (extent, stride): (&usize, &usize)| {
            (extent.checked_sub(1)?).checked_mul(*stride)?.checked_add(sum)
        };
        let last = size.iter().zip(&strides).try_fold(offset, reach);
        if numel > 0 && last.is_none_or(|last| last >= storage.numel) {
            return Err(format!(
                "{shape} at {offset} with strides {strides:?} leaves its storage of {}",
                storage.numel
            ));
        }
        let first = offset.checked_add(storage.start).ok_or_else(|| "an offset beyond all bounds".to_string())?;
        Ok(Places { shape, strides, first, numel })
    }

    fn gather(&self, tensor: &Strided<'_>, storage: &[u8]) -> Result<Array, String> {
        let element = tensor.storage.element;
        let size = element.size_bytes();
        let short =
            || format!("storage {:?} has {} bytes, fewer than the tensor needs", tensor.storage.key, storage.len());
        let slice = |first: usize, count: usize| {
            let start = first.checked_mul(size)?;
            storage.get(start..start.checked_add(count.checked_mul(size)?)?)
        };
        let dims = self.shape.dims();
        let mut wanted = 1;
        let contiguous = dims.iter().zip(&self.strides).rev().all(|(&extent, &stride)| {
            let fits = extent <= 1 || stride == wanted;
            wanted = usize::saturating_mul(wanted, extent.max(1));
            fits
        });
        let data = if self.numel == 0 {
            Vec::new()
        } else if contiguous {
            slice(self.first, self.numel).and_then(|bytes| element.to_f32(bytes)).ok_or_else(short)?
        } else {
            let mut bytes = Vec::with_capacity(self.numel * size);
            for i in 0..self.numel {
                let mut rest = i;
                let mut place = self.first;
                for (&extent, &stride) in dims.iter().zip(&self.strides).rev() {
                    place += rest % extent * stride;
                    rest /= extent;
                }
                bytes.extend_from_slice(slice(place, 1).ok_or_else(short)?);
            }
            element.to_f32(&bytes).ok_or_else(short)?
        };
        Array::new(self.shape, data).ok_or_else(short)
    }
}
