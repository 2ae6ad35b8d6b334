// computes: y[n, r, c] = x[n, r', c'], black or the colour `fill`: where pixels come from after crop, flip, translation, cutout, mirror
// source: host path of the trainer's augmentation (`augment/moves.rs`), undone from the last change to the first
// bindings: x u32[images, h, w]; moves vec4u[2 images], eight words an image as `ops/move_pixels.rs` lists them; y u32[images, h, w]
// grid: one workgroup per row of y
// cost: one load and one store of a word per pixel
//
// All indices are u32 and wrap: what lies before the first pixel is above any extent. Any words of moves read inside x.
override WG: u32 = 64u;

struct Args { rows: u32, h: u32, w: u32, fill: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> moves: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

// The index below `n` that a mirror at the first and the last element shows at `i`, an i32.
fn reflected(i: u32, n: u32) -> u32 {
  let period = max(2u * (n - 1u), 1u);
  let at = select(i, 0u - i, i >= 0x80000000u) % period;
  return min(at, period - at);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let row = wid.y * nwg.x + wid.x;
  if (row >= args.rows) { return; }
  let image = row / args.h;
  let r = row - image * args.h;
  let shift = moves[2u * image];
  let more = moves[2u * image + 1u];
  let hidden_row = r - more.x < (more.z & 0xffffu);
  let hidden_columns = more.z >> 16u;
  let reflects = (more.w & 1u) != 0u;
  let flips = (more.w & 2u) != 0u;
  let mirrors = (more.w & 4u) != 0u;
  let last = args.w - 1u;
  let r_shifted = r + shift.z;
  var r_from = r_shifted + shift.x;
  if (reflects) { r_from = reflected(r_from, args.h); }
  let line = (image * args.h + min(r_from, args.h - 1u)) * args.w;
  for (var i = lid.x; i < args.w; i += WG) {
    let c = select(i, last - i, mirrors);
    let hidden = hidden_row && c - more.y < hidden_columns;
    let c_shifted = c + shift.w;
    var c_from = select(c_shifted, last - c_shifted, flips) + shift.y;
    if (reflects) { c_from = reflected(c_from, args.w); }
    let is_inside = r_from < args.h && c_from < args.w;
    let pixel = select(0u, x[line + min(c_from, last)], is_inside);
    let is_kept = r_shifted < args.h && c_shifted < args.w && !hidden;
    y[row * args.w + i] = select(args.fill, pixel, is_kept);
  }
}
