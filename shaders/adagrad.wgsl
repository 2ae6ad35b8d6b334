// computes: with g' = factor * g + weight_decay * p: s' = s + g'^2; p' = p - rate * g' / (sqrt(s') + eps); a factor of 0 changes
//   nothing
// source: Duchi, Hazan and Singer 2011; PyTorch torch.optim.Adagrad
// bindings: p g s p_out s_out vec4f[n], rates f32[4] = lr, factor, 1, 1; p and s may share storage with p_out and s_out
// grid: groups(n / strip); a workgroup takes `strip` neighbouring vec4s, its lanes interleave
// cost: 80 bytes a vec4
override WG: u32 = 64u;

struct Args { n: u32, strip: u32, lr_scale: f32, weight_decay: f32, eps: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> rates: array<f32>;
@group(0) @binding(2) var<storage, read> p: array<vec4f>;
@group(0) @binding(3) var<storage, read> g: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> p_out: array<vec4f>;
@group(0) @binding(5) var<storage, read> s: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> s_out: array<vec4f>;

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
      continue;
    }
    let gradient = rates[1] * g[i] + args.weight_decay * weight;
    let sum = s[i] + gradient * gradient;
    s_out[i] = sum;
    p_out[i] = weight - rate * gradient / (sqrt(sum) + args.eps);
  }
}
