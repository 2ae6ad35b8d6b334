// computes: y[0] = sum of x, whole numbers
// source: its own
// bindings: x u32[n], y u32[1]
// grid: one workgroup; with TREE its lanes share the elements, without it one invocation takes them all
// cost: one load an element
override WG: u32 = 64u;

struct Args { n: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
#ifdef TREE
var<workgroup> s_sum: array<u32, WG>;
#endif

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_id) lid: vec3u) {
  var sum = 0u;
  for (var i = lid.x; i < args.n; i += WG) { sum += x[i]; }
#ifdef TREE
  s_sum[lid.x] = sum;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lid.x < half) { s_sum[lid.x] += s_sum[lid.x + half]; }
  }
  sum = s_sum[0];
#endif
  if (lid.x == 0u) { y[0] = sum; }
}
