// computes: where invocation i of a transform finds its tile in the image and its words in the planes of products
// source: original
// bindings: none; reads the importing kernel's args: tile0, tiles, tiles_h, tiles_w, first_h, first_w, c4, and the first vec4 and
//           the size in vec4s of the planes that every tile has (every), of those that need full height (tall), full width
//           (broad), or both (corner)
#import winograd

struct Tile { n: u32, top: u32, left: u32, c: u32 }

// The image, the first target pixel and the vec4 of channels.
fn tile_of(i: u32) -> Tile {
  let t = i / args.c4;
  let tile = args.tile0 + t;
  let line = tile / args.tiles_w;
  let n = line / args.tiles_h;
  let top = args.first_h + (line - n * args.tiles_h) * M_H;
  let left = args.first_w + (tile - line * args.tiles_w) * M_W;
  return Tile(n, top, left, i - t * args.c4);
}

// The vec4 of product (i, j) of this tile shape's first tile.
fn place(point_h: u32, point_w: u32) -> u32 {
  const LAST = ALPHA - 1u;
#ifdef NARROW_H
  let i = point_h;
#else
  let i = slot(point_h);
#endif
#ifdef NARROW_W
  let j = point_w;
#else
  let j = slot(point_w);
#endif
  if (i < LAST && j < LAST) { return args.every + (i * LAST + j) * args.every_plane; }
  if (j < LAST) { return args.tall + j * args.tall_plane; }
  if (i < LAST) { return args.broad + i * args.broad_plane; }
  return args.corner;
}
