// computes: d[i][j] = (A dy A^T)[i][j], the adjoint of winograd_output.wgsl: what a tile of M x M gradients means for its products
// source: the transpose of Lavin and Gray, arXiv:1509.09308
// bindings: dy [N,H,W,C], d [ALPHA, ALPHA, tiles, C]
// grid: invocations(tiles*C/4): tiles tile0.. of the batch, four channels each
// cost: M^2 words read and ALPHA^2 written a tile and channel
#import winograd
override WG: u32 = 64u;

struct Args {
  tile0: u32, tiles: u32, tiles_h: u32, tiles_w: u32, h: u32, w: u32, c4: u32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> dy: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> d: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.tiles * args.c4) { return; }
  let t = i / args.c4;
  let c = i - t * args.c4;
  let tile = args.tile0 + t;
  let line = tile / args.tiles_w;
  let n = line / args.tiles_h;
  // Target pixels behind the edge have no gradient.
  let top = (line - n * args.tiles_h) * M;
  let left = (tile - line * args.tiles_w) * M;
#for r in M
  let row{r} = (n * args.h + top + {r}u) * args.w * args.c4;
  let column{r} = (left + {r}u) * args.c4 + c;
#endfor
#for r in M
#for s in M
  let inside{r}_{s} = top + {r}u < args.h && left + {s}u < args.w;
  let r_dy{r}_{s} = select(vec4f(0.0), dy[select(0u, row{r} + column{s}, inside{r}_{s})], inside{r}_{s});
#endfor
#endfor
#for i in ALPHA
#for s in M
  var r_t{i}_{s} = vec4f(0.0);
#for k in M
  r_t{i}_{s} += AT[{k}u * ALPHA + {i}u] * r_dy{k}_{s};
#endfor
#endfor
#endfor
#for i in ALPHA
#for j in ALPHA
  var r_d{i}_{j} = vec4f(0.0);
#for k in M
  r_d{i}_{j} += AT[{k}u * ALPHA + {j}u] * r_t{i}_{k};
#endfor
#endfor
#endfor
  let plane = args.tiles * args.c4;
#for i in ALPHA
#for j in ALPHA
  d[({i}u * ALPHA + {j}u) * plane + i] = r_d{i}_{j};
#endfor
#endfor
}
