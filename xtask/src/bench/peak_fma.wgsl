// computes: y = sum over CHAINS of x + c after 16 rounds steps of v = v * a + b: as many multiply-adds as the adapter can do
// source: the adapter's peak, after the roofline model (Williams et al., Commun. ACM 52, 2009)
// bindings: x y vec4f[n]
// grid: invocations(n)
// cost: 128 rounds CHAINS FLOP and 32 bytes a vec4
override WG: u32 = 64u;
override CHAINS: u32 = 4u;

struct Args { n: u32, rounds: u32, a: f32, b: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.n) { return; }
  let a = vec4f(args.a);
  let b = vec4f(args.b);
#for c in CHAINS
  var r_v{c} = x[i] + vec4f({c}.0);
#endfor
  for (var t = 0u; t < args.rounds; t += 1u) {
#for u in 16
#for c in CHAINS
#ifdef MUL_ADD
    r_v{c} = r_v{c} * a + b;
#else
    r_v{c} = fma(r_v{c}, a, b);
#endif
#endfor
#endfor
  }
  var sum = vec4f(0.0);
#for c in CHAINS
  sum += r_v{c};
#endfor
  y[i] = sum;
}
