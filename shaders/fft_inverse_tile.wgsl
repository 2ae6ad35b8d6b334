// computes: y = act(z + bias + residual), z the inverse transform of each tile (columns, then rows), of which ROWS rows and `columns`
//           columns from `skip_h` and `skip` on are kept: what fft_inverse_columns and fft_inverse_rows compute, with the
//           spectra of the rows in workgroup memory
// source: Stockham 1966 (lib/fft.wgsl); Vasilache et al., arXiv:1412.7580
// bindings: m = planes of [tiles, 2C], or with FILTER of [2 tiles, 2C]; y = target [N,H,W,C], bias, residual
// grid: groups(tiles*ceil(C/WORDS)): WORDS words of channels of a tile each, HALF*WORDS invocations; tiles tile0.. of the batch
// cost: 2*T*HALF words read, 4*T*HALF with FILTER, and ROWS*columns written for each tile and word of channels
#import fft
#import fft_store_rows
#import fft_planes
override WORDS: u32 = 2u;
override ROWS: u32 = 16u;

struct Args {
  tile0: u32, tiles: u32, tiles_h: u32, tiles_w: u32, h: u32, w: u32, c: u32, plane: u32,
  rows: u32, columns: u32, skip: u32, skip_h: u32, slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> m: array<Word>;
@group(0) @binding(2) var<storage, read_write> y: array<Word>;

// [ROWS, HALF, 2, WORDS]
var<workgroup> s_rows: array<Word, ROWS * HALF * 2 * WORDS>;

@compute @workgroup_size(HALF * WORDS)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let blocks = (args.c + WORDS - 1u) / WORDS;
  let group = wid.y * nwg.x + wid.x;
  if (group >= args.tiles * blocks) { return; }
  let t = group / blocks;
  let line = lid.x / WORDS;
  let word = lid.x - line * WORDS;
  let c = (group - t * blocks) * WORDS + word;
  if (c < args.c) {
    let r_s = fft(load_column(t, line, c));
    let at = line * 2u * WORDS + word;
#for r in T
    if ({r}u - args.skip_h < ROWS) {
      s_rows[at + ({r}u - args.skip_h) * HALF * 2u * WORDS] = r_s.re[{r}u];
      s_rows[at + (({r}u - args.skip_h) * HALF * 2u + 1u) * WORDS] = r_s.im[{r}u];
    }
#endfor
  }
  workgroupBarrier();
  let row = line * 2u;
  if (row < ROWS && c < args.c) {
    let upper = row * HALF * 2u * WORDS + word;
    let lower = upper + select(0u, HALF * 2u * WORDS, row + 1u < ROWS);
    var r_z: Line;
#for k in HALF
    let a_re{k} = s_rows[upper + {k}u * 2u * WORDS];
    let a_im{k} = s_rows[upper + ({k}u * 2u + 1u) * WORDS];
    let b_re{k} = s_rows[lower + {k}u * 2u * WORDS];
    let b_im{k} = s_rows[lower + ({k}u * 2u + 1u) * WORDS];
    // The first and the last are their own mirror images, so the other half is written first.
    r_z.re[(T - {k}u) % T] = a_re{k} + b_im{k};
    r_z.im[(T - {k}u) % T] = b_re{k} - a_im{k};
    r_z.re[{k}u] = a_re{k} - b_im{k};
    r_z.im[{k}u] = a_im{k} + b_re{k};
#endfor
    store_rows(fft(r_z), t, row, c);
  }
}
