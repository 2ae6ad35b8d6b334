// computes: the spectrum of each tile from the spectra of its first ROWS rows, the others being zero, as one matrix for each of
//           the T*HALF frequencies. A tile's row holds the real parts of all channels, then the imaginary parts. A filter f
//           gets two rows, (re f, im f) and (-im f, re f): the real product with this matrix, transposed, is the
//           complex product with the conjugate of f, and not transposed the product with f
// source: Stockham 1966 (lib/fft.wgsl); Vasilache et al., arXiv:1412.7580
// bindings: spectrum [tiles, HALF, ROWS, 2, C], v = planes of [tiles, 2C], or with FILTER of [2 tiles, 2C]
// grid: invocations(tiles*HALF*C): one column, one word of channels each
// cost: 2*ROWS words read and 2*T written an invocation, 4*T with FILTER
#import fft
#import fft_planes
override WG: u32 = 64u;
override ROWS: u32 = 16u;

struct Args { tiles: u32, c: u32, plane: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> spectrum: array<Word>;
@group(0) @binding(2) var<storage, read_write> v: array<Word>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.tiles * HALF * args.c) { return; }
  let line = i / args.c;
  let c = i - line * args.c;
  let t = line / HALF;
  let column = line - t * HALF;
  let start = line * ROWS * 2u * args.c + c;
  var r_z: Line;
#for r in ROWS
  r_z.re[{r}u] = spectrum[start + {r}u * 2u * args.c];
  r_z.im[{r}u] = spectrum[start + ({r}u * 2u + 1u) * args.c];
#endfor
  let r_s = fft(r_z);
  store_column(r_s, t, column, c);
}
