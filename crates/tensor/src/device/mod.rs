//! Opening an adapter: the numbers the compiler needs, and the wgpu handles behind them.

mod abilities;
mod adapter;
mod trusted;

pub use adapter::{AdapterInfo, adapters};

#[cfg(test)]
pub(crate) use abilities::COOPERATIVE_BYTES;
use abilities::{Abilities, tier_features};

use crate::error::{DeviceError, Error, Result, mib};
use crate::kernel::{Kernel, KernelKey};
use crate::ops::{Target, Tier};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// How to open a device.
#[derive(Clone, Debug, Default)]
pub struct DeviceOptions {
    /// Adapter by number (as `adapters()` lists them) or by part of its name, ignoring case. `None`: the first discrete
    /// GPU, else integrated, else virtual, else software.
    pub adapter: Option<String>,
    /// Family of kernels. `None`: `cpu` on software adapters; elsewhere `f16`, `subgroup` or `base`, the first that the adapter
    /// can. `coop` has to be asked for: wgpu calls cooperative matrices experimental.
    pub tier: Option<Tier>,
    /// Keep the driver-independent bounds and loop checks in wgrad's own kernels. Slower; tests run both ways. Kernels that
    /// operations outside wgrad bring always have them.
    pub checked: bool,
    /// Refuse plans above this many bytes, 0 for what the machine has: the driver's own budget on a GPU, the available
    /// memory of the host on a software adapter (whose driver promises more than there is, and is killed for it later).
    pub memory_limit_bytes: u64,
    /// Bytes an operation may take as workspace, 0 for the default of 64 MiB; at most the largest binding.
    pub workspace_bytes: u64,
    /// Leave the device's own clock alone, as on adapters that have none (tests).
    pub no_timestamps: bool,
}

/// An opened device. Cloning is cheap and shares the compiled kernels.
#[derive(Clone)]
pub struct Device {
    inner: Rc<Inner>,
}

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: AdapterInfo,
    target: Target,
    checked: bool,
    memory_limit_bytes: u64,
    timestamps: bool,
    timestamp_period_ns: f32,
    lost: Arc<Mutex<Option<String>>>,
    /// The first error since the last check that no scope caught, e.g. memory that ran out while a step was submitted.
    uncaptured: Arc<Mutex<Option<String>>>,
    kernels: RefCell<HashMap<KernelKey, Rc<Kernel>>>,
    buffers_created: Cell<(u64, usize)>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({}, tier {})", self.inner.info.name, self.inner.target.tier.name())
    }
}

impl Device {
    /// Opens an adapter.
    ///
    /// # Errors
    /// [`DeviceError::NoAdapter`] when none matches, [`DeviceError::Tier`] when it cannot run the kernels, [`DeviceError::Open`]
    /// when the driver refuses.
    pub fn open(options: &DeviceOptions) -> Result<Device> {
        let (adapter, info) = adapter::choose(options.adapter.as_deref())?;
        let limits = adapter.limits();
        let offered = adapter.features();
        let open_error = |message: String| Error::Device(DeviceError::Open { adapter: info.name.clone(), message });
        let abilities = Abilities::of(&adapter, &info);
        let tier = abilities.tier(options.tier, &info).map_err(Error::Device)?;
        let clock = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES;
        let wanted = if options.no_timestamps { wgpu::Features::empty() } else { clock } | tier_features(tier);
        let features = offered & wanted;
        let required = wgpu::Limits {
            max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
            max_buffer_size: limits.max_buffer_size,
            max_storage_buffers_per_shader_stage: limits.max_storage_buffers_per_shader_stage.min(16),
            max_compute_workgroup_storage_size: limits.max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
            max_compute_workgroup_size_x: limits.max_compute_workgroup_size_x,
            max_compute_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
            min_storage_buffer_offset_alignment: limits.min_storage_buffer_offset_alignment,
            ..wgpu::Limits::downlevel_defaults()
        };
        let request = wgpu::DeviceDescriptor {
            label: Some("wgrad"),
            required_features: features,
            required_limits: required.clone(),
            memory_hints: wgpu::MemoryHints::Performance,
            experimental_features: trusted::experimental_features(tier == Tier::Coop),
            ..Default::default()
        };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&request)).map_err(|error| open_error(error.to_string()))?;
        let lost = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&lost);
        device.set_device_lost_callback(move |reason, message| {
            if let Ok(mut lost) = seen.lock() {
                *lost = Some(format!("{reason:?}: {message}"));
            }
        });
        let uncaptured = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&uncaptured);
        // wgpu's own handler panics.
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            if let Ok(mut uncaptured) = seen.lock() {
                uncaptured.get_or_insert_with(|| error.to_string());
            }
        }));
        // Kernels count elements in u32, and drivers bytes in i32.
        let largest_binding =
            required.max_storage_buffer_binding_size.min(required.max_buffer_size).min(i32::MAX as u64);
        let target = Target {
            tier,
            subgroup_size: info.subgroup_min_size,
            max_groups: required.max_compute_workgroups_per_dimension,
            workspace_bytes: match options.workspace_bytes {
                0 => Target::default().workspace_bytes,
                bytes => bytes,
            }
            .min(largest_binding & !15),
            max_binding_bytes: largest_binding & !15,
            binding_align_bytes: u64::from(required.min_storage_buffer_offset_alignment.max(256)),
            checked: options.checked,
            f16_products: false,
            cooperative: if tier == Tier::Coop { abilities.cooperative } else { 0 },
        };
        let timestamps = features.contains(wgpu::Features::TIMESTAMP_QUERY);
        let inner = Inner {
            timestamp_period_ns: queue.get_timestamp_period(),
            device,
            queue,
            info,
            target,
            checked: options.checked,
            memory_limit_bytes: options.memory_limit_bytes,
            timestamps,
            lost,
            uncaptured,
            kernels: RefCell::default(),
            buffers_created: Cell::default(),
        };
        Ok(Device { inner: Rc::new(inner) })
    }

    /// What the adapter calls itself and offers.
    pub fn info(&self) -> &AdapterInfo {
        &self.inner.info
    }

    /// The numbers that lowering goes by.
    pub fn target(&self) -> Target {
        self.inner.target
    }

    /// Whether two handles are of one opened device.
    pub fn is_same(&self, other: &Device) -> bool {
        Rc::ptr_eq(&self.inner, &other.inner)
    }

    /// Whether wgrad's own kernels keep the driver-independent checks.
    pub(crate) fn is_checked(&self) -> bool {
        self.inner.checked
    }

    /// Whether the device can time dispatches.
    pub fn has_timestamps(&self) -> bool {
        self.inner.timestamps
    }

    /// Bytes and number of all buffers ever created on this device, those that are gone included. Equal totals before and
    /// after some steps say that none of them created a buffer.
    pub fn buffers_created(&self) -> (u64, usize) {
        self.inner.buffers_created.get()
    }

    /// Waits until everything submitted so far is done.
    ///
    /// # Errors
    /// When the device is lost, or has refused something since the last call.
    pub fn wait(&self) -> Result<()> {
        self.wait_for(None)
    }

    pub(crate) fn wait_for(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let outcome = self.inner.device.poll(wgpu::PollType::Wait { submission_index, timeout: None });
        self.check()?;
        outcome.map(|_| ()).map_err(|error| Error::Device(DeviceError::Lost(error.to_string())))
    }

    /// Whether the device still works: not lost, and nothing refused since the last check.
    pub(crate) fn check(&self) -> Result<()> {
        let panicked = || DeviceError::Lost("a callback panicked".to_string());
        if let Some(message) = self.inner.lost.lock().map_err(|_| panicked())?.as_ref() {
            return Err(Error::Device(DeviceError::Lost(message.clone())));
        }
        match self.inner.uncaptured.lock().map_err(|_| panicked())?.take() {
            Some(message) => Err(Error::Device(DeviceError::Refused { what: "a step".to_string(), message })),
            None => Ok(()),
        }
    }

    /// See [`catch`].
    pub(crate) fn catch<T>(&self, make: impl FnOnce(&wgpu::Device) -> T) -> Result<T, wgpu::Error> {
        catch(&self.inner.device, make)
    }

    pub(crate) fn wgpu(&self) -> &wgpu::Device {
        &self.inner.device
    }

    pub(crate) fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    pub(crate) fn timestamp_period_ns(&self) -> f32 {
        self.inner.timestamp_period_ns
    }

    /// The pipeline of a kernel, compiled on first use.
    pub(crate) fn kernel(&self, key: &KernelKey) -> Result<Rc<Kernel>> {
        if let Some(kernel) = self.inner.kernels.borrow().get(key) {
            return Ok(Rc::clone(kernel));
        }
        let kernel = Rc::new(Kernel::compile(&self.inner.device, self.inner.checked, key)?);
        self.inner.kernels.borrow_mut().insert(key.clone(), Rc::clone(&kernel));
        Ok(kernel)
    }

    /// Compiles those of the kernels that are not there yet, on all cores: most drivers do their work when a pipeline is made.
    ///
    /// # Errors
    /// Of several kernels that cannot be compiled, the first of `keys` is named.
    pub(crate) fn compile<'k>(&self, keys: impl IntoIterator<Item = &'k KernelKey>) -> Result<()> {
        let mut seen = HashSet::new();
        let known = |key: &KernelKey| self.inner.kernels.borrow().contains_key(key);
        let missing: Vec<&KernelKey> = keys.into_iter().filter(|key| !known(key) && seen.insert(*key)).collect();
        let (gpu, checked) = (&self.inner.device, self.inner.checked);
        let made = on_all_cores(&missing, |key| Kernel::compile(gpu, checked, key));
        for (key, kernel) in missing.into_iter().zip(made) {
            self.inner.kernels.borrow_mut().insert(key.clone(), Rc::new(kernel?));
        }
        Ok(())
    }

    /// Refuses a plan that cannot fit, before anything of it is created.
    pub(crate) fn check_memory(&self, planned_bytes: u64) -> Result<()> {
        let limit = match self.inner.memory_limit_bytes {
            0 if self.inner.info.is_software => adapter::host_memory_bytes(),
            0 => None,
            limit => Some(limit),
        };
        match limit {
            Some(limit) if planned_bytes > limit => Err(Error::Device(DeviceError::OutOfMemory {
                planned_bytes,
                what: "the check before allocation".to_string(),
                message: format!("{limit} bytes, {}, may be used", mib(limit)),
            })),
            _ => Ok(()),
        }
    }

    /// Creates a buffer and counts it; running out of memory or above a limit is an error, not a panic. The only place that
    /// makes buffers.
    pub(crate) fn create_buffer(
        &self,
        descriptor: &wgpu::BufferDescriptor<'_>,
        planned_bytes: u64,
    ) -> Result<wgpu::Buffer> {
        let buffer = self.catch(|device| device.create_buffer(descriptor)).map_err(|error| {
            let what = format!("{} of {} bytes", descriptor.label.unwrap_or("a buffer"), descriptor.size);
            let message = error.to_string();
            Error::Device(match error {
                wgpu::Error::OutOfMemory { .. } => DeviceError::OutOfMemory { planned_bytes, what, message },
                _ => DeviceError::Refused { what, message },
            })
        })?;
        let (bytes, count) = self.inner.buffers_created.get();
        self.inner.buffers_created.set((bytes + descriptor.size, count + 1));
        Ok(buffer)
    }
}

/// `work` on every item; the results are in the items' order. Threads of its own, for a library has no business with a pool
/// that the whole process shares.
fn on_all_cores<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let some = || {
        let own = std::iter::from_fn(|| {
            let i = next.fetch_add(1, Ordering::Relaxed);
            items.get(i).map(|item| (i, work(item)))
        });
        own.collect::<Vec<(usize, T)>>()
    };
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        let joined =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|why| std::panic::resume_unwind(why)));
        joined.flatten().collect()
    });
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The module of a kernel's expanded text.
pub(crate) fn create_shader_module(
    gpu: &wgpu::Device,
    checked: bool,
    key: &KernelKey,
    wgsl: &str,
) -> wgpu::ShaderModule {
    let label = key.to_string();
    let descriptor =
        wgpu::ShaderModuleDescriptor { label: Some(&label), source: wgpu::ShaderSource::Wgsl(wgsl.into()) };
    if key.is_builtin() && !checked {
        trusted::create_shader_module(gpu, descriptor)
    } else {
        gpu.create_shader_module(descriptor)
    }
}

/// Runs `make` and returns the first error of any kind that wgpu reports about it. wgpu keeps a stack of scopes for every thread,
/// so that threads do not catch each other's errors.
pub(crate) fn catch<T>(gpu: &wgpu::Device, make: impl FnOnce(&wgpu::Device) -> T) -> Result<T, wgpu::Error> {
    let filters = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation];
    let scopes = filters.map(|filter| gpu.push_error_scope(filter));
    let mut outcome = Ok(make(gpu));
    // Scopes are a stack: the last one pushed is popped first.
    for scope in scopes.into_iter().rev() {
        if let Some(error) = pollster::block_on(scope.pop()) {
            outcome = outcome.and(Err(error));
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wgpu_refuses_is_an_error_not_a_panic() {
        let device = Device::open(&DeviceOptions::default()).expect("an adapter");
        let descriptor = wgpu::BufferDescriptor {
            label: Some("impossible"),
            size: 64,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        };
        let error = device.create_buffer(&descriptor, 64).expect_err("refused");
        assert!(matches!(&error, Error::Device(DeviceError::Refused { what, .. }) if what.contains("impossible")));
        device.wait().expect("the scope has caught it");
        let _ = device.wgpu().create_buffer(&descriptor);
        let error = device.wait().expect_err("no scope has caught it");
        assert!(matches!(error, Error::Device(DeviceError::Refused { .. })), "{error}");
        device.wait().expect("it is reported once");
    }
}
