//! Timing every dispatch of a plan with the device's own clock.

use super::run::{Feed, Plan};
use crate::error::{DeviceError, Error, Result};
use crate::ops::{Cost, node_cost};
use std::fmt;

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
    /// In order of execution.
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
        let count = 2 * self.launches.len() as u32;
        let mut times: Vec<u64> = Vec::with_capacity(count as usize);
        let gpu = self.device.wgpu().clone();
        let set_size = wgpu::QUERY_SET_MAX_QUERIES.min(count.max(2)) & !1;
        let sets: Vec<wgpu::QuerySet> = (0..count.div_ceil(set_size))
            .map(|_| {
                gpu.create_query_set(&wgpu::QuerySetDescriptor {
                    label: Some("profile"),
                    ty: wgpu::QueryType::Timestamp,
                    count: set_size,
                })
            })
            .collect();
        let bytes = u64::from(set_size) * 8;
        let make = |usage| {
            let descriptor =
                wgpu::BufferDescriptor { label: Some("profile"), size: bytes, usage, mapped_at_creation: false };
            self.device.create_buffer(&descriptor, bytes)
        };
        let resolve = make(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC)?;
        let mapped = make(wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ)?;
        let mut encoder = self.begin(feeds)?;
        for (i, launch) in self.launches.iter().enumerate() {
            let query = 2 * i as u32;
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &sets[(query / set_size) as usize],
                    beginning_of_pass_write_index: Some(query % set_size),
                    end_of_pass_write_index: Some(query % set_size + 1),
                }),
            });
            pass.set_pipeline(&launch.kernel.pipeline);
            pass.set_bind_group(0, &launch.bind_group, &[]);
            let [x, y, z] = launch.grid;
            pass.dispatch_workgroups(x, y, z);
        }
        self.finish(encoder)?;
        for set in &sets {
            let mut encoder = gpu.create_command_encoder(&Default::default());
            encoder.resolve_query_set(set, 0..set_size, &resolve, 0);
            encoder.copy_buffer_to_buffer(&resolve, 0, &mapped, 0, bytes);
            self.device.queue().submit([encoder.finish()]);
            mapped.map_async(wgpu::MapMode::Read, .., |_| {});
            self.device.wait()?;
            let view = mapped
                .get_mapped_range(..)
                .map_err(|error| Error::Device(DeviceError::Lost(format!("reading timestamps: {error}"))))?;
            times.extend(bytemuck::pod_collect_to_vec::<u8, u64>(&view));
            drop(view);
            mapped.unmap();
        }
        let period = f64::from(self.device.timestamp_period_ns());
        let graph = &self.desc.graph;
        let mut rows = Vec::with_capacity(self.launches.len());
        for (i, dispatch) in self.desc.dispatches.iter().enumerate() {
            let first = i == 0 || self.desc.dispatches[i - 1].node != dispatch.node;
            let ticks = times[2 * i + 1].saturating_sub(times[2 * i]);
            rows.push(ProfileRow {
                label: dispatch.label.clone(),
                kernel: dispatch.kernel.to_string(),
                ms: ticks as f64 * period / 1e6,
                cost: if first { node_cost(graph, &graph.nodes[dispatch.node]) } else { Cost::default() },
            });
        }
        Ok(Profile { rows })
    }
}
