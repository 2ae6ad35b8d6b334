// Four f32 to and from 16-bit codes, the same bits as wgrad_tensor::precision::Storage. All in integers: what a driver's own
// conversion does with ties, subnormals and overflow is left to it by the specification.

fn pack_codes(code: vec4u) -> vec2u { return vec2u(code.x | code.y << 16u, code.z | code.w << 16u); }

fn unpack_bf16(p: vec2u) -> vec4f {
  return bitcast<vec4f>(vec4u(p.x << 16u, p.x & 0xffff0000u, p.y << 16u, p.y & 0xffff0000u));
}
fn unpack_f16(p: vec2u) -> vec4f {
  let code = vec4u(p.x & 0xffffu, p.x >> 16u, p.y & 0xffffu, p.y >> 16u);
  let a = code & vec4u(0x7fffu);
  // The exponents of f16 and f32 differ by 112, those of infinity and NaN by 224; below 2^-14 the code counts steps of 2^-24.
  let normal = (a << vec4u(13u)) + select(vec4u(0x38000000u), vec4u(0x70000000u), a >= vec4u(0x7c00u));
  let tiny = bitcast<vec4u>(vec4f(a) * 5.9604645e-8);
  return bitcast<vec4f>(((code & vec4u(0x8000u)) << vec4u(16u)) | select(normal, tiny, a < vec4u(0x400u)));
}

// NaN keeps its sign and loses its payload.
fn bf16_nearest(v: vec4f) -> vec4u {
  let bits = bitcast<vec4u>(v);
  let a = bits & vec4u(0x7fffffffu);
  let code = (a + vec4u(0x7fffu) + ((a >> vec4u(16u)) & vec4u(1u))) >> vec4u(16u);
  return ((bits >> vec4u(16u)) & vec4u(0x8000u)) | select(code, vec4u(0x7fc0u), a > vec4u(0x7f800000u));
}

// Up with the probability that the bits below the cut stand for; never to infinity.
fn bf16_stochastic(v: vec4f, words: vec4u) -> vec4u {
  let bits = bitcast<vec4u>(v);
  let a = bits & vec4u(0x7fffffffu);
  var code = min((a + (words & vec4u(0xffffu))) >> vec4u(16u), vec4u(0x7f7fu));
  code = select(code, vec4u(0x7f80u), a == vec4u(0x7f800000u));
  return ((bits >> vec4u(16u)) & vec4u(0x8000u)) | select(code, vec4u(0x7fc0u), a > vec4u(0x7f800000u));
}

// A number below 2^-14 is mantissa / 2^shift steps of 2^-24.
fn f16_mantissa(a: vec4u) -> vec4u {
  return (a & vec4u(0x7fffffu)) | select(vec4u(0u), vec4u(0x800000u), a >= vec4u(0x800000u));
}
fn f16_shift(a: vec4u, most: u32) -> vec4u {
  return min(vec4u(126u) - clamp(a >> vec4u(23u), vec4u(1u), vec4u(112u)), vec4u(most));
}

fn f16_nearest(v: vec4f) -> vec4u {
  let bits = bitcast<vec4u>(v);
  let a = bits & vec4u(0x7fffffffu);
  let t = clamp(a, vec4u(0x38000000u), vec4u(0x7f800000u)) - vec4u(0x38000000u);
  let normal = min((t + vec4u(0xfffu) + ((t >> vec4u(13u)) & vec4u(1u))) >> vec4u(13u), vec4u(0x7c00u));
  let mantissa = f16_mantissa(a);
  let shift = f16_shift(a, 25u);
  let half = (vec4u(1u) << (shift - vec4u(1u))) - vec4u(1u);
  let tiny = (mantissa + half + ((mantissa >> shift) & vec4u(1u))) >> shift;
  let code = select(normal, tiny, a < vec4u(0x38800000u));
  return ((bits >> vec4u(16u)) & vec4u(0x8000u)) | select(code, vec4u(0x7e00u), a > vec4u(0x7f800000u));
}

fn f16_stochastic(v: vec4f, words: vec4u) -> vec4u {
  let bits = bitcast<vec4u>(v);
  let a = bits & vec4u(0x7fffffffu);
  let t = clamp(a, vec4u(0x38000000u), vec4u(0x7f800000u)) - vec4u(0x38000000u);
  let normal = min((t + (words & vec4u(0x1fffu))) >> vec4u(13u), vec4u(0x7bffu));
  let shift = f16_shift(a, 31u);
  let tiny = (f16_mantissa(a) + (words & ((vec4u(1u) << shift) - vec4u(1u)))) >> shift;
  var code = select(normal, tiny, a < vec4u(0x38800000u));
  code = select(code, vec4u(0x7c00u), a == vec4u(0x7f800000u));
  return ((bits >> vec4u(16u)) & vec4u(0x8000u)) | select(code, vec4u(0x7e00u), a > vec4u(0x7f800000u));
}
