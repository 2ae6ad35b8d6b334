//! Timing every dispatch of a plan with the device's own clock.

use super::run::{Feed, Plan};
use crate::device::Device;
use crate::error::{DeviceError, Error, Result};
use crate::ops::{Cost, node_cost};
use std::collections::HashSet;
use std::fmt;
use std::time::Instant;

/// Time of one dispatch.
#[derive(Clone, Debug)]
pub struct ProfileRow {
    /// `layer path/operation`.
    pub label: String,
    /// Kernel and variant.
    pub kernel: String,
    /// Milliseconds on the device.
    pub ms: f64,
    /// Cost of the whole operation; given on the first of its dispatches, zero on the others.
    pub cost: Cost,
}

/// Times of all dispatches of one run.
#[derive(Clone, Debug)]
pub struct Profile {
    /// In order of execution; without what the run left out because it had been done before.
    pub rows: Vec<ProfileRow>,
}

impl Profile {
    /// Sum over all dispatches.
    pub fn total_ms(&self) -> f64 {
        self.rows.iter().map(|row| row.ms).sum()
    }
}

impl fmt::Display for Profile {
    /// The dispatches by falling time, with rates, and the sum.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total_ms();
        let mut rows: Vec<&ProfileRow> = self.rows.iter().collect();
        rows.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        writeln!(f, "{:>9} {:>6} {:>9} {:>8}  dispatch", "ms", "share", "GFLOP/s", "GB/s")?;
        for row in rows {
            let seconds = row.ms / 1e3;
            writeln!(
                f,
                "{:>9.3} {:>5.1}% {:>9.2} {:>8.2}  {}  {}",
                row.ms,
                100.0 * row.ms / total,
                row.cost.flops / seconds / 1e9,
                row.cost.bytes / seconds / 1e9,
                row.label,
                row.kernel
            )?;
        }
        write!(f, "{total:>9.3} 100.0%  all {} dispatches", self.rows.len())
    }
}

impl Plan {
    /// Runs the plan once with a timestamp before and after every dispatch (each in a pass of its own, which costs a
    /// little), and waits for it.
    ///
    /// # Errors
    /// A device without timestamps, or as [`Plan::run`].
    pub fn profile<N: AsRef<str>>(&mut self, feeds: &[(N, Feed<'_>)]) -> Result<Profile> {
        if !self.device.has_timestamps() {
            return Err(Error::Device(DeviceError::Unsupported {
                adapter: self.device.info().name.clone(),
                feature: "timestamp queries",
                hint: "profile on another adapter",
            }));
        }
        let first = self.first_launch();
        let clock = Clock::new(&self.device, 2 * (self.launches.len() - first) as u32)?;
        let mut encoder = self.begin(feeds)?;
        for (i, launch) in self.launches[first..].iter().enumerate() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(clock.writes(2 * i as u32)),
            });
            launch.record(&mut pass);
        }
        self.finish(encoder)?;
        let ms = clock.read(&self.device)?;
        let graph = &self.desc.graph;
        let dispatches = &self.desc.dispatches[first..];
        let mut rows = Vec::with_capacity(dispatches.len());
        let mut seen = HashSet::new();
        for (i, dispatch) in dispatches.iter().enumerate() {
            let first = seen.insert(dispatch.node);
            rows.push(ProfileRow {
                label: dispatch.label.clone(),
                kernel: dispatch.kernel.to_string(),
                ms: ms[i],
                cost: if first { node_cost(graph, &graph.nodes[dispatch.node]) } else { Cost::default() },
            });
        }
        Ok(Profile { rows })
    }

    /// Milliseconds that the dispatches of one node take, run `repeats` times in a row on whatever their operands hold: by the
    /// device's clock where it has one that runs, else by the wall's, submission and waiting included.
    pub(crate) fn node_ms(&self, node: usize, repeats: u32) -> Result<f64> {
        let clock = if self.device.has_timestamps() { Some(Clock::new(&self.device, 2)?) } else { None };
        let mut encoder = self.device.wgpu().create_command_encoder(&Default::default());
        {
            let timestamp_writes = clock.as_ref().map(|clock| clock.writes(0));
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            let mut pass = encoder.begin_compute_pass(&descriptor);
            for _ in 0..repeats {
                let launches = self.launches.iter().zip(&self.desc.dispatches);
                launches.filter(|(_, dispatch)| dispatch.node == node).for_each(|(launch, _)| launch.record(&mut pass));
            }
        }
        self.device.wait()?;
        let begun = Instant::now();
        self.device.queue().submit([encoder.finish()]);
        self.note_writes();
        self.device.wait()?;
        let wall_ms = begun.elapsed().as_secs_f64() * 1e3;
        let device_ms = clock.map(|clock| clock.read(&self.device)).transpose()?.map(|ms| ms[0]);
        Ok(believed_ms(device_ms, wall_ms) / f64::from(repeats))
    }
}

/// The device's time, unless it is nothing at all: then the driver counts nothing, and the wall's stands in, so that no kernel
/// seems to take no time.
fn believed_ms(device_ms: Option<f64>, wall_ms: f64) -> f64 {
    device_ms.filter(|&ms| ms > 0.0).unwrap_or(wall_ms)
}

/// Timestamp queries in pairs, before and after a pass, with the buffers that bring them back.
struct Clock {
    sets: Vec<wgpu::QuerySet>,
    set_size: u32,
    count: u32,
    resolve: wgpu::Buffer,
    mapped: wgpu::Buffer,
}

impl Clock {
    fn new(device: &Device, count: u32) -> Result<Clock> {
        let set_size = wgpu::QUERY_SET_MAX_QUERIES.min(count.max(2)) & !1;
        let descriptor =
            wgpu::QuerySetDescriptor { label: Some("profile"), ty: wgpu::QueryType::Timestamp, count: set_size };
        let sets = (0..count.div_ceil(set_size)).map(|_| device.wgpu().create_query_set(&descriptor)).collect();
        let size = u64::from(set_size) * 8;
        let make = |usage| {
            let descriptor = wgpu::BufferDescriptor { label: Some("profile"), size, usage, mapped_at_creation: false };
            device.create_buffer(&descriptor, size)
        };
        let resolve = make(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC)?;
        let mapped = make(wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ)?;
        Ok(Clock { sets, set_size, count, resolve, mapped })
    }

    /// The pair of queries that begins with `query`.
    fn writes(&self, query: u32) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.sets[(query / self.set_size) as usize],
            beginning_of_pass_write_index: Some(query % self.set_size),
            end_of_pass_write_index: Some(query % self.set_size + 1),
        }
    }

    /// Milliseconds of each pair, waiting for everything submitted.
    fn read(&self, device: &Device) -> Result<Vec<f64>> {
        let mut times: Vec<u64> = Vec::with_capacity(self.count as usize);
        for set in &self.sets {
            let mut encoder = device.wgpu().create_command_encoder(&Default::default());
            encoder.resolve_query_set(set, 0..self.set_size, &self.resolve, 0);
            encoder.copy_buffer_to_buffer(&self.resolve, 0, &self.mapped, 0, self.mapped.size());
            device.queue().submit([encoder.finish()]);
            self.mapped.map_async(wgpu::MapMode::Read, .., |_| {});
            device.wait()?;
            let view = self
                .mapped
                .get_mapped_range(..)
                .map_err(|error| Error::Device(DeviceError::Lost(format!("reading timestamps: {error}"))))?;
            times.extend(bytemuck::pod_collect_to_vec::<u8, u64>(&view));
            drop(view);
            self.mapped.unmap();
        }
        let period = f64::from(device.timestamp_period_ns());
        Ok(times.chunks_exact(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * period / 1e6).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::believed_ms;

    #[test]
    fn a_clock_that_stands_still_is_no_clock() {
        assert_eq!(believed_ms(Some(2.0), 3.0), 2.0);
        for none in [Some(0.0), Some(f64::NAN), None] {
            assert_eq!(believed_ms(none, 3.0), 3.0, "{none:?}");
        }
    }
}
