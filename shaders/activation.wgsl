// computes: y = act(x)
// source: PyTorch torch.nn.functional relu, leaky_relu, sigmoid, tanh, gelu, silu, hardswish, elu, softplus; torch.sqrt
// bindings: x y vec4f[n]; x may share storage with y
// grid: groups(n / strip); a workgroup takes `strip` neighbouring vec4s, its lanes interleave
// cost: 32 bytes a vec4
#import activation
override WG: u32 = 64u;

struct Args { n: u32, strip: u32, slope: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.y * nwg.x + wid.x;
  let end = min(args.n, (group + 1u) * args.strip);
  for (var i = group * args.strip + lid.x; i < end; i += WG) {
    y[i] = activate(x[i], args.slope);
  }
}
