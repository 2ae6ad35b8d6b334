// computes: y[i] = scale * sum of block i of x, in a fixed tree
// source: pairwise summation by blocks (Higham 1993)
// bindings: x vec4f[ceil(n/4)], of which n elements count; y f32[blocks], or f32[blocks*WG] without TREE
// grid: groups(blocks), `block` vec4s each; with TREE the lanes of a workgroup are summed (lib/tree.wgsl), without it every lane
//   stores its own sum, and one lane alone takes everything when WG is 1
// cost: one load of 16 bytes per four additions
#import tree
override WG: u32 = 64u;

struct Args { n: u32, block: u32, blocks: u32, scale: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, lane: Lane) {
  let group = wid.y * nwg.x + wid.x;
  let end = min((group + 1u) * args.block, (args.n + 3u) / 4u);
  var r_sum = vec4f(0.0);
  for (var i = group * args.block + lane.index; i < end; i += WG) {
    // What lies behind the last element is not ours.
    r_sum += select(vec4f(0.0), x[i], vec4u(4u * i) + vec4u(0u, 1u, 2u, 3u) < vec4u(args.n));
  }
  let own = (r_sum.x + r_sum.y) + (r_sum.z + r_sum.w);
  let sum = args.scale * tree_sum(lane, own);
  if (group >= args.blocks) { return; }
#ifdef TREE
  if (lane.index == 0u) { y[group] = sum; }
#else
  y[group * WG + lane.index] = sum;
#endif
}
