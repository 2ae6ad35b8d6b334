// computes: y = scale (KIND 0), uniform in [-scale, scale) (KIND 1), normal with deviation scale (KIND 2)
// source: Philox4x32-10; Box and Muller 1958
// bindings: y vec4f[n]
// grid: groups(n / strip); a workgroup takes `strip` neighbouring vec4s, its lanes interleave
// cost: 16 bytes a vec4
#import philox
override WG: u32 = 64u;
override KIND: u32 = 0u;

struct Args { n: u32, strip: u32, scale: f32, seed_low: u32, seed_high: u32, purpose: u32, stream: u32, first: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.y * nwg.x + wid.x;
  let end = min(args.n, (group + 1u) * args.strip);
  for (var i = group * args.strip + lid.x; i < end; i += WG) {
    if (KIND == 0u) {
      y[i] = vec4f(args.scale);
      continue;
    }
    let counter = vec4u((args.first + i) | (args.purpose << 28u), args.stream, 0u, 0u);
    let u = unit_floats(philox(counter, vec2u(args.seed_low, args.seed_high)));
    if (KIND == 1u) {
      y[i] = (2.0 * u - 1.0) * args.scale;
    } else {
      let radius = sqrt(-2.0 * log(1.0 - u.xz)) * args.scale;
      let angle = 6.2831853 * u.yw;
      y[i] = vec4f(radius.x * cos(angle.x), radius.x * sin(angle.x), radius.y * cos(angle.y), radius.y * sin(angle.y));
    }
  }
}
