// computes: y[n, row, column] = x[n, column, row]: pixels of channels become channels of pixels, or the reverse
// source: PyTorch torch.flatten(x, 1), whose order is [C, H, W] where the device holds [H, W, C]
// bindings: x f32[batch, length, lines], y f32[batch, lines, length]; items = batch * lines * length
// grid: one workgroup per WG * PER_INVOCATION elements of y
// cost: one load and one store an element; loads are `lines` elements apart
override WG: u32 = 64u;
override PER_INVOCATION: u32 = 4u;

struct Args { items: u32, length: u32, step_line: u32, step_item: u32, lines: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let begin = (wid.y * nwg.x + wid.x) * WG * PER_INVOCATION;
  let end = min(begin + WG * PER_INVOCATION, args.items);
  // Line and column of y; lines run on through the batch.
  let first = begin + lid.x;
  var line = first / args.length;
  var column = first - line * args.length;
  // The member of the batch changes at most a few times on the way, so it is counted up, not divided for.
  var member = line / args.lines;
  line -= member * args.lines;
  for (var i = first; i < end; i += WG) {
    y[i] = x[(member * args.length + column) * args.lines + line];
    column += args.step_item;
    line += args.step_line;
    if (column >= args.length) {
      column -= args.length;
      line += 1u;
    }
    while (line >= args.lines) {
      line -= args.lines;
      member += 1u;
    }
  }
}
