// computes: dw = G^T du G, the adjoint of winograd_filter.wgsl
// source: the transpose of Lavin and Gray, arXiv:1509.09308
// bindings: du = ALPHA^2 planes of [K, C], dw [K,R,R,C]
// grid: invocations(K*C/4): one filter, four channels each
// cost: ALPHA^2 words read and R^2 written a filter and channel
#import winograd
override WG: u32 = 64u;

struct Args { k: u32, c4: u32, plane: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> du: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> dw: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.k * args.c4) { return; }
  let k = i / args.c4;
  let c = i - k * args.c4;
#for i in ALPHA
#for j in ALPHA
  let r_u{i}_{j} = du[plane({i}u, {j}u) * args.plane + i];
#endfor
#endfor
#for i in R
#for s in ALPHA
  var r_t{i}_{s} = vec4f(0.0);
#for k in ALPHA
  r_t{i}_{s} += G[{k}u * R + {i}u] * r_u{k}_{s};
#endfor
#endfor
#endfor
#for i in R
#for j in R
  var r_w{i}_{j} = vec4f(0.0);
#for k in ALPHA
  r_w{i}_{j} += G[{k}u * R + {j}u] * r_t{i}_{k};
#endfor
#endfor
#endfor
#for r in R
#for s in R
  dw[(k * R * R + {r}u * R + {s}u) * args.c4 + c] = r_w{r}_{s};
#endfor
#endfor
}
