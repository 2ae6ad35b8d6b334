// computes: y = a chain of up to eight pointwise steps on x; step i adds (KIND 1) or multiplies with (2) a tensor b{i}, scales
//   by number{i} (3), applies activation ACT{i} (4), or multiplies with its derivative, which follows from b{i} (5)
// source: the steps' own kernels: binary, scale, activation, activation_backward
// bindings: x b0 to b7 y vec4f[n]; x and each b may share storage with y
// grid: groups(n / strip); a workgroup takes `strip` neighbouring vec4s, its lanes interleave
// cost: 32 bytes a vec4 and 16 for each tensor
#import activation
override WG: u32 = 64u;
#for i in 8
override KIND{i}: u32 = 0u;
override ACT{i}: u32 = 0u;
#endfor

struct Args {
  n: u32, strip: u32,
#for i in 8
  number{i}: f32,
#endfor
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
#for i in 8
#ifdef B{i}
@group(0) @binding(1{i}) var<storage, read> b{i}: array<vec4f>;
#endif
#endfor

fn step(kind: u32, code: u32, v: vec4f, b: vec4f, number: f32) -> vec4f {
  if (kind == 1u) { return v + b; }
  if (kind == 2u) { return v * b; }
  if (kind == 3u) { return v * number; }
  if (kind == 4u) { return activate_as(code, v, number); }
  if (kind == 5u) { return v * derivative_as(code, b, number); }
  return v;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.y * nwg.x + wid.x;
  let end = min(args.n, (group + 1u) * args.strip);
  for (var i = group * args.strip + lid.x; i < end; i += WG) {
    var v = x[i];
#for s in 8
#ifdef B{s}
    v = step(KIND{s}, ACT{s}, v, b{s}[i], args.number{s});
#else
    v = step(KIND{s}, ACT{s}, v, vec4f(), args.number{s});
#endif
#endfor
    y[i] = v;
  }
}
