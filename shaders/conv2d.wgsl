// computes: conv2d (y from x and w, with epilogue), or with BACKWARD_INPUT its input gradient (dx from dy and w)
// source: implicit GEMM (cuDNN, arXiv:1410.0759); the tile is lib/product.wgsl
// bindings: x = source [N,Hs,Ws,Cs], w [K,R,S,C/groups], y = target [N,Ht,Wt,Ct], bias, residual
// grid: (x, y) = tiles of BM target pixels x BN target channels folded in two dimensions, z = group
// cost: 2*R*S*Cs/groups FLOP a target element; the source is read R*S*Ct/BN times, the filters pixels/BM times
//
// Rows of the product are target pixels, columns target channels, and k runs over taps and source channels. With
// BACKWARD_INPUT and a stride the target pixels are walked phase by phase (all those with equal h % stride and w % stride
// together, a workgroup has one phase): the taps that hit anything are then every stride-th one, and no others are visited.
#ifdef F16_TILES
enable f16;
#endif
#ifdef COOPERATIVE
enable wgpu_cooperative_matrix;
#endif
#import epilogue
#import product
// Constants, so that divisions by them become shifts.
override STRIDE_H: u32 = 1u;
override STRIDE_W: u32 = 1u;

struct Args {
  phase_pixels: u32, phase_tiles: u32, phase_h: u32, phase_w: u32, tiles_c: u32, tap_h: u32, tap_w: u32,
  hs: u32, ws: u32, cs: u32, csg: u32, ht: u32, wt: u32, ct: u32, ctg: u32, r: u32, s: u32,
  pad_h: u32, pad_w: u32, dil_h: u32, dil_w: u32, slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> w: array<vec4f>;
#ifdef Y_VECTOR
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
#else
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
#endif

// First tap and number of taps in a row of this tile's phase, and its offset within the stride.
struct Tile {
  row0: u32, column0: u32, k_begin: u32, k_end: u32,
  group: u32, phase_h: u32, phase_w: u32, r_first: u32, s_first: u32, row_taps: u32,
}

// Of four target pixels the first source row of their image, and the source position of tap (0, 0) before division by the stride;
// of filters the first target channel.
struct Lines { image: vec4u, h: vec4u, w: vec4u, first: u32 }

// Positions outside are huge, by unsigned wrap-around or by this, so that they fail the comparison with the extent.
const NOWHERE: u32 = 0x40000000u;

struct Pixel { n: u32, h: u32, w: u32, exists: bool }

fn pixel_of(tile: Tile, row: u32) -> Pixel {
  let line = row / args.phase_w;
  let n = line / args.phase_h;
#ifdef BACKWARD_INPUT
  let h = (line - n * args.phase_h) * STRIDE_H + tile.phase_h;
  let w = (row - line * args.phase_w) * STRIDE_W + tile.phase_w;
  return Pixel(n, h, w, row < args.phase_pixels && h < args.ht && w < args.wt);
#else
  return Pixel(n, line - n * args.phase_h, row - line * args.phase_w, row < args.phase_pixels);
#endif
}

fn lines_a(tile: Tile, row: u32) -> Lines {
  var lines = Lines(vec4u(0u), vec4u(NOWHERE), vec4u(NOWHERE), 0u);
#for j in 4
  let pixel{j} = pixel_of(tile, row + {j}u);
  if (pixel{j}.exists) {
    lines.image[{j}] = pixel{j}.n * args.hs;
#ifdef BACKWARD_INPUT
    lines.h[{j}] = pixel{j}.h + args.pad_h;
    lines.w[{j}] = pixel{j}.w + args.pad_w;
#else
    lines.h[{j}] = pixel{j}.h * STRIDE_H - args.pad_h;
    lines.w[{j}] = pixel{j}.w * STRIDE_W - args.pad_w;
#endif
  }
#endfor
  return lines;
}

fn lines_b(tile: Tile, column: u32) -> Lines {
  return Lines(vec4u(0u), vec4u(0u), vec4u(0u), column);
}

// Tap and source channel within the group at k.
struct Tap { r: u32, s: u32, c: u32 }
fn tap_of(tile: Tile, k: u32) -> Tap {
  let tap = k / args.csg;
  let line = tap / tile.row_taps;
  return Tap(tile.r_first + line * args.tap_h, tile.s_first + (tap - line * tile.row_taps) * args.tap_w, k - tap * args.csg);
}

fn load_x(at: u32, inside: bool) -> vec4f {
  if (!inside) { return vec4f(0.0); }
  return x[at / 4u];
}

fn load_a(tile: Tile, lines: Lines, k: u32) -> mat4x4f {
  let tap = tap_of(tile, k);
#ifdef BACKWARD_INPUT
  let hp = lines.h - vec4u(tap.r * args.dil_h);
  let wp = lines.w - vec4u(tap.s * args.dil_w);
  let h = hp / vec4u(STRIDE_H);
  let w = wp / vec4u(STRIDE_W);
  let hits = (hp % vec4u(STRIDE_H) == vec4u(0u)) & (wp % vec4u(STRIDE_W) == vec4u(0u));
  let inside = hits & (h < vec4u(args.hs)) & (w < vec4u(args.ws)) & vec4<bool>(k < tile.k_end);
#else
  let h = lines.h + vec4u(tap.r * args.dil_h);
  let w = lines.w + vec4u(tap.s * args.dil_w);
  let inside = (h < vec4u(args.hs)) & (w < vec4u(args.ws)) & vec4<bool>(k < tile.k_end);
#endif
  let at = ((lines.image + h) * args.ws + w) * args.cs + vec4u(tile.group * args.csg + tap.c);
  return transpose(mat4x4f(load_x(at.x, inside.x), load_x(at.y, inside.y), load_x(at.z, inside.z), load_x(at.w, inside.w)));
}

fn load_w(at: u32, inside: bool) -> vec4f {
  if (!inside) { return vec4f(0.0); }
  return w[at / 4u];
}

fn load_b(tile: Tile, lines: Lines, k: u32) -> mat4x4f {
  let tap = tap_of(tile, k);
  let at_tap = tap.r * args.s + tap.s;
  let taps = args.r * args.s;
  var v: mat4x4f;
#for j in 4
#ifdef BACKWARD_INPUT
  let from{j} = tile.group * args.csg + tap.c + {j}u;
  v[{j}] = load_w((from{j} * taps + at_tap) * args.ctg + lines.first, k < tile.k_end && lines.first < args.ctg);
#else
  let to{j} = tile.group * args.ctg + lines.first + {j}u;
  v[{j}] = load_w((to{j} * taps + at_tap) * args.csg + tap.c, k < tile.k_end && lines.first + {j}u < args.ctg);
#endif
#endfor
#ifdef BACKWARD_INPUT
  return v;
#else
  return transpose(v);
#endif
}

fn store(tile: Tile, row: u32, column: u32, value: vec4f) {
  let pixel = pixel_of(tile, row);
  if (!pixel.exists || column >= args.ctg) { return; }
  let channel = tile.group * args.ctg + column;
  let at = ((pixel.n * args.ht + pixel.h) * args.wt + pixel.w) * args.ct + channel;
  let count = min(4u, args.ctg - column);
  let v = epilogue(value, channel, at, count);
#ifdef Y_VECTOR
  y[at / 4u] = v;
#else
  for (var i = 0u; i < count; i++) { y[at + i] = v[i]; }
#endif
}

fn tile_of(wid: vec3u, nwg: vec3u) -> Tile {
  let index = wid.y * nwg.x + wid.x;
  let strip = index / args.tiles_c;
  let column0 = index % args.tiles_c * BN;
#ifdef BACKWARD_INPUT
  let phase = strip / args.phase_tiles;
  let row0 = (strip - phase * args.phase_tiles) * BM;
  let phase_h = phase / STRIDE_W;
  let phase_w = phase % STRIDE_W;
  let r_first = select(0u, (phase_h + args.pad_h) % STRIDE_H, args.tap_h > 1u);
  let s_first = select(0u, (phase_w + args.pad_w) % STRIDE_W, args.tap_w > 1u);
  let lines = (max(args.r, r_first) - r_first + args.tap_h - 1u) / args.tap_h;
  let row_taps = (max(args.s, s_first) - s_first + args.tap_w - 1u) / args.tap_w;
  // The grid is folded and may be larger than the tiles: what lies behind them has no phase and no pixels.
  let first = select(row0, args.phase_pixels, phase >= STRIDE_H * STRIDE_W);
  return Tile(first, column0, 0u, lines * row_taps * args.csg, wid.z, phase_h, phase_w, r_first, s_first, max(row_taps, 1u));
#else
  return Tile(strip * BM, column0, 0u, args.r * args.s * args.csg, wid.z, 0u, 0u, 0u, 0u, args.s);
#endif
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, lane: Lane) {
  product(tile_of(wid, nwg), lane);
}
