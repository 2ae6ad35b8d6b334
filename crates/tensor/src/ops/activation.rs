//! Activation functions: the one list that kernels, epilogues and references share.

/// A pointwise non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Activation {
    /// `x`.
    #[default]
    Identity,
    /// `max(x, 0)`; a NaN stays one.
    Relu,
    /// `x` if positive, else `slope * x`.
    LeakyRelu {
        /// Factor for negative inputs; PyTorch's default is 0.01.
        slope: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x * Phi(x)` with the exact normal distribution function (arXiv:1606.08415), not the tanh form.
    Gelu,
    /// `x * sigmoid(x)`, also called swish (arXiv:1606.08415, 1710.05941).
    Silu,
    /// `x * min(max(x + 3, 0), 6) / 6` (arXiv:1905.02244).
    HardSwish,
    /// `x` if positive, else `alpha * (exp(x) - 1)` (arXiv:1511.07289).
    Elu {
        /// Limit for very negative inputs, with its sign turned; PyTorch's default is 1.
        alpha: f32,
    },
    /// `log(1 + exp(x))`.
    Softplus,
    /// `sqrt(max(x, 0))`; the derivative at 0 is taken to be 0.
    Sqrt,
}

impl Activation {
    /// Value of the constant `ACT` in `shaders/lib/activation.wgsl`.
    pub fn code(self) -> u32 {
        match self {
            Activation::Identity => 0,
            Activation::Relu => 1,
            Activation::LeakyRelu { .. } => 2,
            Activation::Sigmoid => 3,
            Activation::Tanh => 4,
            Activation::Gelu => 5,
            Activation::Silu => 6,
            Activation::HardSwish => 7,
            Activation::Elu { .. } => 8,
            Activation::Softplus => 9,
            Activation::Sqrt => 10,
        }
    }

    /// The argument `slope` of the kernels: alpha for ELU.
    pub fn slope(self) -> f32 {
        match self {
            Activation::LeakyRelu { slope } => slope,
            Activation::Elu { alpha } => alpha,
            _ => 0.0,
        }
    }

    /// Refuses settings under which the derivative would not follow from the output.
    pub(super) fn check(self) -> Result<(), String> {
        match self {
            // With a negative slope (or NaN) the sign of the output does not tell the sign of the input.
            Activation::LeakyRelu { slope } if !(slope >= 0.0 && slope.is_finite()) => {
                Err(format!("the slope of a leaky ReLU must be finite and at least 0, got {slope}"))
            }
            Activation::Elu { alpha } if !(alpha >= 0.0 && alpha.is_finite()) => {
                Err(format!("alpha of an ELU must be finite and at least 0, got {alpha}"))
            }
            _ => Ok(()),
        }
    }

    /// The function in f64.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Activation::Identity => x,
            // Not `max`, which hides a NaN.
            Activation::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Activation::LeakyRelu { slope } => {
                if x > 0.0 {
                    x
                } else {
                    f64::from(slope) * x
                }
            }
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
            Activation::Gelu => x * normal_cdf(x),
            Activation::Silu => x * sigmoid(x),
            Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::Elu { alpha } => {
                if x > 0.0 {
                    x
                } else {
                    f64::from(alpha) * x.exp_m1()
                }
            }
            Activation::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Activation::Sqrt => {
                if x < 0.0 {
                    0.0
                } else {
                    x.sqrt()
                }
            }
        }
    }

    /// The derivative in f64, given input and output.
    pub fn derivative(self, x: f64, y: f64) -> f64 {
        match self {
            Activation::Identity => 1.0,
            Activation::Relu => {
                if y > 0.0 {
                    1.0
                } else {
                    0.0
                }
            }
            Activation::LeakyRelu { slope } => {
                if y > 0.0 {
                    1.0
                } else {
                    f64::from(slope)
                }
            }
            Activation::Sigmoid => y * (1.0 - y),
            Activation::Tanh => 1.0 - y * y,
            Activation::Gelu => normal_cdf(x) + x * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt(),
            Activation::Silu => sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))),
            Activation::HardSwish => {
                if x <= -3.0 {
                    0.0
                } else if x < 3.0 {
                    x / 3.0 + 0.5
                } else {
                    1.0
                }
            }
            Activation::Elu { alpha } => {
                if y > 0.0 {
                    1.0
                } else {
                    y + f64::from(alpha)
                }
            }
            Activation::Softplus => sigmoid(x),
            Activation::Sqrt => {
                if y > 0.0 {
                    0.5 / y
                } else {
                    0.0
                }
            }
        }
    }

    /// Whether the derivative follows from the output alone, so that the input need not be kept and the function may be
    /// the epilogue of another operation.
    pub fn derivative_from_output(self) -> bool {
        !matches!(self, Activation::Gelu | Activation::Silu | Activation::HardSwish | Activation::Softplus)
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}
