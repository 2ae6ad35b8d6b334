//! Fully connected layer.

use crate::conv::{PYTORCH_GAIN, bias_init};
use crate::{Layer, Place};
use wgrad_tensor::{Init, Scope, Value};

/// `y = x W^T + b`, `[N, in_features]` to `[N, out_features]`.
///
/// Parameters: `weight` `[out_features, in_features]`, `bias` `[out_features]`. Both start as in PyTorch, uniform
/// within `1 / sqrt(in_features)`. A weight above 128 MiB (fc6 of AlexNet and of VGG) lies in blocks of rows, each of which gives some of the
/// columns of y; it has one name all the same. Images must be flattened or pooled to `[N, C]` before.
///
/// ```
/// use wgrad_layers::{Layer, Linear};
/// use wgrad_tensor::{Graph, Mode, Scope, TensorDesc};
///
/// let graph = Graph::new();
/// let x = graph.feed("x", TensorDesc::f32([32, 64]));
/// let y = Linear::new(64, 10).forward(&Scope::new(&graph, Mode::Train), x);
/// assert_eq!(y.shape().dims(), [32, 10]);
/// ```
#[derive(Clone, Debug)]
pub struct Linear {
    in_features: usize,
    out_features: usize,
    bias: bool,
    init: Init,
    bias_init: Init,
    place: Place,
}

impl Linear {
    /// A layer from `in_features` to `out_features` numbers.
    #[track_caller]
    pub fn new(in_features: usize, out_features: usize) -> Linear {
        let init = Init::KaimingUniform { gain: PYTORCH_GAIN };
        Linear { in_features, out_features, bias: true, init, bias_init: bias_init(in_features), place: Place::here() }
    }

    /// Whether a bias is added. Default true.
    pub fn bias(self, bias: bool) -> Linear {
        Linear { bias, ..self }
    }

    /// How the weight starts.
    pub fn init(self, init: Init) -> Linear {
        Linear { init, ..self }
    }

    /// How the bias starts. Default: uniform within `1 / sqrt(in_features)`.
    pub fn bias_init(self, bias_init: Init) -> Linear {
        Linear { bias_init, ..self }
    }
}

impl Layer for Linear {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let s = &self.place.enter(s);
        let blocks = s.weight_rows("weight", [self.out_features, self.in_features], self.init);
        let columns: Vec<Value<'g>> = blocks.into_iter().map(|block| x.matmul_transposed(block)).collect();
        let y = if let [y] = columns[..] { y } else { s.graph().concat(&columns) };
        if self.bias { y.add_bias(s.weight("bias", [self.out_features], self.bias_init)) } else { y }
    }
}
