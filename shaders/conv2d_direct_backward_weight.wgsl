// computes: the filter gradient dw[k,r,s,c] = sum over images and output pixels of dy[n,p,q,k] * x[n,h,w,c], in parts, where a
//           group has few channels; with DEPTHWISE every input channel has MULTIPLIER filters of its own
// source: direct convolution in registers, Zhang et al. 2018 (arXiv:1809.10170)
// bindings: x [N,H,W,C], dy [N,P,Q,K], partial [runs, K, R, S, C/groups]
// grid: invocations(blocks*runs): a block is four k and four c of a group, a run `run` strips of tiles, each walked down
// cost: 2*R*S FLOP an output pixel, k and c; ADVANCE*IN_W + TILE_H*TILE_W loads of vec4s a tile
#import rounds
override WG: u32 = 64u;
// Neighbouring invocations that have one block and neighbouring runs; the next ones have the next block.
override LANES: u32 = 1u;
override TILE_H: u32 = 2u;
override TILE_W: u32 = 2u;
// Pixels of x under a tile.
override IN_H: u32 = 4u;
override IN_W: u32 = 4u;
override R: u32 = 3u;
override S: u32 = 3u;
override STRIDE_H: u32 = 1u;
override STRIDE_W: u32 = 1u;
override DIL_H: u32 = 1u;
override DIL_W: u32 = 1u;
override MULTIPLIER: u32 = 1u;

struct Args {
  blocks: u32, k_blocks: u32, c_blocks: u32, runs: u32, run: u32, strips: u32, segments: u32, segment: u32, tiles_w: u32,
  h: u32, w: u32, c: u32, p: u32, q: u32, k: u32, kg: u32, cg: u32, pad_h: u32, pad_w: u32,
}
@group(0) @binding(0) var<uniform> args: Args;
#ifdef X_VECTOR
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
#endif
#ifdef DY_VECTOR
@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
#else
@group(0) @binding(2) var<storage, read> dy: array<f32>;
#endif
@group(0) @binding(3) var<storage, read_write> partial: array<f32>;

// Four k and four c of a group, by the first of each; DEPTHWISE has all k in one group, and c from k.
struct Block { group: u32, k: u32, c: u32 }

#ifdef DEPTHWISE
// A number for each of the four k.
alias Filter = vec4f;
fn outer(d: vec4f, v: vec4f) -> Filter { return d * v; }
#else
// A column holds the four c of one k.
alias Filter = mat4x4f;
fn outer(d: vec4f, v: vec4f) -> Filter { return mat4x4f(d.x * v, d.y * v, d.z * v, d.w * v); }
#endif

// Four channels of x, 0 outside the image. Unsigned wrap-around makes negative positions huge, so that they fail the
// comparison with the extent.
fn load_x(at: Block, n: u32, h: u32, w: u32) -> vec4f {
  let inside = h < args.h && w < args.w;
  let pixel = select(0u, ((n * args.h + h) * args.w + w) * args.c, inside);
#ifdef X_VECTOR
#ifdef DEPTHWISE
  let v = x[(pixel + at.k) / 4u];
#else
  let v = x[(pixel + at.group * args.cg + at.c) / 4u];
#endif
#else
  var v = vec4f(0.0);
#for i in 4
#ifdef DEPTHWISE
  v[{i}u] = x[pixel + min(at.k + {i}u, args.k - 1u) / MULTIPLIER];
#else
  v[{i}u] = x[pixel + at.group * args.cg + min(at.c + {i}u, args.cg - 1u)];
#endif
#endfor
#endif
  return select(vec4f(0.0), v, inside);
}

// Four channels of dy, 0 outside the image.
fn load_dy(at: Block, n: u32, p: u32, q: u32) -> vec4f {
  let inside = p < args.p && q < args.q;
  let pixel = select(0u, ((n * args.p + p) * args.q + q) * args.k, inside) + at.group * args.kg;
#ifdef DY_VECTOR
  let v = dy[(pixel + at.k) / 4u];
#else
  var v = vec4f(0.0);
#for i in 4
  v[{i}u] = dy[pixel + min(at.k + {i}u, args.kg - 1u)];
#endfor
#endif
  return select(vec4f(0.0), v, inside);
}

const ADVANCE: u32 = TILE_H * STRIDE_H;
// Tiles above the first of a strip that only fill the rows: their products are with zeros.
const WARM_UP: u32 = (max(IN_H, ADVANCE) - 1u) / ADVANCE;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let item = (wid.y * nwg.x + wid.x) * WG + lid.x;
  let bundle = item / LANES / args.blocks;
  let run = bundle * LANES + item % LANES;
  if (run >= args.runs) { return; }
  let block = item / LANES - bundle * args.blocks;
  let group = block / (args.k_blocks * args.c_blocks);
  let at = Block(group, block / args.c_blocks % args.k_blocks * 4u, block % args.c_blocks * 4u);

  var r_dw: array<Filter, R * S>;
  // Rows of x under the tile, of which the next tile below keeps all but the first ADVANCE.
  var r_x: array<vec4f, IN_H * IN_W>;
  var r_dy: array<vec4f, TILE_H * TILE_W>;
  var strip = run * args.run;
  let strip_end = min(args.strips, strip + args.run);
  let line = strip / args.tiles_w;
  var tw = strip - line * args.tiles_w;
  var n = line / args.segments;
  var segment = line - n * args.segments;
  var step = 0u - WARM_UP;
  // The loop tests at its end, see conv2d_cpu.wgsl.
  loop {
    let th = segment * args.segment + step;
    let p = select(args.p, th * TILE_H, step < args.segment);
    let q = tw * TILE_W;
    let h = th * ADVANCE - args.pad_h;
    let w = q * STRIDE_W - args.pad_w;
#for i in IN_H
#for j in IN_W
    if ({i}u + ADVANCE < IN_H) {
      r_x[{i}u * IN_W + {j}u] = r_x[min(({i}u + ADVANCE) * IN_W + {j}u, IN_H * IN_W - 1u)];
    } else {
      r_x[{i}u * IN_W + {j}u] = load_x(at, n, h + {i}u, w + {j}u);
    }
#endfor
#endfor
#for i in TILE_H
#for j in TILE_W
    r_dy[{i}u * TILE_W + {j}u] = load_dy(at, n, p + {i}u, q + {j}u);
#endfor
#endfor
#for r in R
#for s in S
#for i in TILE_H
#for j in TILE_W
    r_dw[{r}u * S + {s}u] += outer(r_dy[{i}u * TILE_W + {j}u],
      r_x[({i}u * STRIDE_H + {r}u * DIL_H) * IN_W + {j}u * STRIDE_W + {s}u * DIL_W]);
#endfor
#endfor
#endfor
#endfor
    step += 1u;
    if (step == args.segment) {
      step = 0u - WARM_UP;
      strip += 1u;
      tw += 1u;
      if (tw == args.tiles_w) { tw = 0u; segment += 1u; }
      if (segment == args.segments) { segment = 0u; n += 1u; }
    }
    continuing { break if strip >= strip_end; }
  }

  // Row by row of the filters.
  let filter_rows = rounds(R, nwg);
  for (var r = 0u; r < filter_rows; r++) {
#for s in S
    var sums{s} = r_dw[{s}u];
#for r in R
    if (r == {r}u) { sums{s} = r_dw[{r}u * S + {s}u]; }
#endfor
#for i in 4
    if (at.k + {i}u < args.kg) {
      let to = ((run * args.k + at.group * args.kg + at.k + {i}u) * R * S + r * S + {s}u) * args.cg;
#ifdef DEPTHWISE
      partial[to] = sums{s}[{i}u];
#else
#for j in 4
      if (at.c + {j}u < args.cg) { partial[to + at.c + {j}u] = sums{s}[{i}u][{j}u]; }
#endfor
#endif
    }
#endfor
#endfor
  }
}
