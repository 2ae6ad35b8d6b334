//! Pooling.

use crate::{Layer, Pair, Place};
use wgrad_tensor::ops::pool::PoolConfig;
use wgrad_tensor::{Scope, Value};

/// Largest value of each window, `[N, C, H, W]` to `[N, C, P, Q]` with `P = floor((H + 2 * padding - kernel) / stride)
/// + 1` (`ceil` in ceil mode; a window must begin inside the image or its left padding).
///
/// Defaults as in PyTorch: stride equal to the kernel, padding 0, floor mode. Padding never wins.
///
/// ```
/// use wgrad_layers::{Layer, MaxPool2d};
/// use wgrad_tensor::{Graph, Mode, Scope, TensorDesc};
///
/// let graph = Graph::new();
/// let x = graph.feed("x", TensorDesc::f32([1, 4, 14, 14]));
/// let y = MaxPool2d::new(3).stride(2).ceil_mode(true).forward(&Scope::new(&graph, Mode::Train), x);
/// assert_eq!(y.shape().dims(), [1, 4, 7, 7]);
/// ```
#[derive(Clone, Debug)]
pub struct MaxPool2d {
    config: PoolConfig,
    place: Place,
}

/// Mean of each window; shapes and defaults of [`MaxPool2d`].
///
/// Padding counts as zeros in the mean unless [`AvgPool2d::count_include_pad`] is `false`. Default true, as in PyTorch.
#[derive(Clone, Debug)]
pub struct AvgPool2d {
    config: PoolConfig,
    count_include_pad: bool,
    place: Place,
}

/// Means that leave so many rows and columns, `[N, C, H, W]` to `[N, C, P, Q]`, for any image size: window `p` takes rows `floor(p
/// H / P)` to `ceil((p + 1) H / P) - 1`, as in PyTorch. Fewer pixels than windows are repeated.
///
/// ```
/// use wgrad_layers::{AdaptiveAvgPool2d, Layer};
/// use wgrad_tensor::{Graph, Mode, Scope, TensorDesc};
///
/// let graph = Graph::new();
/// let x = graph.feed("x", TensorDesc::f32([1, 4, 14, 7]));
/// let y = AdaptiveAvgPool2d::new(7).forward(&Scope::new(&graph, Mode::Train), x);
/// assert_eq!(y.shape().dims(), [1, 4, 7, 7]);
/// ```
#[derive(Clone, Debug)]
pub struct AdaptiveAvgPool2d {
    output: [usize; 2],
    smaller_stays: bool,
    place: Place,
}

/// Mean over the image: `[N, C, H, W]` to `[N, C]`, for any image size.
#[derive(Clone, Copy, Debug)]
pub struct GlobalAvgPool;

/// Maximum over the image: `[N, C, H, W]` to `[N, C]`, for any image size.
#[derive(Clone, Copy, Debug)]
pub struct GlobalMaxPool;

fn config(kernel: Pair) -> PoolConfig {
    PoolConfig { kernel: kernel.0, stride: kernel.0, padding: [0; 2], ceil_mode: false }
}

macro_rules! window_options {
    ($layer:ident) => {
        /// Distance of neighbouring windows, in pixels. Default: the kernel.
        pub fn stride(mut self, stride: impl Into<Pair>) -> $layer {
            self.config.stride = stride.into().0;
            self
        }

        /// Rows and columns added on each side. Default 0.
        pub fn padding(mut self, padding: impl Into<Pair>) -> $layer {
            self.config.padding = padding.into().0;
            self
        }

        /// Whether a last window may hang over the edge. Default false; Caffe's networks want true.
        pub fn ceil_mode(mut self, ceil_mode: bool) -> $layer {
            self.config.ceil_mode = ceil_mode;
            self
        }
    };
}

impl MaxPool2d {
    /// Windows of this size, side by side.
    #[track_caller]
    pub fn new(kernel: impl Into<Pair>) -> MaxPool2d {
        MaxPool2d { config: config(kernel.into()), place: Place::here() }
    }

    window_options!(MaxPool2d);
}

impl AvgPool2d {
    /// Windows of this size, side by side.
    #[track_caller]
    pub fn new(kernel: impl Into<Pair>) -> AvgPool2d {
        AvgPool2d { config: config(kernel.into()), count_include_pad: true, place: Place::here() }
    }

    window_options!(AvgPool2d);

    /// Whether padding counts in the divisor. Default true.
    pub fn count_include_pad(self, count_include_pad: bool) -> AvgPool2d {
        AvgPool2d { count_include_pad, ..self }
    }
}

impl Layer for MaxPool2d {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let _place = self.place.enter(s);
        x.max_pool2d(self.config)
    }
}

impl Layer for AvgPool2d {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let _place = self.place.enter(s);
        x.avg_pool2d(self.config, self.count_include_pad)
    }
}

impl AdaptiveAvgPool2d {
    /// Leaves so many rows and columns.
    #[track_caller]
    pub fn new(output: impl Into<Pair>) -> AdaptiveAvgPool2d {
        AdaptiveAvgPool2d { output: output.into().0, smaller_stays: false, place: Place::here() }
    }

    /// Leaves so many rows and columns, or as many as there are if there are fewer.
    #[track_caller]
    pub fn at_most(output: impl Into<Pair>) -> AdaptiveAvgPool2d {
        AdaptiveAvgPool2d { output: output.into().0, smaller_stays: true, place: Place::here() }
    }
}

impl Layer for AdaptiveAvgPool2d {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let _place = self.place.enter(s);
        let extents = [x.dim(2), x.dim(3)];
        let smaller = |axis: usize| if self.smaller_stays { extents[axis] } else { usize::MAX };
        x.adaptive_avg_pool2d([0, 1].map(|axis| self.output[axis].min(smaller(axis))))
    }
}

impl Layer for GlobalAvgPool {
    #[track_caller]
    fn forward<'g>(&self, _: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.global_avg_pool()
    }
}

impl Layer for GlobalMaxPool {
    #[track_caller]
    fn forward<'g>(&self, _: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.global_max_pool()
    }
}
