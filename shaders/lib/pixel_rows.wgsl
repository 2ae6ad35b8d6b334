// One workgroup walks a row of pixels, `columns` of `channels` vectors each; V is a vec4f with VEC4, otherwise an f32.
// The importing kernel declares args.channels, args.step_column and args.step_channel: how far WG items lie apart, so that
// an invocation divides once for its first item and only adds from then on.
#ifdef VEC4
alias V = vec4f;
alias VU = vec4u;
#else
alias V = f32;
alias VU = u32;
#endif

// (column, channel) of an item of the row.
fn first_item(i: u32) -> vec2u {
  let column = i / args.channels;
  return vec2u(column, i - column * args.channels);
}

// (column, channel) of the item WG places on.
fn next_item(item: vec2u) -> vec2u {
  let channel = item.y + args.step_channel;
  let column = item.x + args.step_column;
  let carry = channel >= args.channels;
  return select(vec2u(column, channel), vec2u(column + 1u, channel - args.channels), carry);
}
