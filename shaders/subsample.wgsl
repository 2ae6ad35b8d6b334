// computes: y[n, p, q, c] = x[n, p STRIDE_H, q STRIDE_W, c]; with BACKWARD the inverse, zero at the pixels that were left out
// source: He et al. 2016 (arXiv:1512.03385), shortcut option A; PyTorch x[:, :, ::h, ::w]
// bindings: x V[rows / p, h, w, channels], y V[rows, columns, channels]; p rows an image of y, h by w pixels an image of x
// grid: one workgroup per row of y
// cost: one load and one store of V per element of y
#import pixel_rows
override WG: u32 = 64u;
override STRIDE_H: u32 = 2u;
override STRIDE_W: u32 = 2u;

struct Args { rows: u32, columns: u32, channels: u32, step_column: u32, step_channel: u32, h: u32, w: u32, p: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(2) var<storage, read_write> y: array<V>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let row = wid.y * nwg.x + wid.x;
  if (row >= args.rows) { return; }
  let n = row / args.p;
  let p = row - n * args.p;
  let count = args.columns * args.channels;
  var item = first_item(lid.x);
#ifdef BACKWARD
  let line = (n * args.h + p / STRIDE_H) * args.w;
  for (var i = lid.x; i < count; i += WG) {
    let kept = p % STRIDE_H == 0u && item.x % STRIDE_W == 0u;
    let v = x[(line + item.x / STRIDE_W) * args.channels + item.y];
    y[row * count + i] = select(V(0.0), v, kept);
    item = next_item(item);
  }
#else
  let line = (n * args.h + p * STRIDE_H) * args.w;
  for (var i = lid.x; i < count; i += WG) {
    y[row * count + i] = x[(line + item.x * STRIDE_W) * args.channels + item.y];
    item = next_item(item);
  }
#endif
}
