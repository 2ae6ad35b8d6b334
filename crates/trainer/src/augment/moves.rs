//! The changes that only copy pixels: drawn here, made here or on the device.

use super::shift::{mirror, paint, shift, shift_reflect};
use super::{Augment, Border, Room};
use crate::data::Geometry;
use wgrad_tensor::ops::move_pixels::{FLIP, MIRROR, MOVE_WORDS, REFLECT};
use wgrad_tensor::philox::Stream;

/// What crop, flip, translation and cutout drew for one image. Either [`Moves::shift`] and [`Moves::hide`] change it, or its
/// [`Moves::words`] go to the device; the pixels are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moves {
    /// Rows and columns that the crop lies off, and what stands around the image.
    crop: Option<([isize; 2], Border)>,
    /// Whether left and right change sides after the crop.
    flip: bool,
    /// Rows and columns of the translation.
    translate: Option<[isize; 2]>,
    /// First row, first column, rows and columns of a box of the mean colour.
    hidden: Option<[usize; 4]>,
    /// Whether left and right change sides after everything else.
    pub(crate) mirror: bool,
}

/// Whole numbers of `-most..=most` for rows and columns.
fn draw(most: usize, rng: &mut Stream) -> [isize; 2] {
    let most = most.min(u32::MAX as usize / 2 - 1);
    [0, 1].map(|_| rng.below(2 * most as u32 + 1) as isize - most as isize)
}

/// The image as it is now, to copy from while it is overwritten.
fn copied<'a>(image: &[u8], room: &'a mut Room) -> &'a [u8] {
    room.scratch.clear();
    room.scratch.extend_from_slice(image);
    &room.scratch
}

impl Moves {
    /// Draws all but the cutout, which other changes may come before.
    pub(super) fn draw(augment: &Augment, rng: &mut Stream) -> Moves {
        let crop = augment.pad_crop.map(|(pad, border)| (draw(pad, rng), border));
        let flip = augment.flip && rng.next_u32() & 1 == 1;
        let translate = (augment.translate > 0).then(|| draw(augment.translate, rng));
        Moves { crop, flip, translate, ..Moves::default() }
    }

    /// Draws the place of the cutout.
    pub(super) fn draw_cutout(&mut self, augment: &Augment, g: Geometry, rng: &mut Stream) {
        if augment.cutout > 0 {
            let [rows, columns] = [g.height, g.width].map(|extent| augment.cutout.min(extent));
            let top = rng.below((g.height - rows) as u32 + 1) as usize;
            let left = rng.below((g.width - columns) as u32 + 1) as usize;
            self.hidden = Some([top, left, rows, columns]);
        }
    }

    /// Crops, flips and translates an image of shape `[height, width, channels]`.
    pub(super) fn shift(&self, g: Geometry, room: &mut Room, out: &mut [u8]) {
        if let Some(([dy, dx], border)) = self.crop {
            let before = copied(out, room);
            match border {
                Border::Zero => shift(before, g, dy, dx, &[0; 3][..g.channels], out),
                Border::Reflect => shift_reflect(before, g, dy, dx, out),
            }
        }
        if self.flip {
            mirror_image(out, g);
        }
        if let Some([dy, dx]) = self.translate {
            shift(copied(out, room), g, dy, dx, &g.mean_colour[..g.channels], out);
        }
    }

    /// Gives the box the mean colour.
    pub(super) fn hide(&self, g: Geometry, out: &mut [u8]) {
        if let Some([top, left, rows, columns]) = self.hidden {
            for row in out.chunks_exact_mut(g.width * g.channels).skip(top).take(rows) {
                paint(&mut row[left * g.channels..(left + columns) * g.channels], &g.mean_colour[..g.channels]);
            }
        }
    }

    /// The words that [`MovePixels`](wgrad_tensor::ops::move_pixels::MovePixels) takes for the same changes. Offsets above the
    /// image are brought down to equal ones that fit it.
    pub(crate) fn words(&self, g: Geometry) -> [u32; MOVE_WORDS] {
        let extents = [g.height, g.width].map(|extent| extent as isize);
        let off = |by: [isize; 2]| [0, 1].map(|i| by[i].clamp(-extents[i], extents[i]));
        let (crop, reflect) = match self.crop {
            Some((by, Border::Reflect)) => ([0, 1].map(|i| by[i].rem_euclid((2 * extents[i] - 2).max(1))), REFLECT),
            Some((by, Border::Zero)) => (off(by), 0),
            None => ([0, 0], 0),
        };
        let [crop, translate] = [crop, off(self.translate.unwrap_or_default())].map(|by| by.map(|by| by as u32));
        let [top, left, rows, columns] = self.hidden.unwrap_or_default().map(|number| number as u32);
        let flags = reflect | if self.flip { FLIP } else { 0 } | if self.mirror { MIRROR } else { 0 };
        [crop[0], crop[1], translate[0], translate[1], top, left, rows | columns << 16, flags]
    }
}

/// Mirrors an image of this width left and right.
pub(crate) fn mirror_image(out: &mut [u8], g: Geometry) {
    out.chunks_exact_mut((g.width * g.channels).max(1)).for_each(|row| mirror(row, g.channels));
}

#[cfg(test)]
mod tests {
    use super::super::Sample;
    use super::*;
    use std::collections::HashMap;
    use wgrad_tensor::philox::purpose;
    use wgrad_tensor::{Graph, TensorDesc, reference};

    /// Every border, each change by itself, all of them, offsets above any image.
    fn changes() -> Vec<Augment> {
        let none = Augment::none;
        let mut changes = vec![none(), none().flip(), none().flip_alternating(), none().translate(2), none().cutout(3)];
        for border in [Border::Zero, Border::Reflect] {
            changes.push(none().pad_crop(2, border));
            changes.push(none().pad_crop(3, border).flip().translate(2).cutout(2));
            changes.push(none().pad_crop(2, border).flip_alternating().translate(1).cutout(3));
            changes.push(none().pad_crop(40, border).flip().translate(3));
            changes.push(none().pad_crop(usize::MAX, border).flip().cutout(1));
        }
        changes.push(none().translate(usize::MAX).cutout(usize::MAX));
        changes
    }

    /// Channel c in byte c.
    fn packed(image: &[u8], channels: usize) -> impl Iterator<Item = u32> {
        image.chunks_exact(channels).map(|pixel| pixel.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte)))
    }

    /// What the f64 reference of the operation makes of packed images.
    fn by_words(g: Geometry, pixels: &[u32], words: &[u32]) -> Vec<u32> {
        let graph = Graph::new();
        let n = words.len() / MOVE_WORDS;
        let x = graph.feed("pixels", TensorDesc::u32([n, g.height, g.width]));
        let y = x.move_pixels(graph.feed("moves", TensorDesc::u32([n, MOVE_WORDS])), g.mean_pixel());
        graph.output("y", y);
        let feeds = [("pixels", pixels), ("moves", words)];
        let feeds = feeds.map(|(name, words)| (name.to_owned(), words.iter().map(|&word| f64::from(word)).collect()));
        let run = reference::run(&graph.data(), &feeds.into_iter().collect(), &mut HashMap::new()).expect("runs");
        run.value(y.id()).iter().map(|&pixel| pixel as u32).collect()
    }

    #[test]
    fn words_move_pixels_as_the_host_does() {
        for (height, width) in [(7, 5), (8, 8), (1, 6), (9, 1), (1, 1), (2, 3)] {
            for channels in [1, 3] {
                let g = Geometry { channels, height, width, mean_colour: [77, 5, 250] };
                let pixels: Vec<u8> = (0..g.image_bytes()).map(|i| (i * 37 + 11) as u8).collect();
                let sample = Sample { pixels: &pixels, height, width };
                for augment in changes() {
                    assert!(augment.only_moves());
                    let (mut host, mut plain, mut words) = (Vec::new(), Vec::new(), Vec::new());
                    for (seed, index) in (0..5).flat_map(|seed| (0..12).map(move |index| (seed, index))) {
                        let rng = Stream::new(seed, purpose::AUGMENT, 3, index);
                        let (mut room, mut out) = (Room::default(), vec![1; g.image_bytes()]);
                        let mut ours = rng.clone();
                        augment.apply(sample, g, &mut ours, &mut room, &mut out).expect("fits");
                        let mirrors = augment.mirrors(seed, 3, index);
                        if mirrors {
                            mirror_image(&mut out, g);
                        }
                        host.extend(packed(&out, channels));
                        let mut theirs = rng;
                        let moves = augment.see(sample, g, &mut theirs, &mut room, &mut out).expect("fits");
                        assert_eq!(ours, theirs, "the same draws");
                        plain.extend(packed(&out, channels));
                        words.extend(Moves { mirror: mirrors, ..moves }.words(g));
                    }
                    assert_eq!(by_words(g, &plain, &words), host, "{augment:?} {g:?}");
                }
            }
        }
    }

    #[test]
    fn what_computes_pixels_is_no_move() {
        use super::super::{Affine, Blur, ColourJitter, Erase, View};
        let none = Augment::none;
        assert!(none().view(View::RANDOM_RESIZED).flip().only_moves());
        let others = [
            none().affine(Affine::default()),
            none().trivial(),
            none().colour(ColourJitter::default()),
            none().grayscale(0.1),
            none().blur(Blur { probability: 0.5, sigma: [0.1, 2.0] }),
            none().erase(Erase::DEFAULT),
        ];
        assert!(others.iter().all(|augment| !augment.only_moves()));
    }

    #[test]
    fn nothing_drawn_is_eight_zeros() {
        let g = Geometry { channels: 3, height: 4, width: 4, mean_colour: [9; 3] };
        assert_eq!(Moves::default().words(g), [0; MOVE_WORDS]);
    }
}
