// Pairs of rows of tiles of an image x [N,H,W,C], as one complex line: the upper row is its real part. The importing kernel declares x,
// args of the tiles and of the image, and ROWS and COLUMNS, what a tile takes from it.
// Rows `row` and the next of tile t, word c of the channels.
fn load_rows(t: u32, row: u32, c: u32) -> Line {
  let tile = args.tile0 + t;
  let tile_line = tile / args.tiles_w;
  let n = tile_line / args.tiles_h;
  // Zero outside the image; unsigned wrap-around makes positions left of it huge.
  let top = (tile_line - n * args.tiles_h) * args.step_h - args.pad_h + row;
  let left = (tile - tile_line * args.tiles_w) * args.step_w - args.pad_w;
  let has_upper = top < args.h;
  let has_lower = top + 1u < args.h && row + 1u < ROWS;
  let upper = (n * args.h + top) * args.w;
  let lower = upper + args.w;
  var r_z: Line;
#for s in COLUMNS
  let column{s} = left + {s}u;
  let upper{s} = has_upper && column{s} < args.w;
  let lower{s} = has_lower && column{s} < args.w;
  r_z.re[{s}u] = select(Word(0.0), x[select(0u, (upper + column{s}) * args.c + c, upper{s})], upper{s});
  r_z.im[{s}u] = select(Word(0.0), x[select(0u, (lower + column{s}) * args.c + c, lower{s})], lower{s});
#endfor
  return r_z;
}
