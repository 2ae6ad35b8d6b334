// computes: y = act(A^T m A + bias + residual), the M x M target pixels of each tile
// source: Lavin and Gray, arXiv:1509.09308
// bindings: m [ALPHA, ALPHA, tiles, C], y = target [N,H,W,C], bias, residual
// grid: invocations(tiles*C/4): tiles tile0.. of the batch, four channels each
// cost: ALPHA^2 words read and M^2 written a tile and channel
#import winograd
#import epilogue
override WG: u32 = 64u;

struct Args {
  tile0: u32, tiles: u32, tiles_h: u32, tiles_w: u32, h: u32, w: u32, c4: u32, slope: f32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> m: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.tiles * args.c4) { return; }
  let t = i / args.c4;
  let c = i - t * args.c4;
  let tile = args.tile0 + t;
  let line = tile / args.tiles_w;
  let n = line / args.tiles_h;
  let top = (line - n * args.tiles_h) * M;
  let left = (tile - line * args.tiles_w) * M;
  let plane = args.tiles * args.c4;
#for i in ALPHA
#for j in ALPHA
  let r_m{i}_{j} = m[({i}u * ALPHA + {j}u) * plane + i];
#endfor
#endfor
#for i in M
#for s in ALPHA
  var r_t{i}_{s} = vec4f(0.0);
#for k in ALPHA
  r_t{i}_{s} += AT[{i}u * ALPHA + {k}u] * r_m{k}_{s};
#endfor
#endfor
#endfor
#for i in M
#for j in M
  var r_y{i}_{j} = vec4f(0.0);
#for k in ALPHA
  r_y{i}_{j} += AT[{j}u * ALPHA + {k}u] * r_t{i}_{k};
#endfor
#endfor
#endfor
#for i in M
  let row{i} = (n * args.h + top + {i}u) * args.w * args.c4;
  let column{i} = (left + {i}u) * args.c4 + c;
#endfor
#for i in M
#for j in M
  if (top + {i}u < args.h && left + {j}u < args.w) {
    y[row{i} + column{j}] = epilogue(r_y{i}_{j}, c * 4u, (row{i} + column{j}) * 4u, 4u);
  }
#endfor
#endfor
}
