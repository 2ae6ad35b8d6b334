// A tile [BM, BN] of a matrix product, BK steps of k at a time through workgroup memory: what gemm.wgsl, conv2d.wgsl and
// conv2d_backward_weight.wgsl share. The importing kernel says what is multiplied and where it goes:
//   struct Tile                    row0, column0, k_begin, k_end of this workgroup, and what else the kernel wants to know
//   struct Lines                   what can be known of four rows of a, or four columns of b, before the loop over k
//   lines_a(tile, row), lines_b(tile, column) -> Lines
//   (both are asked for rows and columns far outside, too, and must not load)
//   load_a(tile, lines, k) -> mat4x4f   column j of the matrix: the four rows at k + j; 0 outside
//   load_b(tile, lines, k) -> mat4x4f   column j: the four columns at k + j; 0 outside
//   store(tile, row, column, v)         four columns of a row of the result
// A_ALONG_K and B_ALONG_K say that an operand lies contiguously along k; neighbouring invocations then go that way.
// F16_TILES holds the tiles in 16 bits: twice the operands a byte of workgroup memory, sums in f32 all the same.
// COOPERATIVE multiplies them by cooperative matrices of COOP x COOP.
// source: CUTLASS (workgroup and register tiles), Boehm 2022 ("How to optimize a CUDA matmul kernel")
#import lane
override BM: u32 = 64u;
override BN: u32 = 64u;
override BK: u32 = 32u;
// Invocations, and how many blocks of 4 by 4 operands each of them brings a step.
override WG: u32 = 256u;
override ROUNDS: u32 = 1u;

#ifdef F16_TILES
alias Quad = vec4<f16>;
#else
alias Quad = vec4f;
#endif

const BLOCKS_A: u32 = BM * BK / 16u;
const BLOCKS_B: u32 = BN * BK / 16u;
const KQ: u32 = BK / 4u;
// Tiles have k outermost, so that four rows (columns) are one vec4. Eight neighbouring blocks along k would be written into the
// same banks of workgroup memory: cooperative matrices shift the lines of a tile against each other by 16 bytes, the others
// permute the vec4s of a line.
#ifdef COOPERATIVE
const LINE_A: u32 = BM / 4u + 2u;
const LINE_B: u32 = BN / 4u + 2u;
fn permuted(quad: u32, kq: u32) -> u32 { return quad; }
#else
const LINE_A: u32 = BM / 4u;
const LINE_B: u32 = BN / 4u;
fn permuted(quad: u32, kq: u32) -> u32 { return quad ^ ((kq * (8u / KQ)) % 8u); }
#endif
var<workgroup> s_a: array<Quad, BK * LINE_A>;
var<workgroup> s_b: array<Quad, BK * LINE_B>;

// A block of operands: the vec4 of its rows (columns) within the tile, and its four steps of k.
struct Block { is_a: bool, is_b: bool, quad: u32, kq: u32 }

fn block_of(index: u32) -> Block {
  let is_a = index < BLOCKS_A;
  let i = select(index - BLOCKS_A, index, is_a);
#ifdef A_ALONG_K
  let along_k_a = true;
#else
  let along_k_a = false;
#endif
#ifdef B_ALONG_K
  let along_k_b = true;
#else
  let along_k_b = false;
#endif
  let quads = select(BN / 4u, BM / 4u, is_a);
  let along_k = select(along_k_b, along_k_a, is_a);
  return Block(is_a, !is_a && i < BLOCKS_B, select(i % quads, i / KQ, along_k), select(i / quads, i % KQ, along_k));
}

fn lines_of(tile: Tile, block: Block) -> Lines {
  if (block.is_a) { return lines_a(tile, tile.row0 + block.quad * 4u); }
  return lines_b(tile, tile.column0 + block.quad * 4u);
}

fn fetch(tile: Tile, block: Block, lines: Lines, k: u32) -> mat4x4f {
  if (block.is_a) { return load_a(tile, lines, k + block.kq * 4u); }
  if (block.is_b) { return load_b(tile, lines, k + block.kq * 4u); }
  return mat4x4f();
}

fn keep(block: Block, v: mat4x4f) {
  let quad = permuted(block.quad, block.kq);
  if (block.is_a) {
#for j in 4
    s_a[(block.kq * 4u + {j}u) * LINE_A + quad] = Quad(v[{j}]);
#endfor
  } else if (block.is_b) {
#for j in 4
    s_b[(block.kq * 4u + {j}u) * LINE_B + quad] = Quad(v[{j}]);
#endfor
  }
}

// Each invocation sums TM by TN outputs in registers: TM / 4 groups of four rows TY * 4 apart, and columns likewise.
override TM: u32 = 4u;
override TN: u32 = 4u;
const TX: u32 = BN / TN;
const TY: u32 = WG / TX;
// With COOPERATIVE a subgroup sums CM by CN matrices.
override CM: u32 = 2u;
override CN: u32 = 2u;
#ifdef COOPERATIVE
#import cooperative
#endif

// The tile's product, stored. Every invocation of the workgroup calls it.
fn product(tile: Tile, lane: Lane) {
#for r in ROUNDS
  let block{r} = block_of(lane.index + {r}u * WG);
  let lines{r} = lines_of(tile, block{r});
  var r_block{r} = fetch(tile, block{r}, lines{r}, tile.k_begin);
#endfor
#ifdef COOPERATIVE
  let row0 = lane.subgroup / WAVES_N * (COOP * CM);
  let column0 = lane.subgroup % WAVES_N * (COOP * CN);
#for m in CM
#for n in CN
  var r_sum{m}_{n} = MatrixC();
#endfor
#endfor
#else
  let tx = lane.index % TX;
  let ty = lane.index / TX;
  var r_sum: array<vec4f, TM * TN / 4u>;
#endif
  for (var k = tile.k_begin; k < tile.k_end; k += BK) {
    workgroupBarrier();
#for r in ROUNDS
    keep(block{r}, r_block{r});
#endfor
    workgroupBarrier();
    // What the next step wants is on its way while this one is summed.
    if (k + BK < tile.k_end) {
#for r in ROUNDS
      r_block{r} = fetch(tile, block{r}, lines{r}, k + BK);
#endfor
    }
#ifdef COOPERATIVE
    for (var i = 0u; i < BK; i += COOP) {
#for m in CM
      let at_a{m} = i * LINE_A + (row0 + {m}u * COOP) / 4u;
      let a{m} = coopLoad<MatrixA>(&s_a[at_a{m}], LINE_A);
#endfor
#for n in CN
      let at_b{n} = i * LINE_B + (column0 + {n}u * COOP) / 4u;
      let b{n} = coopLoadT<MatrixB>(&s_b[at_b{n}], LINE_B);
#endfor
#for m in CM
#for n in CN
      r_sum{m}_{n} = coopMultiplyAdd(a{m}, b{n}, r_sum{m}_{n});
#endfor
#endfor
    }
#else
    for (var i = 0u; i < BK; i++) {
#for m in TM / 4
      let a{m} = vec4f(s_a[i * LINE_A + permuted(ty + {m}u * TY, i / 4u)]);
#endfor
#for n in TN / 4
      let b{n} = vec4f(s_b[i * LINE_B + permuted(tx + {n}u * TX, i / 4u)]);
#endfor
#for m in TM / 4
#for j in 4
#for n in TN / 4
      r_sum[({m}u * 4u + {j}u) * (TN / 4u) + {n}u] += a{m}[{j}] * b{n};
#endfor
#endfor
#endfor
    }
#endif
  }
#ifdef COOPERATIVE
#for m in CM
#for n in CN
  coopStoreT(r_sum{m}_{n}, &s_out[lane.subgroup * (COOP * COOP / 4u)], COOP / 4u);
  workgroupBarrier();
  store_matrix(tile, lane, row0 + {m}u * COOP, column0 + {n}u * COOP);
  workgroupBarrier();
#endfor
#endfor
#else
#for m in TM / 4
#for j in 4
#for n in TN / 4
  store(tile, tile.row0 + (ty + {m}u * TY) * 4u + {j}u, tile.column0 + (tx + {n}u * TX) * 4u,
        r_sum[({m}u * 4u + {j}u) * (TN / 4u) + {n}u]);
#endfor
#endfor
#endfor
#endif
}
