//! All parameters as of a moment, read back while the device goes on.

use super::Params;
use super::layout::{Entry, StoreLayout};
use crate::array::Array;
use crate::device::Device;
use crate::error::{DeviceError, Error, Result, UsageError};
use crate::graph::ParamDecl;
use crate::ops::BufferRef;
use crate::shape::{Shape, from_device_order};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Buffers that a store's parameters are copied to on the device, so that they can be read while steps go on: as many bytes
/// again as the store has. Made once; a snapshot creates nothing but its encoder.
///
/// One is under way at a time: [`Snapshots::begin`] queues the copies behind all steps submitted so far,
/// [`Snapshots::is_ready`] becomes true when some later wait (for a step's loss, say) has seen them done, and
/// [`Snapshots::take`] hands the bytes out.
#[derive(Debug)]
pub struct Snapshots {
    device: Device,
    layout: StoreLayout,
    staging: Vec<wgpu::Buffer>,
    /// Buffers whose bytes the host can read; failures count as well, and show when they are read.
    mapped: Arc<AtomicUsize>,
    is_pending: bool,
}

impl Snapshots {
    /// Room for the parameters that `params` holds now.
    ///
    /// # Errors
    /// A device without the memory.
    pub fn new(params: &Params) -> Result<Snapshots> {
        let (device, layout) = (params.device.clone(), params.layout.clone());
        let planned = layout.buffer_bytes().iter().sum();
        let make = |(i, &size): (usize, &u64)| {
            let descriptor = wgpu::BufferDescriptor {
                label: Some(&format!("snapshot {i}")),
                size,
                usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
                mapped_at_creation: false,
            };
            device.create_buffer(&descriptor, planned)
        };
        let staging = layout.buffer_bytes().iter().enumerate().map(make).collect::<Result<_>>()?;
        Ok(Snapshots { device, layout, staging, mapped: Arc::default(), is_pending: false })
    }

    /// Bytes and number of the buffers.
    #[must_use]
    pub fn created(&self) -> (u64, usize) {
        (self.layout.buffer_bytes().iter().sum(), self.staging.len())
    }

    /// Queues copies of all parameters as the steps submitted so far leave them. Returns at once.
    ///
    /// # Errors
    /// A snapshot that was not taken yet, a store whose buffers have other sizes (it must be the same one), a lost device.
    pub fn begin(&mut self, params: &Params) -> Result<()> {
        let same = params.layout.buffer_bytes() == self.layout.buffer_bytes();
        let wrong = match (self.is_pending, same) {
            (true, _) => Some("one that was not taken yet"),
            (false, false) => Some("a store that has other buffers"),
            (false, true) => None,
        };
        if let Some(got) = wrong {
            let (wanted, got) = ("the last one taken, and the same store".to_string(), got.to_string());
            return Err(Error::Usage(UsageError::Mismatch { kind: "snapshot", name: "begin".into(), wanted, got }));
        }
        let mut encoder = self.device.wgpu().create_command_encoder(&Default::default());
        for ((from, to), &bytes) in params.buffers.iter().zip(&self.staging).zip(self.layout.buffer_bytes()) {
            encoder.copy_buffer_to_buffer(from, 0, to, 0, bytes);
        }
        self.device.queue().submit([encoder.finish()]);
        self.mapped.store(0, Ordering::Release);
        for buffer in &self.staging {
            let mapped = Arc::clone(&self.mapped);
            buffer.map_async(wgpu::MapMode::Read, .., move |_| {
                mapped.fetch_add(1, Ordering::AcqRel);
            });
        }
        self.is_pending = true;
        self.device.check()
    }

    /// Whether one was begun and not taken.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.is_pending
    }

    /// Whether [`Snapshots::take`] would return without waiting.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_pending && self.mapped.load(Ordering::Acquire) == self.staging.len()
    }

    /// The snapshot under way; waits for it where it is not ready.
    ///
    /// # Errors
    /// None under way, or a lost device.
    pub fn take(&mut self) -> Result<Snapshot> {
        if !self.is_pending {
            let (wanted, got) = ("one that was begun".to_string(), "none".to_string());
            return Err(Error::Usage(UsageError::Mismatch { kind: "snapshot", name: "take".into(), wanted, got }));
        }
        if !self.is_ready() {
            self.device.wait()?;
        }
        self.is_pending = false;
        let mut buffers = Vec::with_capacity(self.staging.len());
        for buffer in &self.staging {
            let lost = |error| Error::Device(DeviceError::Lost(format!("reading a snapshot: {error}")));
            let view = buffer.get_mapped_range(..).map_err(lost)?;
            buffers.push(view.to_vec());
            drop(view);
            buffer.unmap();
        }
        Ok(Snapshot { layout: self.layout.clone(), buffers })
    }
}

/// The parameters of a moment in host memory; nothing of a device is in it, so that any thread may work on it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    layout: StoreLayout,
    buffers: Vec<Vec<u8>>,
}

impl Snapshot {
    /// Declarations in order, as [`Params::decls`] has them.
    pub fn decls(&self) -> impl Iterator<Item = ParamDecl> {
        self.layout.tensors()
    }

    /// A parameter in PyTorch's order, as [`Params::get`] has it.
    #[must_use]
    pub fn get(&self, decl: &ParamDecl) -> Array {
        let mut data = Vec::with_capacity(decl.shape.numel());
        for entry in self.layout.blocks(&decl.name) {
            let (at, bytes) = range(entry);
            let bytes = self.buffers.get(at).and_then(|buffer| buffer.get(bytes)).unwrap_or_default();
            data.extend(decode(entry, bytes));
        }
        let shape = if data.len() == decl.shape.numel() { decl.shape } else { Shape::from([data.len()]) };
        Array { shape, data }
    }
}

/// The flat buffer that a parameter lies in, and where.
fn range(entry: &Entry) -> (usize, std::ops::Range<usize>) {
    let (BufferRef::Store(buffer) | BufferRef::Owned(buffer)) = entry.place.buffer;
    let size = entry.storage.size_bytes();
    let first = entry.place.offset * size;
    (buffer, first..first + (entry.decl.shape.numel() * size).next_multiple_of(4))
}

/// Bytes as they lie on the device to numbers in PyTorch's order.
pub(super) fn decode(entry: &Entry, bytes: &[u8]) -> Vec<f32> {
    let shape = &entry.decl.shape;
    from_device_order(shape, &entry.storage.decode_all(bytes, shape.numel()))
}
