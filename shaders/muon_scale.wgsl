// computes: inverse = 1 / (sqrt(sum) + eps), taken = 0 where factor is 0, otherwise 1 (always without SCALED)
// source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"
// bindings: sum inverse taken factor f32[1]
// grid: one invocation
// cost: nothing to speak of
struct Args { eps: f32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> sum: array<f32>;
@group(0) @binding(2) var<storage, read_write> inverse: array<f32>;
@group(0) @binding(3) var<storage, read_write> taken: array<f32>;
#ifdef SCALED
@group(0) @binding(4) var<storage, read> factor: array<f32>;
#endif

@compute @workgroup_size(1)
fn main() {
  inverse[0] = 1.0 / (sqrt(sum[0]) + args.eps);
  taken[0] = 1.0;
#ifdef SCALED
  taken[0] = select(1.0, 0.0, factor[0] == 0.0);
#endif
}
