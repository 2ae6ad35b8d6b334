// Pairs of rows of tiles into an image y [N,H,W,C], from complex lines whose real part is the upper row. The importing kernel declares
// y, args of the tiles and of the image, and args.rows, args.columns and args.skip, what of a tile is kept.
#import epilogue

fn store(at: u32, c: u32, value: Word) {
  let scaled = value / f32(T * T);
#ifdef VECTOR
  y[at] = epilogue(scaled, c * 4u, at * 4u, 4u);
#else
  y[at] = epilogue(vec4f(scaled), c, at, 1u).x;
#endif
}

// Rows `row` and the next of tile t, word c of the channels.
fn store_rows(r_s: Line, t: u32, row: u32, c: u32) {
  let tile = args.tile0 + t;
  let tile_line = tile / args.tiles_w;
  let n = tile_line / args.tiles_h;
  let top = (tile_line - n * args.tiles_h) * args.rows + row;
  let left = (tile - tile_line * args.tiles_w) * args.columns;
  let has_upper = top < args.h;
  let has_lower = row + 1u < args.rows && top + 1u < args.h;
  let first = (n * args.h + top) * args.w;
#for j in T
  let column{j} = {j}u - args.skip;
  if (column{j} < args.columns && left + column{j} < args.w) {
    let at{j} = (first + left + column{j}) * args.c + c;
    if (has_upper) { store(at{j}, c, r_s.re[{j}u]); }
    if (has_lower) { store(at{j} + args.w * args.c, c, r_s.im[{j}u]); }
  }
#endfor
}
