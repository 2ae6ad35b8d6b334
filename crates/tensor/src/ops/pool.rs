//! Max and average pooling over windows.

use super::conv2d::LARGEST_SETTING;
use super::pixel_rows::Rows;
use super::{Backward, Case, CaseInput, Cost, DispatchBuilder, Fill, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::{Shape, TensorDesc};

/// The windows of a pooling, as in PyTorch's `MaxPool2d` and `AvgPool2d`; pairs are (height, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Extent of a window.
    pub kernel: [usize; 2],
    /// Distance between windows.
    pub stride: [usize; 2],
    /// Rows and columns of padding on each side, at most half the kernel.
    pub padding: [usize; 2],
    /// Rounds the number of windows up instead of down; the last window must start inside the image or the padding
    /// before it.
    pub ceil_mode: bool,
}

impl PoolConfig {
    /// Square windows without padding, number of windows rounded down.
    pub const fn square(kernel: usize, stride: usize) -> PoolConfig {
        PoolConfig { kernel: [kernel; 2], stride: [stride; 2], padding: [0; 2], ceil_mode: false }
    }

    /// The same with `padding` rows and columns on each side.
    pub const fn padded(self, padding: usize) -> PoolConfig {
        PoolConfig { padding: [padding; 2], ..self }
    }

    /// The same with the number of windows rounded up.
    pub const fn ceil(self) -> PoolConfig {
        PoolConfig { ceil_mode: true, ..self }
    }

    /// Number of windows along dimension `i` (0 height, 1 width) of `size` pixels:
    /// `floor_or_ceil((size + 2 padding - kernel) / stride) + 1`, less one if the last would start behind the image.
    fn windows(&self, i: usize, size: usize) -> Result<usize, String> {
        let (kernel, stride, padding) = (self.kernel[i], self.stride[i], self.padding[i]);
        if kernel == 0 || stride == 0 {
            return Err(format!("kernel {:?} and stride {:?} must be at least 1", self.kernel, self.stride));
        }
        if kernel.max(stride) > LARGEST_SETTING {
            let (kernel, stride) = (self.kernel, self.stride);
            return Err(format!("kernel {kernel:?} and stride {stride:?} must be at most {LARGEST_SETTING}"));
        }
        if padding > kernel / 2 {
            return Err(format!("padding {:?} must be at most half the kernel {:?}", self.padding, self.kernel));
        }
        let too_small = || {
            format!(
                "the kernel {:?} is larger than the image padded by {:?}; pool less often",
                self.kernel, self.padding
            )
        };
        let rounding = if self.ceil_mode { stride - 1 } else { 0 };
        let room = (size + 2 * padding + rounding).checked_sub(kernel).ok_or_else(too_small)?;
        let windows = room / stride + 1;
        let starts_behind = self.ceil_mode && (windows - 1) * stride >= size + padding;
        Ok(if starts_behind { windows - 1 } else { windows })
    }

    /// Shape of the result for images `[N, C, H, W]`.
    ///
    /// # Errors
    /// Not four dimensions, no pixels, a kernel or stride of 0, too much padding, a kernel larger than the padded image.
    pub fn output_shape(&self, x: TensorDesc) -> Result<Shape, String> {
        if x.dtype != DType::F32 || x.shape.rank() != 4 || x.shape.numel() == 0 {
            return Err("pooling wants f32 images [N, C, H, W] with at least one pixel".to_string());
        }
        let [n, c, h, w] = x.shape.nchw();
        Ok([n, c, self.windows(0, h)?, self.windows(1, w)?].into())
    }

    pub(super) fn window(&self, i: usize, at: usize, size: usize) -> Window {
        let start = (at * self.stride[i]) as isize - self.padding[i] as isize;
        let end = start + self.kernel[i] as isize;
        Window {
            start,
            inside: start.max(0) as usize..end.min(size as isize) as usize,
            padded: (end.min((size + self.padding[i]) as isize) - start) as usize,
        }
    }

    pub(super) fn constants<'b, 'a>(&self, kernel: DispatchBuilder<'b, 'a>) -> DispatchBuilder<'b, 'a> {
        let kernel = kernel.set("R", self.kernel[0] as u32).set("S", self.kernel[1] as u32);
        let kernel = kernel.set("STRIDE_H", self.stride[0] as u32).set("STRIDE_W", self.stride[1] as u32);
        kernel.set("PAD_H", self.padding[0] as u32).set("PAD_W", self.padding[1] as u32)
    }
}

/// One dimension of a window.
pub(super) struct Window {
    /// First pixel, negative within the padding.
    start: isize,
    /// Pixels of the image.
    pub(super) inside: std::ops::Range<usize>,
    /// Pixels of the image and its padding.
    padded: usize,
}

/// `y = max of x over the window`, the padding being minus infinity; a NaN in the window wins, as in PyTorch.
///
/// The second result, u32 and not differentiable, is the place `r * S + s` within the window of the first maximum in
/// row-major order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool {
    /// The windows.
    pub config: PoolConfig,
}

/// `dx = sum of dy over the windows whose maximum the element was`. Operands: dy and the places from [`MaxPool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPoolBackward {
    /// The windows.
    pub config: PoolConfig,
    /// Shape of the images that were pooled.
    pub x_shape: Shape,
}

/// `y = sum of x over the window / count`, the padding being zero; `count` is the number of elements of the window within
/// image and padding with `count_include_pad`, within the image without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool {
    /// The windows.
    pub config: PoolConfig,
    /// What is counted.
    pub count_include_pad: bool,
}

/// `dx = sum over the windows that cover the element of dy / count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPoolBackward {
    /// The forward operation.
    pub forward: AvgPool,
    /// Shape of the images that were pooled.
    pub x_shape: Shape,
}

fn launch_forward(cx: &mut Lower<'_>, config: &PoolConfig, count_include_pad: bool, is_max: bool) {
    let target = cx.target();
    let (x, y, places) = (cx.x(0), cx.y(0), is_max.then(|| cx.y(1)));
    let [_, _, h, w] = cx.x_desc(0).shape.nchw();
    let y_extents = cx.y_desc(0).shape.nchw();
    let kernel = config.constants(cx.dispatch("pool")).define_if(is_max, "MAX");
    let kernel = kernel.set("COUNT_PAD", u32::from(count_include_pad));
    let kernel = kernel.bind("x", x).bind("y", y).bind_some("argmax", places);
    Rows::of(y_extents).launch(kernel.args(&[("h", h), ("w", w), ("p", y_extents[2])]), target);
}

fn launch_backward(cx: &mut Lower<'_>, config: &PoolConfig, count_include_pad: bool, is_max: bool) {
    let target = cx.target();
    let (dy, dx, places) = (cx.x(0), cx.y(0), is_max.then(|| cx.x(1)));
    let [_, _, p, q] = cx.x_desc(0).shape.nchw();
    let x_extents = cx.y_desc(0).shape.nchw();
    let kernel = config.constants(cx.dispatch("pool_backward")).define_if(is_max, "MAX");
    let kernel = kernel.set("COUNT_PAD", u32::from(count_include_pad));
    let kernel = kernel.set("COVER", config.kernel[1].div_ceil(config.stride[1]) as u32);
    let kernel = kernel.bind("dy", dy).bind("dx", dx).bind_some("argmax", places);
    Rows::of(x_extents).launch(kernel.args(&[("h", x_extents[2]), ("p", p), ("q", q)]), target);
}

fn infer_backward(
    config: &PoolConfig,
    x_shape: Shape,
    x: &[TensorDesc],
    with_places: bool,
) -> Result<Vec<TensorDesc>, String> {
    let pooled = config.output_shape(TensorDesc::f32(x_shape))?;
    let fits = match x {
        [dy] => !with_places && *dy == TensorDesc::f32(pooled),
        [dy, places] => with_places && *dy == TensorDesc::f32(pooled) && *places == TensorDesc::u32(pooled),
        _ => false,
    };
    if fits { Ok(vec![TensorDesc::f32(x_shape)]) } else { Err(format!("the gradient of the result must be {pooled}")) }
}

/// Calls `body` with `[n, c, p, q]` for every output.
pub(super) fn for_each_output(shape: &Shape, mut body: impl FnMut([usize; 4])) {
    let [n, c, p, q] = shape.nchw();
    for i in 0..n * c * p * q {
        body([i / (c * p * q), i / (p * q) % c, i / q % p, i % q]);
    }
}

pub(super) fn window_flops(config: &PoolConfig, y: TensorDesc) -> f64 {
    (y.shape.numel() * config.kernel[0] * config.kernel[1]) as f64
}

impl OpDef for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn output_count(&self) -> usize {
        2
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let [x] = x else { return Err("max_pool2d takes one operand".to_string()) };
        let pooled = self.config.output_shape(*x)?;
        Ok(vec![TensorDesc::f32(pooled), TensorDesc::u32(pooled)])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = MaxPoolBackward { config: self.config, x_shape: cx.input(0).shape() };
        Some(vec![Some(cx.graph().apply1(op, &[cx.dy(), cx.output(1)]))])
    }

    fn is_differentiable(&self, i: usize) -> bool {
        i == 0
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch_forward(cx, &self.config, false, true);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let [y, places] = y else { return };
        let [_, _, h, w] = x[0].shape.nchw();
        for_each_output(&y.shape.clone(), |[n, c, p, q]| {
            let rows = self.config.window(0, p, h);
            let columns = self.config.window(1, q, w);
            let mut best: Option<(f64, usize)> = None;
            for i in rows.inside.clone() {
                for j in columns.inside.clone() {
                    let v = x[0].at(n, c, i, j);
                    let (r, s) = ((i as isize - rows.start) as usize, (j as isize - columns.start) as usize);
                    if v.is_nan() || best.is_none_or(|(known, _)| v > known) {
                        best = Some((v, r * self.config.kernel[1] + s));
                    }
                }
            }
            let (value, place) = best.unwrap_or((f64::NEG_INFINITY, 0));
            *y.at(n, c, p, q) = value;
            *places.at(n, c, p, q) = place as f64;
        });
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(window_flops(&self.config, y[0]))
    }
}

impl OpDef for MaxPoolBackward {
    fn name(&self) -> &'static str {
        "max_pool2d.backward"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        infer_backward(&self.config, self.x_shape, x, true)
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch_backward(cx, &self.config, false, true);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let [_, _, h, w] = y[0].shape.nchw();
        for_each_output(&x[0].shape, |[n, c, p, q]| {
            let place = x[1].at(n, c, p, q) as usize;
            let i = self.config.window(0, p, h).start + (place / self.config.kernel[1]) as isize;
            let j = self.config.window(1, q, w).start + (place % self.config.kernel[1]) as isize;
            if (0..h as isize).contains(&i) && (0..w as isize).contains(&j) {
                *y[0].at(n, c, i as usize, j as usize) += x[0].at(n, c, p, q);
            }
        });
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(x[0].shape.numel() as f64)
    }
}

impl AvgPool {
    fn divisor(&self, rows: &Window, columns: &Window) -> f64 {
        let area = if self.count_include_pad {
            rows.padded * columns.padded
        } else {
            rows.inside.len() * columns.inside.len()
        };
        area as f64
    }
}

impl OpDef for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let [x] = x else { return Err("avg_pool2d takes one operand".to_string()) };
        Ok(vec![TensorDesc::f32(self.config.output_shape(*x)?)])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = AvgPoolBackward { forward: *self, x_shape: cx.input(0).shape() };
        Some(vec![Some(cx.graph().apply1(op, &[cx.dy()]))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch_forward(cx, &self.config, self.count_include_pad, false);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let [_, _, h, w] = x[0].shape.nchw();
        for_each_output(&y[0].shape.clone(), |[n, c, p, q]| {
            let rows = self.config.window(0, p, h);
            let columns = self.config.window(1, q, w);
            let mut sum = 0.0;
            for i in rows.inside.clone() {
                for j in columns.inside.clone() {
                    sum += x[0].at(n, c, i, j);
                }
            }
            *y[0].at(n, c, p, q) = sum / self.divisor(&rows, &columns);
        });
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(window_flops(&self.config, y[0]))
    }
}

impl OpDef for AvgPoolBackward {
    fn name(&self) -> &'static str {
        "avg_pool2d.backward"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        infer_backward(&self.forward.config, self.x_shape, x, false)
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch_backward(cx, &self.forward.config, self.forward.count_include_pad, false);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let [_, _, h, w] = y[0].shape.nchw();
        for_each_output(&x[0].shape, |[n, c, p, q]| {
            let rows = self.forward.config.window(0, p, h);
            let columns = self.forward.config.window(1, q, w);
            let share = x[0].at(n, c, p, q) / self.forward.divisor(&rows, &columns);
            for i in rows.inside.clone() {
                for j in columns.inside.clone() {
                    *y[0].at(n, c, i, j) += share;
                }
            }
        });
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(window_flops(&self.forward.config, x[0]))
    }
}

impl<'g> Value<'g> {
    /// Max pooling of images `[N, C, H, W]`; see [`MaxPool`].
    #[track_caller]
    pub fn max_pool2d(self, config: PoolConfig) -> Value<'g> {
        self.graph().apply1(MaxPool { config }, &[self])
    }

    /// Average pooling of images `[N, C, H, W]`; see [`AvgPool`]. PyTorch's default is `count_include_pad = true`.
    #[track_caller]
    pub fn avg_pool2d(self, config: PoolConfig, count_include_pad: bool) -> Value<'g> {
        self.graph().apply1(AvgPool { config, count_include_pad }, &[self])
    }
}

/// Channel counts with and without whole vec4s, overlap, gaps, padding, ceil mode with and without the dropped window,
/// windows that reach beyond the padding, one pixel.
pub fn cases() -> Vec<Case> {
    let oblong = PoolConfig { kernel: [3, 2], stride: [1, 3], padding: [1, 0], ceil_mode: false };
    let wide = PoolConfig { kernel: [2, 5], stride: [3, 2], padding: [1, 2], ceil_mode: true };
    let list: [([usize; 4], PoolConfig); 13] = [
        ([2, 4, 6, 6], PoolConfig::square(2, 2)),
        ([1, 3, 7, 5], PoolConfig::square(3, 2).padded(1)),
        ([2, 8, 5, 7], PoolConfig::square(3, 1).padded(1)),
        ([1, 1, 1, 1], PoolConfig::square(1, 1)),
        ([3, 5, 1, 1], PoolConfig::square(3, 2).padded(1)),
        ([2, 12, 9, 8], PoolConfig::square(2, 3)),
        ([1, 4, 7, 8], PoolConfig::square(3, 2).ceil()),
        ([1, 6, 6, 5], PoolConfig::square(2, 2).padded(1).ceil()),
        ([2, 2, 2, 2], PoolConfig::square(3, 2).ceil()),
        ([1, 36, 4, 11], wide),
        ([2, 7, 4, 10], oblong),
        ([1, 40, 13, 13], PoolConfig::square(8, 5)),
        (super::TIMED_IMAGES, PoolConfig::square(3, 2).padded(1)),
    ];
    let mut cases = Vec::new();
    for (shape, config) in list {
        let Ok(pooled) = config.output_shape(TensorDesc::f32(shape)) else { continue };
        let x_shape = Shape::from(shape);
        let name = format!("{x_shape} {config:?}");
        let (dy, places) = (CaseInput::normal(pooled), (config.kernel[0] * config.kernel[1]) as u32);
        let places = CaseInput::u32(pooled, Fill::Below(places));
        let mut group = vec![
            Case::new(&name, MaxPool { config }, [CaseInput::f32(shape, Fill::Distinct)]),
            Case::new(&name, MaxPoolBackward { config, x_shape }, [dy, places]),
        ];
        for count_include_pad in [true, false] {
            let forward = AvgPool { config, count_include_pad };
            let name = format!("{name} include {count_include_pad}");
            group.push(Case::new(&name, forward, [CaseInput::normal(shape)]));
            group.push(Case::new(name, AvgPoolBackward { forward, x_shape }, [dy]));
        }
        cases.extend(group.into_iter().map(|case| if shape == super::TIMED_IMAGES { case.timed() } else { case }));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(size: usize, config: PoolConfig) -> Result<usize, String> {
        config.windows(0, size)
    }

    #[test]
    fn the_number_of_windows_is_pytorchs() {
        assert_eq!(windows(112, PoolConfig::square(3, 2).padded(1)), Ok(56));
        assert_eq!(windows(112, PoolConfig::square(3, 2).ceil()), Ok(56));
        assert_eq!(windows(112, PoolConfig::square(3, 2)), Ok(55));
        // The third window would start at 4, behind three pixels and one of padding.
        assert_eq!(windows(3, PoolConfig::square(2, 2).padded(1).ceil()), Ok(2));
        assert_eq!(windows(2, PoolConfig::square(3, 2).ceil()), Ok(1));
        assert_eq!(windows(1, PoolConfig::square(1, 3).ceil()), Ok(1));
    }

    #[test]
    fn impossible_windows_are_refused() {
        assert!(windows(2, PoolConfig::square(3, 2)).is_err_and(|e| e.contains("larger than the image")));
        assert!(windows(9, PoolConfig::square(3, 2).padded(2)).is_err_and(|e| e.contains("half the kernel")));
        assert!(windows(9, PoolConfig::square(0, 1)).is_err_and(|e| e.contains("at least 1")));
        assert!(windows(9, PoolConfig::square(1, 0)).is_err_and(|e| e.contains("at least 1")));
        assert!(MaxPool { config: PoolConfig::square(2, 2) }.infer(&[TensorDesc::f32([4, 4])]).is_err());
    }
}
