//! Where each parameter lies in the flat buffers: pure data.

use crate::graph::{ParamDecl, ParamKind};
use crate::ops::{BufferRef, FlatPlace, Target};
use crate::precision::Storage;
use std::collections::BTreeMap;

/// A parameter's declaration and place.
#[derive(Clone, Debug)]
pub struct Entry {
    /// As the first graph declared it.
    pub decl: ParamDecl,
    /// Where it lies; the buffer is always a [`BufferRef::Store`].
    pub place: FlatPlace,
    /// How it is stored.
    pub storage: Storage,
}

/// Places of all parameters. Weights, buffers and optimiser state lie in buffers of their own kind, so that a kernel may
/// read one kind and write another; within a kind, groups lie together, in order of declaration.
#[derive(Clone, Debug, Default)]
pub struct StoreLayout {
    entries: BTreeMap<String, Entry>,
    order: Vec<String>,
    buffer_bytes: Vec<u64>,
    weights: Storage,
}

/// What did not fit when declaring parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// One parameter exceeds the largest binding.
    TooLarge {
        /// Its name.
        name: String,
        /// Its size.
        bytes: u64,
    },
    /// The store knows the name with another shape.
    ShapeDiffers {
        /// Its name.
        name: String,
        /// In the store.
        stored: String,
        /// In the graph.
        declared: String,
    },
}

impl StoreLayout {
    /// A layout without parameters, whose weights will be stored so; statistics and optimiser state are f32.
    pub fn new(weights: Storage) -> StoreLayout {
        StoreLayout { weights, ..StoreLayout::default() }
    }

    /// How weights are stored.
    pub fn weights(&self) -> Storage {
        self.weights
    }

    fn storage(&self, kind: ParamKind) -> Storage {
        match kind {
            ParamKind::Weight => self.weights,
            ParamKind::Buffer | ParamKind::Optimizer | ParamKind::Gradient => Storage::F32,
        }
    }

    /// Adds the parameters that are not known yet; returns their names. Fails without changing anything.
    pub fn declare<'d>(
        &mut self,
        decls: impl Iterator<Item = &'d ParamDecl>,
        target: &Target,
    ) -> Result<Vec<String>, LayoutError> {
        let mut fresh: Vec<&ParamDecl> = Vec::new();
        for decl in decls {
            if let Some(known) = self.entries.get(&decl.name) {
                if known.decl.shape != decl.shape || known.decl.rows != decl.rows {
                    return Err(LayoutError::ShapeDiffers {
                        name: decl.name.clone(),
                        stored: known.decl.shape.to_string(),
                        declared: decl.shape.to_string(),
                    });
                }
            } else if let Some(known) = self.cut_otherwise(decl) {
                return Err(LayoutError::ShapeDiffers {
                    name: decl.whole_name().to_string(),
                    stored: format!("{} as {:?}", known.shape, known.name),
                    declared: format!("{} as {:?}", decl.shape, decl.name),
                });
            } else if decl.shape.numel() as u64 * 4 > target.max_binding_bytes {
                return Err(LayoutError::TooLarge { name: decl.name.clone(), bytes: decl.shape.numel() as u64 * 4 });
            } else {
                fresh.push(decl);
            }
        }
        self.order.extend(fresh.iter().map(|decl| decl.name.clone()));
        let names = fresh.iter().map(|decl| decl.name.clone()).collect();
        fresh.sort_by_key(|decl| (decl.kind, decl.group));
        let mut open: Option<(ParamKind, u64)> = None;
        for decl in fresh {
            let storage = self.storage(decl.kind);
            let bytes = (aligned_elements(decl.shape.numel(), target) * storage.size_bytes()) as u64;
            // Gradients mirror weights in 4 bytes an element, and are bound as a whole too.
            let most = target.max_binding_bytes * storage.size_bytes() as u64 / 4;
            let start = match open {
                Some((kind, used)) if kind == decl.kind && used + bytes <= most => used,
                _ => {
                    self.buffer_bytes.push(0);
                    0
                }
            };
            open = Some((decl.kind, start + bytes));
            let buffer = self.buffer_bytes.len() - 1;
            self.buffer_bytes[buffer] = start + bytes;
            let place = FlatPlace { buffer: BufferRef::Store(buffer), offset: start as usize / storage.size_bytes() };
            self.entries.insert(decl.name.clone(), Entry { decl: decl.clone(), place, storage });
        }
        Ok(names)
    }

    /// A known parameter that holds some of the same numbers: the whole tensor, or other blocks of its rows.
    fn cut_otherwise(&self, decl: &ParamDecl) -> Option<&ParamDecl> {
        let own = decl.rows.as_ref().map(|rows| rows.first..rows.first + decl.shape.dim(0));
        let meets = |known: &&ParamDecl| match (&own, &known.rows) {
            (Some(own), Some(rows)) => own.start < rows.first + known.shape.dim(0) && rows.first < own.end,
            _ => true,
        };
        let all = self.entries.values().map(|entry| &entry.decl);
        all.filter(|known| known.whole_name() == decl.whole_name()).find(meets)
    }

    /// A parameter by name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The entries that a tensor lies in, in order of rows: one, unless it is too large for a binding. None if it is unknown.
    pub fn blocks(&self, name: &str) -> Vec<&Entry> {
        if let Some(entry) = self.entries.get(name) {
            return vec![entry];
        }
        let is_block = |entry: &&Entry| entry.decl.rows.as_ref().is_some_and(|rows| rows.whole == name);
        let mut blocks: Vec<&Entry> = self.entries.values().filter(is_block).collect();
        blocks.sort_by_key(|entry| entry.decl.rows.as_ref().map(|rows| rows.first));
        blocks
    }

    /// All tensors in order of declaration, those in blocks of rows as a whole.
    pub fn tensors(&self) -> impl Iterator<Item = ParamDecl> {
        self.iter().filter_map(|entry| match &entry.decl.rows {
            None => Some(entry.decl.clone()),
            Some(rows) if rows.first == 0 => {
                let shape = entry.decl.shape.with_rows(rows.of);
                Some(ParamDecl { name: rows.whole.clone(), shape, rows: None, ..entry.decl.clone() })
            }
            Some(_) => None,
        })
    }

    /// How many parameters were declared before this one.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.order.iter().position(|known| known == name)
    }

    /// All parameters in order of declaration.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.order.iter().map(|name| &self.entries[name])
    }

    /// Bytes of each flat buffer.
    pub fn buffer_bytes(&self) -> &[u64] {
        &self.buffer_bytes
    }
}

/// Elements a tensor takes in a flat buffer: rounded up so that its neighbour can be bound. The same for every storage, since
/// gradients and velocities in 32 bits mirror the distances of weights in 16.
pub fn aligned_elements(elements: usize, target: &Target) -> usize {
    elements.next_multiple_of((target.binding_align_bytes / 2).max(4) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Init;
    use crate::shape::Shape;

    fn decl(name: &str, elements: usize, kind: ParamKind, group: usize) -> ParamDecl {
        ParamDecl {
            name: name.into(),
            shape: Shape::from([elements]),
            kind,
            init: Init::Constant(0.0),
            group,
            rows: None,
        }
    }

    #[test]
    fn groups_lie_together_and_kinds_apart() {
        let decls = [
            decl("a", 10, ParamKind::Weight, 1),
            decl("b", 100, ParamKind::Weight, 0),
            decl("r", 5, ParamKind::Buffer, 0),
            decl("c", 3, ParamKind::Weight, 1),
        ];
        let mut layout = StoreLayout::default();
        layout.declare(decls.iter(), &Target::default()).expect("fits");
        let place = |name: &str| layout.get(name).map(|e| (e.place.buffer, e.place.offset));
        assert_eq!(place("b"), Some((BufferRef::Store(0), 0)));
        assert_eq!(place("a"), Some((BufferRef::Store(0), 128)));
        assert_eq!(place("c"), Some((BufferRef::Store(0), 256)));
        assert_eq!(place("r"), Some((BufferRef::Store(1), 0)));
        assert_eq!(layout.buffer_bytes(), [1536, 512]);
        assert_eq!(layout.iter().map(|e| e.decl.name.as_str()).collect::<Vec<_>>(), ["a", "b", "r", "c"]);
    }

    #[test]
    fn blocks_of_rows_are_one_tensor_to_those_who_ask() {
        let block = |first: usize, rows: usize| ParamDecl {
            shape: Shape::from([rows, 3]),
            rows: Some(crate::graph::Rows { whole: "w".into(), first, of: 10 }),
            ..decl(&format!("w[{first}..{}]", first + rows), 1, ParamKind::Weight, 0)
        };
        let mut layout = StoreLayout::default();
        let decls = [decl("a", 2, ParamKind::Weight, 0), block(0, 4), block(4, 4), block(8, 2)];
        layout.declare(decls.iter(), &Target::default()).expect("fits");
        let tensors: Vec<(String, Shape)> = layout.tensors().map(|decl| (decl.name, decl.shape)).collect();
        assert_eq!(tensors, [("a".into(), Shape::from([2])), ("w".into(), Shape::from([10, 3]))]);
        let names = |name: &str| layout.blocks(name).iter().map(|e| e.decl.name.clone()).collect::<Vec<_>>();
        assert_eq!(names("w"), ["w[0..4]", "w[4..8]", "w[8..10]"]);
        assert_eq!(names("w[4..8]"), ["w[4..8]"]);
        assert!(names("v").is_empty());
        for other in [decl("w", 30, ParamKind::Weight, 0), block(2, 4)] {
            let error = layout.declare([&other].into_iter(), &Target::default()).expect_err("cut otherwise");
            assert!(matches!(&error, LayoutError::ShapeDiffers { name, .. } if name == "w"), "{error:?}");
        }
        let error =
            layout.declare([&ParamDecl { name: "a[0..1]".into(), ..block(0, 1) }].into_iter(), &Target::default());
        assert!(error.is_err(), "known in other blocks");
    }

    #[test]
    fn buffers_are_split_at_the_binding_limit_and_clashes_refused() {
        let target = Target { max_binding_bytes: 1024, ..Target::default() };
        let decls: Vec<ParamDecl> = (0..5).map(|i| decl(&format!("w{i}"), 100, ParamKind::Weight, 0)).collect();
        let mut layout = StoreLayout::default();
        layout.declare(decls.iter(), &target).expect("fits");
        assert_eq!(layout.buffer_bytes(), [1024, 1024, 512]);
        let large = decl("large", 257, ParamKind::Weight, 0);
        assert!(matches!(layout.declare([&large].into_iter(), &target), Err(LayoutError::TooLarge { .. })));
        let mut halves = StoreLayout::new(Storage::Bf16);
        halves.declare(decls.iter(), &target).expect("fits");
        assert_eq!(halves.buffer_bytes(), [512, 512, 256], "as many elements as in 32 bits");
        let other = decl("w0", 101, ParamKind::Weight, 0);
        assert!(matches!(layout.declare([&other].into_iter(), &target), Err(LayoutError::ShapeDiffers { .. })));
        assert!(layout.declare(decls.iter(), &target).is_ok_and(|fresh| fresh.is_empty()));
    }
}
