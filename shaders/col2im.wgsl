// computes: dx[n, h, w, g*Cg + c] = (residual +) sum over taps of cols[g][output pixel whose tap hits (h, w)][tap][c]; with
//           DERIVATIVE times act' at `known`; with ACCUMULATE added to dx: the taps come in parts when the windows of an image exceed the workspace
// source: the transpose of im2col.wgsl, in gather form: no atomics, fixed order
// bindings: cols [groups, rows, taps, Cg] of the taps tap0.. (in order of R, S), dx and residual [N,H,W,C] of images n0 <= n < n0 + images; vec4 over c with VECTOR
// grid: invocations(images*H*W), z = group
// cost: at most taps*Cg words read and Cg written an invocation
#import activation
override WG: u32 = 64u;

struct Args {
  n0: u32, images: u32, tap0: u32, taps: u32, c: u32, cg: u32, h: u32, w: u32, p: u32, q: u32, r: u32, s: u32,
  stride_h: u32, stride_w: u32, pad_h: u32, pad_w: u32, dil_h: u32, dil_w: u32, slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
// Extents along c are counted in elements of these arrays.
#ifdef VECTOR
@group(0) @binding(1) var<storage, read> cols: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4f>;
#ifdef RESIDUAL
@group(0) @binding(3) var<storage, read> residual: array<vec4f>;
#endif
#ifdef DERIVATIVE
@group(0) @binding(12) var<storage, read> known: array<vec4f>;
fn factor(at: u32) -> vec4f { return activate_derivative(known[at], args.slope); }
#endif
const ZERO = vec4f(0.0);
#else
@group(0) @binding(1) var<storage, read> cols: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
#ifdef RESIDUAL
@group(0) @binding(3) var<storage, read> residual: array<f32>;
#endif
#ifdef DERIVATIVE
@group(0) @binding(12) var<storage, read> known: array<f32>;
fn factor(at: u32) -> f32 { return activate_derivative(vec4f(known[at]), args.slope).x; }
#endif
const ZERO = 0.0;
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.images * args.h * args.w) { return; }
  let n = i / (args.h * args.w);
  let h = i / args.w % args.h;
  let w = i % args.w;
  let rows = args.images * args.p * args.q;
  let to = ((args.n0 + n) * args.h * args.w + i % (args.h * args.w)) * args.c + wid.z * args.cg;
  for (var c = 0u; c < args.cg; c++) {
#ifdef RESIDUAL
    var sum = residual[to + c];
#else
#ifdef ACCUMULATE
    var sum = dx[to + c];
#else
    var sum = ZERO;
#endif
#endif
    for (var tap = 0u; tap < args.taps; tap++) {
      // Unsigned wrap-around makes negative positions huge; they fail p < P like those behind the image.
      let r = (args.tap0 + tap) / args.s;
      let hp = h + args.pad_h - r * args.dil_h;
      let wq = w + args.pad_w - (args.tap0 + tap - r * args.s) * args.dil_w;
      let p = hp / args.stride_h;
      let q = wq / args.stride_w;
      if (hp % args.stride_h == 0u && p < args.p && wq % args.stride_w == 0u && q < args.q) {
        sum += cols[((wid.z * rows + (n * args.p + p) * args.q + q) * args.taps + tap) * args.cg + c];
      }
    }
#ifdef DERIVATIVE
    dx[to + c] = sum * factor(to + c);
#else
    dx[to + c] = sum;
#endif
  }
}
