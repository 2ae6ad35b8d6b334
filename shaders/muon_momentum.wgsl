// computes: v' = momentum * v + f * g, u = f * g + momentum * v' with f = factor (1 without SCALED); where f is 0, v' = v and u = 0
// source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"
// bindings: g v v_out u vec4f[n], factor f32[1]; v may share storage with v_out
// grid: groups(n / strip); a workgroup takes `strip` neighbouring vec4s, its lanes interleave
// cost: 64 bytes a vec4
override WG: u32 = 64u;

struct Args { n: u32, strip: u32, momentum: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> g: array<vec4f>;
@group(0) @binding(2) var<storage, read> v: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> v_out: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> u: array<vec4f>;
#ifdef SCALED
@group(0) @binding(5) var<storage, read> factor: array<f32>;
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.y * nwg.x + wid.x;
  let end = min(args.n, (group + 1u) * args.strip);
  for (var i = group * args.strip + lid.x; i < end; i += WG) {
    let old = v[i];
#ifdef SCALED
    if (factor[0] == 0.0) {
      v_out[i] = old;
      u[i] = vec4f(0.0);
      continue;
    }
    let gradient = factor[0] * g[i];
#else
    let gradient = g[i];
#endif
    let velocity = args.momentum * old + gradient;
    v_out[i] = velocity;
    u[i] = gradient + args.momentum * velocity;
  }
}
