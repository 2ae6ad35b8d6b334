// computes: y = act((x - mean) / sqrt(variance + eps) * weight + bias + residual)
// source: Ioffe & Szegedy, arXiv:1502.03167
// bindings: x residual y T[rows, columns], mean variance weight bias T[columns]; x or residual may share storage with y
// grid: blocks of rows and columns as lib/columns.wgsl says
// cost: one or two loads, one store and three to four operations an element
#import columns
#import activation
override WG: u32 = 64u;

struct Args {
  rows: u32, columns: u32, column_lanes: u32, row_lanes: u32, block_rows: u32, column_blocks: u32, eps: f32, slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read> weight: array<T>;
@group(0) @binding(3) var<storage, read> bias: array<T>;
@group(0) @binding(4) var<storage, read> mean: array<T>;
@group(0) @binding(5) var<storage, read> variance: array<T>;
#ifdef RESIDUAL
@group(0) @binding(6) var<storage, read> residual: array<T>;
#endif
@group(0) @binding(7) var<storage, read_write> y: array<T>;

#ifdef VECTOR
fn act(v: vec4f) -> vec4f { return activate(v, args.slope); }
#else
fn act(v: f32) -> f32 { return activate(vec4f(v), args.slope).x; }
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let w = walk(wid.y * nwg.x + wid.x, lid.x);
  if (!w.is_active) { return; }
  // The mean is taken off first: folding it into the bias would cancel where it is far larger than the deviation.
  let center = mean[w.column];
  let scale = weight[w.column] / sqrt(variance[w.column] + args.eps);
  let shift = bias[w.column];
  for (var at = w.at; at < w.end; at += w.step) {
#ifdef RESIDUAL
    y[at] = act((x[at] - center) * scale + shift + residual[at]);
#else
    y[at] = act((x[at] - center) * scale + shift);
#endif
  }
}
