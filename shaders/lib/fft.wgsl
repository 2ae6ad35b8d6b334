// computes: the discrete Fourier transform of T complex numbers in registers, X[k] = sum over j of x[j] exp(-2 pi i j k / T);
//           with INVERSE the exponent's sign is turned (the division by T is left to the caller)
// source: Stockham's self-sorting radix-2 form of Cooley and Tukey 1965; Van Loan, Computational Frameworks for the FFT, 1.7
// bindings: none
override T: u32 = 16u;
override LOG_T: u32 = 4u;
// A real signal's spectrum is symmetric: X[T - k] is the conjugate of X[k], so these suffice.
override HALF: u32 = 9u;

// Channels are counted in words.
#ifdef VECTOR
alias Word = vec4f;
#else
alias Word = f32;
#endif

struct Line { re: array<Word, T>, im: array<Word, T> }

// cos and sin of 2 pi k / 32.
const COS = array<f32, 16>(
  1.0, 0.980785280, 0.923879533, 0.831469612, 0.707106781, 0.555570233, 0.382683432, 0.195090322,
  0.0, -0.195090322, -0.382683432, -0.555570233, -0.707106781, -0.831469612, -0.923879533, -0.980785280,
);
const SIN = array<f32, 16>(
  0.0, 0.195090322, 0.382683432, 0.555570233, 0.707106781, 0.831469612, 0.923879533, 0.980785280,
  1.0, 0.980785280, 0.923879533, 0.831469612, 0.707106781, 0.555570233, 0.382683432, 0.195090322,
);
#ifdef INVERSE
const SIGN = 1.0;
#else
const SIGN = -1.0;
#endif

// Stage s joins transforms of 2^s numbers: butterfly b = j 2^s + k takes numbers b and b + T/2 to 2 j 2^s + k and 2^s further.
fn fft(line: Line) -> Line {
  var r_0 = line;
#for s in LOG_T
  var r_y{s}: Line;
#for b in T / 2
  {
    const J = {b}u >> {s}u;
    const TO = ({b}u & ((1u << {s}u) - 1u)) + ((2u * J) << {s}u);
    const W = (J << {s}u) * (32u / T);
    let sum_re = r_0.re[{b}u] + r_0.re[{b}u + T / 2u];
    let sum_im = r_0.im[{b}u] + r_0.im[{b}u + T / 2u];
    let re = r_0.re[{b}u] - r_0.re[{b}u + T / 2u];
    let im = r_0.im[{b}u] - r_0.im[{b}u + T / 2u];
    r_y{s}.re[TO] = sum_re;
    r_y{s}.im[TO] = sum_im;
    r_y{s}.re[TO + (1u << {s}u)] = COS[W] * re - (SIGN * SIN[W]) * im;
    r_y{s}.im[TO + (1u << {s}u)] = COS[W] * im + (SIGN * SIN[W]) * re;
  }
#endfor
  r_0 = r_y{s};
#endfor
  return r_0;
}
