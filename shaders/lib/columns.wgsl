// How the invocations of a kernel share a matrix [rows, columns] of T, T being a vec4 of columns (VECTOR) or one
// column. A workgroup takes `block_rows` rows of `column_lanes` neighbouring columns; its `row_lanes` rows of lanes
// interleave, so that neighbours read neighbours. The importing kernel declares WG and, in args, the six extents used
// here (ops/columns.rs computes them). An image [N,C,H,W] lies as such a matrix with N*H*W rows.
#ifdef VECTOR
alias T = vec4f;
#else
alias T = f32;
#endif

// Elements at, at + step, … below end, all of one column. Inactive invocations have none.
struct Walk { is_active: bool, column: u32, row_lane: u32, block: u32, at: u32, end: u32, step: u32 }

fn walk(group: u32, lane: u32) -> Walk {
  let block = group / args.column_blocks;
  let column = (group - block * args.column_blocks) * args.column_lanes + lane % args.column_lanes;
  let row_lane = lane / args.column_lanes;
  let start = block * args.block_rows;
  let is_active = start < args.rows && column < args.columns && row_lane < args.row_lanes;
  let end = select(0u, min(args.rows, start + args.block_rows) * args.columns, is_active);
  return Walk(is_active, column, row_lane, block, (start + row_lane) * args.columns + column, end,
              args.row_lanes * args.columns);
}
