// computes: y[line, y_first + j] = x[line, x_first + j - before] for before <= j < before + x_length, 0 for the other j < length
// source: PyTorch torch.cat along dimension 1, narrow, and zero padding of channels
// bindings: x V[lines, x_stride], y V[lines, y_stride] (V: vec4f with VEC4, otherwise f32); items = lines * length
// grid: one workgroup per WG * PER_INVOCATION items
// cost: one load and one store of V an item
override WG: u32 = 64u;
override PER_INVOCATION: u32 = 4u;

#ifdef VEC4
alias V = vec4f;
#else
alias V = f32;
#endif

struct Args {
  items: u32, length: u32, step_line: u32, step_item: u32,
  x_stride: u32, x_first: u32, x_length: u32, before: u32, y_stride: u32, y_first: u32,
}
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(2) var<storage, read_write> y: array<V>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let begin = (wid.y * nwg.x + wid.x) * WG * PER_INVOCATION;
  let end = min(begin + WG * PER_INVOCATION, args.items);
  let first = begin + lid.x;
  var line = first / args.length;
  var j = first - line * args.length;
  for (var i = first; i < end; i += WG) {
    let inside = j >= args.before && j < args.before + args.x_length;
    let at = clamp(j, args.before, args.before + args.x_length - 1u) - args.before;
    y[line * args.y_stride + args.y_first + j] = select(V(0.0), x[line * args.x_stride + args.x_first + at], inside);
    j += args.step_item;
    line += args.step_line;
    if (j >= args.length) {
      j -= args.length;
      line += 1u;
    }
  }
}
