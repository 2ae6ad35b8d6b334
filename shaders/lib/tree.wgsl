// One number from every lane's number, in an order that is always the same: with TREE over the lanes of a workgroup through
// its memory, halves first, or with SUBGROUPS through each subgroup and then over these; without TREE a lane is alone.
// The importing kernel declares WG, and calls from uniform control flow.
#import lane
#ifdef TREE
var<workgroup> s_tree: array<f32, WG>;
#endif

fn tree_sum(lane: Lane, value: f32) -> f32 {
#ifdef TREE
  workgroupBarrier();
#ifdef SUBGROUPS
  let part = subgroupAdd(value);
  if (lane.lane == 0u) { s_tree[lane.subgroup] = part; }
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < lane.subgroups; i++) { sum += s_tree[i]; }
  return sum;
#else
  s_tree[lane.index] = value;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane.index < half) { s_tree[lane.index] += s_tree[lane.index + half]; }
  }
  workgroupBarrier();
  return s_tree[0];
#endif
#else
  return value;
#endif
}

fn tree_max(lane: Lane, value: f32) -> f32 {
#ifdef TREE
  workgroupBarrier();
#ifdef SUBGROUPS
  let part = subgroupMax(value);
  if (lane.lane == 0u) { s_tree[lane.subgroup] = part; }
  workgroupBarrier();
  var largest = s_tree[0];
  for (var i = 1u; i < lane.subgroups; i++) { largest = max(largest, s_tree[i]); }
  return largest;
#else
  s_tree[lane.index] = value;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane.index < half) { s_tree[lane.index] = max(s_tree[lane.index], s_tree[lane.index + half]); }
  }
  workgroupBarrier();
  return s_tree[0];
#endif
#else
  return value;
#endif
}
