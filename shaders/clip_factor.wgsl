// computes: with f = before (1 without SCALED): norm = f * sqrt(sum), factor = f * min(1, max_norm / (norm + eps)); where f is 0 both
//   are 0; where sum is infinite or NaN factor is 0 and skipped_out = skipped + 1, otherwise skipped
// source: Pascanu et al., arXiv:1211.5063; PyTorch clip_grad_norm_
// bindings: sum before skipped factor norm skipped_out f32[1]; skipped may share storage with skipped_out
// grid: one invocation
// cost: nothing to speak of
struct Args { max_norm: f32, eps: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> sum: array<f32>;
@group(0) @binding(2) var<storage, read_write> factor: array<f32>;
@group(0) @binding(3) var<storage, read_write> norm: array<f32>;
@group(0) @binding(4) var<storage, read> skipped: array<f32>;
@group(0) @binding(5) var<storage, read_write> skipped_out: array<f32>;
#ifdef SCALED
@group(0) @binding(6) var<storage, read> before: array<f32>;
#endif

@compute @workgroup_size(1)
fn main() {
  var scale = 1.0;
  let missed = skipped[0];
#ifdef SCALED
  scale = before[0];
  // A step to skip, whose sum may be infinite.
  if (scale == 0.0) {
    factor[0] = 0.0;
    norm[0] = 0.0;
    skipped_out[0] = missed;
    return;
  }
#endif
  let length = scale * sqrt(sum[0]);
  norm[0] = length;
  // On bits: comparisons with NaN may be taken for granted.
  let finite = (bitcast<u32>(sum[0]) & 0x7f800000u) != 0x7f800000u;
  factor[0] = select(0.0, scale * min(1.0, args.max_norm / (length + args.eps)), finite);
  skipped_out[0] = missed + select(1.0, 0.0, finite);
}
