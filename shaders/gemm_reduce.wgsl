// computes: y = act(sum over parts of partial + bias + residual), or with DERIVATIVE (sum …) * act' at `known`: the second pass of a product with k split
// source: deterministic split-K (CUTLASS "parallel reduction")
// bindings: partial [splits, batch, m, n], y [m,n] per batch member with rows ldy apart, bias [batch*n], residual like y
// grid: invocations(batch*m*n)
// cost: splits+1 words an invocation
#import activation
override WG: u32 = 64u;

struct Args {
  m: u32, n: u32, splits: u32, batch: u32, ldy: u32, y_offset: u32, y_stride: u32, slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#ifdef BIAS
@group(0) @binding(10) var<storage, read> bias: array<f32>;
#endif
#ifdef RESIDUAL
@group(0) @binding(11) var<storage, read> residual: array<f32>;
#endif
#ifdef DERIVATIVE
@group(0) @binding(12) var<storage, read> known: array<f32>;
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  let area = args.m * args.n;
  let total = args.batch * area;
  if (i >= total) { return; }
  var sum = 0.0;
  for (var part = 0u; part < args.splits; part++) { sum += partial[part * total + i]; }
  let member = i / area;
  let row = i % area / args.n;
  let column = i % args.n;
  let at = args.y_offset + member * args.y_stride + row * args.ldy + column;
#ifdef BIAS
  sum += bias[member * args.n + column];
#endif
#ifdef RESIDUAL
  sum += residual[at];
#endif
#ifdef ACCUMULATE
  y[at] += sum;
#else
#ifdef DERIVATIVE
  y[at] = sum * activate_derivative(vec4f(known[at]), args.slope).x;
#else
  y[at] = activate(vec4f(sum), args.slope).x;
#endif
#endif
}
