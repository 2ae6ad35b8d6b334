// computes: the filter gradient dw[k,r,s,c] = sum over images and output pixels of dy[n,p,q,k] * x[n,h,w,c], in parts
// source: implicit GEMM (cuDNN, arXiv:1410.0759) with the register tile of gemm_cpu.wgsl
// bindings: x [N,H,W,C], dy [N,P,Q,K], partial [parts, K, R, S, C/groups]
// grid: x = tiles of LANE*SG columns (r, s, four c) x SHARED k, y = parts of the rows (n, p), z = group; one subgroup each
// cost: 2*K*R*S*C/groups FLOP an output pixel; per four pixels 4*LANE loads a lane (4 with ROWS) and SHARED broadcast loads
//
// With ROWS (stride 1) a lane's columns are the LANE taps of one filter row under four channels: neighbouring taps of
// neighbouring output pixels meet the same pixels of x, so that four output pixels need 4 + CARRY of them, and CARRY are still there.
#import rounds
override SG: u32 = 8u;
// The register tile, see gemm_cpu.wgsl: a lane has LANE columns.
override LANE: u32 = 1u;
override SHARED: u32 = 16u;
// With ROWS: LANE - 1.
override CARRY: u32 = 2u;

struct Args {
  rows: u32, rows_part: u32, tiles_k: u32, k: u32, kg: u32, c: u32, cg: u32,
  h: u32, w: u32, p: u32, q: u32, r: u32, s: u32,
  stride_h: u32, stride_w: u32, pad_h: u32, pad_w: u32, dil_h: u32, dil_w: u32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4f>;

const REGISTERS: u32 = (SHARED + SG - 1u) / SG;
const QUADS: u32 = SHARED / 4u;

// A lane's column: the first of its four channels in vec4s, and its tap's distance from the window's corner.
struct Column { c4: u32, tap_h: u32, tap_w: u32 }

// Columns behind the last one repeat it; they are not stored.
fn column_of(column: u32) -> Column {
  let cg4 = args.cg / 4u;
#ifdef ROWS
  let line = min(column / LANE, args.r * cg4 - 1u);
  let r = line / cg4;
  return Column(line - r * cg4, r * args.dil_h, column % LANE);
#else
  let own = min(column, args.r * args.s * cg4 - 1u);
  let tap = own / cg4;
  return Column(own - tap * cg4, tap / args.s * args.dil_h, tap % args.s * args.dil_w);
#endif
}

// Where column `column` lies in a filter.
fn place_of(column: u32) -> u32 {
#ifdef ROWS
  let cg4 = args.cg / 4u;
  let line = column / LANE;
  let r = line / cg4;
  return (r * LANE + column % LANE) * cg4 + line - r * cg4;
#else
  return column;
#endif
}

// Four channels of pixel `w` of the row whose first vec4 is `line`, 0 outside the image.
fn load_x(line: u32, w: u32, inside: bool) -> vec4f {
  let known = inside && w < args.w;
  return select(vec4f(0.0), x[select(0u, line + w * (args.c / 4u), known)], known);
}

@compute @workgroup_size(SG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.z;
  let columns = args.r * args.s * (args.cg / 4u);
  let column = ((wid.x / args.tiles_k) * SG + lid.x) * LANE;
  let k0 = (wid.x % args.tiles_k) * SHARED;
#for l in LANE
  let own{l} = column_of(column + {l}u);
#endfor
  let row_end = min(args.rows, (wid.y + 1u) * args.rows_part);

  // r_dw[l * SHARED + i]: filter k0 + i at column l; r_x[4l + i]: the channels of column l under output pixel q + i.
  var r_dw: array<vec4f, LANE * SHARED>;
  var r_x: array<vec4f, 4u * LANE>;
  var r_dy: array<vec4f, REGISTERS>;
#ifdef ROWS
  var r_in: array<vec4f, CARRY + 4u>;
#endif
  // Loops test at their end, see conv2d_cpu.wgsl.
  var row = wid.y * args.rows_part;
  loop {
    let n = row / args.p;
#for l in LANE
    // Unsigned wrap-around makes positions left of the image huge; they fail the comparison with the extent.
    let h{l} = (row - n * args.p) * args.stride_h + own{l}.tap_h - args.pad_h;
    let line{l} = ((n * args.h + h{l}) * args.w * args.c + group * args.cg) / 4u + own{l}.c4;
#endfor
#ifdef ROWS
#for j in CARRY
    r_in[4u + {j}u] = load_x(line0, {j}u - args.pad_w, h0 < args.h);
#endfor
#endif
    var q = 0u;
    loop {
#ifdef ROWS
#for j in CARRY
      r_in[{j}u] = r_in[4u + {j}u];
#endfor
#for j in 4
      r_in[CARRY + {j}u] = load_x(line0, q + CARRY + {j}u - args.pad_w, h0 < args.h);
#endfor
#for l in LANE
#for i in 4
      r_x[{l}u * 4u + {i}u] = select(vec4f(0.0), r_in[{i}u + {l}u], q + {i}u < args.q);
#endfor
#endfor
#else
#for l in LANE
#for i in 4
      r_x[{l}u * 4u + {i}u] = load_x(line{l}, (q + {i}u) * args.stride_w + own{l}.tap_w - args.pad_w,
                                     h{l} < args.h && q + {i}u < args.q);
#endfor
#endfor
#endif
      for (var i = 0u; i < REGISTERS; i++) {
        let v = min(i * SG + lid.x, SHARED - 1u);
        let k = min(k0 + (v % QUADS) * 4u, args.kg - 4u);
        let at = (row * args.q + min(q + v / QUADS, args.q - 1u)) * args.k + group * args.kg + k;
        r_dy[i] = dy[at / 4u];
      }
      // Each sum is touched once for the four pixels: it comes from the stack and goes back there.
#for g in SHARED / 4
#for i in 4
      let r_s{g}_{i} = subgroupBroadcast(r_dy[({g}u + {i}u * QUADS) / SG], ({g}u + {i}u * QUADS) % SG);
#endfor
#for l in LANE
#for j in 4
      r_dw[{l}u * SHARED + {g}u * 4u + {j}u] += r_s{g}_0[{j}u] * r_x[{l}u * 4u] + r_s{g}_1[{j}u] * r_x[{l}u * 4u + 1u]
                                             + r_s{g}_2[{j}u] * r_x[{l}u * 4u + 2u] + r_s{g}_3[{j}u] * r_x[{l}u * 4u + 3u];
#endfor
#endfor
#endfor
      continuing { q += 4u; break if q >= args.q; }
    }
    continuing { row += 1u; break if row >= row_end; }
  }

  // Filter by filter, in a loop whose end the driver does not know, see conv2d_cpu.wgsl.
  let filters = rounds(4u * LANE, nwg);
  for (var i = 0u; i < filters; i++) {
    let own = column + i / 4u;
#for j in SHARED / 4
    var r_out{j} = vec4f(0.0);
#for l in LANE
    r_out{j} = select(r_out{j}, pick(r_dw[{l}u * SHARED + {j}u * 4u], r_dw[{l}u * SHARED + {j}u * 4u + 1u],
                                     r_dw[{l}u * SHARED + {j}u * 4u + 2u], r_dw[{l}u * SHARED + {j}u * 4u + 3u], i % 4u), i / 4u == {l}u);
#endfor
    let at_k{j} = k0 + {j}u * 4u + i % 4u;
    if (own < columns && at_k{j} < args.kg) {
      partial[(wid.y * args.k + group * args.kg + at_k{j}) * columns + place_of(own)] = r_out{j};
    }
#endfor
  }
}
