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
        }
    }

    /// The argument `slope` of the kernels.
    pub fn slope(self) -> f32 {
        match self {
            Activation::LeakyRelu { slope } => slope,
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
        }
    }

    /// Whether the derivative follows from the output alone, so that the input need not be kept and the function may be
    /// the epilogue of another operation.
    pub fn derivative_from_output(self) -> bool {
        self != Activation::Gelu
    }
}

fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}
