// computes: conv2d (y from x and w, with epilogue), or with BACKWARD_INPUT its input gradient (dx from dy and w), where a
//           group has few channels; with DEPTHWISE every input channel has MULTIPLIER filters of its own
// source: direct convolution in registers, Zhang et al. 2018 (arXiv:1809.10170)
// bindings: x = source [N,Hs,Ws,Cs], w [K,R,S,C/groups], y = target [N,Ht,Wt,Ct], bias, residual
// grid: invocations(blocks*runs): a block is four target channels of a group, a run `run` strips of tiles, each walked down
// cost: 2*R*S*Cs/groups FLOP a target element; ADVANCE*IN_W loads per four source channels of a tile, the filters once a run
//
// Neighbouring invocations have neighbouring channels. Everything about a tile is a constant, so that a source pixel is
// loaded once for all taps that meet it; with a stride, BACKWARD_INPUT computes no product with a structural zero.
#import epilogue
#import rounds
override WG: u32 = 64u;
// Neighbouring invocations that have one block and neighbouring runs; the next ones have the next block.
override LANES: u32 = 1u;
override TILE_H: u32 = 2u;
override TILE_W: u32 = 2u;
// Source pixels under a tile.
override IN_H: u32 = 4u;
override IN_W: u32 = 4u;
override R: u32 = 3u;
override S: u32 = 3u;
override STRIDE_H: u32 = 1u;
override STRIDE_W: u32 = 1u;
override DIL_H: u32 = 1u;
override DIL_W: u32 = 1u;
override MULTIPLIER: u32 = 1u;
// Blocks of source channels that a target channel sees: vec4s of a group, or with DEPTHWISE single filters.
override PARTS: u32 = 1u;

struct Args {
  blocks: u32, group_blocks: u32, runs: u32, run: u32, strips: u32, segments: u32, segment: u32, tiles_w: u32,
  hs: u32, ws: u32, cs: u32, csg: u32, ht: u32, wt: u32, ct: u32, ctg: u32, kg: u32, cg: u32,
  pad_h: u32, pad_w: u32, slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
#ifdef X_VECTOR
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
#endif
#ifdef W_VECTOR
@group(0) @binding(2) var<storage, read> w: array<vec4f>;
#else
@group(0) @binding(2) var<storage, read> w: array<f32>;
#endif
#ifdef Y_VECTOR
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
#else
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
#endif

// Four target channels of a group from `first` on; DEPTHWISE has all channels in one group.
struct Block { group: u32, first: u32 }

#ifdef BACKWARD_INPUT
// Target pixel a of a tile meets tap r at source pixel (a + REACH * STRIDE - r * DIL) / STRIDE of the tile, if that is whole.
const REACH_H: u32 = ((R - 1u) * DIL_H + STRIDE_H - 1u) / STRIDE_H;
const REACH_W: u32 = ((S - 1u) * DIL_W + STRIDE_W - 1u) / STRIDE_W;
// The first tile begins so far before the image that a stride begins with it.
fn shift_h() -> u32 { return args.pad_h % STRIDE_H; }
fn shift_w() -> u32 { return args.pad_w % STRIDE_W; }
const ADVANCE: u32 = TILE_H / STRIDE_H;
fn source_row(th: u32) -> u32 { return th * ADVANCE + args.pad_h / STRIDE_H - REACH_H; }
fn source_column(tw: u32) -> u32 { return tw * (TILE_W / STRIDE_W) + args.pad_w / STRIDE_W - REACH_W; }
#else
fn shift_h() -> u32 { return 0u; }
fn shift_w() -> u32 { return 0u; }
const ADVANCE: u32 = TILE_H * STRIDE_H;
fn source_row(th: u32) -> u32 { return th * ADVANCE - args.pad_h; }
fn source_column(tw: u32) -> u32 { return tw * TILE_W * STRIDE_W - args.pad_w; }
#endif
// Tiles above the first of a strip that only fill the rows: their targets are not in the strip.
const WARM_UP: u32 = (max(IN_H, ADVANCE) - 1u) / ADVANCE;

#ifdef DEPTHWISE
// The filter numbers of the four target channels for one tap.
alias Filter = vec4f;

fn channel(at: Block, i: u32) -> u32 { return min(at.first + i, args.ct - 1u); }

fn load_filter(at: Block, tap: u32, part: u32) -> Filter {
  var v = vec4f(0.0);
#for i in 4
#ifdef BACKWARD_INPUT
  v[{i}u] = w[(channel(at, {i}u) * MULTIPLIER + part) * R * S + tap];
#else
  v[{i}u] = w[channel(at, {i}u) * R * S + tap];
#endif
#endfor
  return v;
}
#else
// One tap between four source and four target channels: a column holds what one source channel gives.
alias Filter = mat4x4f;

fn load_column(k: u32, tap: u32, c: u32) -> vec4f {
#ifdef W_VECTOR
  return w[((k * R * S + tap) * args.cg + c) / 4u];
#else
  var v = vec4f(0.0);
#for i in 4
  v[{i}u] = select(0.0, w[(k * R * S + tap) * args.cg + min(c + {i}u, args.cg - 1u)], c + {i}u < args.cg);
#endfor
  return v;
#endif
}

fn load_filter(at: Block, tap: u32, part: u32) -> Filter {
#ifdef BACKWARD_INPUT
  let k = part * 4u;
  let c = at.first;
#else
  let k = at.first;
  let c = part * 4u;
#endif
  let first = at.group * args.kg;
  let f = mat4x4f(load_column(first + min(k, args.kg - 1u), tap, c), load_column(first + min(k + 1u, args.kg - 1u), tap, c),
                  load_column(first + min(k + 2u, args.kg - 1u), tap, c), load_column(first + min(k + 3u, args.kg - 1u), tap, c));
#ifdef BACKWARD_INPUT
  return f;
#else
  return transpose(f);
#endif
}
#endif

// The source channels that a block's target channels see, 0 outside the image. Unsigned wrap-around makes negative
// positions huge, so that they fail the comparison with the extent.
fn load_x(at: Block, part: u32, n: u32, h: u32, w: u32) -> vec4f {
  let inside = h < args.hs && w < args.ws;
  let pixel = select(0u, ((n * args.hs + h) * args.ws + w) * args.cs, inside);
#ifdef X_VECTOR
#ifdef DEPTHWISE
  let v = x[(pixel + at.first) / 4u];
#else
  let v = x[(pixel + at.group * args.csg) / 4u + part];
#endif
#else
  var v = vec4f(0.0);
#for i in 4
#ifdef DEPTHWISE
#ifdef BACKWARD_INPUT
  v[{i}u] = x[pixel + channel(at, {i}u) * MULTIPLIER + part];
#else
  v[{i}u] = x[pixel + channel(at, {i}u) / MULTIPLIER];
#endif
#else
  let c{i} = part * 4u + {i}u;
  v[{i}u] = select(0.0, x[pixel + at.group * args.csg + min(c{i}, args.csg - 1u)], c{i} < args.csg);
#endif
#endfor
#endif
  return select(vec4f(0.0), v, inside);
}

fn store(at: Block, n: u32, row: u32, column: u32, value: vec4f) {
  if (row >= args.ht || column >= args.wt) { return; }
  let channel = at.group * args.ctg + at.first;
  let to = ((n * args.ht + row) * args.wt + column) * args.ct + channel;
  let count = min(4u, args.ctg - at.first);
  let v = epilogue(value, channel, to, count);
#ifdef Y_VECTOR
  y[to / 4u] = v;
#else
  for (var i = 0u; i < count; i++) { y[to + i] = v[i]; }
#endif
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let item = (wid.y * nwg.x + wid.x) * WG + lid.x;
  let bundle = item / LANES / args.blocks;
  let run = bundle * LANES + item % LANES;
  if (run >= args.runs) { return; }
  let block = item / LANES - bundle * args.blocks;
  let group = block / args.group_blocks;
  let at = Block(group, (block - group * args.group_blocks) * 4u);

  var r_w: array<Filter, R * S * PARTS>;
  // Row by row of filters.
  let filter_rows = rounds(PARTS * R, nwg);
  for (var i = 0u; i < filter_rows; i++) {
#for s in S
    let own{s} = load_filter(at, i % R * S + {s}u, i / R);
#endfor
#for part in PARTS
#for r in R
    if (i == {part}u * R + {r}u) {
#for s in S
      r_w[({part}u * R + {r}u) * S + {s}u] = own{s};
#endfor
    }
#endfor
#endfor
  }

  // Rows of source pixels under the tile, of which the next tile below keeps all but the first ADVANCE.
  var r_x: array<vec4f, PARTS * IN_H * IN_W>;
  var r_y: array<vec4f, TILE_H * TILE_W>;
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
    let row = th * TILE_H - shift_h();
    let column = tw * TILE_W - shift_w();
    let h = source_row(th);
    let w = source_column(tw);
#for part in PARTS
#for i in IN_H
#for j in IN_W
    if ({i}u + ADVANCE < IN_H) {
      r_x[({part}u * IN_H + {i}u) * IN_W + {j}u] = r_x[min(({part}u * IN_H + {i}u + ADVANCE) * IN_W + {j}u, PARTS * IN_H * IN_W - 1u)];
    } else {
      r_x[({part}u * IN_H + {i}u) * IN_W + {j}u] = load_x(at, {part}u, n, h + {i}u, w + {j}u);
    }
#endfor
#endfor
#endfor
#for p in TILE_H
#for q in TILE_W
    r_y[{p}u * TILE_W + {q}u] = vec4f(0.0);
#endfor
#endfor
#for part in PARTS
#for p in TILE_H
#for q in TILE_W
#for r in R
#for s in S
#ifdef BACKWARD_INPUT
    if (({p}u + REACH_H * STRIDE_H - {r}u * DIL_H) % STRIDE_H == 0u && ({q}u + REACH_W * STRIDE_W - {s}u * DIL_W) % STRIDE_W == 0u) {
      r_y[{p}u * TILE_W + {q}u] += r_w[({part}u * R + {r}u) * S + {s}u] *
        r_x[({part}u * IN_H + ({p}u + REACH_H * STRIDE_H - {r}u * DIL_H) / STRIDE_H) * IN_W +
            ({q}u + REACH_W * STRIDE_W - {s}u * DIL_W) / STRIDE_W];
    }
#else
    r_y[{p}u * TILE_W + {q}u] += r_w[({part}u * R + {r}u) * S + {s}u] *
      r_x[({part}u * IN_H + {p}u * STRIDE_H + {r}u * DIL_H) * IN_W + {q}u * STRIDE_W + {s}u * DIL_W];
#endif
#endfor
#endfor
#endfor
#endfor
#endfor
    if (step < args.segment) {
      let pixels = rounds(TILE_H * TILE_W, nwg);
      for (var i = 0u; i < pixels; i++) {
        var own = r_y[0];
#for p in TILE_H
#for q in TILE_W
        own = select(own, r_y[{p}u * TILE_W + {q}u], i == {p}u * TILE_W + {q}u);
#endfor
#endfor
        store(at, n, row + i / TILE_W, column + i % TILE_W, own);
      }
    }
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
}
