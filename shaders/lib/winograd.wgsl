// computes: the matrices of Winograd's minimal filtering F(M, R), ALPHA = M + R - 1: in one dimension the M outputs of a
//           filter g of R taps over ALPHA inputs d are A^T ((G g) * (B^T d)); in two dimensions each side is transformed twice.
//           A narrow tile has M - 1 outputs and does without the last point, which leaves G's other rows as they are: it
//           shares the transformed filter
// source: Lavin and Gray, arXiv:1509.09308; Toom-Cook with the points 0, 1, -1, 2, -2, 1/2, -1/2, as many as there are, and
//         infinity, which stands last
// bindings: none
override M: u32 = 2u;
override R: u32 = 3u;
override ALPHA: u32 = 4u;
// Target and source pixels of a tile by axis: M and ALPHA, or one less.
override M_H: u32 = 2u;
override M_W: u32 = 2u;
override ALPHA_H: u32 = 4u;
override ALPHA_W: u32 = 4u;

#ifdef ALPHA4
// B^T, ALPHA x ALPHA
const BT = array<f32, 16>(
  1.0, 0.0, -1.0, 0.0,
  0.0, 1.0, 1.0, 0.0,
  0.0, -1.0, 1.0, 0.0,
  0.0, -1.0, 0.0, 1.0,
);
// B^T of a narrow tile, (ALPHA - 1) x (ALPHA - 1)
const BT_NARROW = array<f32, 9>(
  1.0, -1.0, 0.0,
  0.0, 2.0, 0.0,
  0.0, -1.0, 1.0,
);
#endif
#ifdef ALPHA6
// B^T, ALPHA x ALPHA
const BT = array<f32, 36>(
  4.0, 0.0, -5.0, 0.0, 1.0, 0.0,
  0.0, -4.0, -4.0, 1.0, 1.0, 0.0,
  0.0, 4.0, -4.0, -1.0, 1.0, 0.0,
  0.0, -2.0, -1.0, 2.0, 1.0, 0.0,
  0.0, 2.0, -1.0, -2.0, 1.0, 0.0,
  0.0, 4.0, 0.0, -5.0, 0.0, 1.0,
);
// B^T of a narrow tile, (ALPHA - 1) x (ALPHA - 1)
const BT_NARROW = array<f32, 25>(
  4.0, -2.0, -4.0, 2.0, 0.0,
  0.0, -6.0, -3.0, 3.0, 0.0,
  0.0, 2.0, -3.0, 1.0, 0.0,
  0.0, -4.0, 0.0, 4.0, 0.0,
  0.0, 2.0, -1.0, -2.0, 1.0,
);
#endif
#ifdef ALPHA8
// B^T, ALPHA x ALPHA
const BT = array<f32, 64>(
  4.0, 0.0, -21.0, 0.0, 21.0, 0.0, -4.0, 0.0,
  0.0, 4.0, 4.0, -17.0, -17.0, 4.0, 4.0, 0.0,
  0.0, -4.0, 4.0, 17.0, -17.0, -4.0, 4.0, 0.0,
  0.0, 2.0, 1.0, -10.0, -5.0, 8.0, 4.0, 0.0,
  0.0, -2.0, 1.0, 10.0, -5.0, -8.0, 4.0, 0.0,
  0.0, 4.0, 8.0, -5.0, -10.0, 1.0, 2.0, 0.0,
  0.0, -4.0, 8.0, 5.0, -10.0, -1.0, 2.0, 0.0,
  0.0, -4.0, 0.0, 21.0, 0.0, -21.0, 0.0, 4.0,
);
// B^T of a narrow tile, (ALPHA - 1) x (ALPHA - 1)
const BT_NARROW = array<f32, 49>(
  4.0, -8.0, -5.0, 10.0, 1.0, -2.0, 0.0,
  0.0, 12.0, -12.0, -27.0, 3.0, 6.0, 0.0,
  0.0, 4.0, -12.0, 7.0, 3.0, -2.0, 0.0,
  0.0, 10.0, -15.0, -20.0, 15.0, 10.0, 0.0,
  0.0, 6.0, -15.0, 0.0, 15.0, -6.0, 0.0,
  0.0, 8.0, 0.0, -10.0, 0.0, 2.0, 0.0,
  0.0, -8.0, 16.0, 10.0, -20.0, -2.0, 4.0,
);
#endif
#ifdef F2X3
// A^T, M x ALPHA
const AT = array<f32, 8>(
  1.0, 1.0, 1.0, 0.0,
  0.0, 1.0, -1.0, 1.0,
);
// A^T of a narrow tile, (M - 1) x (ALPHA - 1)
const AT_NARROW = array<f32, 3>(
  1.0, 1.0, 1.0,
);
// G, ALPHA x R
const G = array<f32, 12>(
  1.0, 0.0, 0.0,
  1.0 / 2.0, 1.0 / 2.0, 1.0 / 2.0,
  1.0 / 2.0, -1.0 / 2.0, 1.0 / 2.0,
  0.0, 0.0, 1.0,
);
#endif
#ifdef F4X3
// A^T, M x ALPHA
const AT = array<f32, 24>(
  1.0, 1.0, 1.0, 1.0, 1.0, 0.0,
  0.0, 1.0, -1.0, 2.0, -2.0, 0.0,
  0.0, 1.0, 1.0, 4.0, 4.0, 0.0,
  0.0, 1.0, -1.0, 8.0, -8.0, 1.0,
);
// A^T of a narrow tile, (M - 1) x (ALPHA - 1)
const AT_NARROW = array<f32, 15>(
  1.0, 1.0, 1.0, 1.0, 0.0,
  0.0, 1.0, -1.0, 2.0, 0.0,
  0.0, 1.0, 1.0, 4.0, 1.0,
);
// G, ALPHA x R
const G = array<f32, 18>(
  1.0 / 4.0, 0.0, 0.0,
  -1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0,
  -1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0,
  1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0,
  1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0,
  0.0, 0.0, 1.0,
);
#endif
#ifdef F2X5
// A^T, M x ALPHA
const AT = array<f32, 12>(
  1.0, 1.0, 1.0, 1.0, 1.0, 0.0,
  0.0, 1.0, -1.0, 2.0, -2.0, 1.0,
);
// A^T of a narrow tile, (M - 1) x (ALPHA - 1)
const AT_NARROW = array<f32, 5>(
  1.0, 1.0, 1.0, 1.0, 1.0,
);
// G, ALPHA x R
const G = array<f32, 30>(
  1.0 / 4.0, 0.0, 0.0, 0.0, 0.0,
  -1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0,
  -1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0,
  1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0, 1.0 / 3.0, 2.0 / 3.0,
  1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0, -1.0 / 3.0, 2.0 / 3.0,
  0.0, 0.0, 0.0, 0.0, 1.0,
);
#endif
#ifdef F4X5
// A^T, M x ALPHA
const AT = array<f32, 32>(
  1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0,
  0.0, 1.0, -1.0, 2.0, -2.0, 1.0 / 2.0, -1.0 / 2.0, 0.0,
  0.0, 1.0, 1.0, 4.0, 4.0, 1.0 / 4.0, 1.0 / 4.0, 0.0,
  0.0, 1.0, -1.0, 8.0, -8.0, 1.0 / 8.0, -1.0 / 8.0, 1.0,
);
// A^T of a narrow tile, (M - 1) x (ALPHA - 1)
const AT_NARROW = array<f32, 21>(
  1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0,
  0.0, 1.0, -1.0, 2.0, -2.0, 1.0 / 2.0, 0.0,
  0.0, 1.0, 1.0, 4.0, 4.0, 1.0 / 4.0, 1.0,
);
// G, ALPHA x R
const G = array<f32, 40>(
  1.0 / 4.0, 0.0, 0.0, 0.0, 0.0,
  -1.0 / 18.0, -1.0 / 18.0, -1.0 / 18.0, -1.0 / 18.0, -1.0 / 18.0,
  -1.0 / 18.0, 1.0 / 18.0, -1.0 / 18.0, 1.0 / 18.0, -1.0 / 18.0,
  1.0 / 360.0, 1.0 / 180.0, 1.0 / 90.0, 1.0 / 45.0, 2.0 / 45.0,
  1.0 / 360.0, -1.0 / 180.0, 1.0 / 90.0, -1.0 / 45.0, 2.0 / 45.0,
  16.0 / 45.0, 8.0 / 45.0, 4.0 / 45.0, 2.0 / 45.0, 1.0 / 45.0,
  16.0 / 45.0, -8.0 / 45.0, 4.0 / 45.0, -2.0 / 45.0, 1.0 / 45.0,
  0.0, 0.0, 0.0, 0.0, 1.0 / 4.0,
);
#endif

#ifdef NARROW_H
const BT_H = BT_NARROW;
const AT_H = AT_NARROW;
#else
const BT_H = BT;
const AT_H = AT;
#endif
#ifdef NARROW_W
const BT_W = BT_NARROW;
const AT_W = AT_NARROW;
#else
const BT_W = BT;
const AT_W = AT;
#endif

// Where a point of a wide tile stands among the planes: those of narrow tiles come first, infinity among them, and the point
// that narrow tiles do without comes last.
fn slot(i: u32) -> u32 { return select(select(i, ALPHA - 1u, i == ALPHA - 2u), ALPHA - 2u, i == ALPHA - 1u); }

// Number of a plane of products: those that every tile has come first, then those of tiles that are not narrow in height, in
// width, in both.
fn plane(point_h: u32, point_w: u32) -> u32 {
  const LAST = ALPHA - 1u;
  let i = slot(point_h);
  let j = slot(point_w);
  if (i < LAST && j < LAST) { return i * LAST + j; }
  if (j < LAST) { return LAST * LAST + j; }
  if (i < LAST) { return LAST * LAST + LAST + i; }
  return ALPHA * ALPHA - 1u;
}
