//! Bytes of images to numbers.

use super::{Case, CaseInput, Cost, Fill, Lower, OpDef, View, ViewMut};
use crate::graph::Value;
use crate::shape::TensorDesc;

/// `y[n, c, h, w] = (byte c of x[n, h, w] / 255 - mean[c]) / std[c]`, byte 0 being the lowest; one pixel a u32.
///
/// With four channels the fourth has mean 0 and deviation 1. There is no gradient: pixels are whole numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeImage {
    /// 1, 3 or 4.
    pub channels: usize,
    /// Means of the first three channels, of values in `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviations of the first three channels, of values in `[0, 1]`; above 0.
    pub std: [f32; 3],
}

impl DecodeImage {
    /// Mean and standard deviation of channel `c`.
    fn moments(&self, c: usize) -> (f32, f32) {
        (self.mean.get(c).copied().unwrap_or(0.0), self.std.get(c).copied().unwrap_or(1.0))
    }
}

impl OpDef for DecodeImage {
    fn name(&self) -> &'static str {
        "decode_image"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        if ![1, 3, 4].contains(&self.channels) {
            return Err(format!("an image has 1, 3 or 4 channels, got {}", self.channels));
        }
        let used = self.channels.min(3);
        let valid = |(mean, std): (&f32, &f32)| mean.is_finite() && std.is_finite() && *std > 0.0;
        if !self.mean[..used].iter().zip(&self.std[..used]).all(valid) {
            return Err(format!("mean {:?} must be finite and std {:?} above 0", self.mean, self.std));
        }
        match x {
            [x] if x.shape.rank() == 3 && *x == TensorDesc::u32(x.shape) && x.shape.numel() > 0 => {
                Ok(vec![TensorDesc::f32([x.shape.dim(0), self.channels, x.shape.dim(1), x.shape.dim(2)])])
            }
            _ => Err("decode_image wants u32 pixels [N, H, W], at least one".to_string()),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let pixels = cx.x_desc(0).shape.numel();
        let (x, y) = (cx.x(0), cx.y(0));
        let n = pixels.div_ceil(4);
        let mut kernel = cx.dispatch("decode_image").set("CHANNELS", self.channels as u32).bind("x", x).bind("y", y);
        for (c, mean, std) in [(0, "mean0", "std0"), (1, "mean1", "std1"), (2, "mean2", "std2"), (3, "mean3", "std3")] {
            let moments = self.moments(c);
            kernel = kernel.arg(mean, moments.0).arg(std, moments.1);
        }
        kernel.arg("n", n).arg("groups", (pixels * self.channels).div_ceil(4)).invocations(n);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let [n, h, w] = [0, 1, 2].map(|i| x[0].shape.dim(i));
        for i in 0..n * h * w {
            let pixel = (x[0].data[i] as u32).to_le_bytes();
            for (c, byte) in pixel.into_iter().enumerate().take(self.channels) {
                let (mean, std) = self.moments(c);
                let value = (f64::from(byte) / 255.0 - f64::from(mean)) / f64::from(std);
                *y[0].at(i / (h * w), c, i / w % h, i % w) = value;
            }
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(3.0 * y[0].shape.numel() as f64)
    }
}

impl<'g> Value<'g> {
    /// Pixels `[N, H, W]`, a u32 each, to normalised images `[N, channels, H, W]`; see [`DecodeImage`].
    #[track_caller]
    pub fn decode_image(self, channels: usize, mean: [f32; 3], std: [f32; 3]) -> Value<'g> {
        self.graph().apply1(DecodeImage { channels, mean, std }, &[self])
    }
}

/// Every number of channels, numbers of pixels with and without a broken last vec4.
pub fn cases() -> Vec<Case> {
    let shapes: [[usize; 3]; 6] = [[1, 1, 1], [2, 3, 5], [1, 4, 4], [3, 1, 7], [1, 2, 1], [5, 28, 28]];
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let mut cases = Vec::new();
    for shape in shapes {
        for channels in [1, 3, 4] {
            let op = DecodeImage { channels, mean, std };
            cases.push(Case::new(format!("{shape:?} to {channels}"), op, [CaseInput::u32(shape, Fill::Bits)]));
        }
    }
    let (op, shape) = (DecodeImage { channels: 3, mean, std }, [32, 224, 224]);
    cases.push(Case::new(format!("{shape:?} to 3"), op, [CaseInput::u32(shape, Fill::Bits)]).timed());
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_settings_are_refused() {
        let x = [TensorDesc::u32([1, 2, 2])];
        let good = DecodeImage { channels: 3, mean: [0.5; 3], std: [0.5; 3] };
        assert!(good.infer(&x).is_ok());
        assert!(DecodeImage { channels: 2, ..good }.infer(&x).is_err_and(|e| e.contains("1, 3 or 4")));
        assert!(DecodeImage { std: [0.5, 0.0, 0.5], ..good }.infer(&x).is_err_and(|e| e.contains("above 0")));
        assert!(DecodeImage { channels: 1, std: [0.5, 0.0, 0.0], ..good }.infer(&x).is_ok());
        assert!(good.infer(&[TensorDesc::f32([1, 2, 2])]).is_err());
    }
}
