// computes: y[p, q] = mean of x over rows floor(p h / P) to ceil((p + 1) h / P) - 1 and columns likewise; with BACKWARD dx[i, j] =
//   sum over the windows that hold it of dy / number of their elements, in gather form
// source: PyTorch adaptive_avg_pool2d
// bindings: x V[rows / p, h, w, channels], y V[rows, columns, channels], BACKWARD with dy for x and dx for y, h and w being
//   those of dy, p the rows of an image of dx (V: see lib/pixel_rows)
// grid: one workgroup per row of the result
// cost: ceil(h / P) * ceil(w / Q) loads of V an output, one more each way where the division has a rest
#import pixel_rows
override WG: u32 = 64u;

struct Args { rows: u32, columns: u32, channels: u32, step_column: u32, step_channel: u32, h: u32, w: u32, p: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(2) var<storage, read_write> y: array<V>;

// First place of `from` that window `i` of `to` windows holds, and the first behind it. Turned around it names the windows
// that hold a place: floor(i from / to) and ceil((i + 1) from / to) are both.
fn begin(i: u32, to: u32, from_count: u32) -> u32 { return i * from_count / to; }
fn end(i: u32, to: u32, from_count: u32) -> u32 { return ((i + 1u) * from_count + to - 1u) / to; }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let row = wid.y * nwg.x + wid.x;
  if (row >= args.rows) { return; }
  let n = row / args.p;
  let p = row - n * args.p;
  let h_begin = begin(p, args.p, args.h);
  let h_end = end(p, args.p, args.h);
  let count = args.columns * args.channels;
  var item = first_item(lid.x);
  for (var i = lid.x; i < count; i += WG) {
    let w_begin = begin(item.x, args.columns, args.w);
    let w_end = end(item.x, args.columns, args.w);
    var sum = V(0.0);
    for (var h = h_begin; h < h_end; h++) {
      let line = (n * args.h + h) * args.w;
#ifdef BACKWARD
      let height = end(h, args.h, args.p) - begin(h, args.h, args.p);
#endif
      for (var w = w_begin; w < w_end; w++) {
        let v = x[(line + w) * args.channels + item.y];
#ifdef BACKWARD
        let width = end(w, args.w, args.columns) - begin(w, args.w, args.columns);
        sum += v / f32(height * width);
#else
        sum += v;
#endif
      }
    }
#ifdef BACKWARD
    y[row * count + i] = sum;
#else
    y[row * count + i] = sum / f32((h_end - h_begin) * (w_end - w_begin));
#endif
    item = next_item(item);
  }
}
