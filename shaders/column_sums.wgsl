// computes: sums over the rows of a matrix: sum dy (bias.backward), and with BATCH_NORM also sum dy * (x - mean). With
//   ACTIVATED dy is first multiplied by the derivative of an activation at `known`.
//   One pass writes the sums of blocks of rows to `partial`; with COMBINE the sums of those; with FINAL the end result:
//   dbias = sum dy and dweight = sum dy * (x - mean) / sqrt(variance + eps); with SUMS both once more, side by side
// source: Ioffe & Szegedy, arXiv:1502.03167; a fixed tree, so that the result has the same bits every time
// bindings: dy x known T[rows, columns], mean variance dbias dweight T[columns], sums T[2, columns],
//   partial and partials T[planes, rows of the next pass, columns]
// grid: blocks of rows and columns as lib/columns.wgsl says; with TREE the row lanes of a workgroup are merged in it
// cost: one to three loads an element
#import columns
override WG: u32 = 64u;

struct Args {
  rows: u32, columns: u32, column_lanes: u32, row_lanes: u32, block_rows: u32, column_blocks: u32,
  tree: u32, parts: u32, eps: f32, slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
#ifdef COMBINE
@group(0) @binding(1) var<storage, read> partials: array<T>;
#else
@group(0) @binding(2) var<storage, read> dy: array<T>;
#import gradient
#ifdef BATCH_NORM
@group(0) @binding(3) var<storage, read> x: array<T>;
@group(0) @binding(4) var<storage, read> mean: array<T>;
#endif
#endif
#ifdef FINAL
@group(0) @binding(5) var<storage, read_write> dbias: array<T>;
#ifdef BATCH_NORM
@group(0) @binding(6) var<storage, read_write> dweight: array<T>;
@group(0) @binding(7) var<storage, read> variance: array<T>;
#endif
#ifdef SUMS
@group(0) @binding(9) var<storage, read_write> sums: array<T>;
#endif
#else
@group(0) @binding(8) var<storage, read_write> partial: array<T>;
#endif
#ifdef TREE
var<workgroup> s_plain: array<T, WG>;
#ifdef BATCH_NORM
var<workgroup> s_weighted: array<T, WG>;
#endif
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let w = walk(wid.y * nwg.x + wid.x, lid.x);
  // Two accumulators: half the chain of additions, half the rounding.
  var r_plain0 = T();
  var r_plain1 = T();
  var r_weighted0 = T();
  var r_weighted1 = T();
  var at = w.at;
#ifdef COMBINE
  for (; at < w.end; at += w.step) {
    r_plain0 += partials[at];
#ifdef BATCH_NORM
    r_weighted0 += partials[args.rows * args.columns + at];
#endif
  }
#else
#ifdef BATCH_NORM
  let center = mean[min(w.column, args.columns - 1u)];
#endif
  for (; at + w.step < w.end; at += 2u * w.step) {
    let dy0 = gradient(at);
    let dy1 = gradient(at + w.step);
    r_plain0 += dy0;
    r_plain1 += dy1;
#ifdef BATCH_NORM
    r_weighted0 += dy0 * (x[at] - center);
    r_weighted1 += dy1 * (x[at + w.step] - center);
#endif
  }
  if (at < w.end) {
    let dy0 = gradient(at);
    r_plain0 += dy0;
#ifdef BATCH_NORM
    r_weighted0 += dy0 * (x[at] - center);
#endif
  }
#endif
  var plain = r_plain0 + r_plain1;
  var weighted = r_weighted0 + r_weighted1;

#ifdef TREE
  s_plain[lid.x] = plain;
#ifdef BATCH_NORM
  s_weighted[lid.x] = weighted;
#endif
  for (var half = args.tree / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (w.row_lane < half && w.row_lane + half < args.row_lanes) {
      plain += s_plain[lid.x + half * args.column_lanes];
      s_plain[lid.x] = plain;
#ifdef BATCH_NORM
      weighted += s_weighted[lid.x + half * args.column_lanes];
      s_weighted[lid.x] = weighted;
#endif
    }
  }
  let stores = w.is_active && w.row_lane == 0u;
  let part = w.block;
#else
  let stores = w.is_active;
  let part = w.block * args.row_lanes + w.row_lane;
#endif

  if (!stores) { return; }
#ifdef FINAL
  dbias[w.column] = plain;
#ifdef BATCH_NORM
  weighted /= sqrt(variance[w.column] + args.eps);
  dweight[w.column] = weighted;
#endif
#ifdef SUMS
  sums[w.column] = plain;
  sums[args.columns + w.column] = weighted;
#endif
#else
  partial[part * args.columns + w.column] = plain;
#ifdef BATCH_NORM
  partial[(args.parts + part) * args.columns + w.column] = weighted;
#endif
#endif
}
