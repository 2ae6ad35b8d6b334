// computes: along each column of a tile's spectrum, T times the inverse transform; `rows` rows from `skip` on are kept. With FILTER
//           the spectrum is that of a filter's gradient, sum of x conj(dy), from the four real products of their parts
// source: Stockham 1966 (lib/fft.wgsl)
// bindings: m = planes of [tiles, 2C], or with FILTER of [2 tiles, 2C]; spectrum [tiles, rows, HALF, 2, C]
// grid: invocations(tiles*HALF*C): one column, one word of channels each
// cost: 2*T words read, 4*T with FILTER, and 2*rows written an invocation
#import fft
#import fft_planes
override WG: u32 = 64u;

struct Args { tiles: u32, c: u32, plane: u32, rows: u32, skip: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> m: array<Word>;
@group(0) @binding(2) var<storage, read_write> spectrum: array<Word>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.tiles * HALF * args.c) { return; }
  let line = i / args.c;
  let c = i - line * args.c;
  let t = line / HALF;
  let column = line - t * HALF;
  let r_s = fft(load_column(t, column, c));
  let row_words = HALF * 2u * args.c;
  let at = t * args.rows * row_words + column * 2u * args.c + c;
#for r in T
  if ({r}u - args.skip < args.rows) {
    spectrum[at + ({r}u - args.skip) * row_words] = r_s.re[{r}u];
    spectrum[at + ({r}u - args.skip) * row_words + args.c] = r_s.im[{r}u];
  }
#endfor
}
