// computes: y_out = factors[0] * y + factors[1] * x; where factors[0] is 0, y is forgotten, infinities and NaN included
// source: its own; averages of weights (Polyak and Juditsky 1992) and gradients of several batches
// bindings: y x y_out vec4f[n], factors f32[2]; y may share storage with y_out
// grid: groups(n / strip); a workgroup takes `strip` neighbouring vec4s, its lanes interleave
// cost: 48 bytes a vec4
override WG: u32 = 64u;

struct Args { n: u32, strip: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> factors: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<vec4f>;
@group(0) @binding(3) var<storage, read> x: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y_out: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.y * nwg.x + wid.x;
  let end = min(args.n, (group + 1u) * args.strip);
  for (var i = group * args.strip + lid.x; i < end; i += WG) {
    y_out[i] = select(factors[0] * y[i], vec4f(0.0), factors[0] == 0.0) + factors[1] * x[i];
  }
}
