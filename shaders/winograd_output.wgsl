// computes: y = act(A^T m A + bias + residual), the M x M target pixels of each tile
// source: Lavin and Gray, arXiv:1509.09308
// bindings: m = planes of [tiles, C], y = target [N,H,W,C], bias, residual
// grid: invocations(tiles*C/4): tiles tile0.. of this shape, four channels each
// cost: ALPHA^2 words read and M^2 written a tile and channel
#import winograd_tiles
#import rounds
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
  // Column by column, then row by row.
#for i in M_H
#for s in ALPHA_W
  var r_t{i}_{s} = vec4f(0.0);
#endfor
#endfor
  let columns = rounds(ALPHA_W, nwg);
  for (var s = 0u; s < columns; s++) {
#for k in ALPHA_H
    let r_m{k} = m[place({k}u, s) + i];
#endfor
#for i in M_H
    var r_c{i} = vec4f(0.0);
#for k in ALPHA_H
    r_c{i} += AT_H[{i}u * ALPHA_H + {k}u] * r_m{k};
#endfor
#for s in ALPHA_W
    if (s == {s}u) { r_t{i}_{s} = r_c{i}; }
#endfor
#endfor
  }
  let rows = rounds(M_H, nwg);
  for (var row = 0u; row < rows; row++) {
#for s in ALPHA_W
    var r_r{s} = r_t0_{s};
#for i in M_H
    r_r{s} = select(r_r{s}, r_t{i}_{s}, row == {i}u);
#endfor
#endfor
#for j in M_W
    var r_y{j} = vec4f(0.0);
#for k in ALPHA_W
    r_y{j} += AT_W[{j}u * ALPHA_W + {k}u] * r_r{k};
#endfor
    if (tile.top + row < args.h && tile.left + {j}u < args.w) {
      let at = ((tile.n * args.h + tile.top + row) * args.w + tile.left + {j}u) * args.c4 + tile.c;
      y[at] = epilogue(r_y{j}, tile.c * 4u, at * 4u, 4u);
    }
#endfor
  }
}
