// computes: the first half of the spectrum of every row of each tile of T x T pixels; beyond the image, and beyond the ROWS x
//           COLUMNS pixels that the tile takes from it, the rows are zero. Two real rows are one complex transform:
//           of z = a + ib, A[k] = (Z[k] + conj Z[-k]) / 2 and B[k] = (Z[k] - conj Z[-k]) / 2i
// source: Stockham 1966 (lib/fft.wgsl); Mathieu, Henaff and LeCun, arXiv:1312.5851; Vasilache et al., arXiv:1412.7580
// bindings: x [N,H,W,C], spectrum [tiles, HALF, ROWS, 2, C] with real and imaginary parts side by side
// grid: invocations(tiles*ceil(ROWS/2)*C): two rows, one word of channels each; tiles tile0.. of the batch
// cost: 2*T words read and 4*HALF written an invocation
#import fft
#import fft_load_rows
override WG: u32 = 64u;
override ROWS: u32 = 16u;
override COLUMNS: u32 = 16u;

struct Args {
  tile0: u32, tiles: u32, tiles_h: u32, tiles_w: u32, step_h: u32, step_w: u32, h: u32, w: u32, c: u32,
  pad_h: u32, pad_w: u32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<Word>;
@group(0) @binding(2) var<storage, read_write> spectrum: array<Word>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  const PAIRS = (ROWS + 1u) / 2u;
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.tiles * PAIRS * args.c) { return; }
  let line = i / args.c;
  let c = i - line * args.c;
  let t = line / PAIRS;
  let row = (line - t * PAIRS) * 2u;
  let r_s = fft(load_rows(t, row, c));
  let part = args.c;
  let at = (t * HALF * ROWS + row) * 2u * part + c;
#for k in HALF
  spectrum[at + {k}u * ROWS * 2u * part] = 0.5 * (r_s.re[{k}u] + r_s.re[(T - {k}u) % T]);
  spectrum[at + ({k}u * ROWS * 2u + 1u) * part] = 0.5 * (r_s.im[{k}u] - r_s.im[(T - {k}u) % T]);
#endfor
  if (row + 1u < ROWS) {
#for k in HALF
    spectrum[at + ({k}u * ROWS * 2u + 2u) * part] = 0.5 * (r_s.im[{k}u] + r_s.im[(T - {k}u) % T]);
    spectrum[at + ({k}u * ROWS * 2u + 3u) * part] = 0.5 * (r_s.re[(T - {k}u) % T] - r_s.re[{k}u]);
#endfor
  }
}
