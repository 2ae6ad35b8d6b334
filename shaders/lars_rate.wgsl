// computes: rate = lr * trust * |w| / (f * |g| + weight_decay * |w|) with f = factor (1 without SCALED), or lr where a norm is 0
// source: You, Gitman and Ginsburg, arXiv:1708.03888, algorithm 1
// bindings: weight gradient (sums of squares) lr rate factor f32[1]
// grid: one invocation
// cost: nothing to speak of
struct Args { trust: f32, weight_decay: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read> lr: array<f32>;
@group(0) @binding(4) var<storage, read_write> rate: array<f32>;
#ifdef SCALED
@group(0) @binding(5) var<storage, read> factor: array<f32>;
#endif

@compute @workgroup_size(1)
fn main() {
  let w = sqrt(weight[0]);
  var g = sqrt(gradient[0]);
#ifdef SCALED
  g *= factor[0];
#endif
  var ratio = 1.0;
  if (w > 0.0 && g > 0.0) { ratio = args.trust * w / (g + args.weight_decay * w); }
  rate[0] = lr[0] * ratio;
}
