//! Two-dimensional convolution.

use crate::{Layer, Pair, Place};
use wgrad_tensor::ops::conv2d::Conv2dConfig;
use wgrad_tensor::{Init, Scope, Value};

/// PyTorch's gain for the weights of `Conv2d` and `Linear`, `sqrt(1/3)`: `kaiming_uniform_(a = sqrt(5))`, which makes
/// the bound `1 / sqrt(fan_in)`.
pub(crate) const PYTORCH_GAIN: f32 = 0.577_350_26;

/// Convolution (cross-correlation, as in every such library) with PyTorch's arguments and defaults:
///
/// `y[n,k,p,q] = b[k] + sum_{c,r,s} w[k,c,r,s] * x[n, c, p * stride + r * dilation - padding, …]`, the input being zero
/// outside the image; `p` runs to `floor((h + 2 * padding - dilation * (r - 1) - 1) / stride) + 1`.
///
/// Shapes: `[N, in_channels, H, W]` to `[N, out_channels, P, Q]`. Parameters: `weight` `[out_channels, in_channels /
/// groups, R, S]`, `bias` `[out_channels]`.
///
/// Defaults: stride 1, padding 0, dilation 1, groups 1, with bias. The weight starts as PyTorch's does, uniform within
/// `1 / sqrt(fan_in)` ([`Init::KaimingUniform`] with gain `sqrt(1/3)`), and so does the bias.
///
/// ```
/// use wgrad_layers::{Conv2d, Layer};
/// use wgrad_tensor::{Graph, Mode, Scope, TensorDesc};
///
/// let graph = Graph::new();
/// let x = graph.feed("x", TensorDesc::f32([2, 8, 17, 17]));
/// let y = Conv2d::new(8, 12, [3, 5]).stride(2).padding([1, 2]).groups(4).forward(&Scope::new(&graph, Mode::Train), x);
/// assert_eq!(y.shape().dims(), [2, 12, 9, 9]);
/// ```
#[derive(Clone, Debug)]
pub struct Conv2d {
    in_channels: usize,
    out_channels: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
    bias: bool,
    frozen: bool,
    init: Init,
    bias_init: Option<Init>,
    place: Place,
}

impl Conv2d {
    /// A convolution with square (`3`) or other (`[1, 7]`) filters.
    #[track_caller]
    pub fn new(in_channels: usize, out_channels: usize, kernel: impl Into<Pair>) -> Conv2d {
        Conv2d {
            in_channels,
            out_channels,
            kernel: kernel.into().0,
            stride: [1; 2],
            padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
            bias: true,
            frozen: false,
            init: Init::KaimingUniform { gain: PYTORCH_GAIN },
            bias_init: None,
            place: Place::here(),
        }
    }

    /// Distance of neighbouring windows, in pixels. Default 1.
    pub fn stride(self, stride: impl Into<Pair>) -> Conv2d {
        Conv2d { stride: stride.into().0, ..self }
    }

    /// Zeros added on each side, in pixels. Default 0.
    pub fn padding(self, padding: impl Into<Pair>) -> Conv2d {
        Conv2d { padding: padding.into().0, ..self }
    }

    /// Distance of neighbouring filter taps, in pixels. Default 1.
    pub fn dilation(self, dilation: impl Into<Pair>) -> Conv2d {
        Conv2d { dilation: dilation.into().0, ..self }
    }

    /// Splits the channels into that many independent convolutions; `in_channels` of them is a depthwise one. Must
    /// divide both channel counts. Default 1.
    pub fn groups(self, groups: usize) -> Conv2d {
        Conv2d { groups, ..self }
    }

    /// Whether a bias is added; say `false` before a batch norm, which would cancel it. Default true.
    pub fn bias(self, bias: bool) -> Conv2d {
        Conv2d { bias, ..self }
    }

    /// Whether the weight is a buffer: saved with the model, never learned. The bias is learned all the same. Default false.
    pub fn frozen(self, frozen: bool) -> Conv2d {
        Conv2d { frozen, ..self }
    }

    /// How the weight starts.
    pub fn init(self, init: Init) -> Conv2d {
        Conv2d { init, ..self }
    }

    /// How the bias starts. Default: uniform within `1 / sqrt(fan_in)`.
    pub fn bias_init(self, init: Init) -> Conv2d {
        Conv2d { bias_init: Some(init), ..self }
    }
}

impl Layer for Conv2d {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let s = &self.place.enter(s);
        let Conv2d { in_channels, out_channels, kernel: [r, q], groups, .. } = *self;
        if groups == 0 || !in_channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
            let message =
                format!("groups must divide in_channels {in_channels} and out_channels {out_channels}, got {groups}");
            return s.graph().mistake("conv2d", message);
        }
        let fan_in = in_channels / groups * r * q;
        let shape = [out_channels, in_channels / groups, r, q];
        let weight =
            if self.frozen { s.buffer("weight", shape, self.init) } else { s.weight("weight", shape, self.init) };
        let config = Conv2dConfig { stride: self.stride, padding: self.padding, dilation: self.dilation, groups };
        let y = x.conv2d(weight, config);
        if self.bias {
            y.add_bias(s.weight("bias", [out_channels], self.bias_init.unwrap_or(bias_init(fan_in))))
        } else {
            y
        }
    }
}

/// PyTorch's default for the bias of a layer with that many inputs per output: uniform within `1 / sqrt(fan_in)`.
pub(crate) fn bias_init(fan_in: usize) -> Init {
    Init::Uniform { bound: 1.0 / (fan_in.max(1) as f32).sqrt() }
}
