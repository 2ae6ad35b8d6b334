// computes: y = factor * x[0], everywhere
// source: the derivative of a sum or mean
// bindings: x f32[1], y vec4f[n]
// grid: groups(n / strip); a workgroup takes `strip` neighbouring vec4s, its lanes interleave
// cost: 16 bytes a vec4
override WG: u32 = 64u;

struct Args { n: u32, strip: u32, factor: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.y * nwg.x + wid.x;
  let end = min(args.n, (group + 1u) * args.strip);
  let value = vec4f(args.factor * x[0]);
  for (var i = group * args.strip + lid.x; i < end; i += WG) { y[i] = value; }
}
