// computes: y[n, pixel, c] = x[n, pixel, c] * scale[n * step_n + c * step_c]
// source: Hu et al., arXiv:1709.01507; PyTorch's broadcasting of [C], [N, C], [N, 1] and [1]
// bindings: x y f32[n], channels innermost, scale f32[1, C, N or N * C]; x may share storage with y
// grid: groups(n / strip); a workgroup takes `strip` neighbouring elements, its lanes interleave
// cost: two loads, one product and one store an element
override WG: u32 = 64u;

struct Args { n: u32, strip: u32, sample: u32, channels: u32, step_n: u32, step_c: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.y * nwg.x + wid.x;
  let end = min(args.n, (group + 1u) * args.strip);
  for (var i = group * args.strip + lid.x; i < end; i += WG) {
    y[i] = x[i] * scale[i / args.sample * args.step_n + i % args.channels * args.step_c];
  }
}
