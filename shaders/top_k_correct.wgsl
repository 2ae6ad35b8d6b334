// computes: y[n] = 1 where fewer than k classes rank before the label of row n, else 0; a class ranks before the label
//   when its logit is greater, or equal with a smaller number. 0 for labels that are no class and for a label with a
//   NaN logit
// source: PyTorch torch.topk, with ties settled
// bindings: logits f32[rows, columns], labels u32[rows], y u32[rows]
// grid: with TREE a workgroup a row, else an invocation a row
// cost: one load a logit
#import rows
override WG: u32 = 64u;

struct Args { rows: u32, columns: u32, k: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, lane: Lane) {
  let row = row_of(wid.y * nwg.x + wid.x, lane.index);
  // Rows past the end repeat the last one, so that every lane reaches every barrier.
  let known = min(row, args.rows - 1u);
  let base = known * args.columns;
  let label = labels[known];
  let wanted = logits[base + min(label, args.columns - 1u)];
  let first = first_column(lane.index);
  var before = 0u;
  for (var j = first; j < args.columns; j += COLUMN_STEP) {
    let z = logits[base + j];
    before += select(0u, 1u, z > wanted || (z == wanted && j < label));
  }
  // Counts below 2^24 are exact in f32.
  let total = tree_sum(lane, f32(before));
  if (row >= args.rows || first > 0u) { return; }
  // By bits: a driver may assume that no NaN occurs.
  let is_nan = (bitcast<u32>(wanted) & 0x7fffffffu) > 0x7f800000u;
  y[row] = select(0u, 1u, label < args.columns && !is_nan && total < f32(args.k));
}
