// computes: y = act(A^T m A + bias + residual), the M x M target pixels of each tile
// source: Lavin and Gray, arXiv:1509.09308
// bindings: m = planes of [tiles, C], y = target [N,H,W,C], bias, residual
// grid: invocations(tiles*C/4): tiles tile0.. of this shape, four channels each
// cost: ALPHA^2 words read and M^2 written a tile and channel
#import winograd_tiles
#import epilogue
override WG: u32 = 64u;

struct Args {
  tile0: u32, tiles: u32, tiles_h: u32, tiles_w: u32, first_h: u32, first_w: u32, h: u32, w: u32, c4: u32,
  every: u32, every_plane: u32, tall: u32, tall_plane: u32, broad: u32, broad_plane: u32, corner: u32, slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> m: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.tiles * args.c4) { return; }
  let tile = tile_of(i);
#for i in ALPHA_H
#for j in ALPHA_W
  let r_m{i}_{j} = m[place({i}u, {j}u) + i];
#endfor
#endfor
#for i in M_H
#for s in ALPHA_W
  var r_t{i}_{s} = vec4f(0.0);
#for k in ALPHA_H
  r_t{i}_{s} += AT_H[{i}u * ALPHA_H + {k}u] * r_m{k}_{s};
#endfor
#endfor
#endfor
#for i in M_H
#for j in M_W
  var r_y{i}_{j} = vec4f(0.0);
#for k in ALPHA_W
  r_y{i}_{j} += AT_W[{j}u * ALPHA_W + {k}u] * r_t{i}_{k};
#endfor
#endfor
#endfor
#for i in M_H
  let row{i} = (tile.n * args.h + tile.top + {i}u) * args.w * args.c4;
#endfor
#for j in M_W
  let column{j} = (tile.left + {j}u) * args.c4 + tile.c;
#endfor
#for i in M_H
#for j in M_W
  if (tile.top + {i}u < args.h && tile.left + {j}u < args.w) {
    y[row{i} + column{j}] = epilogue(r_y{i}_{j}, tile.c * 4u, (row{i} + column{j}) * 4u, 4u);
  }
#endfor
#endfor
}
