// computes: the state of a moving fixed-point grid after a step: its exponent grows by one when more than max_overflow of the
//   values lay beyond its range, shrinks by one when no more than that lay beyond half of it; looked at every `interval` steps;
//   never beyond -24..24, so that a tensor that was all zeros for long comes back soon
// source: Courbariaux et al., arXiv:1412.7024
// bindings: counts u32[2 * n]; state state_out f32[4] = (exponent, steps, share beyond, share beyond half); they may share
//   storage
// grid: one invocation
// cost: 2 n loads
struct Args { n: u32, elements: u32, max_overflow: f32, interval: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read> state: array<f32>;
@group(0) @binding(3) var<storage, read_write> state_out: array<f32>;

@compute @workgroup_size(1)
fn main() {
  var sums = vec2u(0u);
  for (var i = 0u; i < args.n; i++) { sums += vec2u(counts[2u * i], counts[2u * i + 1u]); }
  let exponent = state[0];
  let steps = state[1] + 1.0;
  let shares = vec2f(state[2], state[3]) + vec2f(sums) / f32(args.elements);
  let most = args.max_overflow * steps;
  if (steps >= args.interval) {
    state_out[0] = clamp(exponent + select(select(0.0, -1.0, shares.y <= most), 1.0, shares.x > most), -24.0, 24.0);
    state_out[1] = 0.0;
    state_out[2] = 0.0;
    state_out[3] = 0.0;
  } else {
    state_out[0] = exponent;
    state_out[1] = steps;
    state_out[2] = shares.x;
    state_out[3] = shares.y;
  }
}
