// computes: y = act(z + bias + residual), z the inverse transform along the rows of each tile, of which `columns` columns from
//           `skip` on are kept. Two real rows come from one complex transform, that of A + iB
// source: Stockham 1966 (lib/fft.wgsl); Vasilache et al., arXiv:1412.7580
// bindings: spectrum [tiles, rows, HALF, 2, C], y = target [N,H,W,C], bias, residual
// grid: invocations(tiles*ceil(rows/2)*C): two rows, one word of channels each; tiles tile0.. of the batch
// cost: 4*HALF words read and 2*columns written an invocation
#import fft
#import fft_store_rows
override WG: u32 = 64u;

struct Args {
  tile0: u32, tiles: u32, tiles_h: u32, tiles_w: u32, h: u32, w: u32, c: u32, rows: u32, columns: u32, skip: u32,
  slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> spectrum: array<Word>;
@group(0) @binding(2) var<storage, read_write> y: array<Word>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  let pairs = (args.rows + 1u) / 2u;
  if (i >= args.tiles * pairs * args.c) { return; }
  let line = i / args.c;
  let c = i - line * args.c;
  let t = line / pairs;
  let row = (line - t * pairs) * 2u;
  let row_words = HALF * 2u * args.c;
  let upper = (t * args.rows + row) * row_words + c;
  let lower = upper + select(0u, row_words, row + 1u < args.rows);
  var r_z: Line;
#for k in HALF
  let a_re{k} = spectrum[upper + {k}u * 2u * args.c];
  let a_im{k} = spectrum[upper + ({k}u * 2u + 1u) * args.c];
  let b_re{k} = spectrum[lower + {k}u * 2u * args.c];
  let b_im{k} = spectrum[lower + ({k}u * 2u + 1u) * args.c];
  // The first and the last are their own mirror images, so the other half is written first.
  r_z.re[(T - {k}u) % T] = a_re{k} + b_im{k};
  r_z.im[(T - {k}u) % T] = b_re{k} - a_im{k};
  r_z.re[{k}u] = a_re{k} - b_im{k};
  r_z.im[{k}u] = a_im{k} + b_re{k};
#endfor
  store_rows(fft(r_z), t, row, c);
}
