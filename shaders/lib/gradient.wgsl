// The gradient as kernels over columns load it: dy, with ACTIVATED times the derivative of an activation, which follows
// from `known` (its output; its input for GELU). The importing kernel declares `dy`, T and args.slope.
#import activation
#ifdef ACTIVATED
@group(0) @binding(12) var<storage, read> known: array<T>;
#endif

fn gradient(at: u32) -> T {
#ifdef ACTIVATED
#ifdef VECTOR
  return dy[at] * activate_derivative(known[at], args.slope);
#else
  return dy[at] * activate_derivative(vec4f(known[at]), args.slope).x;
#endif
#else
  return dy[at];
#endif
}
