// Cooperative matrices of COOP x COOP for lib/product.wgsl: f16 operands, f32 sums. WAVES
// subgroups stand WAVES_N in a row. NVIDIA has 16x16, Mesa's software
// driver 8x8. Metal's 8x8 are out of reach: naga wants scalars in workgroup memory there, and wgpu names no one subgroup size.
override COOP: u32 = 16u;
override SG: u32 = 32u;
override WAVES_N: u32 = 4u;
const WAVES: u32 = WG / SG;

#ifdef COOP_8
alias MatrixA = coop_mat8x8<f16, A>;
alias MatrixB = coop_mat8x8<f16, B>;
alias MatrixC = coop_mat8x8<f32, C>;
#else
alias MatrixA = coop_mat16x16<f16, A>;
alias MatrixB = coop_mat16x16<f16, B>;
alias MatrixC = coop_mat16x16<f32, C>;
#endif

// Where a subgroup lays down a matrix of sums, row by row, for its lanes to take up.
var<workgroup> s_out: array<vec4f, WAVES * COOP * COOP / 4u>;

fn store_matrix(tile: Tile, lane: Lane, row: u32, column: u32) {
  for (var i = lane.lane; i < COOP * COOP / 4u; i += SG) {
    store(tile, tile.row0 + row + i / (COOP / 4u), tile.column0 + column + i % (COOP / 4u) * 4u,
          s_out[lane.subgroup * (COOP * COOP / 4u) + i]);
  }
}
