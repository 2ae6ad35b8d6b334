// computes: in each window, from what is above 0 there: with EVAL y = sum of squares / sum; otherwise y = one element, drawn with a
//   probability in proportion to its size, and argmax = r * S + s, its place; 0 and 0xfffffffe, no
//   place, where nothing is above 0
// source: Zeiler and Fergus, arXiv:1301.3557; Philox4x32-10, four channels a block
// bindings: x y f32[.., channels], argmax u32 like y, rng u32[4] = seed low, seed high, step, index of the first sample
// grid: an invocation for four channels of an output pixel
// cost: two loads an element of the window
#import philox
override WG: u32 = 64u;
override R: u32 = 2u;
override S: u32 = 2u;
override STRIDE_H: u32 = 2u;
override STRIDE_W: u32 = 2u;

struct Args { n: u32, blocks: u32, channels: u32, h: u32, w: u32, p: u32, q: u32, purpose: u32, stream: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#ifndef EVAL
@group(0) @binding(3) var<storage, read_write> argmax: array<u32>;
@group(0) @binding(4) var<storage, read> rng: array<u32>;
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.n) { return; }
  let pixel = i / args.blocks;
  let c0 = (i - pixel * args.blocks) * 4u;
  let n = pixel / (args.p * args.q);
  let place = pixel - n * args.p * args.q;
  let h0 = place / args.q * STRIDE_H;
  let w0 = place % args.q * STRIDE_W;
#ifndef EVAL
  let block = place * args.blocks + c0 / 4u;
  let counter = vec4u(block | (args.purpose << 28u), args.stream, rng[2], rng[3] + n);
  let u = unit_floats(philox(counter, vec2u(rng[0], rng[1])));
#endif
  for (var c = c0; c < min(c0 + 4u, args.channels); c++) {
    let base = ((n * args.h + h0) * args.w + w0) * args.channels + c;
    let to = pixel * args.channels + c;
    var sum = 0.0;
    var squares = 0.0;
    for (var r = 0u; r < R; r++) {
      for (var s = 0u; s < S; s++) {
        let v = max(x[base + (r * args.w + s) * args.channels], 0.0);
        sum += v;
        squares += v * v;
      }
    }
#ifdef EVAL
    y[to] = select(0.0, squares / sum, sum > 0.0);
#else
    // The first element with which the sum exceeds a random share of the whole; rounding cannot pass the last one above 0.
    let goal = u[c - c0] * sum;
    var chosen = 0xfffffffeu;
    var value = 0.0;
    var so_far = 0.0;
    for (var k = 0u; k < R * S; k++) {
      let v = max(x[base + (k / S * args.w + k % S) * args.channels], 0.0);
      if (v > 0.0 && so_far <= goal) { chosen = k; value = v; }
      so_far += v;
    }
    y[to] = value;
    argmax[to] = chosen;
#endif
  }
}
