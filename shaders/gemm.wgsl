// computes: y = act(a b + bias + residual) in f32 for a batch of matrices; with k split, the partial sums of each part
// source: Goto and van de Geijn 2008 (blocking); the tile is lib/product.wgsl
// bindings: a [m,k] or [k,m], b [k,n] or [n,k], y [m,n], bias [batch*n], residual like y; rows ld apart
// grid: (x, y) = tiles of BM x BN outputs folded in two dimensions, z = batch * parts of k
// cost: 2*m*n*k FLOP; a is read n/BN times, b m/BM times
#ifdef F16_TILES
enable f16;
#endif
#ifdef COOPERATIVE
enable wgpu_cooperative_matrix;
#endif
#import epilogue
#import product

struct Args {
  m: u32, n: u32, k: u32, k_chunk: u32, batch: u32,
  lda: u32, ldb: u32, ldy: u32, tiles_n: u32,
  a_offset: u32, b_offset: u32, y_offset: u32,
  a_stride: u32, b_stride: u32, y_stride: u32,
  slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
#ifdef A_VECTOR
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
#else
@group(0) @binding(1) var<storage, read> a: array<f32>;
#endif
#ifdef B_VECTOR
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
#else
@group(0) @binding(2) var<storage, read> b: array<f32>;
#endif
#ifdef Y_VECTOR
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
#else
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
#endif

struct Tile {
  row0: u32, column0: u32, k_begin: u32, k_end: u32,
  a_base: u32, b_base: u32, y_base: u32, bias_base: u32,
}
// The first of four rows of a, or columns of b.
struct Lines { first: u32 }
fn lines_a(tile: Tile, row: u32) -> Lines { return Lines(row); }
fn lines_b(tile: Tile, column: u32) -> Lines { return Lines(column); }

// Four neighbours of an operand at `at`, of which the first `count` exist.
fn line_a(at: u32, count: u32) -> vec4f {
  if (count == 0u) { return vec4f(0.0); }
#ifdef A_VECTOR
  return a[at / 4u];
#else
  var v = vec4f(a[at], 0.0, 0.0, 0.0);
  for (var i = 1u; i < count; i++) { v[i] = a[at + i]; }
  return v;
#endif
}
fn line_b(at: u32, count: u32) -> vec4f {
  if (count == 0u) { return vec4f(0.0); }
#ifdef B_VECTOR
  return b[at / 4u];
#else
  var v = vec4f(b[at], 0.0, 0.0, 0.0);
  for (var i = 1u; i < count; i++) { v[i] = b[at + i]; }
  return v;
#endif
}

// How many of four elements from `at` on lie before `end`.
fn count_of(at: u32, end: u32) -> u32 { return min(4u, max(at, end) - at); }

fn load_a(tile: Tile, lines: Lines, k: u32) -> mat4x4f {
  var v: mat4x4f;
#ifdef A_ALONG_K
  let count = count_of(k, tile.k_end);
#for j in 4
  let row{j} = lines.first + {j}u;
  v[{j}] = line_a(tile.a_base + row{j} * args.lda + k, select(0u, count, row{j} < args.m));
#endfor
  return transpose(v);
#else
  let count = count_of(lines.first, args.m);
#for j in 4
  v[{j}] = line_a(tile.a_base + (k + {j}u) * args.lda + lines.first, select(0u, count, k + {j}u < tile.k_end));
#endfor
  return v;
#endif
}

fn load_b(tile: Tile, lines: Lines, k: u32) -> mat4x4f {
  var v: mat4x4f;
#ifdef B_ALONG_K
  let count = count_of(k, tile.k_end);
#for j in 4
  let column{j} = lines.first + {j}u;
  v[{j}] = line_b(tile.b_base + column{j} * args.ldb + k, select(0u, count, column{j} < args.n));
#endfor
  return transpose(v);
#else
  let count = count_of(lines.first, args.n);
#for j in 4
  v[{j}] = line_b(tile.b_base + (k + {j}u) * args.ldb + lines.first, select(0u, count, k + {j}u < tile.k_end));
#endfor
  return v;
#endif
}

fn store(tile: Tile, row: u32, column: u32, value: vec4f) {
  if (row >= args.m || column >= args.n) { return; }
  let at = tile.y_base + row * args.ldy + column;
  let count = min(4u, args.n - column);
#ifdef ACCUMULATE
#ifdef Y_VECTOR
  y[at / 4u] += value;
#else
  for (var i = 0u; i < count; i++) { y[at + i] += value[i]; }
#endif
#else
  let v = epilogue(value, tile.bias_base + column, at, count);
#ifdef Y_VECTOR
  y[at / 4u] = v;
#else
  for (var i = 0u; i < count; i++) { y[at + i] = v[i]; }
#endif
#endif
}

fn tile_of(wid: vec3u, nwg: vec3u) -> Tile {
  let index = wid.y * nwg.x + wid.x;
  let member = wid.z % args.batch;
  let k_begin = wid.z / args.batch * args.k_chunk;
  return Tile(index / args.tiles_n * BM, index % args.tiles_n * BN, k_begin, min(args.k, k_begin + args.k_chunk),
              args.a_offset + member * args.a_stride, args.b_offset + member * args.b_stride,
              args.y_offset + wid.z * args.y_stride, member * args.n);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, lane: Lane) {
  product(tile_of(wid, nwg), lane);
}
