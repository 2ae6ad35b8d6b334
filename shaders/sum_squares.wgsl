// computes: partial[first + invocation] = sum of the squares of its elements of x
// source: its own; what clipping by the global norm asks (Pascanu et al., arXiv:1211.5063)
// bindings: x vec4f[n / 4], partial f32[]
// grid: groups(vec4s / strip); a workgroup takes `strip` neighbouring vec4s, its lanes interleave
// cost: 16 bytes and 8 operations a vec4
override WG: u32 = 64u;

// n: vec4s; elements: of them, since what lies behind the last element is nobody's.
struct Args { n: u32, strip: u32, elements: u32, first: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.y * nwg.x + wid.x;
  let end = min(args.n, (group + 1u) * args.strip);
  if (group * args.strip >= args.n) { return; }
  var r_sum = vec4f(0.0);
  for (var i = group * args.strip + lid.x; i < end; i += WG) {
    let inside = vec4u(i * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(args.elements);
    let value = select(vec4f(0.0), x[i], inside);
    r_sum += value * value;
  }
  partial[args.first + group * WG + lid.x] = (r_sum.x + r_sum.y) + (r_sum.z + r_sum.w);
}
