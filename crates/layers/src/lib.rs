//! Layers, losses, model summaries and a small model zoo, on top of the graphs of [`wgrad_tensor`].
//!
//! A [`Layer`] is plain data (`Clone + Debug`): sizes and options, no weights, no buffers. Its [`Layer::forward`] is
//! called with a [`Scope`](wgrad_tensor::Scope), which hands out the parameters by name, and appends operations to a
//! graph. The same layer traced twice, for training and for evaluation, gives two graphs over one parameter store.
//!
//! Names and arguments are PyTorch's, and so are parameter names: a tuple is PyTorch's `Sequential`, its children are
//! called `0`, `1`, …; a field is given its name where it is used, by [`ScopeExt::layer`].
//!
//! ```
//! use wgrad_layers::{BatchNorm2d, Conv2d, GlobalAvgPool, Layer, Linear, Relu, ScopeExt, Summary};
//! use wgrad_tensor::{Scope, TensorDesc, Value};
//!
//! #[derive(Clone, Debug)]
//! struct Net {
//!     features: (Conv2d, BatchNorm2d, Relu, GlobalAvgPool),
//!     head: Linear,
//! }
//!
//! impl Layer for Net {
//!     fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
//!         let x = s.layer("features", &self.features, x);
//!         s.layer("head", &self.head, x)
//!     }
//! }
//!
//! let conv = Conv2d::new(3, 8, 3).padding(1).bias(false);
//! let net = Net { features: (conv, BatchNorm2d::new(8), Relu, GlobalAvgPool), head: Linear::new(8, 10) };
//! let summary = Summary::new(&net, TensorDesc::f32([1, 3, 32, 32])).expect("the shapes fit");
//! assert_eq!(summary.parameters(), 3 * 8 * 9 + 2 * 8 + 8 * 10 + 10);
//! ```
#![forbid(unsafe_code)]

mod activation;
mod batch_norm;
mod concat;
mod conv;
mod conv_transpose;
mod dropout;
mod dropout_kinds;
mod group_norm;
mod layer;
mod linear;
mod local_response_norm;
pub mod losses;
pub mod models;
mod pair;
mod place;
mod pool;
mod reshape;
mod residual;
mod separable;
mod special_pool;
mod squeeze_excite;
mod summary;
mod upsample;

pub use activation::{Elu, Gelu, HardSwish, LeakyRelu, PRelu, Relu, Sigmoid, Silu, Tanh};
pub use batch_norm::BatchNorm2d;
pub use concat::{Branches, Concat};
pub use conv::Conv2d;
pub use conv_transpose::ConvTranspose2d;
pub use dropout::Dropout;
pub use dropout_kinds::{DropConnect, SpatialDropout, StochasticDepth};
pub use group_norm::{GroupNorm, LayerNorm};
pub use layer::{Layer, ScopeExt};
pub use linear::Linear;
pub use local_response_norm::LocalResponseNorm;
pub use pair::Pair;
pub use place::Place;
pub use pool::{AdaptiveAvgPool2d, AvgPool2d, GlobalAvgPool, GlobalMaxPool, MaxPool2d};
pub use reshape::{Flatten, Identity, Scale};
pub use residual::{OptionA, Residual};
pub use separable::DepthwiseSeparable;
pub use special_pool::{L2Pool2d, StochasticPool2d};
pub use squeeze_excite::SqueezeExcite;
pub use summary::{Row, Summary};
pub use upsample::Upsample;
