// computes: loss[n] = log(sum_k exp(z_k)) - (1-s) z_label - s mean_k z_k over the logits z of row n, shifted by their
//   maximum; 0 for the label 0xffffffff (padding), NaN for any other label outside the classes
// source: PyTorch torch.nn.functional.cross_entropy with label_smoothing s (Szegedy et al., arXiv:1512.00567)
// bindings: logits f32[rows, columns], labels u32[rows], loss f32[rows]
// grid: with TREE a workgroup a row, else an invocation a row
// cost: two loads and an exponential a logit
#import rows
override WG: u32 = 64u;

struct Args { rows: u32, columns: u32, smoothing: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, lane: Lane) {
  let row = row_of(wid.y * nwg.x + wid.x, lane.index);
  // Rows past the end repeat the last one, so that every lane reaches every barrier.
  let base = min(row, args.rows - 1u) * args.columns;
  let first = first_column(lane.index);
  var r_max = logits[base];
  for (var k = first; k < args.columns; k += COLUMN_STEP) { r_max = max(r_max, logits[base + k]); }
  let highest = tree_max(lane, r_max);
  var r_exp = 0.0;
  var r_sum = 0.0;
  for (var k = first; k < args.columns; k += COLUMN_STEP) {
    let z = logits[base + k] - highest;
    r_exp += exp(z);
    r_sum += z;
  }
  let total = tree_sum(lane, r_exp);
  let sum = tree_sum(lane, r_sum);
  if (row >= args.rows || first > 0u) { return; }
  let label = labels[row];
  if (label == 0xffffffffu) {
    loss[row] = 0.0;
  } else if (label >= args.columns) {
    loss[row] = bitcast<f32>(label | 0x7fc00000u);
  } else {
    let z = logits[base + label] - highest;
    loss[row] = log(total) - (1.0 - args.smoothing) * z - args.smoothing * sum / f32(args.columns);
  }
}
