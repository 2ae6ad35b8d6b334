// A matrix [rows, columns] whose rows are reduced: with TREE a workgroup of WG lanes takes a row and reduces it as lib/tree.wgsl
// says, without it every invocation takes a row of its own. The importing kernel declares WG and args.rows.
#import tree
#ifdef TREE
fn row_of(group: u32, lane: u32) -> u32 { return group; }
fn first_column(lane: u32) -> u32 { return lane; }
const COLUMN_STEP: u32 = WG;
#else
fn row_of(group: u32, lane: u32) -> u32 { return group * WG + lane; }
fn first_column(lane: u32) -> u32 { return 0u; }
const COLUMN_STEP: u32 = 1u;
#endif
