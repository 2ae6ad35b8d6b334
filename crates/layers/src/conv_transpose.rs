//! Two-dimensional transposed convolution.

use crate::conv::{PYTORCH_GAIN, bias_init};
use crate::{Layer, Pair, Place};
use wgrad_tensor::ops::conv2d::Conv2dConfig;
use wgrad_tensor::{Init, Scope, Value};

/// Transposed convolution with PyTorch's arguments and defaults: the gradient of [`Conv2d`](crate::Conv2d) with respect to
/// its input, used to enlarge images. Every pixel spreads its filter over the output:
///
/// `y[n, k, h * stride + r * dilation - padding, …] = b[k] + sum of w[c,k,r,…] * x[n,c,h,…]` over all c, h, r that meet there;
/// the output has `(h - 1) * stride - 2 * padding + dilation * (r - 1) + output_padding + 1` rows.
///
/// Shapes: `[N, in_channels, H, W]` to `[N, out_channels, P, Q]`. Parameters: `weight` `[in_channels, out_channels /
/// groups, R, S]`, `bias` `[out_channels]`.
///
/// Defaults: stride 1, padding 0, output padding 0, dilation 1, groups 1, with bias. `output_padding` must be less than the
/// stride (PyTorch also allows one less than the dilation). Weight and bias start as PyTorch's do, uniform within
/// `1 / sqrt(out_channels / groups * r * s)`.
///
/// ```
/// use wgrad_layers::{ConvTranspose2d, Layer};
/// use wgrad_tensor::{Graph, Mode, Scope, TensorDesc};
///
/// let graph = Graph::new();
/// let x = graph.feed("x", TensorDesc::f32([2, 8, 7, 7]));
/// let double = ConvTranspose2d::new(8, 4, 3).stride(2).padding(1).output_padding(1);
/// let y = double.forward(&Scope::new(&graph, Mode::Train), x);
/// assert_eq!(y.shape().dims(), [2, 4, 14, 14]);
/// ```
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    in_channels: usize,
    out_channels: usize,
    kernel: [usize; 2],
    config: Conv2dConfig,
    output_padding: [usize; 2],
    bias: bool,
    init: Init,
    place: Place,
}

impl ConvTranspose2d {
    /// A transposed convolution with square (`3`) or other (`[1, 7]`) filters.
    #[track_caller]
    pub fn new(in_channels: usize, out_channels: usize, kernel: impl Into<Pair>) -> ConvTranspose2d {
        ConvTranspose2d {
            in_channels,
            out_channels,
            kernel: kernel.into().0,
            config: Conv2dConfig::default(),
            output_padding: [0; 2],
            bias: true,
            init: Init::KaimingUniform { gain: PYTORCH_GAIN },
            place: Place::here(),
        }
    }

    /// Distance in the output between neighbouring input pixels. Default 1.
    pub fn stride(mut self, stride: impl Into<Pair>) -> ConvTranspose2d {
        self.config.stride = stride.into().0;
        self
    }

    /// Pixels cut from each side of the output. Default 0.
    pub fn padding(mut self, padding: impl Into<Pair>) -> ConvTranspose2d {
        self.config.padding = padding.into().0;
        self
    }

    /// Pixels added to the output below and to the right; less than the stride. Default 0.
    pub fn output_padding(self, output_padding: impl Into<Pair>) -> ConvTranspose2d {
        ConvTranspose2d { output_padding: output_padding.into().0, ..self }
    }

    /// Distance of neighbouring filter taps, in pixels. Default 1.
    pub fn dilation(mut self, dilation: impl Into<Pair>) -> ConvTranspose2d {
        self.config.dilation = dilation.into().0;
        self
    }

    /// Splits the channels into that many independent convolutions. Must divide both channel counts. Default 1.
    pub fn groups(mut self, groups: usize) -> ConvTranspose2d {
        self.config.groups = groups;
        self
    }

    /// Whether a bias is added; say `false` before a batch norm, which would cancel it. Default true.
    pub fn bias(self, bias: bool) -> ConvTranspose2d {
        ConvTranspose2d { bias, ..self }
    }

    /// How the weight starts.
    pub fn init(self, init: Init) -> ConvTranspose2d {
        ConvTranspose2d { init, ..self }
    }
}

impl Layer for ConvTranspose2d {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let s = &self.place.enter(s);
        let ConvTranspose2d { in_channels, out_channels, kernel: [r, q], config, .. } = *self;
        let groups = config.groups;
        if groups == 0 || !in_channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
            let message =
                format!("groups must divide in_channels {in_channels} and out_channels {out_channels}, got {groups}");
            return s.graph().mistake("conv_transpose2d", message);
        }
        let weight = s.weight("weight", [in_channels, out_channels / groups, r, q], self.init);
        let y = x.conv_transpose2d(weight, config, self.output_padding);
        if self.bias {
            y.add_bias(s.weight("bias", [out_channels], bias_init(out_channels / groups * r * q)))
        } else {
            y
        }
    }
}
