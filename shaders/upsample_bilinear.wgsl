// computes: y[p, q] = sum over i, j of hat(c(p) - i) hat(c(q) - j) x[i, j], hat(d) = max(0, 1 - |d|), c(p) = (p + 1/2) h / P - 1/2 held
//   within the image; with BACKWARD the adjoint, in gather form
// source: PyTorch interpolate(mode="bilinear", align_corners=False)
// bindings: x V[rows / p, h, w, channels], y V[rows, columns, channels]; BACKWARD with dy for x and dx for y, h and w being
//   those of dy, p the rows of an image of dx (V: see lib/pixel_rows)
// grid: one workgroup per row of the result
// cost: four loads of V an output; backward (2 h / p + 2) (2 w / q + 2)
#import pixel_rows
override WG: u32 = 64u;

struct Args { rows: u32, columns: u32, channels: u32, step_column: u32, step_channel: u32, h: u32, w: u32, p: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(2) var<storage, read_write> y: array<V>;

// Place of pixel i of `large` among `small` ones.
fn place(i: u32, large: u32, small: u32) -> f32 {
  return clamp((f32(i) + 0.5) * f32(small) / f32(large) - 0.5, 0.0, f32(small - 1u));
}

// The pixels of `from` that pixel i of `to` takes something from: first and last.
fn reach(i: u32, to: u32, from_count: u32) -> vec2u {
#ifdef BACKWARD
  let ratio = f32(from_count) / f32(to);
  let first = max(floor((f32(i) - 0.5) * ratio - 1.5), 0.0);
  let last = ceil((f32(i) + 1.5) * ratio + 0.5);
  // All pixels beyond the outermost centres belong to the outermost pixels.
  return vec2u(select(u32(first), 0u, i == 0u), min(select(u32(last), from_count, i + 1u == to), from_count - 1u));
#else
  let first = u32(place(i, to, from_count));
  return vec2u(first, min(first + 1u, from_count - 1u));
#endif
}

fn share(i: u32, j: u32, to: u32, from_count: u32) -> f32 {
#ifdef BACKWARD
  return max(0.0, 1.0 - abs(place(j, from_count, to) - f32(i)));
#else
  return max(0.0, 1.0 - abs(place(i, to, from_count) - f32(j)));
#endif
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let row = wid.y * nwg.x + wid.x;
  if (row >= args.rows) { return; }
  let n = row / args.p;
  let p = row - n * args.p;
  let lines = reach(p, args.p, args.h);
  let count = args.columns * args.channels;
  var item = first_item(lid.x);
  for (var i = lid.x; i < count; i += WG) {
    let columns = reach(item.x, args.columns, args.w);
    var sum = V(0.0);
    for (var h = lines.x; h <= lines.y; h++) {
      let height = share(p, h, args.p, args.h);
      var line = V(0.0);
      for (var w = columns.x; w <= columns.y; w++) {
        line += share(item.x, w, args.columns, args.w) * x[((n * args.h + h) * args.w + w) * args.channels + item.y];
      }
      sum += height * line;
    }
    y[row * count + i] = sum;
    item = next_item(item);
  }
}
