// computes: y = act(a b^T + bias + residual) in f32 for a of few rows: linear layers of a few images
// source: matrix-vector kernels of inference engines: every number of b is read once, by lanes that lie along k
// bindings: a [ROWS,k], b [n,k], y [ROWS,n], bias [n], residual like y; rows ld apart
// grid: (x, y) = 16 columns a workgroup, folded in two dimensions; a subgroup of any size takes four of them
// cost: ROWS + 4 loads of 16 bytes a lane per 16*ROWS multiply-adds; bound by reading b
#import epilogue
#import lane
override WG: u32 = 128u;
override ROWS: u32 = 4u;

struct Args {
  n: u32, k: u32, lda: u32, ldb: u32, ldy: u32, a_offset: u32, b_offset: u32, y_offset: u32, slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
#ifdef Y_VECTOR
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
#else
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
#endif

fn store(row: u32, column: u32, value: vec4f) {
  let at = args.y_offset + row * args.ldy + column;
  let count = min(4u, args.n - column);
  let v = epilogue(value, column, at, count);
#ifdef Y_VECTOR
  y[at / 4u] = v;
#else
  for (var i = 0u; i < count; i++) { y[at + i] = v[i]; }
#endif
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, lane: Lane,
        @builtin(subgroup_size) size: u32) {
  let first = (wid.y * nwg.x + wid.x) * 16u;
  // Every subgroup of the workgroup makes as many rounds, so that all lanes reach every sum.
  for (var quad = lane.subgroup; quad < 4u + lane.subgroup; quad += lane.subgroups) {
    let column = first + quad * 4u;
    let is_there = quad < 4u && column < args.n;
#for i in 4
    let at_b{i} = args.b_offset + min(column + {i}u, args.n - 1u) * args.ldb;
#endfor
#for r in ROWS
    var sum{r} = vec4f(0.0);
#endfor
    // All lanes of a subgroup make as many rounds, so that they are together when they add.
    for (var p0 = 0u; p0 < args.k; p0 += size * 4u) {
      let own = p0 + lane.lane * 4u;
      let p = min(own, args.k - 4u);
#for i in 4
      let b{i} = b[(at_b{i} + p) / 4u];
#endfor
#for r in ROWS
      let a{r} = select(vec4f(0.0), a[(args.a_offset + {r}u * args.lda + p) / 4u], own < args.k);
      sum{r} += vec4f(dot(a{r}, b0), dot(a{r}, b1), dot(a{r}, b2), dot(a{r}, b3));
#endfor
    }
#for r in ROWS
    let total{r} = subgroupAdd(sum{r});
#endfor
    if (lane.lane == 0u && is_there) {
#for r in ROWS
      store({r}u, column, total{r});
#endfor
    }
  }
}
