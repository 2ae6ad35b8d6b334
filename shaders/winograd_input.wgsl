// computes: v[i][j] = (B^T d B)[i][j] for the ALPHA x ALPHA source pixels d under each tile of M x M target pixels
// source: Lavin and Gray, arXiv:1509.09308
// bindings: x [N,H,W,C], v [ALPHA, ALPHA, tiles, C]
// grid: invocations(tiles*C/4): tiles tile0.. of the batch, four channels each
// cost: ALPHA^2 words read and written a tile and channel
#import winograd
override WG: u32 = 64u;

struct Args {
  tile0: u32, tiles: u32, tiles_h: u32, tiles_w: u32, h: u32, w: u32, c4: u32, pad_h: u32, pad_w: u32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.tiles * args.c4) { return; }
  let t = i / args.c4;
  let c = i - t * args.c4;
  let tile = args.tile0 + t;
  let line = tile / args.tiles_w;
  let n = line / args.tiles_h;
  // Zero outside the image; unsigned wrap-around makes positions left of it huge.
  let top = (line - n * args.tiles_h) * M - args.pad_h;
  let left = (tile - line * args.tiles_w) * M - args.pad_w;
#for r in ALPHA
  let row{r} = (n * args.h + top + {r}u) * args.w * args.c4;
  let column{r} = (left + {r}u) * args.c4 + c;
#endfor
#for r in ALPHA
#for s in ALPHA
  let inside{r}_{s} = top + {r}u < args.h && left + {s}u < args.w;
  let r_d{r}_{s} = select(vec4f(0.0), x[select(0u, row{r} + column{s}, inside{r}_{s})], inside{r}_{s});
#endfor
#endfor
#for i in ALPHA
#for s in ALPHA
  var r_t{i}_{s} = vec4f(0.0);
#for k in ALPHA
  r_t{i}_{s} += BT[{i}u * ALPHA + {k}u] * r_d{k}_{s};
#endfor
#endfor
#endfor
#for i in ALPHA
#for j in ALPHA
  var r_v{i}_{j} = vec4f(0.0);
#for k in ALPHA
  r_v{i}_{j} += BT[{j}u * ALPHA + {k}u] * r_t{i}_{k};
#endfor
#endfor
#endfor
  let plane = args.tiles * args.c4;
#for i in ALPHA
#for j in ALPHA
  v[({i}u * ALPHA + {j}u) * plane + i] = r_v{i}_{j};
#endfor
#endfor
}
