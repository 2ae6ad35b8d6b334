// computes: y = (x - mean) * rstd over each row of elements, rstd = 1 / sqrt(variance + eps), the variance around the mean
//   and divided by the count; with BACKWARD dx = rstd * (dy - mean(dy) - y * mean(dy * y))
// source: Wu and He, arXiv:1803.08494; Ba et al., arXiv:1607.06450; PyTorch group_norm, layer_norm without weights
// bindings: x y dy dx f32, channels innermost: row i is group i % groups of sample i / groups, `length` elements in runs of `run`
//   channels, the runs `channels` elements apart; rstd f32[rows]
// grid: with TREE a workgroup a row, else an invocation a row
// cost: three passes over a row
#import rows
override WG: u32 = 64u;

struct Args { rows: u32, groups: u32, length: u32, run: u32, channels: u32, sample: u32, eps: f32 }
@group(0) @binding(0) var<uniform> args: Args;
#ifdef BACKWARD
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> rstd: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> rstd: array<f32>;
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, lane: Lane) {
  let row = row_of(wid.y * nwg.x + wid.x, lane.index);
  // Rows past the end repeat the last one, so that every lane reaches every barrier.
  let known = min(row, args.rows - 1u);
  let sample = known / args.groups;
  let base = sample * args.sample + (known - sample * args.groups) * args.run;
  let first = first_column(lane.index);
  let count = f32(args.length);
#ifdef BACKWARD
  var r_sum = 0.0;
  var r_dot = 0.0;
  for (var i = first; i < args.length; i += COLUMN_STEP) {
    let at = base + i / args.run * args.channels + i % args.run;
    r_sum += dy[at];
    r_dot += dy[at] * y[at];
  }
  let mean = tree_sum(lane, r_sum) / count;
  let dot = tree_sum(lane, r_dot) / count;
  if (row >= args.rows) { return; }
  let scale = rstd[row];
  for (var i = first; i < args.length; i += COLUMN_STEP) {
    let at = base + i / args.run * args.channels + i % args.run;
    dx[at] = scale * (dy[at] - mean - y[at] * dot);
  }
#else
  var r_sum = 0.0;
  for (var i = first; i < args.length; i += COLUMN_STEP) { r_sum += x[base + i / args.run * args.channels + i % args.run]; }
  let mean = tree_sum(lane, r_sum) / count;
  var r_square = 0.0;
  for (var i = first; i < args.length; i += COLUMN_STEP) {
    let d = x[base + i / args.run * args.channels + i % args.run] - mean;
    r_square += d * d;
  }
  let scale = 1.0 / sqrt(tree_sum(lane, r_square) / count + args.eps);
  if (row >= args.rows) { return; }
  for (var i = first; i < args.length; i += COLUMN_STEP) {
    let at = base + i / args.run * args.channels + i % args.run;
    y[at] = (x[at] - mean) * scale;
  }
  if (first == 0u) { rstd[row] = scale; }
#endif
}
