// computes: dx = sum of the dy of those windows over the element whose maximum it was (MAX), or of dy / number of
//   elements of each window over it; with ROOT x times the sum of dy / y over the windows, 0 where y is; the gather form of the
//   scatter in the definition
// source: PyTorch max_pool2d, avg_pool2d, lp_pool2d
// bindings: dy V[rows / h, p, q, channels], argmax VU like dy (place in the window r * S + s), x like
//   dx V[rows, columns, channels], y like dy
// grid: one workgroup per row of dx
// cost: COVER * ceil(R / STRIDE_H) loads of V, twice as many with MAX, per element
#import pixel_rows
override WG: u32 = 64u;
override R: u32 = 2u;
override S: u32 = 2u;
override STRIDE_H: u32 = 2u;
override STRIDE_W: u32 = 2u;
override PAD_H: u32 = 0u;
override PAD_W: u32 = 0u;
override COUNT_PAD: u32 = 1u;
// Largest number of windows over one column: ceil(S / STRIDE_W).
override COVER: u32 = 1u;

struct Args {
  rows: u32, columns: u32, channels: u32, step_column: u32, step_channel: u32, h: u32, p: u32, q: u32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> dy: array<V>;
@group(0) @binding(2) var<storage, read_write> dx: array<V>;
#ifdef MAX
@group(0) @binding(3) var<storage, read> argmax: array<VU>;
#endif
#ifdef ROOT
@group(0) @binding(3) var<storage, read> x: array<V>;
@group(0) @binding(4) var<storage, read> y: array<V>;
#endif

// Number of elements that a window starting at `begin` has in one dimension.
fn extent(begin: i32, window: u32, size: u32, pad: u32) -> i32 {
  if (COUNT_PAD == 1u) { return min(begin + i32(window), i32(size + pad)) - begin; }
  return min(begin + i32(window), i32(size)) - max(begin, 0);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let row = wid.y * nwg.x + wid.x;
  if (row >= args.rows) { return; }
  let n = row / args.h;
  // Distances are counted from the edge of the padding.
  let top = row - n * args.h + PAD_H;
  var p_first = 0u;
  if (top >= R) { p_first = (top - R) / STRIDE_H + 1u; }
  let p_last = min(top / STRIDE_H, args.p - 1u);
  let count = args.columns * args.channels;
  var item = first_item(lid.x);
  for (var i = lid.x; i < count; i += WG) {
    let left = i32(item.x + PAD_W);
    let q_first = left / i32(STRIDE_W) - i32(COVER - 1u);
    var sum = V(0.0);
    for (var p = p_first; p <= p_last; p++) {
      let r = top - p * STRIDE_H;
      let line = (n * args.p + p) * args.q;
      for (var j = 0u; j < COVER; j++) {
        let q = q_first + i32(j);
        let s = left - q * i32(STRIDE_W);
        let covers = q >= 0 && q < i32(args.q) && s < i32(S);
        let at = (line + u32(clamp(q, 0, i32(args.q) - 1))) * args.channels + item.y;
#ifdef MAX
        let place = select(0xffffffffu, r * S + u32(s), covers);
        sum += select(V(0.0), dy[at], argmax[at] == VU(place));
#else
#ifdef ROOT
        let norm = y[at];
        let share = select(dy[at] / norm, V(0.0), norm == V(0.0));
        sum += select(V(0.0), share, covers);
#else
        let height = extent(i32(p * STRIDE_H) - i32(PAD_H), R, args.h, PAD_H);
        let width = extent(q * i32(STRIDE_W) - i32(PAD_W), S, args.columns, PAD_W);
        sum += select(V(0.0), dy[at] / f32(max(height * width, 1)), covers);
#endif
#endif
      }
    }
#ifdef ROOT
    dx[row * count + i] = x[row * count + i] * sum;
#else
    dx[row * count + i] = sum;
#endif
    item = next_item(item);
  }
}
