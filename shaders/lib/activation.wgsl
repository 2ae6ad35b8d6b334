// Activation functions for a vec4 and their derivatives; ACT as in ops/activation.rs:
// 0 identity, 1 ReLU, 2 leaky ReLU, 3 sigmoid, 4 tanh, 5 GELU (exact form, erf by Abramowitz & Stegun 7.1.26, |error| < 1.5e-7).
override ACT: u32 = 0u;

fn normal_cdf(x: vec4f) -> vec4f {
  let z = abs(x) * 0.70710678;
  let t = 1.0 / (1.0 + 0.3275911 * z);
  let poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  let half_tail = 0.5 * poly * exp(-z * z);
  return select(half_tail, 1.0 - half_tail, x > vec4f(0.0));
}

fn activate(x: vec4f, slope: f32) -> vec4f { return activate_as(ACT, x, slope); }

fn activate_as(code: u32, x: vec4f, slope: f32) -> vec4f {
  // A NaN stays one, as in PyTorch; max would hide it.
  if (code == 1u) { return select(x, vec4f(0.0), x < vec4f(0.0)); }
  if (code == 2u) { return select(x * slope, x, x > vec4f(0.0)); }
  if (code == 3u) { return 1.0 / (1.0 + exp(-x)); }
  // tanh through exp of a non-positive argument: no overflow, and the same in every driver.
  if (code == 4u) { let e = exp(-2.0 * abs(x)); return sign(x) * ((1.0 - e) / (1.0 + e)); }
  if (code == 5u) { return x * normal_cdf(x); }
  return x;
}

// The derivative, from the output for ACT 0 to 4 and from the input for GELU.
fn activate_derivative(xy: vec4f, slope: f32) -> vec4f { return derivative_as(ACT, xy, slope); }

fn derivative_as(code: u32, xy: vec4f, slope: f32) -> vec4f {
  if (code == 1u) { return select(vec4f(0.0), vec4f(1.0), xy > vec4f(0.0)); }
  if (code == 2u) { return select(vec4f(slope), vec4f(1.0), xy > vec4f(0.0)); }
  if (code == 3u) { return xy * (1.0 - xy); }
  if (code == 4u) { return 1.0 - xy * xy; }
  if (code == 5u) { return normal_cdf(xy) + xy * 0.39894228 * exp(-0.5 * xy * xy); }
  return vec4f(1.0);
}
