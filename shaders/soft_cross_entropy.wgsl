// computes: loss[n] = sum_k t_k * (log(sum_j exp(z_j)) - z_k) over the logits z and targets t of row n, the logits shifted by their
//   maximum; with BACKWARD dlogits[k] = dloss * (softmax(z)_k * sum(t) - t_k)
// source: PyTorch torch.nn.functional.cross_entropy with class probabilities
// bindings: logits targets dlogits f32[rows, columns], loss dloss f32[rows]
// grid: with TREE a workgroup a row, else an invocation a row
// cost: three loads and an exponential a logit, twice backward
#import rows
override WG: u32 = 64u;

struct Args { rows: u32, columns: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<f32>;
#ifdef BACKWARD
@group(0) @binding(3) var<storage, read> dloss: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;
#else
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
#endif

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
  var r_dot = 0.0;
  var r_sum = 0.0;
  for (var k = first; k < args.columns; k += COLUMN_STEP) {
    let z = logits[base + k] - highest;
    r_exp += exp(z);
    r_dot += targets[base + k] * z;
    r_sum += targets[base + k];
  }
  let total = tree_sum(lane, r_exp);
  let dot = tree_sum(lane, r_dot);
  let sum = tree_sum(lane, r_sum);
  if (row >= args.rows) { return; }
#ifdef BACKWARD
  let d = dloss[row];
  for (var k = first; k < args.columns; k += COLUMN_STEP) {
    dlogits[base + k] = d * (exp(logits[base + k] - highest) / total * sum - targets[base + k]);
  }
#else
  if (first == 0u) { loss[row] = log(total) * sum - dot; }
#endif
}
