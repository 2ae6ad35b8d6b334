// computes: dx = dy / (h w) at every pixel; with MAX dx = dy at the pixel that argmax names, 0 elsewhere
// source: PyTorch adaptive_avg_pool2d, adaptive_max_pool2d with output size 1
// bindings: dy V[rows / h, channels], argmax VU like dy (h * W + w), dx V[rows, columns, channels] (V: see lib/pixel_rows)
// grid: one workgroup per row of dx
// cost: two loads and one store of V per element
#import pixel_rows
override WG: u32 = 64u;

struct Args { rows: u32, columns: u32, channels: u32, step_column: u32, step_channel: u32, h: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> dy: array<V>;
@group(0) @binding(2) var<storage, read_write> dx: array<V>;
#ifdef MAX
@group(0) @binding(3) var<storage, read> argmax: array<VU>;
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let row = wid.y * nwg.x + wid.x;
  if (row >= args.rows) { return; }
  let n = row / args.h;
  let h = row - n * args.h;
  let count = args.columns * args.channels;
  let scale = 1.0 / f32(args.h * args.columns);
  var item = first_item(lid.x);
  for (var i = lid.x; i < count; i += WG) {
    let source = n * args.channels + item.y;
#ifdef MAX
    dx[row * count + i] = select(V(0.0), dy[source], argmax[source] == VU(h * args.columns + item.x));
#else
    dx[row * count + i] = dy[source] * scale;
#endif
    item = next_item(item);
  }
}
