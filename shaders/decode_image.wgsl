// computes: y[pixel, c] = (byte c of the pixel / 255 - mean c) / std c, for CHANNELS = 1, 3 or 4 bytes a pixel
// source: torchvision ToTensor and Normalize
// bindings: x u32[pixels], lowest byte first; y f32[pixels, CHANNELS] as `groups` vec4s
// grid: invocations(ceil(pixels / 4)) = n; each decodes four pixels into CHANNELS vec4s
// cost: 16 (1 + CHANNELS) bytes an invocation
override WG: u32 = 64u;
override CHANNELS: u32 = 3u;

struct Args {
  n: u32, groups: u32, mean0: f32, mean1: f32, mean2: f32, mean3: f32, std0: f32, std1: f32, std2: f32, std3: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

// Byte of element `e` of the invocation's 4 * CHANNELS.
fn byte(pixels: vec4u, e: u32) -> f32 {
  return f32((pixels[e / CHANNELS] >> (e % CHANNELS * 8u)) & 255u);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.n) { return; }
  let pixels = x[i];
  let mean = vec4f(args.mean0, args.mean1, args.mean2, args.mean3);
  let deviation = vec4f(args.std0, args.std1, args.std2, args.std3);
#for k in 4
  if ({k}u < CHANNELS && i * CHANNELS + {k}u < args.groups) {
    let e = {k}u * 4u;
    let bytes = vec4f(byte(pixels, e), byte(pixels, e + 1u), byte(pixels, e + 2u), byte(pixels, e + 3u));
    let c = vec4u(e, e + 1u, e + 2u, e + 3u) % CHANNELS;
    let m = vec4f(mean[c.x], mean[c.y], mean[c.z], mean[c.w]);
    let s = vec4f(deviation[c.x], deviation[c.y], deviation[c.z], deviation[c.w]);
    y[i * CHANNELS + {k}u] = (bytes / 255.0 - m) / s;
  }
#endfor
}
