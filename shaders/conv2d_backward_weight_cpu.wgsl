// computes: the filter gradient dw[k,r,s,c] = sum over images and output pixels of dy[n,p,q,k] * x[n,h,w,c], in parts
// source: implicit GEMM (cuDNN, arXiv:1410.0759) with the register tile of gemm_cpu.wgsl
// bindings: x [N,H,W,C], dy [N,P,Q,K], partial [parts, K, R, S, C/groups]
// grid: x = tiles of SG columns (r, s, four c) x 16 k, y = parts of the rows (n, p), z = group; one subgroup each
// cost: 2*K*R*S*C/groups FLOP an output pixel; per four pixels 4 loads a lane and 16 broadcast loads
override SG: u32 = 8u;

struct Args {
  rows: u32, rows_part: u32, tiles_k: u32, k: u32, kg: u32, c: u32, cg: u32,
  h: u32, w: u32, p: u32, q: u32, r: u32, s: u32,
  stride_h: u32, stride_w: u32, pad_h: u32, pad_w: u32, dil_h: u32, dil_w: u32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4f>;

const REGISTERS: u32 = (16u + SG - 1u) / SG;

@compute @workgroup_size(SG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.z;
  let cg4 = args.cg / 4u;
  let columns = args.r * args.s * cg4;
  // Lanes behind the last column repeat it and store nothing.
  let column = (wid.x / args.tiles_k) * SG + lid.x;
  let own = min(column, columns - 1u);
  let k0 = (wid.x % args.tiles_k) * 16u;
  let c4 = own % cg4;
  let tap_h = own / cg4 / args.s * args.dil_h;
  let tap_w = own / cg4 % args.s * args.dil_w;
  let row_end = min(args.rows, (wid.y + 1u) * args.rows_part);

  // r_dw[i]: filter k0 + i at the lane's four channels; r_x[i]: the lane's four channels under output pixel q + i.
  var r_dw: array<vec4f, 16>;
  var r_x: array<vec4f, 4>;
  var r_dy: array<vec4f, REGISTERS>;
  // Loops test at their end, see conv2d_cpu.wgsl.
  var row = wid.y * args.rows_part;
  loop {
    let n = row / args.p;
    // Unsigned wrap-around makes positions left of the image huge; they fail the comparison with the extent.
    let h = row % args.p * args.stride_h + tap_h - args.pad_h;
    let line = ((n * args.h + h) * args.w * args.c + group * args.cg) / 4u + c4;
    var q = 0u;
    loop {
#for i in 4
      let w{i} = (q + {i}u) * args.stride_w + tap_w - args.pad_w;
      let inside{i} = h < args.h && w{i} < args.w && q + {i}u < args.q;
      r_x[{i}u] = select(vec4f(0.0), x[select(0u, line + w{i} * (args.c / 4u), inside{i})], inside{i});
#endfor
      for (var i = 0u; i < REGISTERS; i++) {
        let v = min(i * SG + lid.x, 15u);
        let k = min(k0 + (v % 4u) * 4u, args.kg - 4u);
        let at = (row * args.q + min(q + v / 4u, args.q - 1u)) * args.k + group * args.kg + k;
        r_dy[i] = dy[at / 4u];
      }
#for i in 16
      let r_s{i} = subgroupBroadcast(r_dy[{i}u / SG], {i}u % SG);
      r_dw[{i}u % 4u * 4u] += r_s{i}.x * r_x[{i}u / 4u];
      r_dw[{i}u % 4u * 4u + 1u] += r_s{i}.y * r_x[{i}u / 4u];
      r_dw[{i}u % 4u * 4u + 2u] += r_s{i}.z * r_x[{i}u / 4u];
      r_dw[{i}u % 4u * 4u + 3u] += r_s{i}.w * r_x[{i}u / 4u];
#endfor
      continuing { q += 4u; break if q >= args.q; }
    }
    continuing { row += 1u; break if row >= row_end; }
  }

  if (column >= columns) { return; }
#for i in 16
  if (k0 + {i}u < args.kg) {
    partial[(wid.y * args.k + group * args.kg + k0 + {i}u) * columns + column] = r_dw[{i}u];
  }
#endfor
}
