//! Executing a plan.

use super::desc::{Place, PlanDesc, RING};
use super::{CompileOptions, fit, lower, optimise};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{DeviceError, Error, Result, UsageError};
use crate::graph::{Graph, GraphData};
use crate::kernel::Kernel;
use crate::ops::BufferRef;
use crate::params::{Params, Versions};
use crate::precision::Storage;
use crate::shape::{from_device_order, to_device_order};
use crate::tune::{self, TuneReport};
use std::rc::Rc;

/// Data for one feed, in PyTorch's element order.
#[derive(Clone, Copy, Debug)]
pub enum Feed<'a> {
    /// Elements of an f32 tensor.
    F32(&'a [f32]),
    /// Elements of a u32 tensor.
    U32(&'a [u32]),
}

/// Names one run, for reading its outputs later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// A launch with its wgpu objects.
pub(super) struct Launch {
    pub(super) kernel: Rc<Kernel>,
    pub(super) bind_group: wgpu::BindGroup,
    pub(super) grid: [u32; 3],
}

impl Launch {
    pub(super) fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.kernel.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        let [x, y, z] = self.grid;
        pass.dispatch_workgroups(x, y, z);
    }
}

/// One of the [`RING`] sets of host-visible buffers.
struct Slot {
    staging: wgpu::Buffer,
    readback: wgpu::Buffer,
    used_by: Option<(Ticket, wgpu::SubmissionIndex)>,
}

/// A compiled plan with its device objects.
pub struct Plan {
    pub(super) device: Device,
    pub(super) desc: PlanDesc,
    pub(super) launches: Vec<Launch>,
    buffers: Vec<wgpu::Buffer>,
    store: Vec<wgpu::Buffer>,
    ring: Vec<Slot>,
    steps: u64,
    tuned: TuneReport,
    submissions: usize,
    /// When the store's parameters were written, and by number those that frozen dispatches read and that a run writes.
    versions: Versions,
    frozen_params: Vec<usize>,
    written_params: Vec<usize>,
    /// The newest of what the frozen dispatches have read, if they have run.
    frozen_version: Option<u64>,
    launched: usize,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plan({} dispatches, {} bytes)", self.launches.len(), self.desc.planned_bytes())
    }
}

/// Words behind every temporary when memory is poisoned, bound with it; a kernel that writes them is broken.
const GUARD_BYTES: u64 = 64;
const POISON_WORD: u32 = 0x7fc0_dead;

impl Plan {
    /// Compiles a traced graph. New parameters are allocated in `params` and initialised.
    ///
    /// # Errors
    /// All shape mistakes of the trace together; a tensor above the device's limits; memory exhausted (with the planned
    /// bytes); a parameter that the store knows with another shape.
    pub fn compile(device: &Device, graph: &Graph, params: &mut Params, options: &CompileOptions) -> Result<Plan> {
        if !device.is_same(params.device()) {
            let wanted = "those made with the device that the plan is compiled for".to_string();
            let got = "parameters of another device".to_string();
            return Err(Error::Usage(UsageError::Value { name: "params".to_string(), wanted, got }));
        }
        graph.with_data(|data| data.check())?;
        let decls: Vec<_> = graph.with_data(|data| data.params().map(|(_, decl)| decl.clone()).collect());
        params.declare(&decls)?;
        Plan::compile_declared(device, graph, params, options)
    }

    pub(crate) fn compile_declared(
        device: &Device,
        graph: &Graph,
        params: &Params,
        options: &CompileOptions,
    ) -> Result<Plan> {
        let data = optimise(graph, options)?;
        let (data, choices, tuned) = tune::choose(device, &data, &options.tuning)?;
        // After the choice, so that what is computed again is computed the same way, and workspaces count.
        let data = fit(data, params.store_layout(), device.target(), options)?;
        let mut plan = Plan::compile_chosen(device, data, params, options)?;
        plan.desc.choices = choices;
        plan.tuned = tuned;
        Ok(plan)
    }

    /// Compiles a graph whose algorithms are what they shall be.
    pub(crate) fn compile_chosen(
        device: &Device,
        data: GraphData,
        params: &Params,
        options: &CompileOptions,
    ) -> Result<Plan> {
        let desc = lower(data, params.store_layout(), device.target(), &device.info().name, options)?;
        Plan::create(device, desc, params, options)
    }

    fn create(device: &Device, desc: PlanDesc, params: &Params, options: &CompileOptions) -> Result<Plan> {
        let planned = desc.planned_bytes();
        device.check_memory(planned)?;
        let make = |label: &str, size: u64, usage: wgpu::BufferUsages, mapped_at_creation: bool| {
            let label = Some(label);
            device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation }, planned)
        };
        let device_use = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let mut buffers = Vec::with_capacity(desc.buffers.len());
        for buffer in &desc.buffers {
            let arguments = buffer.label == "arguments";
            let usage = if arguments { wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST } else { device_use };
            let guard = if options.poison_memory && !arguments { GUARD_BYTES } else { 0 };
            buffers.push(make(&buffer.label, buffer.bytes + guard, usage, false)?);
            if guard > 0 {
                let poison = vec![POISON_WORD; ((buffer.bytes + guard) / 4) as usize];
                let at = &buffers[buffers.len() - 1];
                device.queue().write_buffer(at, 0, bytemuck::cast_slice(&poison));
            }
        }
        if let (Some(arguments), false) = (buffers.last(), desc.args.is_empty()) {
            device.queue().write_buffer(arguments, 0, &desc.args);
        }
        let mut ring = Vec::with_capacity(RING);
        for i in 0..RING {
            let up = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
            let down = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            ring.push(Slot {
                staging: make(&format!("staging {i}"), desc.feed_bytes.max(4), up, true)?,
                readback: make(&format!("read back {i}"), desc.output_bytes.max(4), down, false)?,
                used_by: None,
            });
        }
        let number = |name: &String| params.store_layout().number(name);
        let frozen_params = desc.frozen.params.iter().filter_map(number).collect();
        let updated = desc.graph.write_backs.iter().filter_map(|(id, _)| desc.graph.param(*id));
        let written_params = updated.filter_map(|decl| number(&decl.name)).collect();
        let mut plan = Plan {
            device: device.clone(),
            launches: Vec::with_capacity(desc.dispatches.len()),
            desc,
            buffers,
            store: params.store_buffers().to_vec(),
            ring,
            steps: 0,
            tuned: TuneReport::default(),
            submissions: options.submissions.max(1),
            versions: params.versions().clone(),
            frozen_params,
            written_params,
            frozen_version: None,
            launched: 0,
        };
        plan.make_launches()?;
        Ok(plan)
    }

    fn make_launches(&mut self) -> Result<()> {
        self.device.compile(self.desc.dispatches.iter().map(|dispatch| &dispatch.kernel))?;
        for dispatch in &self.desc.dispatches {
            let kernel = self.device.kernel(&dispatch.kernel)?;
            let mut entries = Vec::with_capacity(dispatch.bindings.len() + 1);
            for (name, place) in &dispatch.bindings {
                entries.push(wgpu::BindGroupEntry {
                    binding: kernel.reflection.storage[*name].binding,
                    resource: self.binding(*place)?,
                });
            }
            if let (Some(binding), Some(offset)) = (kernel.reflection.uniform, dispatch.args_offset_bytes) {
                let size = u64::from(kernel.reflection.args_bytes);
                let buffer = BufferRef::Owned(self.buffers.len() - 1);
                let place = Place { buffer, offset_bytes: offset, size_bytes: size };
                entries.push(wgpu::BindGroupEntry { binding, resource: self.binding(place)? });
            }
            let descriptor =
                wgpu::BindGroupDescriptor { label: Some(&dispatch.label), layout: &kernel.layout, entries: &entries };
            let bind_group = self.device.catch(|gpu| gpu.create_bind_group(&descriptor)).map_err(|error| {
                let kernel = format!("{} ({})", dispatch.kernel, dispatch.label);
                Error::Device(DeviceError::Kernel { kernel, message: error.to_string() })
            })?;
            self.launches.push(Launch { kernel, bind_group, grid: dispatch.grid });
        }
        Ok(())
    }

    fn buffer(&self, buffer: BufferRef) -> Result<&wgpu::Buffer> {
        let found = match buffer {
            BufferRef::Owned(i) => self.buffers.get(i),
            BufferRef::Store(i) => self.store.get(i),
        };
        found.ok_or_else(|| Error::Device(DeviceError::Lost(format!("buffer {buffer:?} was never made"))))
    }

    fn binding(&self, place: Place) -> Result<wgpu::BindingResource<'_>> {
        let buffer = self.buffer(place.buffer)?;
        let end = place.offset_bytes + place.size_bytes;
        // Over the guard words behind the buffer, if there are any: a kernel that writes too far shall hit them.
        let guard_bytes = if buffer.size() == end + GUARD_BYTES { self.guard_bytes(place.buffer) } else { 0 };
        Ok(wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer,
            offset: place.offset_bytes,
            size: std::num::NonZeroU64::new(place.size_bytes + guard_bytes),
        }))
    }

    /// Bytes that a buffer has beyond what was planned.
    fn guard_bytes(&self, buffer: BufferRef) -> u64 {
        match buffer {
            BufferRef::Owned(i) => self.buffers[i].size() - self.desc.buffers[i].bytes,
            BufferRef::Store(_) => 0,
        }
    }

    /// The plan as data.
    pub fn desc(&self) -> &PlanDesc {
        &self.desc
    }

    /// What was measured when the plan was compiled; see [`crate::tune`].
    pub fn tuned(&self) -> &TuneReport {
        &self.tuned
    }

    /// The plan as text: every dispatch with kernel, grid, cost, algorithm and bindings, and the memory.
    pub fn dump(&self) -> String {
        self.desc.to_string()
    }

    /// The device it was compiled for.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Bytes and number of the buffers that exist because of this plan, measured from the buffers themselves.
    pub fn created(&self) -> (u64, usize) {
        let ring = self.ring.iter().map(|slot| slot.staging.size() + slot.readback.size()).sum::<u64>();
        let owned = self.buffers.iter().map(|buffer| buffer.size()).sum::<u64>();
        (owned + ring, self.buffers.len() + 2 * self.ring.len())
    }

    /// Runs the plan once: copies the feeds to the device, encodes all dispatches, submits (in parts, if
    /// [`CompileOptions::submissions`] says so). Returns without waiting for
    /// the device, except for the step that used the same staging buffers, three runs ago.
    ///
    /// # Errors
    /// A feed that is missing, unknown, or of another length or type; a lost device.
    pub fn run<N: AsRef<str>>(&mut self, feeds: &[(N, Feed<'_>)]) -> Result<Ticket> {
        let mut encoder = self.begin(feeds)?;
        let launches = &self.launches[self.first_launch()..];
        let share = launches.len().div_ceil(self.submissions).max(1);
        for (i, launches) in launches.chunks(share).enumerate() {
            if i > 0 {
                // The device starts on what is encoded while the rest is being encoded. One queue keeps the order.
                let next = self.device.wgpu().create_command_encoder(&Default::default());
                self.device.queue().submit([std::mem::replace(&mut encoder, next).finish()]);
            }
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for launch in launches {
                launch.record(&mut pass);
            }
        }
        self.finish(encoder)
    }

    /// Where a run begins: behind the frozen dispatches, if the parameters are as these have read them.
    pub(super) fn first_launch(&self) -> usize {
        let is_fresh = self.frozen_version == Some(self.versions.newest(&self.frozen_params));
        if is_fresh { self.desc.frozen.dispatches } else { 0 }
    }

    /// How many dispatches the last run had: all of [`PlanDesc::dispatches`], or those that are not frozen.
    pub fn launched(&self) -> usize {
        self.launched
    }

    /// Stages the feeds and records their copy to the device, and the opening copies.
    pub(super) fn begin<N: AsRef<str>>(&mut self, feeds: &[(N, Feed<'_>)]) -> Result<wgpu::CommandEncoder> {
        self.check_feeds(feeds)?;
        let number = (self.steps % RING as u64) as usize;
        if let Some((_, submission)) = self.ring[number].used_by.clone() {
            self.device.wait_for(Some(submission))?;
            self.ring[number].used_by = None;
            self.ring[number].readback.unmap();
        }
        let mut encoder = self.device.wgpu().create_command_encoder(&Default::default());
        let slot = &self.ring[number];
        if self.desc.feed_bytes > 0 {
            let mut view = slot
                .staging
                .get_mapped_range_mut(..)
                .map_err(|error| Error::Device(DeviceError::Lost(format!("staging: {error}"))))?;
            for port in &self.desc.feeds {
                let Some((_, feed)) = feeds.iter().find(|(name, _)| name.as_ref() == port.name) else { continue };
                let at = port.offset_bytes as usize;
                match feed {
                    Feed::F32(data) if port.desc.shape.rank() == 4 => {
                        let data = to_device_order(&port.desc.shape, data);
                        view.slice(at..at + data.len() * 4).copy_from_slice(bytemuck::cast_slice(&data));
                    }
                    Feed::F32(data) => view.slice(at..at + data.len() * 4).copy_from_slice(bytemuck::cast_slice(data)),
                    Feed::U32(data) if port.desc.shape.rank() == 4 => {
                        let data = to_device_order(&port.desc.shape, data);
                        view.slice(at..at + data.len() * 4).copy_from_slice(bytemuck::cast_slice(&data));
                    }
                    Feed::U32(data) => view.slice(at..at + data.len() * 4).copy_from_slice(bytemuck::cast_slice(data)),
                }
            }
            drop(view);
            if let Some(port) = self.desc.feeds.first() {
                let to = self.buffer(port.place.buffer)?;
                encoder.copy_buffer_to_buffer(&slot.staging, 0, to, 0, self.desc.feed_bytes);
            }
        }
        slot.staging.unmap();
        self.record_copies(&mut encoder, &self.desc.snapshots)?;
        Ok(encoder)
    }

    fn record_copies(&self, encoder: &mut wgpu::CommandEncoder, copies: &[(Place, Place)]) -> Result<()> {
        for (from, to) in copies {
            let (source, target) = (self.buffer(from.buffer)?, self.buffer(to.buffer)?);
            encoder.copy_buffer_to_buffer(source, from.offset_bytes, target, to.offset_bytes, to.size_bytes);
        }
        Ok(())
    }

    /// Records the closing copies, submits, and asks for the ring's buffers back.
    pub(super) fn finish(&mut self, mut encoder: wgpu::CommandEncoder) -> Result<Ticket> {
        self.record_copies(&mut encoder, &self.desc.copies)?;
        let number = (self.steps % RING as u64) as usize;
        for port in &self.desc.outputs {
            let from = self.buffer(port.place.buffer)?;
            let readback = &self.ring[number].readback;
            let place = port.place;
            encoder.copy_buffer_to_buffer(from, place.offset_bytes, readback, port.offset_bytes, place.size_bytes);
        }
        self.launched = self.launches.len() - self.first_launch();
        let submission = self.device.queue().submit([encoder.finish()]);
        // Whatever came of it: kept results are not believed before the device has said that all is well.
        self.frozen_version = None;
        self.note_writes();
        // The ring stays in order whatever came of the submission: a refused step may be followed by a good one.
        let slot = &mut self.ring[number];
        slot.staging.map_async(wgpu::MapMode::Write, .., |_| {});
        slot.readback.map_async(wgpu::MapMode::Read, .., |_| {});
        let ticket = Ticket(self.steps);
        slot.used_by = Some((ticket, submission));
        self.steps += 1;
        self.device.check()?;
        self.frozen_version = Some(self.versions.newest(&self.frozen_params));
        Ok(ticket)
    }

    /// Tells the plans of the store that a run has written parameters.
    pub(super) fn note_writes(&self) {
        self.versions.note(&self.written_params);
    }

    fn check_feeds<N: AsRef<str>>(&self, feeds: &[(N, Feed<'_>)]) -> Result<()> {
        let mismatch = |name: &str, wanted: String, got: String| {
            Error::Usage(UsageError::Mismatch { kind: "feed", name: name.to_string(), wanted, got })
        };
        for (i, (name, feed)) in feeds.iter().enumerate() {
            let name = name.as_ref();
            if feeds[..i].iter().any(|(known, _)| known.as_ref() == name) {
                return Err(mismatch(name, "one tensor".to_string(), "two".to_string()));
            }
            let Some(port) = self.desc.feeds.iter().find(|port| port.name == name) else {
                let known: Vec<&str> = self.desc.feeds.iter().map(|port| port.name.as_str()).collect();
                let (name, known) = (name.to_string(), known.join(", "));
                return Err(Error::Usage(UsageError::UnknownName { kind: "feed", name, known }));
            };
            let (dtype, length) = match feed {
                Feed::F32(data) => (DType::F32, data.len()),
                Feed::U32(data) => (DType::U32, data.len()),
            };
            if dtype != port.desc.dtype || length != port.desc.shape.numel() {
                let wanted = format!("{} = {} elements", port.desc, port.desc.shape.numel());
                return Err(mismatch(name, wanted, format!("{length} elements of {dtype}")));
            }
        }
        match self.desc.feeds.iter().find(|port| feeds.iter().all(|(name, _)| name.as_ref() != port.name)) {
            Some(port) => Err(mismatch(&port.name, port.desc.to_string(), "nothing".to_string())),
            None => Ok(()),
        }
    }

    /// Reads outputs of a run, waiting for that run only: ask for step N-2 to keep the device busy. f32 and u32 outputs
    /// alike come as raw 32-bit words in PyTorch's order.
    ///
    /// # Errors
    /// An unknown output; a run so old that its buffers were used again.
    pub fn read_words(&mut self, ticket: Ticket, name: &str) -> Result<Vec<u32>> {
        let port = self.desc.outputs.iter().find(|port| port.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.desc.outputs.iter().map(|port| port.name.as_str()).collect();
            Error::Usage(UsageError::UnknownName { kind: "output", name: name.to_string(), known: known.join(", ") })
        })?;
        let slot = &self.ring[(ticket.0 % RING as u64) as usize];
        let submission = match &slot.used_by {
            Some((known, submission)) if *known == ticket => submission.clone(),
            _ => {
                return Err(Error::Usage(UsageError::Value {
                    name: "ticket".to_string(),
                    wanted: format!("one of the last {RING} runs"),
                    got: format!("run {} of {}", ticket.0, self.steps),
                }));
            }
        };
        self.device.wait_for(Some(submission))?;
        let at = port.offset_bytes as usize;
        let view = slot
            .readback
            .get_mapped_range(..)
            .map_err(|error| Error::Device(DeviceError::Lost(format!("reading {name}: {error}"))))?;
        let count = port.desc.shape.numel();
        let raw: Vec<u32> = match port.storage {
            Storage::F32 => bytemuck::pod_collect_to_vec(&view[at..at + count * 4]),
            storage => storage.decode_all(&view[at..], count).into_iter().map(f32::to_bits).collect(),
        };
        Ok(from_device_order(&port.desc.shape, &raw))
    }

    /// [`Plan::read_words`] as f32.
    ///
    /// # Errors
    /// As [`Plan::read_words`].
    pub fn read(&mut self, ticket: Ticket, name: &str) -> Result<Vec<f32>> {
        Ok(self.read_words(ticket, name)?.into_iter().map(f32::from_bits).collect())
    }

    /// Labels of the buffers whose guard words were overwritten; only after compiling with `poison_memory`.
    ///
    /// # Errors
    /// A lost device.
    pub fn broken_guards(&self) -> Result<Vec<String>> {
        let mut broken = Vec::new();
        for (desc, buffer) in self.desc.buffers.iter().zip(&self.buffers) {
            if buffer.size() == desc.bytes {
                continue;
            }
            let staging = self.device.create_buffer(
                &wgpu::BufferDescriptor {
                    label: Some("guards"),
                    size: GUARD_BYTES,
                    usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
                    mapped_at_creation: false,
                },
                GUARD_BYTES,
            )?;
            let mut encoder = self.device.wgpu().create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(buffer, desc.bytes, &staging, 0, GUARD_BYTES);
            self.device.queue().submit([encoder.finish()]);
            staging.map_async(wgpu::MapMode::Read, .., |_| {});
            self.device.wait()?;
            let view = staging
                .get_mapped_range(..)
                .map_err(|error| Error::Device(DeviceError::Lost(format!("reading guards: {error}"))))?;
            if bytemuck::pod_collect_to_vec::<u8, u32>(&view).iter().any(|&word| word != POISON_WORD) {
                broken.push(desc.label.clone());
            }
        }
        Ok(broken)
    }
}
