// Columns of spectra as rows of one matrix for each frequency: v = planes of [tiles, 2C] (with INVERSE m), real parts of all channels
// first. With FILTER [2 tiles, 2C]: a filter f gets two rows, (re f, im f) and (-im f, re f), and a filter's gradient, sum of x
// conj(dy), comes from the four real products of their parts. The importing kernel declares v or m, args.tiles, c and plane.
#ifdef INVERSE
fn load_column(t: u32, column: u32, c: u32) -> Line {
  let start = column * T * args.plane + t * 2u * args.c + c;
#ifdef FILTER
  let below = start + args.tiles * 2u * args.c;
#endif
  var r_z: Line;
#for k in T
#ifdef FILTER
  r_z.re[{k}u] = m[start + {k}u * args.plane] + m[below + {k}u * args.plane + args.c];
  r_z.im[{k}u] = m[start + {k}u * args.plane + args.c] - m[below + {k}u * args.plane];
#else
  r_z.re[{k}u] = m[start + {k}u * args.plane];
  r_z.im[{k}u] = m[start + {k}u * args.plane + args.c];
#endif
#endfor
  return r_z;
}
#else
fn store_column(r_s: Line, t: u32, column: u32, c: u32) {
  let at = column * T * args.plane + t * 2u * args.c + c;
#for k in T
  v[at + {k}u * args.plane] = r_s.re[{k}u];
  v[at + {k}u * args.plane + args.c] = r_s.im[{k}u];
#endfor
#ifdef FILTER
  let below = at + args.tiles * 2u * args.c;
#for k in T
  v[below + {k}u * args.plane] = -r_s.im[{k}u];
  v[below + {k}u * args.plane + args.c] = r_s.re[{k}u];
#endfor
#endif
}
#endif
