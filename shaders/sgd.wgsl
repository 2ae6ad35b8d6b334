// computes: g' = g + weight_decay * p; v' = momentum * v + g'; p' = p - lr * lr_scale * (NESTEROV ? g' + momentum * v'
//   : v'), and without MOMENTUM p' = p - lr * lr_scale * g'; with SCALED g is multiplied by factor, and where that is 0
//   nothing changes; with LR_IN_VELOCITY v' = momentum * v + lr * lr_scale * g' and p' = p - (NESTEROV ? lr * lr_scale * g' +
//   momentum * v' : v')
// source: PyTorch torch.optim.SGD, dampening 0; Sutskever et al. 2013 for Nesterov's form; Caffe for LR_IN_VELOCITY
// bindings: p g v p_out v_out vec4f[n], lr factor f32[1]; p may share storage with p_out and v with v_out
// grid: groups(n / strip); a workgroup takes `strip` neighbouring vec4s, its lanes interleave
// cost: 48 bytes a vec4, 80 with momentum
override WG: u32 = 64u;

struct Args { n: u32, strip: u32, lr_scale: f32, momentum: f32, weight_decay: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> p: array<vec4f>;
@group(0) @binding(2) var<storage, read> g: array<vec4f>;
@group(0) @binding(3) var<storage, read> lr: array<f32>;
@group(0) @binding(4) var<storage, read_write> p_out: array<vec4f>;
#ifdef MOMENTUM
@group(0) @binding(5) var<storage, read> v: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> v_out: array<vec4f>;
#endif
#ifdef SCALED
@group(0) @binding(7) var<storage, read> factor: array<f32>;
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.y * nwg.x + wid.x;
  let end = min(args.n, (group + 1u) * args.strip);
  let rate = lr[0] * args.lr_scale;
  for (var i = group * args.strip + lid.x; i < end; i += WG) {
    let weight = p[i];
#ifdef SCALED
    if (factor[0] == 0.0) {
      p_out[i] = weight;
#ifdef MOMENTUM
      v_out[i] = v[i];
#endif
      continue;
    }
    let gradient = factor[0] * g[i] + args.weight_decay * weight;
#else
    let gradient = g[i] + args.weight_decay * weight;
#endif
#ifdef MOMENTUM
#ifdef LR_IN_VELOCITY
    let step = rate * gradient;
    let velocity = args.momentum * v[i] + step;
    v_out[i] = velocity;
#ifdef NESTEROV
    p_out[i] = weight - (step + args.momentum * velocity);
#else
    p_out[i] = weight - velocity;
#endif
#else
    let velocity = args.momentum * v[i] + gradient;
    v_out[i] = velocity;
#ifdef NESTEROV
    p_out[i] = weight - rate * (gradient + args.momentum * velocity);
#else
    p_out[i] = weight - rate * velocity;
#endif
#endif
#else
    p_out[i] = weight - rate * gradient;
#endif
  }
}
