// computes: with g' = factor * g, without DECOUPLED + weight_decay * p: s' = beta1 * s + rest1 * g'; t' = beta2 * t + rest2 * g'^2;
//   p' = p (with DECOUPLED less rate * weight_decay * p) - rate / c1 * s' / (sqrt(t') / sqrt(c2) + eps); a factor of 0 changes nothing
// source: Kingma and Ba, arXiv:1412.6980; Loshchilov and Hutter, arXiv:1711.05101; PyTorch torch.optim.AdamW
// bindings: p g s t p_out s_out t_out vec4f[n], rates f32[4] = lr, factor, 1 / c1, 1 / sqrt(c2); p, s and t may share storage with
//   p_out, s_out and t_out
// grid: groups(n / strip); a workgroup takes `strip` neighbouring vec4s, its lanes interleave
// cost: 112 bytes a vec4
override WG: u32 = 64u;

struct Args {
  n: u32, strip: u32, lr_scale: f32, weight_decay: f32, beta1: f32, beta2: f32, rest1: f32, rest2: f32, eps: f32
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> rates: array<f32>;
@group(0) @binding(2) var<storage, read> p: array<vec4f>;
@group(0) @binding(3) var<storage, read> g: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> p_out: array<vec4f>;
@group(0) @binding(5) var<storage, read> s: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> s_out: array<vec4f>;
@group(0) @binding(7) var<storage, read> t: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> t_out: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.y * nwg.x + wid.x;
  let end = min(args.n, (group + 1u) * args.strip);
  let rate = rates[0] * args.lr_scale;
  for (var i = group * args.strip + lid.x; i < end; i += WG) {
    let weight = p[i];
    if (rates[1] == 0.0) {
      p_out[i] = weight;
      s_out[i] = s[i];
      t_out[i] = t[i];
      continue;
    }
#ifdef DECOUPLED
    let gradient = rates[1] * g[i];
    let kept = weight - rate * args.weight_decay * weight;
#else
    let gradient = rates[1] * g[i] + args.weight_decay * weight;
    let kept = weight;
#endif
    let mean = args.beta1 * s[i] + args.rest1 * gradient;
    let square = args.beta2 * t[i] + args.rest2 * gradient * gradient;
    s_out[i] = mean;
    t_out[i] = square;
    p_out[i] = kept - rate * rates[2] * mean / (sqrt(square) * rates[3] + args.eps);
  }
}
