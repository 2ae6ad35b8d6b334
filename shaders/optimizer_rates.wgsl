// computes: rates = lr, factor (1 without SCALED), 1 / c1, 1 / sqrt(c2) (1, 1 without CORRECTED); with CORRECTED
//   c' = beta * c + rest, which is 1 - beta^t after t steps from 0; where the factor is 0 c stays and its inverses are 0
// source: Kingma and Ba, arXiv:1412.6980, section 3
// bindings: lr factor f32[1], c c_out f32[2], which may share storage; rates f32[4]
// grid: one invocation
// cost: nothing to speak of
struct Args { beta1: f32, beta2: f32, rest1: f32, rest2: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> lr: array<f32>;
@group(0) @binding(2) var<storage, read_write> rates: array<f32>;
#ifdef SCALED
@group(0) @binding(3) var<storage, read> factor: array<f32>;
#endif
#ifdef CORRECTED
@group(0) @binding(4) var<storage, read> c: array<f32>;
@group(0) @binding(5) var<storage, read_write> c_out: array<f32>;
#endif

@compute @workgroup_size(1)
fn main() {
  rates[0] = lr[0];
  var scale = 1.0;
#ifdef SCALED
  scale = factor[0];
#endif
  rates[1] = scale;
#ifdef CORRECTED
  let old = vec2f(c[0], c[1]);
  if (scale == 0.0) {
    c_out[0] = old.x;
    c_out[1] = old.y;
    rates[2] = 0.0;
    rates[3] = 0.0;
  } else {
    let new_c = vec2f(args.beta1, args.beta2) * old + vec2f(args.rest1, args.rest2);
    c_out[0] = new_c.x;
    c_out[1] = new_c.y;
    rates[2] = 1.0 / new_c.x;
    rates[3] = 1.0 / sqrt(new_c.y);
  }
#else
  // Betas of 0, whose rests are 1.
  rates[2] = args.rest1;
  rates[3] = args.rest2;
#endif
}
