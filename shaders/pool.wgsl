// computes: with MAX, y = max of x over a window and argmax = r * S + s of the first maximum in row-major order (a NaN wins);
//   with ROOT, y = sqrt(sum of x^2 over a window); otherwise y = sum of x over a window / number of its elements (of those within
//   image and padding with COUNT_PAD = 1)
// source: PyTorch max_pool2d, avg_pool2d, lp_pool2d
// bindings: x V[rows / p, h, w, channels], y V[rows, columns, channels], argmax VU like y (V: see lib/pixel_rows)
// grid: one workgroup per row of y
// cost: R*S loads of V per output
#import pixel_rows
override WG: u32 = 64u;
override R: u32 = 2u;
override S: u32 = 2u;
override STRIDE_H: u32 = 2u;
override STRIDE_W: u32 = 2u;
override PAD_H: u32 = 0u;
override PAD_W: u32 = 0u;
override COUNT_PAD: u32 = 1u;

struct Args { rows: u32, columns: u32, channels: u32, step_column: u32, step_channel: u32, h: u32, w: u32, p: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(2) var<storage, read_write> y: array<V>;
#ifdef MAX
@group(0) @binding(3) var<storage, read_write> argmax: array<VU>;
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let row = wid.y * nwg.x + wid.x;
  if (row >= args.rows) { return; }
  let n = row / args.p;
  let p = row - n * args.p;
  let h0 = i32(p * STRIDE_H) - i32(PAD_H);
  let h_last = i32(args.h) - 1;
  let w_last = i32(args.w) - 1;
  let count = args.columns * args.channels;
  var item = first_item(lid.x);
  for (var i = lid.x; i < count; i += WG) {
    let w0 = i32(item.x * STRIDE_W) - i32(PAD_W);
#ifdef MAX
    // Every window holds a pixel of the image (`infer` sees to it), so a place in the padding, clamped into the image,
    // is another place of the same window: the maximum and the order of first visits stay what they are.
    var first = (n * args.h + u32(max(h0, 0))) * args.w + u32(max(w0, 0));
    var best = x[first * args.channels + item.y];
    var at = VU(u32(max(-h0, 0)) * S + u32(max(-w0, 0)));
    for (var r = 0u; r < R; r++) {
      let h = clamp(h0 + i32(r), 0, h_last);
      let line = (n * args.h + u32(h)) * args.w;
      for (var s = 0u; s < S; s++) {
        let w = clamp(w0 + i32(s), 0, w_last);
        let v = x[(line + u32(w)) * args.channels + item.y];
        let is_nan = (bitcast<VU>(v) & VU(0x7fffffffu)) > VU(0x7f800000u);
        let better = (v > best) | is_nan;
        best = select(best, v, better);
        at = select(at, VU(u32(h - h0) * S + u32(w - w0)), better);
      }
    }
    y[row * count + i] = best;
    argmax[row * count + i] = at;
#else
    var sum = V(0.0);
    for (var r = 0u; r < R; r++) {
      let h = h0 + i32(r);
      // The same for the whole workgroup.
      if (h < 0 || h > h_last) { continue; }
      let line = (n * args.h + u32(h)) * args.w;
      for (var s = 0u; s < S; s++) {
        let w = w0 + i32(s);
        let v = x[(line + u32(clamp(w, 0, w_last))) * args.channels + item.y];
#ifdef ROOT
        sum += select(V(0.0), v * v, w >= 0 && w <= w_last);
#else
        sum += select(V(0.0), v, w >= 0 && w <= w_last);
#endif
      }
    }
#ifdef ROOT
    y[row * count + i] = sqrt(sum);
#else
    let h_end = min(h0 + i32(R), h_last + 1 + i32(PAD_H * COUNT_PAD));
    let w_end = min(w0 + i32(S), w_last + 1 + i32(PAD_W * COUNT_PAD));
    let h_begin = select(max(h0, 0), h0, COUNT_PAD == 1u);
    let w_begin = select(max(w0, 0), w0, COUNT_PAD == 1u);
    y[row * count + i] = sum / f32((h_end - h_begin) * (w_end - w_begin));
#endif
#endif
    item = next_item(item);
  }
}
