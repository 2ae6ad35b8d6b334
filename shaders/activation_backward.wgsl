// computes: dx = dy * act'(.), from the output y (from the input x for GELU, SiLU, hard-swish and softplus)
// source: the derivatives of activation.wgsl
// bindings: xy dy dx vec4f[n]; dy and xy may share storage with dx
// grid: groups(n / strip); a workgroup takes `strip` neighbouring vec4s, its lanes interleave
// cost: 48 bytes a vec4
#import activation
override WG: u32 = 64u;

struct Args { n: u32, strip: u32, slope: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> xy: array<vec4f>;
@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.y * nwg.x + wid.x;
  let end = min(args.n, (group + 1u) * args.strip);
  for (var i = group * args.strip + lid.x; i < end; i += WG) {
    dx[i] = dy[i] * activate_derivative(xy[i], args.slope);
  }
}
