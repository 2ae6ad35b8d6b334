// A matrix [rows, columns] whose rows are reduced: with TREE a workgroup of WG lanes takes a row and reduces in
// workgroup memory, without it every invocation takes a row of its own. The importing kernel declares WG and args.rows.
#ifdef TREE
var<workgroup> s_row: array<f32, WG>;
fn row_of(group: u32, lane: u32) -> u32 { return group; }
fn first_column(lane: u32) -> u32 { return lane; }
const COLUMN_STEP: u32 = WG;
#else
fn row_of(group: u32, lane: u32) -> u32 { return group * WG + lane; }
fn first_column(lane: u32) -> u32 { return 0u; }
const COLUMN_STEP: u32 = 1u;
#endif

// The sum of every lane's value over the lanes of a row, in a fixed tree.
fn row_sum(lane: u32, value: f32) -> f32 {
#ifdef TREE
  workgroupBarrier();
  s_row[lane] = value;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { s_row[lane] += s_row[lane + half]; }
  }
  workgroupBarrier();
  return s_row[0];
#else
  return value;
#endif
}

// The largest of every lane's value over the lanes of a row.
fn row_max(lane: u32, value: f32) -> f32 {
#ifdef TREE
  workgroupBarrier();
  s_row[lane] = value;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { s_row[lane] = max(s_row[lane], s_row[lane + half]); }
  }
  workgroupBarrier();
  return s_row[0];
#else
  return value;
#endif
}
