// Activation functions for a vec4 and their derivatives; ACT as in ops/activation.rs:
// 0 identity, 1 ReLU, 2 leaky ReLU, 3 sigmoid, 4 tanh, 5 GELU (exact form, erf by Abramowitz & Stegun 7.1.26, |error| < 1.5e-7),
// 6 SiLU, 7 hard-swish, 8 ELU (slope is alpha), 9 softplus, 10 square root.
override ACT: u32 = 0u;

fn normal_cdf(x: vec4f) -> vec4f {
  let z = abs(x) * 0.70710678;
  let t = 1.0 / (1.0 + 0.3275911 * z);
  let poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  let half_tail = 0.5 * poly * exp(-z * z);
  return select(half_tail, 1.0 - half_tail, x > vec4f(0.0));
}

// exp(x) - 1 for x up to 0, by its series close to 0, where the difference would lose digits.
fn exp_minus_one(x: vec4f) -> vec4f {
  let series = x * (1.0 + x * (0.5 + x * (0.16666667 + x * (0.041666667 + x * 0.0083333333))));
  return select(exp(x) - 1.0, series, x > vec4f(-0.1));
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
  if (code == 6u) { return x / (1.0 + exp(-x)); }
  if (code == 7u) { return x * clamp(x + 3.0, vec4f(0.0), vec4f(6.0)) / 6.0; }
  if (code == 8u) { return select(slope * exp_minus_one(min(x, vec4f(0.0))), x, x > vec4f(0.0)); }
  // The logarithm of what is close to 1 as a series: 1 + e would round e away.
  if (code == 9u) {
    let e = exp(-abs(x));
    return max(x, vec4f(0.0)) + select(log(1.0 + e), e - 0.5 * e * e, e < vec4f(1e-3));
  }
  if (code == 10u) { return sqrt(select(x, vec4f(0.0), x < vec4f(0.0))); }
  return x;
}

// The derivative, from the output for ACT 0 to 4, 8 and 10, and from the input for the others.
fn activate_derivative(xy: vec4f, slope: f32) -> vec4f { return derivative_as(ACT, xy, slope); }

fn derivative_as(code: u32, xy: vec4f, slope: f32) -> vec4f {
  if (code == 1u) { return select(vec4f(0.0), vec4f(1.0), xy > vec4f(0.0)); }
  if (code == 2u) { return select(vec4f(slope), vec4f(1.0), xy > vec4f(0.0)); }
  if (code == 3u) { return xy * (1.0 - xy); }
  if (code == 4u) { return 1.0 - xy * xy; }
  if (code == 5u) { return normal_cdf(xy) + xy * 0.39894228 * exp(-0.5 * xy * xy); }
  if (code == 6u) { let s = 1.0 / (1.0 + exp(-xy)); return s * (1.0 + xy * (1.0 - s)); }
  if (code == 7u) {
    return select(select(xy / 3.0 + 0.5, vec4f(1.0), xy >= vec4f(3.0)), vec4f(0.0), xy <= vec4f(-3.0));
  }
  if (code == 8u) { return select(xy + slope, vec4f(1.0), xy > vec4f(0.0)); }
  if (code == 9u) { return 1.0 / (1.0 + exp(-xy)); }
  if (code == 10u) { return select(vec4f(0.0), 0.5 / xy, xy > vec4f(0.0)); }
  return vec4f(1.0);
}
