// computes: v[i][j] = (B^T d B)[i][j] for the ALPHA x ALPHA source pixels d under each tile of M x M target pixels;
//           narrow tiles have one pixel less by axis
// source: Lavin and Gray, arXiv:1509.09308
// bindings: x [N,H,W,C], v = planes of [tiles, C]
// grid: invocations(tiles*C/4): tiles tile0.. of this shape, four channels each
// cost: ALPHA^2 words read and written a tile and channel
#import winograd_tiles
override WG: u32 = 64u;

struct Args {
  tile0: u32, tiles: u32, tiles_h: u32, tiles_w: u32, first_h: u32, first_w: u32, h: u32, w: u32, c4: u32,
  every: u32, every_plane: u32, tall: u32, tall_plane: u32, broad: u32, broad_plane: u32, corner: u32,
  pad_h: u32, pad_w: u32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.tiles * args.c4) { return; }
  let tile = tile_of(i);
  // Zero outside the image; unsigned wrap-around makes positions left of it huge.
  let top = tile.top - args.pad_h;
  let left = tile.left - args.pad_w;
#for r in ALPHA_H
  let row{r} = (tile.n * args.h + top + {r}u) * args.w * args.c4;
#endfor
#for s in ALPHA_W
  let column{s} = (left + {s}u) * args.c4 + tile.c;
#endfor
#for r in ALPHA_H
#for s in ALPHA_W
  let inside{r}_{s} = top + {r}u < args.h && left + {s}u < args.w;
  let r_d{r}_{s} = select(vec4f(0.0), x[select(0u, row{r} + column{s}, inside{r}_{s})], inside{r}_{s});
#endfor
#endfor
#for i in ALPHA_H
#for s in ALPHA_W
  var r_t{i}_{s} = vec4f(0.0);
#for k in ALPHA_H
  r_t{i}_{s} += BT_H[{i}u * ALPHA_H + {k}u] * r_d{k}_{s};
#endfor
#endfor
#endfor
#for i in ALPHA_H
#for j in ALPHA_W
  var r_v{i}_{j} = vec4f(0.0);
#for k in ALPHA_W
  r_v{i}_{j} += BT_W[{j}u * ALPHA_W + {k}u] * r_t{i}_{k};
#endfor
#endfor
#endfor
#for i in ALPHA_H
#for j in ALPHA_W
  v[place({i}u, {j}u) + i] = r_v{i}_{j};
#endfor
#endfor
}
