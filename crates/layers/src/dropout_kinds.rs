//! Dropout of whole channels, of weights, and of whole branches.

use crate::conv::bias_init;
use crate::{Layer, Place, ScopeExt};
use wgrad_tensor::{Init, Scope, Value};

/// While training, sets whole channels of a sample to 0 with probability `p` and scales the rest by `1 / (1 - p)` (Tompson et al.,
/// arXiv:1411.4280; PyTorch's `Dropout2d`); the identity while evaluating. Images `[N, C, H, W]` and matrices `[N, C]`.
#[derive(Clone, Copy, Debug)]
pub struct SpatialDropout {
    p: f32,
    place: Place,
}

/// `y = body(x) * keep + x`: while training, leaves out the branch `body` for a sample with probability `p` and scales it by `1 / (1 - p)`
/// for the others (Huang et al., arXiv:1603.09382; torchvision's `stochastic_depth(mode="row")`); `body(x) + x` while
/// evaluating. The child is called `body`.
#[derive(Clone, Copy, Debug)]
pub struct StochasticDepth<B> {
    p: f32,
    body: B,
    place: Place,
}

/// A linear layer that, while training, sets each weight to 0 with probability `p` and scales the rest by `1 / (1 - p)` (Wan et al.
/// 2013), one draw a step, the same whatever the batch (the paper draws for each sample); [`Linear`](crate::Linear) while evaluating (the
/// paper samples a normal distribution there).
///
/// Parameters `weight` `[out_features, in_features]` and `bias`, which is never dropped, as those of `Linear`.
#[derive(Clone, Copy, Debug)]
pub struct DropConnect {
    in_features: usize,
    out_features: usize,
    p: f32,
    place: Place,
}

impl SpatialDropout {
    /// A dropout with this probability, from 0 to less than 1.
    #[track_caller]
    pub fn new(p: f32) -> SpatialDropout {
        SpatialDropout { p, place: Place::here() }
    }
}

impl<B> StochasticDepth<B> {
    /// A residual block around `body` that is left out with this probability, from 0 to less than 1.
    #[track_caller]
    pub fn new(p: f32, body: B) -> StochasticDepth<B> {
        StochasticDepth { p, body, place: Place::here() }
    }
}

impl DropConnect {
    /// A layer from `in_features` to `out_features` numbers whose weights are dropped with probability `p`.
    #[track_caller]
    pub fn new(in_features: usize, out_features: usize, p: f32) -> DropConnect {
        DropConnect { in_features, out_features, p, place: Place::here() }
    }
}

/// Whether anything is dropped; poison for an impossible probability.
fn active<'g>(s: &Scope<'g>, op: &str, p: f32) -> Result<bool, Value<'g>> {
    if !(0.0..1.0).contains(&p) {
        return Err(s.graph().mistake(op, format!("p must be at least 0 and less than 1, got {p}")));
    }
    Ok(s.is_training() && p > 0.0)
}

/// `x` times what dropout makes of ones `[N, columns]`.
fn masked<'g>(s: &Scope<'g>, x: Value<'g>, columns: usize, p: f32) -> Value<'g> {
    let ones = s.graph().constant([x.dim(0), columns], 1.0);
    x.scale_channels(ones.dropout(p, s.rng(), s.random_stream()))
}

impl Layer for SpatialDropout {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let s = &self.place.enter(s);
        match active(s, "spatial_dropout", self.p) {
            Ok(true) => masked(s, x, x.dim(1), self.p),
            Ok(false) => x,
            Err(poison) => poison,
        }
    }
}

impl<B: Layer> Layer for StochasticDepth<B> {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let branch = s.layer("body", &self.body, x);
        let s = &self.place.enter(s);
        match active(s, "stochastic_depth", self.p) {
            Ok(true) => masked(s, branch, 1, self.p) + x,
            Ok(false) => branch + x,
            Err(poison) => poison,
        }
    }
}

impl Layer for DropConnect {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let s = &self.place.enter(s);
        let init = Init::KaimingUniform { gain: crate::conv::PYTORCH_GAIN };
        let mut blocks = s.weight_rows("weight", [self.out_features, self.in_features], init);
        match active(s, "drop_connect", self.p) {
            Ok(true) => {
                let (rng, stream, mut first) = (s.rng(), s.random_stream(), 0);
                for block in &mut blocks {
                    let rows = block.dim(0) as u32;
                    *block = block.dropout_rows(self.p, rng, stream, first);
                    first += rows;
                }
            }
            Ok(false) => {}
            Err(poison) => return poison,
        }
        let bias = s.weight("bias", [self.out_features], bias_init(self.in_features));
        let columns: Vec<Value<'g>> = blocks.into_iter().map(|block| x.matmul_transposed(block)).collect();
        let y = if let [y] = columns[..] { y } else { s.graph().concat(&columns) };
        y.add_bias(bias)
    }
}
