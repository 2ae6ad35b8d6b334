// computes: dx = weight * rstd * (dy - dbias / rows - xhat * dweight / rows), xhat = (x - mean) * rstd,
//   rstd = 1 / sqrt(variance + eps); with EVAL, where the statistics are constants, dx = weight * rstd * dy.
//   With ACTIVATED dy is first multiplied by the derivative of an activation at `known`
// source: Ioffe & Szegedy, arXiv:1502.03167, section 3
// bindings: x dy known dx T[rows, columns], weight mean variance T[columns], sums T[2, columns] = dbias, dweight;
//   x, dy or known may share storage with dx
// grid: blocks of rows and columns as lib/columns.wgsl says
// cost: two or three loads, one store and five operations an element
#import columns
override WG: u32 = 64u;

struct Args {
  rows: u32, columns: u32, column_lanes: u32, row_lanes: u32, block_rows: u32, column_blocks: u32, eps: f32,
  slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> weight: array<T>;
@group(0) @binding(2) var<storage, read> variance: array<T>;
@group(0) @binding(3) var<storage, read> dy: array<T>;
#import gradient
#ifndef EVAL
@group(0) @binding(4) var<storage, read> x: array<T>;
@group(0) @binding(5) var<storage, read> mean: array<T>;
@group(0) @binding(6) var<storage, read> sums: array<T>;
#endif
@group(0) @binding(8) var<storage, read_write> dx: array<T>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let w = walk(wid.y * nwg.x + wid.x, lid.x);
  if (!w.is_active) { return; }
  let rstd = 1.0 / sqrt(variance[w.column] + args.eps);
  let scale = weight[w.column] * rstd;
#ifdef EVAL
  for (var at = w.at; at < w.end; at += w.step) { dx[at] = scale * gradient(at); }
#else
  let center = mean[w.column];
  let dy_mean = sums[w.column] / f32(args.rows);
  let slope = rstd * sums[args.columns + w.column] / f32(args.rows);
  for (var at = w.at; at < w.end; at += w.step) {
    dx[at] = scale * (gradient(at) - dy_mean - (x[at] - center) * slope);
  }
#endif
}
