// computes: cols[g][m - m0][r][s][c] = x[n, h, w, g*Cg + c] or 0 in the padding, for output pixels m0 <= m < m0 + rows
// source: Chellapilla et al. 2006
// bindings: x [N,H,W,C], cols [groups, rows, R, S, Cg]; vec4 over c with VECTOR
// grid: invocations(rows*ceil(R*S/TAPS)), z = group
// cost: rows*R*S*Cg words read and written
override WG: u32 = 64u;
// Taps one invocation copies.
override TAPS: u32 = 1u;

struct Args {
  m0: u32, rows: u32, c: u32, cg: u32, h: u32, w: u32, p: u32, q: u32, r: u32, s: u32,
  stride_h: u32, stride_w: u32, pad_h: u32, pad_w: u32, dil_h: u32, dil_w: u32,
}
@group(0) @binding(0) var<uniform> args: Args;
// Extents along c are counted in elements of these arrays.
#ifdef VECTOR
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> cols: array<vec4f>;
const ZERO = vec4f(0.0);
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> cols: array<f32>;
const ZERO = 0.0;
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  let taps = args.r * args.s;
  let parts = (taps + TAPS - 1u) / TAPS;
  if (i >= args.rows * parts) { return; }
  let row = i / parts;
  let m = args.m0 + row;
  let line = m / args.q;
  let n = line / args.p;
  let top = (line - n * args.p) * args.stride_h - args.pad_h;
  let left = (m - line * args.q) * args.stride_w - args.pad_w;
  let first = (i - row * parts) * TAPS;
  var r = first / args.s;
  var s = first - r * args.s;
  for (var tap = first; tap < min(first + TAPS, taps); tap++) {
    // Unsigned wrap-around makes positions left of the image huge, so one comparison a side is enough.
    let h = top + r * args.dil_h;
    let w = left + s * args.dil_w;
    let inside = h < args.h && w < args.w;
    let origin = select(0u, ((n * args.h + h) * args.w + w) * args.c + wid.z * args.cg, inside);
    let to = ((wid.z * args.rows + row) * taps + tap) * args.cg;
    for (var c = 0u; c < args.cg; c++) { cols[to + c] = select(ZERO, x[origin + c], inside); }
    s += 1u;
    if (s == args.s) { s = 0u; r += 1u; }
  }
}
