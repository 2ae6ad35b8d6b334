// computes: scale[c] = k + alpha_n * sum over j of x[j]^2 with j from c - BEFORE to c + AFTER within the pixel's channels, and
//   y[c] = x[c] * scale[c]^-beta; with BACKWARD dx[c] = dy[c] * scale[c]^-beta - 2 alpha_n beta x[c] * sum over j of
//   dy[j] y[j] / scale[j], with j from c - AFTER to c + BEFORE: those whose neighbour c is
// source: Krizhevsky, Sutskever and Hinton 2012, section 3.3; PyTorch local_response_norm; alpha_n = alpha / size
// bindings: x y scale dy dx f32[n], channels innermost
// grid: groups(n / strip); a workgroup takes `strip` neighbouring elements, its lanes interleave
// cost: size loads and a power an element, backward 3 size loads
override WG: u32 = 64u;
override BEFORE: u32 = 2u;
override AFTER: u32 = 2u;

struct Args { n: u32, strip: u32, channels: u32, alpha_n: f32, beta: f32, k: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<f32>;
#ifdef BACKWARD
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
#else
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> scale: array<f32>;
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.y * nwg.x + wid.x;
  let end = min(args.n, (group + 1u) * args.strip);
  for (var i = group * args.strip + lid.x; i < end; i += WG) {
    let c = i % args.channels;
    let last = args.channels - 1u - c;
#ifdef BACKWARD
    var sum = 0.0;
    for (var j = i - min(c, AFTER); j <= i + min(last, BEFORE); j++) { sum += dy[j] * y[j] / scale[j]; }
    dx[i] = dy[i] * pow(scale[i], -args.beta) - 2.0 * args.alpha_n * args.beta * x[i] * sum;
#else
    var sum = 0.0;
    for (var j = i - min(c, BEFORE); j <= i + min(last, AFTER); j++) { sum += x[j] * x[j]; }
    let s = args.k + args.alpha_n * sum;
    scale[i] = s;
    y[i] = x[i] * pow(s, -args.beta);
#endif
  }
}
