// computes: d[i][j] = (A dy A^T)[i][j], the adjoint of winograd_output.wgsl: what a tile of M x M gradients means for its products
// source: the transpose of Lavin and Gray, arXiv:1509.09308
// bindings: dy [N,H,W,C], d = planes of [tiles, C]
// grid: invocations(tiles*C/4): tiles tile0.. of this shape, four channels each
// cost: M^2 words read and ALPHA^2 written a tile and channel
#import winograd_tiles
#import rounds
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
  // Column by column, then row by row.
#for i in ALPHA_H
#for s in M_W
  var r_t{i}_{s} = vec4f(0.0);
#endfor
#endfor
  let columns = rounds(M_W, nwg);
  for (var s = 0u; s < columns; s++) {
#for k in M_H
    // Target pixels behind the edge have no gradient.
    let inside{k} = tile.top + {k}u < args.h && tile.left + s < args.w;
    let at{k} = ((tile.n * args.h + tile.top + {k}u) * args.w + tile.left + s) * args.c4 + tile.c;
    let r_dy{k} = select(vec4f(0.0), dy[select(0u, at{k}, inside{k})], inside{k});
#endfor
#for i in ALPHA_H
    var r_c{i} = vec4f(0.0);
#for k in M_H
    r_c{i} += AT_H[{k}u * ALPHA_H + {i}u] * r_dy{k};
#endfor
#for s in M_W
    if (s == {s}u) { r_t{i}_{s} = r_c{i}; }
#endfor
#endfor
  }
  let rows = rounds(ALPHA_H, nwg);
  for (var row = 0u; row < rows; row++) {
#for s in M_W
    var r_r{s} = r_t0_{s};
#for i in ALPHA_H
    r_r{s} = select(r_r{s}, r_t{i}_{s}, row == {i}u);
#endfor
#endfor
#for j in ALPHA_W
    var r_d{j} = vec4f(0.0);
#for k in M_W
    r_d{j} += AT_W[{k}u * ALPHA_W + {j}u] * r_r{k};
#endfor
    d[place(row, {j}u) + i] = r_d{j};
#endfor
  }
}
