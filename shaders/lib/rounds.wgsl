// computes: how often a loop of `count` rounds runs, with ROLLED a number that no compiler knows beforehand; and one of four
//           vec4s by its number, for such loops
// source: original
// bindings: none
//
// A driver unrolls a loop whose rounds it knows. Where the loop loads or stores what lies in registers, picking one after the
// other by their number, that takes software drivers longer to compile than it ever saves them. The number follows from
// the grid, not from a uniform: Mesa compiles a kernel anew for every value of a uniform that bounds a loop.
fn rounds(count: u32, grid: vec3u) -> u32 {
#ifdef ROLLED
  return min(grid.x, 1u) * count;
#else
  return count;
#endif
}

fn pick(a: vec4f, b: vec4f, c: vec4f, d: vec4f, i: u32) -> vec4f {
  return select(select(a, b, i == 1u), select(c, d, i == 3u), i >= 2u);
}
