// computes: u[i][j] = (G g G^T)[i][j] for each R x R filter g; with FLIP the filter is turned by half a circle first, as the
//           input gradient wants it
// source: Lavin and Gray, arXiv:1509.09308
// bindings: w [K,R,R,C], u = ALPHA^2 planes of [K, C]
// grid: invocations(K*C/4): one filter, four channels each
// cost: R^2 words read and ALPHA^2 written a filter and channel
//
// Written out, unlike the other transforms: rolled (lib/rounds.wgsl) it gives other last bits, and compiles in 0.06 instead of 0.15 s.
#import winograd
override WG: u32 = 64u;

struct Args { k: u32, c4: u32, plane: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> w: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> u: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.k * args.c4) { return; }
  let k = i / args.c4;
  let c = i - k * args.c4;
#for r in R
#for s in R
#ifdef FLIP
  let r_g{r}_{s} = w[(k * R * R + (R - 1u - {r}u) * R + R - 1u - {s}u) * args.c4 + c];
#else
  let r_g{r}_{s} = w[(k * R * R + {r}u * R + {s}u) * args.c4 + c];
#endif
#endfor
#endfor
#for i in ALPHA
#for s in R
  var r_t{i}_{s} = vec4f(0.0);
#for k in R
  r_t{i}_{s} += G[{i}u * R + {k}u] * r_g{k}_{s};
#endfor
#endfor
#endfor
#for i in ALPHA
#for j in ALPHA
  var r_u{i}_{j} = vec4f(0.0);
#for k in R
  r_u{i}_{j} += G[{j}u * R + {k}u] * r_t{i}_{k};
#endfor
#endfor
#endfor
#for i in ALPHA
#for j in ALPHA
  u[plane({i}u, {j}u) * args.plane + i] = r_u{i}_{j};
#endfor
#endfor
}
