// computes: y = keep * running + take * batch: the moving average of a statistic; y = running where that is no finite number
// source: PyTorch torch.nn.BatchNorm2d
// bindings: running batch y vec4f[n]; running may share storage with y
// grid: invocations(n)
// cost: 48 bytes an invocation
override WG: u32 = 64u;

struct Args { n: u32, keep: f32, take: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> running: array<vec4f>;
@group(0) @binding(2) var<storage, read> batch: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.n) { return; }
  let moved = args.keep * running[i] + args.take * batch[i];
  // On bits: a compiler may take for granted that there is no NaN.
  let exponent = vec4u(0x7f800000u);
  y[i] = select(running[i], moved, (bitcast<vec4u>(moved) & exponent) != exponent);
}
