// computes: with f = before (1 without SCALED): norm = f * sqrt(sum), factor = f * min(1, max_norm / (norm + eps)); where f is 0 both
//   are 0
// source: Pascanu et al., arXiv:1211.5063; PyTorch clip_grad_norm_
// bindings: sum before factor norm f32[1]
// grid: one invocation
// cost: nothing to speak of
struct Args { max_norm: f32, eps: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> sum: array<f32>;
@group(0) @binding(2) var<storage, read_write> factor: array<f32>;
@group(0) @binding(3) var<storage, read_write> norm: array<f32>;
#ifdef SCALED
@group(0) @binding(4) var<storage, read> before: array<f32>;
#endif

@compute @workgroup_size(1)
fn main() {
  var scale = 1.0;
#ifdef SCALED
  scale = before[0];
  // A step to skip, whose sum may be infinite.
  if (scale == 0.0) {
    factor[0] = 0.0;
    norm[0] = 0.0;
    return;
  }
#endif
  let length = scale * sqrt(sum[0]);
  norm[0] = length;
  factor[0] = scale * min(1.0, args.max_norm / (length + args.eps));
}
