// computes: mean and biased variance of every column. One pass writes count, mean and sum of squared differences of
//   blocks of rows to `counts` and `partial`; with COMBINE it merges those; with FINAL it writes the end result
// source: Ioffe & Szegedy, arXiv:1502.03167; merging by Chan, Golub & LeVeque 1979, in a fixed tree, which stays
//   accurate where the mean is far larger than the deviation
// bindings: x T[rows, columns], mean variance T[columns], partial and partials T[2, parts, columns], counts f32[parts]
// grid: blocks of rows and columns as lib/columns.wgsl says; with TREE the row lanes of a workgroup are merged in it
// cost: one load and about five operations an element
#import columns
override WG: u32 = 64u;

struct Args {
  rows: u32, columns: u32, column_lanes: u32, row_lanes: u32, block_rows: u32, column_blocks: u32,
  tree: u32, parts: u32,
}
@group(0) @binding(0) var<uniform> args: Args;
#ifdef COMBINE
@group(0) @binding(1) var<storage, read> partials: array<T>;
@group(0) @binding(2) var<storage, read> part_counts: array<f32>;
#else
@group(0) @binding(3) var<storage, read> x: array<T>;
#endif
#ifdef FINAL
@group(0) @binding(4) var<storage, read_write> mean: array<T>;
@group(0) @binding(5) var<storage, read_write> variance: array<T>;
#else
@group(0) @binding(6) var<storage, read_write> partial: array<T>;
@group(0) @binding(7) var<storage, read_write> counts: array<f32>;
#endif
#ifdef TREE
var<workgroup> s_count: array<f32, WG>;
var<workgroup> s_mean: array<T, WG>;
var<workgroup> s_m2: array<T, WG>;
#endif

// A number of rows, their mean, and the sum of their squared differences from it.
struct Statistics { count: f32, mean: T, m2: T }

fn merge(a: Statistics, b: Statistics) -> Statistics {
  let count = a.count + b.count;
  let share = b.count / max(count, 1.0);
  let delta = b.mean - a.mean;
  return Statistics(count, a.mean + delta * share, a.m2 + b.m2 + delta * delta * (a.count * share));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let w = walk(wid.y * nwg.x + wid.x, lid.x);
  var s = Statistics(0.0, T(), T());
  var at = w.at;
#ifdef COMBINE
  var row = w.row_lane;
  for (; at < w.end; at += w.step) {
    s = merge(s, Statistics(part_counts[row], partials[at], partials[args.rows * args.columns + at]));
    row += args.row_lanes;
  }
#else
  // Four rows at a time: their own statistics in registers, then one merge.
  for (; at + 3u * w.step < w.end; at += 4u * w.step) {
    let x0 = x[at];
    let x1 = x[at + w.step];
    let x2 = x[at + 2u * w.step];
    let x3 = x[at + 3u * w.step];
    let center = ((x0 + x1) + (x2 + x3)) * 0.25;
#for i in 4
    let d{i} = x{i} - center;
#endfor
    s = merge(s, Statistics(4.0, center, (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)));
  }
  for (; at < w.end; at += w.step) { s = merge(s, Statistics(1.0, x[at], T())); }
#endif

#ifdef TREE
  s_count[lid.x] = s.count;
  s_mean[lid.x] = s.mean;
  s_m2[lid.x] = s.m2;
  for (var half = args.tree / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (w.row_lane < half && w.row_lane + half < args.row_lanes) {
      let other = lid.x + half * args.column_lanes;
      s = merge(s, Statistics(s_count[other], s_mean[other], s_m2[other]));
      s_count[lid.x] = s.count;
      s_mean[lid.x] = s.mean;
      s_m2[lid.x] = s.m2;
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
  mean[w.column] = s.mean;
  variance[w.column] = s.m2 / s.count;
#else
  partial[part * args.columns + w.column] = s.mean;
  partial[(args.parts + part) * args.columns + w.column] = s.m2;
  if (w.column == 0u) { counts[part] = s.count; }
#endif
}
