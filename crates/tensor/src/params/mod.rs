//! The parameter store: weights, running statistics and optimiser state on the device, shared by all plans of a model.

pub mod layout;
mod snapshot;
mod versions;

use crate::array::Array;
use crate::device::Device;
use crate::error::{DeviceError, Error, Result, UsageError};
use crate::graph::{Graph, Init, ParamDecl, ParamKind, fnv1a};
use crate::ops::fill::FillWith;
use crate::ops::{BufferRef, FlatPlace};
use crate::plan::{CompileOptions, Feed, Plan};
use crate::precision::Storage;
use crate::shape::{Shape, device_index, to_device_order};
use layout::{Entry, LayoutError, StoreLayout};
pub use snapshot::{Snapshot, Snapshots};
pub(crate) use versions::Versions;

/// Parameters by name, in flat device buffers. Compiling a plan declares what its graph needs and initialises what is
/// new, on the device, from Philox keyed by (seed, name): independent of the order in which layers are declared.
#[derive(Debug)]
pub struct Params {
    device: Device,
    seed: u64,
    layout: StoreLayout,
    buffers: Vec<wgpu::Buffer>,
    versions: Versions,
}

impl Params {
    /// An empty store.
    pub fn new(device: &Device, seed: u64) -> Params {
        Params::with_weights(device, seed, Storage::F32)
    }

    /// An empty store whose weights are stored so, without a copy in 32 bits beside them; running statistics and the
    /// optimiser's state are f32. How an update of them is rounded is said to the plan that makes it
    /// ([`CompileOptions::storage`]).
    pub fn with_weights(device: &Device, seed: u64, weights: Storage) -> Params {
        let (layout, versions) = (StoreLayout::new(weights), Versions::default());
        Params { device: device.clone(), seed, layout, buffers: Vec::new(), versions }
    }

    /// How weights are stored.
    pub fn weight_storage(&self) -> Storage {
        self.layout.weights()
    }

    /// The device that holds the parameters.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The seed that initialises parameters.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Declarations in order. A tensor that lies in blocks of rows ([`Scope::weight_rows`](crate::Scope::weight_rows)) counts as
    /// one, of its full extents.
    pub fn decls(&self) -> impl Iterator<Item = ParamDecl> {
        self.layout.tensors()
    }

    /// Declarations of one kind.
    pub fn of_kind(&self, kind: ParamKind) -> impl Iterator<Item = ParamDecl> {
        self.decls().filter(move |decl| decl.kind == kind)
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> u64 {
        self.layout.buffer_bytes().iter().sum()
    }

    /// Number of buffers.
    pub fn buffer_count(&self) -> usize {
        self.buffers.len()
    }

    /// How many writes its parameters have seen: runs of plans that update some, calls of [`Params::set`]. While it stays the
    /// same, so do all values.
    pub fn version(&self) -> u64 {
        self.versions.clock()
    }

    /// Reads a parameter back, waiting for everything submitted.
    ///
    /// # Errors
    /// An unknown name, or a lost device.
    pub fn get(&self, name: &str) -> Result<Array> {
        let mut whole: Option<Array> = None;
        for entry in self.blocks(name)? {
            let Entry { decl, place, storage } = entry;
            let count = decl.shape.numel();
            let bytes = self.read(*place, *storage, &[(0, (count * storage.size_bytes()).next_multiple_of(4))])?;
            let data = snapshot::decode(entry, &bytes);
            match &mut whole {
                None => whole = Some(Array { shape: decl.shape, data }),
                Some(whole) => whole.data.extend(data),
            }
        }
        let mut whole = whole.unwrap_or_else(|| Array { shape: Shape::scalar(), data: Vec::new() });
        whole.shape = self.shape(name)?;
        Ok(whole)
    }

    /// Reads some elements of a parameter, numbered in PyTorch's order.
    pub(crate) fn elements(&self, name: &str, elements: &[usize]) -> Result<Vec<f32>> {
        let (decl, place, storage) = self.find(name)?;
        let starts: Vec<usize> =
            elements.iter().map(|&at| device_index(&decl.shape, at) * storage.size_bytes()).collect();
        // Copies are of whole words.
        let words: Vec<(usize, usize)> = starts.iter().map(|start| (start & !3, 4)).collect();
        let bytes = self.read(place, storage, &words)?;
        let one = |(word, start): (&[u8], &usize)| storage.decode_all(&word[start % 4..], 1)[0];
        Ok(bytes.chunks_exact(4).zip(&starts).map(one).collect())
    }

    /// Sets a parameter to zero.
    pub(crate) fn clear(&self, name: &str) -> Result<()> {
        let (decl, place, storage) = self.find(name)?;
        let bytes = (decl.shape.numel() * storage.size_bytes()).next_multiple_of(4) as u64;
        let mut encoder = self.device.wgpu().create_command_encoder(&Default::default());
        encoder.clear_buffer(self.buffer(place)?, (place.offset * storage.size_bytes()) as u64, Some(bytes));
        self.device.queue().submit([encoder.finish()]);
        self.note_write(name);
        Ok(())
    }

    fn note_write(&self, name: &str) {
        self.versions.note(self.layout.number(name).as_slice());
    }

    /// Reads runs of bytes, (first, count) from a place on, waiting for everything submitted.
    fn read(&self, place: FlatPlace, storage: Storage, runs: &[(usize, usize)]) -> Result<Vec<u8>> {
        let bytes = runs.iter().map(|&(_, count)| count as u64).sum();
        let staging = self.device.create_buffer(
            &wgpu::BufferDescriptor {
                label: Some("read parameter"),
                size: bytes,
                usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
                mapped_at_creation: false,
            },
            bytes,
        )?;
        let mut encoder = self.device.wgpu().create_command_encoder(&Default::default());
        let mut end = 0;
        for &(first, count) in runs {
            let from = (place.offset * storage.size_bytes() + first) as u64;
            encoder.copy_buffer_to_buffer(self.buffer(place)?, from, &staging, end, count as u64);
            end += count as u64;
        }
        self.device.queue().submit([encoder.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., |_| {});
        self.device.wait()?;
        let view = staging
            .get_mapped_range(..)
            .map_err(|error| Error::Device(DeviceError::Lost(format!("reading a parameter: {error}"))))?;
        Ok(view.to_vec())
    }

    /// Overwrites a parameter, rounded to nearest if it is stored in 16 bits; takes effect before the next run.
    ///
    /// # Errors
    /// An unknown name, or another shape.
    pub fn set(&mut self, name: &str, array: &Array) -> Result<()> {
        let shape = self.shape(name)?;
        if shape != array.shape || array.data.len() != array.shape.numel() {
            return Err(Error::Usage(UsageError::Mismatch {
                kind: "parameter",
                name: name.to_string(),
                wanted: shape.to_string(),
                got: format!("{} with {} elements", array.shape, array.data.len()),
            }));
        }
        let mut rest = &array.data[..];
        for Entry { decl, place, storage } in self.blocks(name)? {
            // Rows follow each other in PyTorch's order.
            let (own, behind) = rest.split_at(decl.shape.numel());
            rest = behind;
            let raw = to_device_order(&decl.shape, own);
            let offset = (place.offset * storage.size_bytes()) as u64;
            self.device.queue().write_buffer(self.buffer(*place)?, offset, &storage.encode_all(&raw));
            self.note_write(&decl.name);
        }
        Ok(())
    }

    /// Declares a graph's parameters, allocating and initialising the new ones. When that fails, the store is as before.
    pub(crate) fn declare(&mut self, decls: &[ParamDecl]) -> Result<()> {
        let before = (self.layout.clone(), self.buffers.len());
        let declared = self.try_declare(decls);
        if declared.is_err() {
            self.layout = before.0;
            self.buffers.truncate(before.1);
        }
        declared
    }

    fn try_declare(&mut self, decls: &[ParamDecl]) -> Result<()> {
        let fresh = self.layout.declare(decls.iter(), &self.device.target()).map_err(|error| match error {
            LayoutError::TooLarge { name, bytes } => Error::Device(DeviceError::LimitExceeded {
                what: format!("parameter {name:?}"),
                wanted_bytes: bytes,
                limit_bytes: self.device.target().max_binding_bytes,
                adapter: self.device.info().name.clone(),
            }),
            LayoutError::ShapeDiffers { name, stored, declared } => {
                Error::Usage(UsageError::Mismatch { kind: "parameter", name, wanted: stored, got: declared })
            }
        })?;
        let planned = self.bytes();
        self.device.check_memory(planned)?;
        for (i, &size) in self.layout.buffer_bytes().iter().enumerate().skip(self.buffers.len()) {
            let label = format!("parameters {i}");
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
            let descriptor = wgpu::BufferDescriptor { label: Some(&label), size, usage, mapped_at_creation: false };
            self.buffers.push(self.device.create_buffer(&descriptor, planned)?);
        }
        self.initialise(&fresh)
    }

    /// Runs a one-shot plan that fills the new parameters. Fresh buffers are zero, so zeros need nothing.
    fn initialise(&mut self, fresh: &[String]) -> Result<()> {
        let graph = Graph::new();
        let mut any = false;
        for entry in fresh.iter().filter_map(|name| self.layout.get(name)) {
            let decl = entry.decl.clone();
            let init = decl.init.resolve(&decl.shape);
            if init == Init::Constant(0.0) {
                continue;
            }
            any = true;
            let row = decl.shape.numel() / decl.shape.dim(0).max(1);
            let first = decl.rows.as_ref().map_or(0, |rows| rows.first * row);
            let stream = fnv1a(decl.whole_name());
            let filled = graph.apply1(FillWith { shape: decl.shape, init, seed: self.seed, stream, first }, &[]);
            let param = crate::graph::declare_param(&graph, decl);
            graph.write_back(param, filled);
        }
        if !any {
            return Ok(());
        }
        let mut plan = Plan::compile_declared(&self.device.clone(), &graph, self, &CompileOptions::default())?;
        plan.run(&[] as &[(&str, Feed<'_>)])?;
        self.device.wait()
    }

    fn find(&self, name: &str) -> Result<(&ParamDecl, FlatPlace, Storage)> {
        let entry = self.layout.get(name).ok_or_else(|| self.unknown(name))?;
        Ok((&entry.decl, entry.place, entry.storage))
    }

    fn unknown(&self, name: &str) -> Error {
        let close: Vec<String> = self.decls().map(|decl| decl.name).take(8).collect();
        let known = format!("{}, … ({} in all)", close.join(", "), self.decls().count());
        Error::Usage(UsageError::UnknownName { kind: "parameter", name: name.to_string(), known })
    }

    /// The entries that a tensor lies in.
    fn blocks(&self, name: &str) -> Result<Vec<&Entry>> {
        let blocks = self.layout.blocks(name);
        if blocks.is_empty() { Err(self.unknown(name)) } else { Ok(blocks) }
    }

    /// The extents of a tensor, or of a block.
    fn shape(&self, name: &str) -> Result<Shape> {
        let block = self.layout.get(name).map(|entry| entry.decl.shape);
        let whole = || self.decls().find(|decl| decl.name == name).map(|decl| decl.shape);
        block.or_else(whole).ok_or_else(|| self.unknown(name))
    }

    fn buffer(&self, place: FlatPlace) -> Result<&wgpu::Buffer> {
        let number = match place.buffer {
            BufferRef::Store(number) => number,
            BufferRef::Owned(number) => number,
        };
        self.buffers
            .get(number)
            .ok_or_else(|| Error::Device(DeviceError::Lost("a parameter's buffer was never made".to_string())))
    }

    pub(crate) fn store_buffers(&self) -> &[wgpu::Buffer] {
        &self.buffers
    }

    pub(crate) fn versions(&self) -> &Versions {
        &self.versions
    }

    pub(crate) fn store_layout(&self) -> &StoreLayout {
        &self.layout
    }
}
