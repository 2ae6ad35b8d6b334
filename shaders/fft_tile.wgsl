// computes: the spectrum of each tile of T x T pixels (rows, then columns), as one matrix for each of the T*HALF frequencies: what
//           fft_rows and fft_columns compute, with the spectra of the rows in workgroup memory
// source: Stockham 1966 (lib/fft.wgsl); Mathieu, Henaff and LeCun, arXiv:1312.5851; Vasilache et al., arXiv:1412.7580
// bindings: x [N,H,W,C], v = planes of [tiles, 2C], or with FILTER of [2 tiles, 2C]
// grid: groups(tiles*ceil(C/WORDS)): WORDS words of channels of a tile each, HALF*WORDS invocations; tiles tile0.. of the batch
// cost: ROWS*COLUMNS words read and 2*T*HALF written, 4*T*HALF with FILTER, for each tile and word of channels
#import fft
#import fft_load_rows
#import fft_planes
override WORDS: u32 = 2u;
override ROWS: u32 = 16u;
override COLUMNS: u32 = 16u;

struct Args {
  tile0: u32, tiles: u32, tiles_h: u32, tiles_w: u32, step_h: u32, step_w: u32, h: u32, w: u32, c: u32,
  pad_h: u32, pad_w: u32, plane: u32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<Word>;
@group(0) @binding(2) var<storage, read_write> v: array<Word>;

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
  let row = line * 2u;
  if (row < ROWS && c < args.c) {
    let r_s = fft(load_rows(t, row, c));
    let at = row * HALF * 2u * WORDS + word;
#for k in HALF
    s_rows[at + {k}u * 2u * WORDS] = 0.5 * (r_s.re[{k}u] + r_s.re[(T - {k}u) % T]);
    s_rows[at + ({k}u * 2u + 1u) * WORDS] = 0.5 * (r_s.im[{k}u] - r_s.im[(T - {k}u) % T]);
#endfor
    if (row + 1u < ROWS) {
#for k in HALF
      s_rows[at + (HALF + {k}u) * 2u * WORDS] = 0.5 * (r_s.im[{k}u] + r_s.im[(T - {k}u) % T]);
      s_rows[at + ((HALF + {k}u) * 2u + 1u) * WORDS] = 0.5 * (r_s.re[(T - {k}u) % T] - r_s.re[{k}u]);
#endfor
    }
  }
  workgroupBarrier();
  if (c < args.c) {
    let at = line * 2u * WORDS + word;
    var r_z: Line;
#for r in ROWS
    r_z.re[{r}u] = s_rows[at + {r}u * HALF * 2u * WORDS];
    r_z.im[{r}u] = s_rows[at + ({r}u * HALF * 2u + 1u) * WORDS];
#endfor
    store_column(fft(r_z), t, line, c);
  }
}
