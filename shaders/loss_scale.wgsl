// computes: the next loss scale and what this step's gradients are multiplied by: 1 / scale, or 0 to skip the update
// source: Micikevicius et al., arXiv:1710.03740; the rule of PyTorch's GradScaler
// bindings: scale clean skipped f32[1] and their new values scale_out clean_out skipped_out, which may share storage;
//   found u32[1], factor f32[1]
// grid: one invocation
// cost: nothing to speak of
struct Args { growth: f32, backoff: f32, interval: f32, least: f32, most: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> scale: array<f32>;
@group(0) @binding(2) var<storage, read> clean: array<f32>;
@group(0) @binding(3) var<storage, read> skipped: array<f32>;
@group(0) @binding(4) var<storage, read> found: array<u32>;
@group(0) @binding(5) var<storage, read_write> scale_out: array<f32>;
@group(0) @binding(6) var<storage, read_write> clean_out: array<f32>;
@group(0) @binding(7) var<storage, read_write> skipped_out: array<f32>;
@group(0) @binding(8) var<storage, read_write> factor: array<f32>;

@compute @workgroup_size(1)
fn main() {
  let old = scale[0];
  let steps = clean[0] + 1.0;
  let missed = skipped[0];
  if (found[0] > 0u) {
    factor[0] = 0.0;
    scale_out[0] = max(old * args.backoff, args.least);
    clean_out[0] = 0.0;
    skipped_out[0] = missed + 1.0;
  } else {
    let grows = steps >= args.interval;
    factor[0] = 1.0 / old;
    scale_out[0] = select(old, min(old * args.growth, max(old, args.most)), grows);
    clean_out[0] = select(steps, 0.0, grows);
    skipped_out[0] = missed;
  }
}
