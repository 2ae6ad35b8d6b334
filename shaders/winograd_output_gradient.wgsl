// computes: d[i][j] = (A dy A^T)[i][j], the adjoint of winograd_output.wgsl: what a tile of M x M gradients means for its products
// source: the transpose of Lavin and Gray, arXiv:1509.09308
// bindings: dy [N,H,W,C], d = planes of [tiles, C]
// grid: invocations(tiles*C/4): tiles tile0.. of this shape, four channels each
// cost: M^2 words read and ALPHA^2 written a tile and channel
#import winograd_tiles
override WG: u32 = 64u;

struct Args {
  tile0: u32, tiles: u32, tiles_h: u32, tiles_w: u32, first_h: u32, first_w: u32, h: u32, w: u32, c4: u32,
  every: u32, every_plane: u32, tall: u32, tall_plane: u32, broad: u32, broad_plane: u32, corner: u32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> dy: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> d: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.tiles * args.c4) { return; }
  let tile = tile_of(i);
  // Target pixels behind the edge have no gradient.
#for r in M_H
  let row{r} = (tile.n * args.h + tile.top + {r}u) * args.w * args.c4;
#endfor
#for s in M_W
  let column{s} = (tile.left + {s}u) * args.c4 + tile.c;
#endfor
#for r in M_H
#for s in M_W
  let inside{r}_{s} = tile.top + {r}u < args.h && tile.left + {s}u < args.w;
  let r_dy{r}_{s} = select(vec4f(0.0), dy[select(0u, row{r} + column{s}, inside{r}_{s})], inside{r}_{s});
#endfor
#endfor
#for i in ALPHA_H
#for s in M_W
  var r_t{i}_{s} = vec4f(0.0);
#for k in M_H
  r_t{i}_{s} += AT_H[{k}u * ALPHA_H + {i}u] * r_dy{k}_{s};
#endfor
#endfor
#endfor
#for i in ALPHA_H
#for j in ALPHA_W
  var r_d{i}_{j} = vec4f(0.0);
#for k in M_W
  r_d{i}_{j} += AT_W[{k}u * ALPHA_W + {j}u] * r_t{i}_{k};
#endfor
#endfor
#endfor
#for i in ALPHA_H
#for j in ALPHA_W
  d[place({i}u, {j}u) + i] = r_d{i}_{j};
#endfor
#endfor
}
