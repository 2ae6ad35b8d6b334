// computes: y = act(a b + bias + residual) in f32 for a batch of matrices; with k split, the partial sums of each part
// source: Goto and van de Geijn 2008 (blocking); CUTLASS (workgroup tile, register tile)
// bindings: a [m,k] or [k,m], b [k,n] or [n,k], y [m,n], bias [batch*n], residual like y; rows ld apart
// grid: (x, y) = tiles of 64x64 outputs folded in two dimensions, z = batch * parts of k
// cost: 2*m*n*k FLOP; a is read n/64 times, b m/64 times
#import epilogue
override BM: u32 = 64u;
override BN: u32 = 64u;
override BK: u32 = 16u;

struct Args {
  m: u32, n: u32, k: u32, k_chunk: u32, batch: u32,
  lda: u32, ldb: u32, ldy: u32, tiles_n: u32,
  a_offset: u32, b_offset: u32, y_offset: u32,
  a_stride: u32, b_stride: u32, y_stride: u32,
  slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
#ifdef Y_VECTOR
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
#else
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
#endif

// Tiles with k outermost, so that a thread's four rows (columns) are one vec4.
var<workgroup> s_a: array<vec4f, BK * BM / 4>;
var<workgroup> s_b: array<vec4f, BK * BN / 4>;

fn load_a(base: u32, row: u32, p: u32, k_end: u32) -> f32 {
  if (row >= args.m || p >= k_end) { return 0.0; }
#ifdef A_TRANSPOSED
  return a[base + p * args.lda + row];
#else
  return a[base + row * args.lda + p];
#endif
}

fn load_b(base: u32, p: u32, column: u32, k_end: u32) -> f32 {
  if (column >= args.n || p >= k_end) { return 0.0; }
#ifdef B_TRANSPOSED
  return b[base + column * args.ldb + p];
#else
  return b[base + p * args.ldb + column];
#endif
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_index) t: u32) {
  let tile = wid.y * nwg.x + wid.x;
  let member = wid.z % args.batch;
  let part = wid.z / args.batch;
  let row0 = (tile / args.tiles_n) * BM;
  let column0 = (tile % args.tiles_n) * BN;
  let k_begin = part * args.k_chunk;
  let k_end = min(args.k, k_begin + args.k_chunk);
  let a_base = args.a_offset + member * args.a_stride;
  let b_base = args.b_offset + member * args.b_stride;

  // 16x16 threads, each with a tile of 4x4 outputs.
  let tx = t % 16u;
  let ty = t / 16u;
  // Loading: the thread's k (lk) and group of four rows or columns (lr) within the tile.
  let lk = t / 16u;
  let lr = t % 16u;
  var acc: array<vec4f, 4>;
  for (var p0 = k_begin; p0 < k_end; p0 += BK) {
    let p = p0 + lk;
    let r = row0 + lr * 4u;
    let c = column0 + lr * 4u;
    s_a[lk * (BM / 4u) + lr] = vec4f(load_a(a_base, r, p, k_end), load_a(a_base, r + 1u, p, k_end),
                                     load_a(a_base, r + 2u, p, k_end), load_a(a_base, r + 3u, p, k_end));
    s_b[lk * (BN / 4u) + lr] = vec4f(load_b(b_base, p, c, k_end), load_b(b_base, p, c + 1u, k_end),
                                     load_b(b_base, p, c + 2u, k_end), load_b(b_base, p, c + 3u, k_end));
    workgroupBarrier();
    for (var i = 0u; i < BK; i++) {
      let ra = s_a[i * (BM / 4u) + ty];
      let rb = s_b[i * (BN / 4u) + tx];
      acc[0] += ra.x * rb;
      acc[1] += ra.y * rb;
      acc[2] += ra.z * rb;
      acc[3] += ra.w * rb;
    }
    workgroupBarrier();
  }

  let column = column0 + tx * 4u;
  if (tile / args.tiles_n * BM >= args.m || column >= args.n) { return; }
  let count = min(4u, args.n - column);
  let y_base = args.y_offset + wid.z * args.y_stride;
  for (var i = 0u; i < 4u; i++) {
    let row = row0 + ty * 4u + i;
    if (row >= args.m) { break; }
    let at = y_base + row * args.ldy + column;
#ifdef ACCUMULATE
    let v = acc[i];
#ifdef Y_VECTOR
    y[at / 4u] += v;
#else
    for (var j = 0u; j < count; j++) { y[at + j] += v[j]; }
#endif
#else
    let v = epilogue(acc[i], member * args.n + column, at, count);
#ifdef Y_VECTOR
    y[at / 4u] = v;
#else
    for (var j = 0u; j < count; j++) { y[at + j] = v[j]; }
#endif
#endif
  }
}
