// What a product goes through before it is stored: act(v + bias[column] + residual), or with DERIVATIVE (v + …) * act', the
// derivative following from `known` as lib/activation.wgsl says. BIAS, RESIDUAL and DERIVATIVE are ifdefs; the importing kernel declares args.slope, and calls with v a vec4 of four columns. With
// Y_VECTOR residual and known are read by whole vec4s, like the result whose storage it may share.
#import activation
#ifdef BIAS
@group(0) @binding(10) var<storage, read> bias: array<f32>;
#endif
#ifdef RESIDUAL
#ifdef Y_VECTOR
@group(0) @binding(11) var<storage, read> residual: array<vec4f>;
#else
@group(0) @binding(11) var<storage, read> residual: array<f32>;
#endif
#endif
#ifdef DERIVATIVE
#ifdef Y_VECTOR
@group(0) @binding(12) var<storage, read> known: array<vec4f>;
#else
@group(0) @binding(12) var<storage, read> known: array<f32>;
#endif
#endif

// Four columns that start with bias element `column`; the residual is read from `at` on. `count` columns are valid.
fn epilogue(value: vec4f, column: u32, at: u32, count: u32) -> vec4f {
  var v = value;
  let last = max(count, 1u) - 1u;
#ifdef BIAS
  v += vec4f(bias[column], bias[column + min(1u, last)], bias[column + min(2u, last)], bias[column + min(3u, last)]);
#endif
#ifdef RESIDUAL
#ifdef Y_VECTOR
  v += residual[at / 4u];
#else
  v += vec4f(residual[at], residual[at + min(1u, last)], residual[at + min(2u, last)], residual[at + min(3u, last)]);
#endif
#endif
#ifdef DERIVATIVE
#ifdef Y_VECTOR
  let at_known = known[at / 4u];
#else
  let at_known = vec4f(known[at], known[at + min(1u, last)], known[at + min(2u, last)], known[at + min(3u, last)]);
#endif
  return v * activate_derivative(at_known, args.slope);
#else
  return activate(v, args.slope);
#endif
}
