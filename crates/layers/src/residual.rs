//! Residual connections and their shortcuts.

use crate::{Identity, Layer, Place, ScopeExt};
use wgrad_tensor::{Scope, Value};

/// `y = body(x) + shortcut(x)` (He et al., arXiv:1512.03385), no activation behind it. The children are called `body`
/// and `shortcut`, and must return equal shapes.
///
/// ```
/// use wgrad_layers::{BatchNorm2d, Conv2d, Layer, Relu, Residual};
/// use wgrad_tensor::{Graph, Mode, Scope, TensorDesc};
///
/// let conv = |stride| Conv2d::new(8, 8, 3).stride(stride).padding(1).bias(false);
/// let body = (conv(2), BatchNorm2d::new(8), Relu, conv(1), BatchNorm2d::new(8).zero_init());
/// let block = Residual { body, shortcut: Conv2d::new(8, 8, 1).stride(2) };
/// let graph = Graph::new();
/// let x = graph.feed("x", TensorDesc::f32([4, 8, 10, 10]));
/// let y = block.forward(&Scope::new(&graph, Mode::Train), x).relu();
/// assert_eq!(y.shape().dims(), [4, 8, 5, 5]);
/// ```
#[derive(Clone, Debug)]
pub struct Residual<B, S = Identity> {
    /// The branch that learns.
    pub body: B,
    /// The branch that lets the input pass.
    pub shortcut: S,
}

impl<B> Residual<B> {
    /// `y = body(x) + x`.
    pub fn new(body: B) -> Residual<B> {
        Residual { body, shortcut: Identity }
    }
}

impl<B: Layer, S: Layer> Layer for Residual<B, S> {
    #[track_caller]
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let y = s.layer("body", &self.body, x);
        y + s.layer("shortcut", &self.shortcut, x)
    }
}

/// The shortcut without parameters, option A of arXiv:1512.03385: every `stride`-th pixel, and channels of zeros, half
/// of them (rounded down) before and the rest behind.
#[derive(Clone, Copy, Debug)]
pub struct OptionA {
    in_channels: usize,
    out_channels: usize,
    stride: usize,
    place: Place,
}

impl OptionA {
    /// From `in_channels` to at least as many `out_channels`.
    #[track_caller]
    pub fn new(in_channels: usize, out_channels: usize, stride: usize) -> OptionA {
        OptionA { in_channels, out_channels, stride, place: Place::here() }
    }
}

impl Layer for OptionA {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let OptionA { in_channels, out_channels, stride, place } = *self;
        let s = place.enter(s);
        let Some(missing) = out_channels.checked_sub(in_channels) else {
            let message =
                format!("cannot go from {in_channels} to fewer channels, {out_channels}; use a 1x1 convolution");
            return s.graph().mistake("option_a", message);
        };
        if !x.is_poison() && x.dim(1) != in_channels {
            let message = format!("wants images of {in_channels} channels, got {}; mend its in_channels", x.shape());
            return s.graph().mistake("option_a", message);
        }
        let y = if stride == 1 { x } else { x.subsample([stride; 2]) };
        if missing == 0 { y } else { y.pad_channels(missing / 2, missing - missing / 2) }
    }
}
