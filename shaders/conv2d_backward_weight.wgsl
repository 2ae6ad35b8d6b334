// computes: sums over parts of the output pixels of dw = dy^T * windows of x, the filter gradient of conv2d
// source: implicit GEMM (cuDNN, arXiv:1410.0759); the tile is lib/product.wgsl
// bindings: x [N,H,W,C], dy [N,P,Q,K], partial [parts,K,R,S,C/groups]
// grid: (x, y) = tiles of BM filters x BN window elements folded in two dimensions, z = group + groups * part
// cost: 2*N*P*Q FLOP an element of dw; dy is read window/BN times, x R*S*K/BM times
//
// Rows of the product are filters, columns the elements of a window, and k runs over output pixels.
#ifdef F16_TILES
enable f16;
#endif
#ifdef COOPERATIVE
enable wgpu_cooperative_matrix;
#endif
#import product

struct Args {
  pixels: u32, part_pixels: u32, groups: u32, tiles_n: u32,
  k: u32, kg: u32, c: u32, cg: u32, h: u32, w: u32, p: u32, q: u32, r: u32, s: u32,
  pad_h: u32, pad_w: u32, dil_h: u32, dil_w: u32, stride_h: u32, stride_w: u32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4f>;

struct Tile { row0: u32, column0: u32, k_begin: u32, k_end: u32, group: u32, part: u32 }

// The first of four filters; of four window elements, which share a tap, its position and the first channel, or NOWHERE.
struct Lines { first: u32, h: u32, w: u32 }
const NOWHERE: u32 = 0x40000000u;

fn lines_a(tile: Tile, row: u32) -> Lines { return Lines(row, 0u, 0u); }

fn lines_b(tile: Tile, column: u32) -> Lines {
  let tap = column / args.cg;
  let r = tap / args.s;
  let s = tap - r * args.s;
  let h = r * args.dil_h - args.pad_h;
  return Lines(tile.group * args.cg + column - tap * args.cg, select(NOWHERE, h, r < args.r), s * args.dil_w - args.pad_w);
}

fn load_a(tile: Tile, lines: Lines, k: u32) -> mat4x4f {
  var v: mat4x4f;
#for j in 4
  if (lines.first < args.kg && k + {j}u < tile.k_end) {
    v[{j}] = dy[((k + {j}u) * args.k + tile.group * args.kg + lines.first) / 4u];
  }
#endfor
  return v;
}

fn load_b(tile: Tile, lines: Lines, k: u32) -> mat4x4f {
  var v: mat4x4f;
  // The position of pixel k; its neighbours follow by carry, for division is dear.
  let line = k / args.q;
  var n = line / args.p;
  var i = line - n * args.p;
  var j = k - line * args.q;
#for o in 4
  let h{o} = i * args.stride_h + lines.h;
  let w{o} = j * args.stride_w + lines.w;
  if (h{o} < args.h && w{o} < args.w && k + {o}u < tile.k_end) {
    v[{o}] = x[(((n * args.h + h{o}) * args.w + w{o}) * args.c + lines.first) / 4u];
  }
  j += 1u;
  if (j == args.q) { j = 0u; i += 1u; }
  if (i == args.p) { i = 0u; n += 1u; }
#endfor
  return v;
}

fn store(tile: Tile, row: u32, column: u32, value: vec4f) {
  let window = args.r * args.s * args.cg;
  if (row >= args.kg || column >= window) { return; }
  partial[((tile.part * args.k + tile.group * args.kg + row) * window + column) / 4u] = value;
}

fn tile_of(wid: vec3u, nwg: vec3u) -> Tile {
  let index = wid.y * nwg.x + wid.x;
  let part = wid.z / args.groups;
  let k_begin = part * args.part_pixels;
  return Tile(index / args.tiles_n * BM, index % args.tiles_n * BN, k_begin, min(args.pixels, k_begin + args.part_pixels),
              wid.z % args.groups, part);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, lane: Lane) {
  product(tile_of(wid, nwg), lane);
}
