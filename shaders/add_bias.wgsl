// computes: y[r, c] = x[r, c] + bias[c]
// source: PyTorch's bias of Conv2d and Linear
// bindings: x y T[rows, columns], bias T[columns]; x may share storage with y
// grid: blocks of rows and columns as lib/columns.wgsl says
// cost: one addition, one load and one store an element
#import columns
override WG: u32 = 64u;

struct Args { rows: u32, columns: u32, column_lanes: u32, row_lanes: u32, block_rows: u32, column_blocks: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read> bias: array<T>;
@group(0) @binding(3) var<storage, read_write> y: array<T>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let w = walk(wid.y * nwg.x + wid.x, lid.x);
  if (!w.is_active) { return; }
  let b = bias[w.column];
  for (var at = w.at; at < w.end; at += w.step) { y[at] = x[at] + b; }
}
