// computes: dlogits[n, k] = dloss[n] * (softmax(z)_k - (1-s) [k = label] - s / columns); 0 for padding, NaN for any
//   other label outside the classes
// source: the derivative of cross_entropy.wgsl; the softmax is computed again, which is cheaper than keeping it
// bindings: logits dlogits f32[rows, columns], labels u32[rows], dloss f32[rows]; logits may share storage with dlogits
// grid: with TREE a workgroup a row, else an invocation a row
// cost: three loads, two exponentials and a store a logit
#import rows
override WG: u32 = 64u;

struct Args { rows: u32, columns: u32, smoothing: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> dloss: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, lane: Lane) {
  let row = row_of(wid.y * nwg.x + wid.x, lane.index);
  // A row past the end, which no other invocation may see written, is empty.
  let columns = select(0u, args.columns, row < args.rows);
  let base = min(row, args.rows - 1u) * args.columns;
  let first = first_column(lane.index);
  // The lowest finite number, not the first logit, which another row's invocation may have overwritten.
  var r_max = -3.4e38;
  for (var k = first; k < columns; k += COLUMN_STEP) { r_max = max(r_max, logits[base + k]); }
  let highest = tree_max(lane, r_max);
  var r_exp = 0.0;
  for (var k = first; k < columns; k += COLUMN_STEP) { r_exp += exp(logits[base + k] - highest); }
  let total = tree_sum(lane, r_exp);
  if (row >= args.rows) { return; }
  let label = labels[row];
  let spread = args.smoothing / f32(args.columns);
  let dy = dloss[row];
  for (var k = first; k < columns; k += COLUMN_STEP) {
    let softmax = exp(logits[base + k] - highest) / total;
    var d = dy * (softmax - spread - select(0.0, 1.0 - args.smoothing, k == label));
    if (label >= args.columns) { d = select(bitcast<f32>(label | 0x7fc00000u), 0.0, label == 0xffffffffu); }
    dlogits[base + k] = d;
  }
}
