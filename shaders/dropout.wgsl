// computes: y = x * scale where the element's random word is at least `threshold`, 0 elsewhere
// source: Srivastava et al. 2014, inverted as in PyTorch; Philox4x32-10, four elements a block
// bindings: x V[batch, sample], y V[batch, sample] (V: vec4f with VEC4, otherwise f32), x may share storage with y;
//   rng u32[4] = seed low, seed high, step, index of the first sample (with ROWS first_row stands for it);
//   length = blocks of four elements a sample
// grid: one workgroup per WG * PER_INVOCATION blocks
// cost: about 260 integer operations and 32 bytes a block
#import philox
override WG: u32 = 64u;
override PER_INVOCATION: u32 = 4u;

#ifdef VEC4
alias V = vec4f;
#else
alias V = f32;
#endif

struct Args {
  items: u32, length: u32, step_line: u32, step_item: u32,
  sample: u32, purpose: u32, stream: u32, threshold: u32, scale: f32, first_row: u32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(2) var<storage, read> rng: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<V>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let begin = (wid.y * nwg.x + wid.x) * WG * PER_INVOCATION;
  let end = min(begin + WG * PER_INVOCATION, args.items);
  let first = begin + lid.x;
  var line = first / args.length;
  var block = first - line * args.length;
  let key = vec2u(rng[0], rng[1]);
  let step = rng[2];
#ifdef ROWS
  let first_sample = args.first_row;
#else
  let first_sample = rng[3];
#endif
  for (var i = first; i < end; i += WG) {
    // Four of five coordinates have a counter word; the purpose takes the top bits of the block number's.
    let words = philox(vec4u(block | (args.purpose << 28u), args.stream, step, first_sample + line), key);
    let keep = words >= vec4u(args.threshold);
#ifdef VEC4
    y[i] = select(V(0.0), x[i] * args.scale, keep);
#else
    let at = line * args.sample + block * 4u;
    let count = min(4u, args.sample - block * 4u);
#for j in 4
    if ({j}u < count) { y[at + {j}u] = select(0.0, x[at + {j}u] * args.scale, keep[{j}]); }
#endfor
#endif
    block += args.step_item;
    line += args.step_line;
    if (block >= args.length) {
      block -= args.length;
      line += 1u;
    }
  }
}
