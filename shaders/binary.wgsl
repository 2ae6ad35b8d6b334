// computes: y = a + b, or y = a * b with MUL
// source: PyTorch torch.add, torch.mul
// bindings: a b y vec4f[n]; a and b may share storage with y
// grid: groups(n / strip); a workgroup takes `strip` neighbouring vec4s, its lanes interleave
// cost: 4 FLOP and 48 bytes a vec4
override WG: u32 = 64u;

struct Args { n: u32, strip: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.y * nwg.x + wid.x;
  let end = min(args.n, (group + 1u) * args.strip);
  for (var i = group * args.strip + lid.x; i < end; i += WG) {
#ifdef MUL
    y[i] = a[i] * b[i];
#else
    y[i] = a[i] + b[i];
#endif
  }
}
