// computes: y = x on a grid of fixed-point numbers: floor(x / step), one more where the rest is at least a half (or, with
//   STOCHASTIC, above a random number), times step, between low and high; with DYNAMIC the grid is state[0]'s, and values
//   beyond its range and beyond half of it are counted
// source: Gupta et al., arXiv:1502.02551; DYNAMIC: Courbariaux et al., arXiv:1412.7024
// bindings: x y vec4f[n], which may share storage; rng u32[4]; state f32[4] = (exponent, steps, shares);
//   counts u32[2 * invocations]
// grid: groups(n / strip); a workgroup takes `strip` neighbouring vec4s, its lanes interleave
// cost: 32 bytes and 20 operations a vec4, 280 with STOCHASTIC
#import philox
override WG: u32 = 64u;

#ifdef DYNAMIC
struct Args { n: u32, strip: u32, stream: u32, elements: u32, bits: u32 }
#else
struct Args { n: u32, strip: u32, stream: u32, low: f32, high: f32, grid_step: f32 }
#endif
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
#ifdef STOCHASTIC
@group(0) @binding(3) var<storage, read> rng: array<u32>;
#endif
#ifdef DYNAMIC
@group(0) @binding(4) var<storage, read> state: array<f32>;
@group(0) @binding(5) var<storage, read_write> counts: array<u32>;

fn ones(v: vec4<bool>) -> u32 {
  let one = select(vec4u(0u), vec4u(1u), v);
  return one.x + one.y + one.z + one.w;
}
#endif

// 2^e, exactly, for whole e of normal range.
fn power_of_two(e: f32) -> f32 { return bitcast<f32>(u32(clamp(i32(e), -126, 127) + 127) << 23u); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.y * nwg.x + wid.x;
  if (group * args.strip >= args.n) { return; }
  let end = min(args.n, (group + 1u) * args.strip);
#ifdef DYNAMIC
  let bound = power_of_two(state[0]);
  let grid_step = power_of_two(state[0] + 1.0 - f32(args.bits));
  let low = -bound;
  let high = bound - grid_step;
  var beyond = 0u;
  var beyond_half = 0u;
#else
  let grid_step = args.grid_step;
  let low = args.low;
  let high = args.high;
#endif
  for (var i = group * args.strip + lid.x; i < end; i += WG) {
    let value = x[i];
    let q = value / grid_step;
    let below = floor(q);
#ifdef STOCHASTIC
    let words = philox(vec4u(i | 0x50000000u, args.stream, rng[2], 0u), vec2u(rng[0], rng[1]));
    let up = (q - below) > unit_floats(words);
#else
    let up = (q - below) >= vec4f(0.5);
#endif
    let rounded = clamp((below + select(vec4f(0.0), vec4f(1.0), up)) * grid_step, vec4f(low), vec4f(high));
    let is_nan = (bitcast<vec4u>(value) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
#ifdef DYNAMIC
    let inside = vec4u(i * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(args.elements);
    beyond += ones(inside & (abs(value) >= vec4f(bound)));
    beyond_half += ones(inside & (abs(value) >= vec4f(0.5 * bound)));
#endif
    y[i] = select(rounded, value, is_nan);
  }
#ifdef DYNAMIC
  counts[2u * (group * WG + lid.x)] = beyond;
  counts[2u * (group * WG + lid.x) + 1u] = beyond_half;
#endif
}
