// computes: dw = G^T du G, the adjoint of winograd_filter.wgsl
// source: the transpose of Lavin and Gray, arXiv:1509.09308
// bindings: du = ALPHA^2 planes of [K, C], dw [K,R,R,C]
// grid: invocations(K*C/4): one filter, four channels each
// cost: ALPHA^2 words read and R^2 written a filter and channel
#import winograd
#import rounds
override WG: u32 = 64u;

struct Args { k: u32, c4: u32, plane: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> du: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> dw: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.k * args.c4) { return; }
  let k = i / args.c4;
  let c = i - k * args.c4;
  // Column by column, then row by row.
#for i in R
#for s in ALPHA
  var r_t{i}_{s} = vec4f(0.0);
#endfor
#endfor
  let columns = rounds(ALPHA, nwg);
  for (var s = 0u; s < columns; s++) {
#for k in ALPHA
    let r_u{k} = du[plane({k}u, s) * args.plane + i];
#endfor
#for i in R
    var r_c{i} = vec4f(0.0);
#for k in ALPHA
    r_c{i} += G[{k}u * R + {i}u] * r_u{k};
#endfor
#for s in ALPHA
    if (s == {s}u) { r_t{i}_{s} = r_c{i}; }
#endfor
#endfor
  }
  let rows = rounds(R, nwg);
  for (var row = 0u; row < rows; row++) {
#for s in ALPHA
    var r_r{s} = r_t0_{s};
#for i in R
    r_r{s} = select(r_r{s}, r_t{i}_{s}, row == {i}u);
#endfor
#endfor
#for j in R
    var r_w{j} = vec4f(0.0);
#for k in ALPHA
    r_w{j} += G[{k}u * R + {j}u] * r_r{k};
#endfor
    dw[(k * R * R + row * R + {j}u) * args.c4 + c] = r_w{j};
#endfor
  }
}
