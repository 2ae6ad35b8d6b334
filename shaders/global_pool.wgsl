// computes: y = mean of x over each image and channel; with MAX the maximum and argmax = h * W + w of the first (a NaN wins)
// source: Lin et al., arXiv:1312.4400; PyTorch adaptive_avg_pool2d, adaptive_max_pool2d with output size 1
// bindings: x V[n / channels, h, w, channels], y V[n], argmax VU[n] (V: vec4f with VEC4, otherwise f32)
// grid: invocations(n)
// cost: h*w loads of V an invocation
override WG: u32 = 64u;

#ifdef VEC4
alias V = vec4f;
alias VU = vec4u;
#else
alias V = f32;
alias VU = u32;
#endif

struct Args { n: u32, channels: u32, h: u32, w: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(2) var<storage, read_write> y: array<V>;
#ifdef MAX
@group(0) @binding(3) var<storage, read_write> argmax: array<VU>;
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.n) { return; }
  let image = i / args.channels;
  var at = image * args.h * args.w * args.channels + (i - image * args.channels);
#ifdef MAX
  var best = x[at];
  var place = VU(0u);
  let area = args.h * args.w;
  for (var hw = 0u; hw < area; hw++) {
    let v = x[at];
    let is_nan = (bitcast<VU>(v) & VU(0x7fffffffu)) > VU(0x7f800000u);
    let better = (v > best) | is_nan;
    best = select(best, v, better);
    place = select(place, VU(hw), better);
    at += args.channels;
  }
  y[i] = best;
  argmax[i] = place;
#else
  // A sum of sums of rows: rounding errors grow with h + w instead of h * w.
  var sum = V(0.0);
  for (var h = 0u; h < args.h; h++) {
    var line = V(0.0);
    for (var w = 0u; w < args.w; w++) {
      line += x[at];
      at += args.channels;
    }
    sum += line;
  }
  y[i] = sum / f32(args.h * args.w);
#endif
}
