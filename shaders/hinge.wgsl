// computes: loss[n] = sum over k != t of max(0, margin + z_k - z_t)^POWER / columns over the scores z of row n with label t; with
//   BACKWARD dscores. 0 for the label 0xffffffff (padding), NaN for any other label outside the classes
// source: Weston and Watkins 1999; PyTorch torch.nn.functional.multi_margin_loss
// bindings: scores dscores f32[rows, columns], labels u32[rows], loss dloss f32[rows]
// grid: with TREE a workgroup a row, else an invocation a row
// cost: a load a score, backward two
#import rows
override WG: u32 = 64u;
override POWER: u32 = 1u;

struct Args { rows: u32, columns: u32, margin: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> scores: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
#ifdef BACKWARD
@group(0) @binding(3) var<storage, read> dloss: array<f32>;
@group(0) @binding(4) var<storage, read_write> dscores: array<f32>;
#else
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
#endif

// max(0, v), and NaN of NaN, which `max` leaves to the driver.
fn positive(v: f32) -> f32 { return select(v, 0.0, v < 0.0); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, lane: Lane) {
  let row = row_of(wid.y * nwg.x + wid.x, lane.index);
  // Rows past the end repeat the last one, so that every lane reaches every barrier.
  let known = min(row, args.rows - 1u);
  let base = known * args.columns;
  let first = first_column(lane.index);
  let label = labels[known];
  let is_padding = label == 0xffffffffu;
  let nan = bitcast<f32>(label | 0x7fc00000u);
  let right = scores[base + min(label, args.columns - 1u)];
  // Forward: the summands. Backward: their derivatives by z_k.
  var r_sum = 0.0;
  for (var k = first; k < args.columns; k += COLUMN_STEP) {
    let excess = positive(args.margin + scores[base + k] - right);
    if (k == label || is_padding) { continue; }
#ifdef BACKWARD
    r_sum += select(select(1.0, 0.0, excess <= 0.0), 2.0 * excess, POWER == 2u);
#else
    r_sum += select(excess, excess * excess, POWER == 2u);
#endif
  }
  let sum = tree_sum(lane, r_sum) / f32(args.columns);
  if (row >= args.rows) { return; }
  let is_wrong = label >= args.columns && !is_padding;
#ifdef BACKWARD
  let d = dloss[row];
  for (var k = first; k < args.columns; k += COLUMN_STEP) {
    let excess = positive(args.margin + scores[base + k] - right);
    var g = select(select(1.0, 0.0, excess <= 0.0), 2.0 * excess, POWER == 2u) / f32(args.columns);
    if (k == label) { g = -sum; }
    if (is_padding) { g = 0.0; }
    dscores[base + k] = select(d * g, nan, is_wrong);
  }
#else
  if (first == 0u) { loss[row] = select(sum, nan, is_wrong); }
#endif
}
