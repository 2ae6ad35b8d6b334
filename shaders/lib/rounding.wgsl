// Random words for stochastic rounding, the same as wgrad_tensor::precision::rounding_words: one block for four elements.
#import philox
// Seed (low, high), step, first sample of the batch.
@group(0) @binding(31) var<storage, read> rounding_rng: array<u32>;

fn rounding_words(quad: u32, stream: u32) -> vec4u {
  return philox(vec4u(quad | 0x50000000u, stream, rounding_rng[2], 0u), vec2u(rounding_rng[0], rounding_rng[1]));
}
