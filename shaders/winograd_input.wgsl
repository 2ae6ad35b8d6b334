// computes: v[i][j] = (B^T d B)[i][j] for the ALPHA x ALPHA source pixels d under each tile of M x M target pixels;
//           narrow tiles have one pixel less by axis
// source: Lavin and Gray, arXiv:1509.09308
// bindings: x [N,H,W,C], v = planes of [tiles, C]
// grid: invocations(tiles*C/4): tiles tile0.. of this shape, four channels each
// cost: ALPHA^2 words read and written a tile and channel
#import winograd_tiles
#import rounds
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
  // Column by column, then row by row.
#for i in ALPHA_H
#for s in ALPHA_W
  var r_t{i}_{s} = vec4f(0.0);
#endfor
#endfor
  let columns = rounds(ALPHA_W, nwg);
  for (var s = 0u; s < columns; s++) {
#for k in ALPHA_H
    let inside{k} = top + {k}u < args.h && left + s < args.w;
    let at{k} = ((tile.n * args.h + top + {k}u) * args.w + left + s) * args.c4 + tile.c;
    let r_d{k} = select(vec4f(0.0), x[select(0u, at{k}, inside{k})], inside{k});
#endfor
#for i in ALPHA_H
    var r_c{i} = vec4f(0.0);
#for k in ALPHA_H
    r_c{i} += BT_H[{i}u * ALPHA_H + {k}u] * r_d{k};
#endfor
#for s in ALPHA_W
    if (s == {s}u) { r_t{i}_{s} = r_c{i}; }
#endfor
#endfor
  }
  let rows = rounds(ALPHA_H, nwg);
  for (var row = 0u; row < rows; row++) {
#for s in ALPHA_W
    var r_r{s} = r_t0_{s};
#for i in ALPHA_H
    r_r{s} = select(r_r{s}, r_t{i}_{s}, row == {i}u);
#endfor
#endfor
#for j in ALPHA_W
    var r_v{j} = vec4f(0.0);
#for k in ALPHA_W
    r_v{j} += BT_W[{j}u * ALPHA_W + {k}u] * r_r{k};
#endfor
    v[place(row, {j}u) + i] = r_v{j};
#endfor
  }
}
