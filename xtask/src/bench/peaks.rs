//! What the adapter can do at best, by its own measure: multiply-adds in registers, and a large copy.

use super::measure::{Clock, Effort, Subject};
use super::row::Row;
use anyhow::Result;
use std::fmt;
use wgrad::tensor::error::mib;
use wgrad::tensor::ops::elementwise::Scale;
use wgrad::tensor::ops::{Case, CaseInput, Cost, Fill, Lower, OpDef, View, ViewMut};
use wgrad::tensor::{Device, Storage, TensorDesc, Tier};

/// The adapter's own measured rates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peaks {
    /// f32 multiply-adds in registers; each counts two.
    pub(super) fma_gflops: f64,
    /// Bytes read plus bytes written.
    pub(super) copy_gb_per_s: f64,
    /// Bytes of the copy, one way.
    pub(super) copy_bytes: usize,
}

impl Peaks {
    pub(super) fn measure(device: &Device, clock: Clock) -> Result<Peaks> {
        let effort = Effort::brief(clock);
        let mut fma_gflops = 0f64;
        // How many chains hide the latency, and whether `fma` is one instruction, differs between adapters.
        for (chains, fused) in [(2, true), (2, false), (4, true), (4, false), (8, true), (8, false)] {
            let mut op = PeakFma { rounds: 4, chains, fused };
            // Few steps, so that the result still depends on how many there were.
            let error = Subject::new(device, &op.case(device), Storage::F32)?.error()?;
            anyhow::ensure!(error.max < 1e-5, "the multiply-adds come out wrong: error {:.1e}", error.max);
            loop {
                let ms = Subject::new(device, &op.case(device), Storage::F32)?.time(effort)?.ms;
                if ms >= 2.0 || op.rounds >= 1 << 16 {
                    let descs = op.descs(device);
                    fma_gflops = fma_gflops.max(op.cost(&descs, &descs).flops / ms / 1e6);
                    break;
                }
                op.rounds *= (4.0 / ms.max(0.05)).ceil().clamp(2.0, 16.0) as u32;
            }
        }
        let copy_bytes = copy_bytes(device);
        let desc = CaseInput::f32([copy_bytes / 4], Fill::Constant(1.5));
        let mut copy = Subject::new(device, &Case::new("copy", Scale { alpha: 1.0 }, [desc]), Storage::F32)?;
        let copy_gb_per_s = 2.0 * copy_bytes as f64 / copy.time(effort)?.ms / 1e6;
        anyhow::ensure!(copy.error()?.max == 0.0, "the copy is not equal to the original");
        Ok(Peaks { fma_gflops, copy_gb_per_s, copy_bytes })
    }
}

impl Peaks {
    /// The two as rows, for a file.
    pub(super) fn rows(&self, row: &Row) -> Vec<Row> {
        let fma = Row { name: "peak fma".to_string(), gflops: Some(self.fma_gflops), ..row.clone() };
        let copy = Row { name: "peak copy".to_string(), gb_per_s: Some(self.copy_gb_per_s), ..row.clone() };
        vec![fma, copy]
    }
}

impl fmt::Display for Peaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Peaks { fma_gflops, copy_gb_per_s, copy_bytes } = self;
        write!(f, "{:<16}f32 multiply-adds {fma_gflops:.1} GFLOP/s, ", "measured peaks")?;
        write!(f, "copy {copy_gb_per_s:.1} GB/s ({} read and written)", mib(*copy_bytes as u64))
    }
}

/// Too much for the caches where the adapter's limits allow it.
fn copy_bytes(device: &Device) -> usize {
    let wanted: u64 = if device.info().is_software { 64 << 20 } else { 256 << 20 };
    wanted.min(device.target().max_binding_bytes & !15) as usize
}

/// `rounds` times 16 steps `v = v * A + B` on each of `chains` copies of `x`, `x + 1`, …; their sum.
#[derive(Clone, Copy, Debug)]
struct PeakFma {
    rounds: u32,
    chains: u32,
    /// `fma` instead of a product and a sum.
    fused: bool,
}

const A: f32 = 0.99;
const B: f32 = 0.02;

impl PeakFma {
    /// Enough vec4s to fill the adapter.
    fn descs(&self, device: &Device) -> [TensorDesc; 1] {
        let target = device.target();
        let vec4s = match target.tier {
            Tier::Cpu => 64 * target.subgroup_size as usize,
            _ => 1 << 19,
        };
        [TensorDesc::f32([4 * vec4s])]
    }

    fn case(&self, device: &Device) -> Case {
        Case::new("peak", *self, [CaseInput::f32(self.descs(device)[0].shape, Fill::Uniform(0.5, 1.5))])
    }
}

impl OpDef for PeakFma {
    fn name(&self) -> &'static str {
        "peak_fma"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(x.to_vec())
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let n = cx.x_desc(0).shape.numel().div_ceil(4);
        let (x, y) = (cx.x(0), cx.y(0));
        cx.dispatch_source(self.name(), include_str!("peak_fma.wgsl"))
            .bind("x", x)
            .bind("y", y)
            .arg("n", n)
            .arg("rounds", self.rounds)
            .arg("a", A)
            .arg("b", B)
            .set("CHAINS", self.chains)
            .define_if(!self.fused, "MUL_ADD")
            .invocations(n);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        // The steps in closed form: v - c shrinks by A each time, where c = c * A + B.
        let (a, b) = (f64::from(A), f64::from(B));
        let (fixed, shrink) = (b / (1.0 - a), a.powf(16.0 * f64::from(self.rounds)));
        for (y, x) in y[0].data.iter_mut().zip(x[0].data) {
            *y = (0..self.chains).map(|c| fixed + (x + f64::from(c) - fixed) * shrink).sum();
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        let steps = 16.0 * f64::from(self.rounds) * f64::from(self.chains);
        Cost::bytes_of(x, y).with_flops(2.0 * steps * x[0].shape.numel() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgrad::tensor::kernel::KernelKey;

    #[test]
    fn the_kernel_is_valid_wgsl() {
        for (chains, fused) in [(2, true), (8, false)] {
            let mut key = KernelKey::from_source("peak_fma", include_str!("peak_fma.wgsl"));
            key.set("CHAINS", chains);
            if !fused {
                key.define("MUL_ADD");
            }
            crate::shaders::check_variant(&key).unwrap();
        }
    }

    #[test]
    fn the_closed_form_is_the_loop() {
        let op = PeakFma { rounds: 3, chains: 2, fused: true };
        let shape = wgrad::tensor::Shape::from([2]);
        let x = [0.75, 1.25];
        let mut y = [0.0; 2];
        op.reference(&[View { shape, data: &x }], &mut [ViewMut { shape, data: &mut y }]);
        for (x, y) in x.into_iter().zip(y) {
            let chain = |c: f64| (0..48).fold(x + c, |v, _| v * f64::from(A) + f64::from(B));
            assert!((chain(0.0) + chain(1.0) - y).abs() < 1e-9, "{y}");
        }
    }
}
