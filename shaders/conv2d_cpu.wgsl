// computes: conv2d (y from x and w, with epilogue), or with BACKWARD_INPUT its input gradient (dx from dy and w)
// source: implicit GEMM (cuDNN, arXiv:1410.0759) with the register tile of gemm_cpu.wgsl
// bindings: x = source [N,Hs,Ws,Cs], w [K,R,S,C/groups], y = target [N,Ht,Wt,Ct], bias, residual
// grid: (x, y) = tiles of 4*LANE*SG target pixels x SHARED target channels folded, z = group; one subgroup each
// cost: 2*R*S*Cs/groups FLOP a target element; per four source channels of TAPS taps SPAN loads a lane and TAPS*SHARED
//       broadcast loads
//
// Lanes lie along target pixels, 4*LANE each; SHARED target channels are shared. With BACKWARD_INPUT and a stride the target
// pixels are walked phase by phase (all those with equal h % stride and w % stride together, a workgroup has one phase):
// the taps that hit anything are then every stride-th one, and no others are visited. The forward pass has one phase.
//
// With ROWS (a stride of 1 along the row) all taps of a filter row are taken at once: a lane's pixels lie side by side in one row
// (phase_w is the width rounded up to that, nothing is stored for what is too much), so that neighbouring taps share all but
// one of the SPAN source pixels that a lane loads.
//
// Loops test at their end: a software adapter runs a loop's body once more with all lanes masked off before it notices a
// test at the head, and three nested loops of three or four rounds each would waste a third of their time so.
#import epilogue
#import rounds
override SG: u32 = 8u;
// The register tile, see gemm_cpu.wgsl.
override LANE: u32 = 1u;
override SHARED: u32 = 16u;
// Constants, so that divisions by them become shifts.
override STRIDE_H: u32 = 1u;
override STRIDE_W: u32 = 1u;
// Taps that are taken at once, and source pixels that a lane loads for them.
override TAPS: u32 = 1u;
override SPAN: u32 = 4u;

struct Args {
  phase_pixels: u32, phase_strips: u32, phase_h: u32, phase_w: u32, tiles_c: u32, tap_h: u32, tap_w: u32,
  hs: u32, ws: u32, cs: u32, csg: u32, ht: u32, wt: u32, ct: u32, ctg: u32, r: u32, s: u32,
  pad_h: u32, pad_w: u32, dil_h: u32, dil_w: u32, slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> w: array<vec4f>;
#ifdef Y_VECTOR
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
#else
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
#endif

#ifdef BACKWARD_INPUT
const PHASES: u32 = STRIDE_H * STRIDE_W;
#else
const PHASES: u32 = 1u;
#endif
const REGISTERS: u32 = (SHARED + SG - 1u) / SG;
const QUADS: u32 = SHARED / 4u;

// A target pixel: image, row and column within the phase, and whether it lies before the phase's last one.
struct Pixel { n: u32, i: u32, j: u32, known: bool }

fn first_pixel(m: u32) -> Pixel {
  let line = m / args.phase_w;
  let n = line / args.phase_h;
  return Pixel(n, line - n * args.phase_h, m - line * args.phase_w, m < args.phase_pixels);
}

// The pixel behind `t`: integer division costs as much as twenty multiply-adds here, so only the first one is divided.
fn next_pixel(t: Pixel, m: u32) -> Pixel {
  var u = t;
  u.j += 1u;
  if (u.j == args.phase_w) { u.j = 0u; u.i += 1u; }
  if (u.i == args.phase_h) { u.i = 0u; u.n += 1u; }
  u.known = m < args.phase_pixels;
  return u;
}

#ifdef BACKWARD_INPUT
fn row_of(t: Pixel, phase: u32) -> u32 { return t.i * STRIDE_H + phase / STRIDE_W; }
fn column_of(t: Pixel, phase: u32) -> u32 { return t.j * STRIDE_W + phase % STRIDE_W; }
#else
fn row_of(t: Pixel, phase: u32) -> u32 { return t.i; }
fn column_of(t: Pixel, phase: u32) -> u32 { return t.j; }
#endif

fn exists(t: Pixel, phase: u32) -> bool {
  return t.known && row_of(t, phase) < args.ht && column_of(t, phase) < args.wt;
}

// Index of the source vec4 that tap (r, s) of a target pixel reads first, or NOTHING. Unsigned wrap-around makes
// negative positions huge, so that they fail the comparison with the extent.
const NOTHING: u32 = 0xffffffffu;
fn source_index(t: Pixel, phase: u32, r: u32, s: u32, group: u32) -> u32 {
#ifdef BACKWARD_INPUT
  let hp = row_of(t, phase) + args.pad_h - r * args.dil_h;
  let wp = column_of(t, phase) + args.pad_w - s * args.dil_w;
  let h = hp / STRIDE_H;
  let w = wp / STRIDE_W;
  let hits = r < args.r && s < args.s && hp % STRIDE_H == 0u && wp % STRIDE_W == 0u;
  let inside = exists(t, phase) && hits && h < args.hs && w < args.ws;
#else
  let h = row_of(t, phase) * STRIDE_H + r * args.dil_h - args.pad_h;
  let w = column_of(t, phase) * STRIDE_W + s * args.dil_w - args.pad_w;
  let inside = t.known && h < args.hs && w < args.ws;
#endif
  return select(NOTHING, (((t.n * args.hs + h) * args.ws + w) * args.cs + group * args.csg) / 4u, inside);
}

// Which of the TAPS taps meets a lane's first pixel at source pixel u of SPAN.
fn tap_under(u: u32) -> u32 {
#ifdef BACKWARD_INPUT
  return TAPS - 1u - u;
#else
  return u;
#endif
}

#ifdef ROWS
// The source row that filter row r of a target pixel reads (its first pixel, whether it exists) and its column under the first
// of the pixels that the lane loads.
struct Row { first: u32, column: u32, known: bool }

fn source_row(t: Pixel, r: u32) -> Row {
#ifdef BACKWARD_INPUT
  let h = t.i + args.pad_h - r * args.dil_h;
  let column = t.j + args.pad_w - (TAPS - 1u);
#else
  let h = t.i * STRIDE_H + r * args.dil_h - args.pad_h;
  let column = t.j - args.pad_w;
#endif
  return Row((t.n * args.hs + h) * args.ws, column, t.known && h < args.hs);
}

fn row_index(row: Row, j: u32, group: u32) -> u32 {
  let w = row.column + j;
  return select(NOTHING, ((row.first + w) * args.cs + group * args.csg) / 4u, row.known && w < args.ws);
}

#endif
fn load_x(index: u32, c4: u32) -> vec4f {
  let v = x[select(index + c4, 0u, index == NOTHING)];
  return select(v, vec4f(0.0), index == NOTHING);
}

// One of the shared vec4s for source channels 4*c4.. and tap: forward, target channel v at four source channels;
// backward, source channel v / QUADS at four target channels.
fn load_w(v: u32, c0: u32, c4: u32, tap: u32, group: u32) -> vec4f {
  let taps = args.r * args.s;
#ifdef BACKWARD_INPUT
  let k = group * args.csg + c4 * 4u + v / QUADS;
  let c = min(c0 + (v % QUADS) * 4u, args.ctg - 4u);
  return w[((k * taps + tap) * args.ctg + c) / 4u];
#else
  let k = group * args.ctg + min(c0 + v, args.ctg - 1u);
  return w[(k * taps + tap) * (args.csg / 4u) + c4];
#endif
}

fn store(t: Pixel, phase: u32, group: u32, c: u32, value: vec4f) {
  if (!exists(t, phase) || c >= args.ctg) { return; }
  let channel = group * args.ctg + c;
  let at = ((t.n * args.ht + row_of(t, phase)) * args.wt + column_of(t, phase)) * args.ct + channel;
  let count = min(4u, args.ctg - c);
  let v = epilogue(value, channel, at, count);
#ifdef Y_VECTOR
  y[at / 4u] = v;
#else
  for (var i = 0u; i < count; i++) { y[at + i] = v[i]; }
#endif
}

@compute @workgroup_size(SG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let tile = wid.y * nwg.x + wid.x;
  let group = wid.z;
  let strip = tile / args.tiles_c;
  let phase = strip / args.phase_strips;
  // The grid is folded and may be larger than the tiles; what lies behind them must not be computed twice.
  if (phase >= PHASES) { return; }
  let m0 = ((strip - phase * args.phase_strips) * SG + lid.x) * 4u * LANE;
  let c0 = (tile % args.tiles_c) * SHARED;
  var t = first_pixel(m0);
#for l in LANE
#for i in 4
  let t{l}_{i} = t;
  t = next_pixel(t, m0 + {l}u * 4u + {i}u + 1u);
#endfor
#endfor
#ifdef BACKWARD_INPUT
  let r_first = select(0u, (phase / STRIDE_W + args.pad_h) % STRIDE_H, args.tap_h > 1u);
  let s_first = select(0u, (phase % STRIDE_W + args.pad_w) % STRIDE_W, args.tap_w > 1u);
#else
  let r_first = 0u;
  let s_first = 0u;
#endif

  // r_y[l * SHARED + i]: target channel i of the lane's pixels 4l..4l+3; r_x[4l + j]: these pixels at source channel j.
  var r_y: array<vec4f, LANE * SHARED>;
  var r_x: array<vec4f, 4u * LANE>;
#ifdef ROWS
  var r_in: array<vec4f, SPAN>;
#endif
  var r_w: array<vec4f, REGISTERS>;
  var r = r_first;
  loop {
    var s = s_first;
    loop {
#ifdef ROWS
      let row = source_row(t0_0, r);
#for j in SPAN
      let from{j} = row_index(row, {j}u, group);
#endfor
#else
#for l in LANE
#for i in 4
      let from{l}_{i} = source_index(t{l}_{i}, phase, r, s, group);
#endfor
#endfor
#endif
      let tap = min(r, args.r - 1u) * args.s + min(s, args.s - 1u);
      var c4 = 0u;
      loop {
#ifdef ROWS
#for j in SPAN
        r_in[{j}u] = load_x(from{j}, c4);
#endfor
#else
#for l in LANE
#for i in 4
        let r_in{l}_{i} = load_x(from{l}_{i}, c4);
#endfor
#endfor
#endif
        // A loop of one round would cost a quarter of the time.
#ifdef ROWS
        var u = 0u;
        loop {
#else
        let u = 0u;
        {
#endif
          for (var i = 0u; i < REGISTERS; i++) {
            r_w[i] = load_w(min(i * SG + lid.x, SHARED - 1u), c0, c4, tap + tap_under(u), group);
          }
#ifdef ROWS
          // A tap finds its pixels one further than the one before. They are picked: where all of them move along in their
          // registers, the driver takes half as long again to compile the kernel (0.7 for 0.46 s).
#for l in LANE
#for i in 4
          var r_in{l}_{i} = r_in[{l}u * 4u + {i}u];
#for t in TAPS
          r_in{l}_{i} = select(r_in{l}_{i}, r_in[{l}u * 4u + {i}u + {t}u], u == {t}u);
#endfor
#endfor
#endfor
#endif
#for l in LANE
#for i in 4
          r_x[{l}u * 4u + {i}u] = vec4f(r_in{l}_0[{i}u], r_in{l}_1[{i}u], r_in{l}_2[{i}u], r_in{l}_3[{i}u]);
#endfor
#endfor
          // Each sum is touched once for the four channels: it comes from the stack and goes back there.
#ifdef BACKWARD_INPUT
#for g in SHARED / 4
#for i in 4
          let r_s{g}_{i} = subgroupBroadcast(r_w[({g}u + {i}u * QUADS) / SG], ({g}u + {i}u * QUADS) % SG);
#endfor
#for l in LANE
#for j in 4
          r_y[{l}u * SHARED + {g}u * 4u + {j}u] += r_s{g}_0[{j}u] * r_x[{l}u * 4u] + r_s{g}_1[{j}u] * r_x[{l}u * 4u + 1u]
                                                + r_s{g}_2[{j}u] * r_x[{l}u * 4u + 2u] + r_s{g}_3[{j}u] * r_x[{l}u * 4u + 3u];
#endfor
#endfor
#endfor
#else
#for i in SHARED
          let r_s{i} = subgroupBroadcast(r_w[{i}u / SG], {i}u % SG);
#for l in LANE
          r_y[{l}u * SHARED + {i}u] += r_s{i}.x * r_x[{l}u * 4u] + r_s{i}.y * r_x[{l}u * 4u + 1u]
                                     + r_s{i}.z * r_x[{l}u * 4u + 2u] + r_s{i}.w * r_x[{l}u * 4u + 3u];
#endfor
#endfor
#endif
#ifdef ROWS
          continuing { u += 1u; break if u >= args.s; }
#endif
        }
        continuing { c4 += 1u; break if c4 >= args.csg / 4u; }
      }
      continuing { s += args.tap_w; break if s >= args.s; }
    }
    continuing { r += args.tap_h; break if r >= args.r; }
  }

  // Pixel by pixel, in a loop whose end the driver does not know: unrolled, the stores would take it longer to compile than
  // all the rest, and the result would be no faster.
  let pixels = rounds(4u * LANE, nwg);
  t = t0_0;
  for (var i = 0u; i < pixels; i++) {
#for j in SHARED / 4
    var r_out{j} = vec4f(0.0);
#for l in LANE
    r_out{j} = select(r_out{j}, vec4f(r_y[{l}u * SHARED + {j}u * 4u][i % 4u], r_y[{l}u * SHARED + {j}u * 4u + 1u][i % 4u],
        r_y[{l}u * SHARED + {j}u * 4u + 2u][i % 4u], r_y[{l}u * SHARED + {j}u * 4u + 3u][i % 4u]), i / 4u == {l}u);
#endfor
    store(t, phase, group, c0 + {j}u * 4u, r_out{j});
#endfor
    t = next_pixel(t, m0 + i + 1u);
  }
}
