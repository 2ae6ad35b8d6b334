// computes: with g' = factor * g + weight_decay * p: s' = alpha * s + rest * g'^2; u = g' / (sqrt(s') + eps); p' = p - rate * u, or
//   with MOMENTUM t' = momentum * t + u; p' = p - rate * t'; with CENTERED t' = alpha * t + rest * g' and s' - t'^2, at least 0, stands
//   under the root; a factor of 0 changes nothing
// source: Tieleman and Hinton 2012; Graves, arXiv:1308.0850, for CENTERED; PyTorch torch.optim.RMSprop
// bindings: p g s t p_out s_out t_out vec4f[n], t only with TWO (MOMENTUM or CENTERED), rates f32[4] = lr, factor, 1, 1; p, s and t
//   may share storage with p_out, s_out and t_out
// grid: groups(n / strip); a workgroup takes `strip` neighbouring vec4s, its lanes interleave
// cost: 80 bytes a vec4, 112 with TWO
override WG: u32 = 64u;

struct Args {
  n: u32, strip: u32, lr_scale: f32, weight_decay: f32, alpha: f32, rest: f32, eps: f32, momentum: f32
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> rates: array<f32>;
@group(0) @binding(2) var<storage, read> p: array<vec4f>;
@group(0) @binding(3) var<storage, read> g: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> p_out: array<vec4f>;
@group(0) @binding(5) var<storage, read> s: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> s_out: array<vec4f>;
#ifdef TWO
@group(0) @binding(7) var<storage, read> t: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> t_out: array<vec4f>;
#endif

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
#ifdef TWO
      t_out[i] = t[i];
#endif
      continue;
    }
    let gradient = rates[1] * g[i] + args.weight_decay * weight;
    let square = args.alpha * s[i] + args.rest * gradient * gradient;
    s_out[i] = square;
#ifdef CENTERED
    let mean = args.alpha * t[i] + args.rest * gradient;
    t_out[i] = mean;
    let step = gradient / (sqrt(max(square - mean * mean, vec4f(0.0))) + args.eps);
#else
    let step = gradient / (sqrt(square) + args.eps);
#endif
#ifdef MOMENTUM
    let velocity = args.momentum * t[i] + step;
    t_out[i] = velocity;
    p_out[i] = weight - rate * velocity;
#else
    p_out[i] = weight - rate * step;
#endif
  }
}
