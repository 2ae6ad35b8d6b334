// computes: y = act(a b + bias + residual) in f32, as gemm.wgsl, for software adapters: no barriers, no workgroup memory
// source: Goto and van de Geijn 2008 (register blocking); lanes share one operand by subgroup broadcast
// bindings: lane = the operand along whose outputs the lanes lie, spread = the other one, y [m,n], bias, residual
// grid: (x, y) = tiles of 4*LANE*SG x SHARED outputs folded in two dimensions, z = batch * parts of k; one subgroup each
// cost: 2*m*n*k FLOP; SHARED broadcast loads and 4*LANE loads a lane per 16*LANE*SHARED multiply-adds a lane
#import epilogue
#import rounds
override SG: u32 = 8u;
// Outputs of a lane in vec4s, and outputs of the shared operand: a load takes a software adapter nearly
// half the instructions of the smallest tile's sums, so the largest tile that the extents fill wins, although its sums live on
// the stack (ops/register_tile.rs).
override LANE: u32 = 1u;
override SHARED: u32 = 16u;

struct Args {
  m: u32, n: u32, k: u32, k_chunk: u32, batch: u32,
  lane_ld: u32, shared_ld: u32, ldy: u32, tiles_shared: u32,
  lane_offset: u32, shared_offset: u32, y_offset: u32,
  lane_stride: u32, shared_stride: u32, y_stride: u32,
  slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
#ifdef LANE_VECTOR
@group(0) @binding(1) var<storage, read> lane: array<vec4f>;
#else
@group(0) @binding(1) var<storage, read> lane: array<f32>;
#endif
#ifdef SHARED_VECTOR
@group(0) @binding(2) var<storage, read> spread: array<vec4f>;
#else
@group(0) @binding(2) var<storage, read> spread: array<f32>;
#endif
#ifdef Y_VECTOR
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
#else
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
#endif

// Registers that hold the shared vec4s of four steps of k, one a lane each, and vec4s of one of these steps.
const REGISTERS: u32 = (SHARED + SG - 1u) / SG;
const QUADS: u32 = SHARED / 4u;

#ifdef LANES_ALONG_M
fn lane_extent() -> u32 { return args.m; }
fn shared_extent() -> u32 { return args.n; }
#else
fn lane_extent() -> u32 { return args.n; }
fn shared_extent() -> u32 { return args.m; }
#endif

// Four values of an operand: outputs o..o+3 at one k, or one output at k..k+3. Outputs out of range are clamped (their
// results are not stored); k out of range gives 0.
fn load_lane(base: u32, o: u32, p: u32, k_end: u32) -> vec4f {
#ifdef LANE_VECTOR
#ifdef LANE_K_MAJOR
  return lane[(base + min(o, lane_extent() - 1u) * args.lane_ld + p) / 4u];
#else
  return lane[(base + p * args.lane_ld + min(o, lane_extent() - 4u)) / 4u];
#endif
#else
  var v = vec4f(0.0);
  for (var i = 0u; i < 4u; i++) {
#ifdef LANE_K_MAJOR
    if (p + i < k_end) { v[i] = lane[base + min(o, lane_extent() - 1u) * args.lane_ld + p + i]; }
#else
    if (p < k_end) { v[i] = lane[base + p * args.lane_ld + min(o + i, lane_extent() - 1u)]; }
#endif
  }
  return v;
#endif
}

fn load_shared(base: u32, o: u32, p: u32, k_end: u32) -> vec4f {
#ifdef SHARED_VECTOR
#ifdef SHARED_K_MAJOR
  return spread[(base + min(o, shared_extent() - 1u) * args.shared_ld + p) / 4u];
#else
  let v = spread[(base + min(p, k_end - 1u) * args.shared_ld + min(o, shared_extent() - 4u)) / 4u];
  return select(vec4f(0.0), v, p < k_end);
#endif
#else
  var v = vec4f(0.0);
  for (var i = 0u; i < 4u; i++) {
#ifdef SHARED_K_MAJOR
    if (p + i < k_end) { v[i] = spread[base + min(o, shared_extent() - 1u) * args.shared_ld + p + i]; }
#else
    if (p < k_end) { v[i] = spread[base + p * args.shared_ld + min(o + i, shared_extent() - 1u)]; }
#endif
  }
  return v;
#endif
}

// Four columns from `column` on, of which those below n are stored.
fn store(member: u32, row: u32, column: u32, value: vec4f) {
  if (row >= args.m || column >= args.n) { return; }
  let at = args.y_offset + member * args.y_stride + row * args.ldy + column;
  let count = min(4u, args.n - column);
  let bias_at = member % args.batch * args.n + column;
#ifdef Y_VECTOR
#ifdef ACCUMULATE
  y[at / 4u] += value;
#else
  y[at / 4u] = epilogue(value, bias_at, at, count);
#endif
#else
#ifdef ACCUMULATE
  for (var i = 0u; i < count; i++) { y[at + i] += value[i]; }
#else
  let v = epilogue(value, bias_at, at, count);
  for (var i = 0u; i < count; i++) { y[at + i] = v[i]; }
#endif
#endif
}

// Of a tile of four shared outputs by four of the lane's: what is stored in round i, all of the lane's for one shared output or
// the other way round.
fn stored(a: vec4f, b: vec4f, c: vec4f, d: vec4f, i: u32) -> vec4f {
#ifdef LANES_ALONG_M
  return vec4f(a[i], b[i], c[i], d[i]);
#else
  return pick(a, b, c, d, i);
#endif
}

@compute @workgroup_size(SG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let tile = wid.y * nwg.x + wid.x;
  let member = wid.z % args.batch;
  let o_lane = ((tile / args.tiles_shared) * SG + lid.x) * 4u * LANE;
  let o_shared = (tile % args.tiles_shared) * SHARED;
  let k_begin = wid.z / args.batch * args.k_chunk;
  let k_end = min(args.k, k_begin + args.k_chunk);
  let lane_base = args.lane_offset + member * args.lane_stride;
  let shared_base = args.shared_offset + member * args.shared_stride;

  // r_y[l * SHARED + i]: shared output i against the lane's outputs 4l..4l+3; r_lane[4l + q]: these outputs at k + q.
  var r_y: array<vec4f, LANE * SHARED>;
  var r_lane: array<vec4f, 4u * LANE>;
  var r_shared: array<vec4f, REGISTERS>;
  // The loop tests at its end, see conv2d_cpu.wgsl.
  var p = k_begin;
  loop {
#for l in LANE
#ifdef LANE_K_MAJOR
#for i in 4
    let r_in{l}_{i} = load_lane(lane_base, o_lane + {l}u * 4u + {i}u, p, k_end);
#endfor
#for i in 4
    r_lane[{l}u * 4u + {i}u] = vec4f(r_in{l}_0[{i}u], r_in{l}_1[{i}u], r_in{l}_2[{i}u], r_in{l}_3[{i}u]);
#endfor
#else
    // Past the end of k the shared operand is 0, so any finite value will do here: the last row's.
#for i in 4
    r_lane[{l}u * 4u + {i}u] = load_lane(lane_base, o_lane + {l}u * 4u, min(p + {i}u, k_end - 1u), k_end);
#endfor
#endif
#endfor
    // The shared vec4s, one a lane: output v at k..k+3 (K-major), or outputs 4(v % QUADS)..+3 at k + v / QUADS.
    for (var r = 0u; r < REGISTERS; r++) {
      let v = min(r * SG + lid.x, SHARED - 1u);
#ifdef SHARED_K_MAJOR
      r_shared[r] = load_shared(shared_base, o_shared + v, p, k_end);
#else
      r_shared[r] = load_shared(shared_base, o_shared + (v % QUADS) * 4u, p + v / QUADS, k_end);
#endif
    }
    // Each sum is touched once for the four steps: it comes from the stack and goes back there.
#ifdef SHARED_K_MAJOR
#for i in SHARED
    let r_s{i} = subgroupBroadcast(r_shared[{i}u / SG], {i}u % SG);
#for l in LANE
    r_y[{l}u * SHARED + {i}u] += r_s{i}.x * r_lane[{l}u * 4u] + r_s{i}.y * r_lane[{l}u * 4u + 1u]
                               + r_s{i}.z * r_lane[{l}u * 4u + 2u] + r_s{i}.w * r_lane[{l}u * 4u + 3u];
#endfor
#endfor
#else
#for g in SHARED / 4
#for i in 4
    let r_s{g}_{i} = subgroupBroadcast(r_shared[({g}u + {i}u * QUADS) / SG], ({g}u + {i}u * QUADS) % SG);
#endfor
#for l in LANE
#for j in 4
    r_y[{l}u * SHARED + {g}u * 4u + {j}u] += r_s{g}_0[{j}u] * r_lane[{l}u * 4u] + r_s{g}_1[{j}u] * r_lane[{l}u * 4u + 1u]
                                          + r_s{g}_2[{j}u] * r_lane[{l}u * 4u + 2u] + r_s{g}_3[{j}u] * r_lane[{l}u * 4u + 3u];
#endfor
#endfor
#endfor
#endif
    continuing { p += 4u; break if p >= k_end; }
  }

  // Four by four, in a loop whose end the driver does not know, see conv2d_cpu.wgsl.
  let outputs = rounds(4u * LANE, nwg);
  for (var i = 0u; i < outputs; i++) {
#for j in SHARED / 4
    var r_out{j} = vec4f(0.0);
#for l in LANE
    r_out{j} = select(r_out{j}, stored(r_y[{l}u * SHARED + {j}u * 4u], r_y[{l}u * SHARED + {j}u * 4u + 1u],
                                       r_y[{l}u * SHARED + {j}u * 4u + 2u], r_y[{l}u * SHARED + {j}u * 4u + 3u], i % 4u), i / 4u == {l}u);
#endfor
#ifdef LANES_ALONG_M
    store(wid.z, o_lane + i, o_shared + {j}u * 4u, r_out{j});
#else
    store(wid.z, o_shared + {j}u * 4u + i % 4u, o_lane + i / 4u * 4u, r_out{j});
#endif
#endfor
  }
}
