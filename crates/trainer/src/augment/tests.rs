//! Every change by its definition and its distribution.

use super::shift::{mirror, reflect, shift_reflect};
use super::*;
use wgrad_tensor::philox::purpose;

const G: Geometry = Geometry { channels: 1, height: 8, width: 8, mean_colour: [77; 3] };

/// Every pixel differs, none is 0 or the mean colour.
fn sample() -> Vec<u8> {
    (0..64).map(|i| 100 + i).collect()
}

fn run(augment: &Augment, g: Geometry, sample: &[u8], index: u32) -> Vec<u8> {
    let mut out = vec![1; sample.len()];
    let mut rng = Stream::new(1, purpose::AUGMENT, 0, index);
    let sample = Sample { pixels: sample, height: g.height, width: g.width };
    augment.apply(sample, g, &mut rng, &mut Room::default(), &mut out).expect("fits");
    out
}

#[test]
fn nothing_is_a_copy() {
    assert_eq!(run(&Augment::none(), G, &sample(), 0), sample());
    assert!(Augment::none().pad_crop(0, Border::Zero).is_none());
}

#[test]
fn flip_is_a_mirror_half_of_the_time() {
    let mut mirrored = sample();
    mirrored.chunks_exact_mut(8).for_each(|r| r.reverse());
    let mut flips = 0u32;
    for i in 0..4000 {
        let out = run(&Augment::none().flip(), G, &sample(), i);
        assert!(out == sample() || out == mirrored);
        flips += u32::from(out == mirrored);
    }
    // Standard deviation 32.
    assert!(flips.abs_diff(2000) < 150, "{flips}");
}

#[test]
fn flip_keeps_colours_together() {
    let mut row = vec![1, 2, 3, 4, 5, 6, 7, 8, 9];
    mirror(&mut row, 3);
    assert_eq!(row, [7, 8, 9, 4, 5, 6, 1, 2, 3]);
}

#[test]
fn crop_offsets_are_even_and_the_rest_is_black() {
    let augment = Augment::none().pad_crop(2, Border::Zero);
    let mut count = [[0u32; 5]; 5];
    for i in 0..10_000 {
        let out = run(&augment, G, &sample(), i);
        // The pixel in the middle is never lost: its new place tells the offset.
        let at = out.iter().position(|&v| v == 100 + 4 * 8 + 4).expect("there");
        let (dy, dx) = (4 - (at / 8) as isize, 4 - (at % 8) as isize);
        count[(dy + 2) as usize][(dx + 2) as usize] += 1;
        for y in 0..8 {
            for x in 0..8 {
                let (sy, sx) = (y + dy, x + dx);
                let inside = (0..8).contains(&sy) && (0..8).contains(&sx);
                let want = if inside { 100 + sy * 8 + sx } else { 0 };
                assert_eq!(isize::from(out[(y * 8 + x) as usize]), want);
            }
        }
    }
    // 400 each with a standard deviation of 20.
    assert!(count.iter().flatten().all(|&c| c.abs_diff(400) < 100), "{count:?}");
}

#[test]
fn reflect_mirrors_at_the_edge_pixel() {
    let got: Vec<usize> = (-4..8).map(|i| reflect(i, 4)).collect();
    assert_eq!(got, [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
    assert_eq!(reflect(-3, 1), 0);
    let g = Geometry { height: 1, width: 4, ..G };
    let mut out = [0; 4];
    shift_reflect(&[1, 2, 3, 4], g, 0, -2, &mut out);
    assert_eq!(out, [3, 2, 1, 2]);
    shift_reflect(&[1, 2, 3, 4], g, 5, 2, &mut out);
    assert_eq!(out, [3, 4, 3, 2]);
}

#[test]
fn translation_brings_in_the_mean_colour() {
    let augment = Augment::none().translate(3);
    let mut seen = std::collections::HashMap::new();
    for i in 0..4900 {
        let out = run(&augment, G, &sample(), i);
        let at = out.iter().position(|&v| v == 100 + 4 * 8 + 4).expect("there");
        let (dy, dx) = (4 - (at / 8) as isize, 4 - (at % 8) as isize);
        *seen.entry((dy, dx)).or_insert(0u32) += 1;
        let filled = out.iter().filter(|&&v| v == 77).count();
        let kept = (8 - dy.unsigned_abs()) * (8 - dx.unsigned_abs());
        assert_eq!(filled, 64 - kept);
    }
    assert_eq!(seen.len(), 49);
    // 100 each with a standard deviation of 10.
    assert!(seen.values().all(|&c| c.abs_diff(100) < 50), "{seen:?}");
}

#[test]
fn cutout_hides_a_whole_square_of_the_mean_colour_anywhere() {
    let augment = Augment::none().cutout(3);
    let mut hidden = [0u32; 64];
    for i in 0..3600 {
        let out = run(&augment, G, &sample(), i);
        let at: Vec<usize> = (0..64).filter(|&k| out[k] == 77).collect();
        assert_eq!(at.len(), 9);
        let (y, x) = (at[0] / 8, at[0] % 8);
        assert!(at.iter().all(|k| (y..y + 3).contains(&(k / 8)) && (x..x + 3).contains(&(k % 8))));
        hidden[at[0]] += 1;
    }
    // 36 corners, 100 each with a standard deviation of 10.
    assert_eq!(hidden.iter().filter(|&&c| c > 0).count(), 36);
    assert!(hidden.iter().all(|&c| c == 0 || c.abs_diff(100) < 50), "{hidden:?}");
    let all = run(&Augment::none().cutout(99), G, &sample(), 0);
    assert_eq!(all, vec![77; 64]);
}

#[test]
fn extreme_sizes_do_not_panic() {
    let g = Geometry { channels: 3, height: 1, width: 1, mean_colour: [1, 2, 3] };
    for border in [Border::Zero, Border::Reflect] {
        let augment = Augment::none().pad_crop(4, border).flip().translate(9).cutout(2);
        for i in 0..50 {
            assert_eq!(run(&augment, g, &[9, 9, 9], i), [1, 2, 3]);
        }
    }
    let huge = Augment::none().pad_crop(usize::MAX, Border::Reflect).translate(usize::MAX);
    run(&huge, G, &sample(), 0);
}

#[test]
fn the_same_stream_gives_the_same_pixels_and_another_index_others() {
    let augment = Augment::none().pad_crop(2, Border::Reflect).flip().translate(1).cutout(2);
    assert_eq!(run(&augment, G, &sample(), 5), run(&augment, G, &sample(), 5));
    let different: std::collections::HashSet<_> = (0..50).map(|i| run(&augment, G, &sample(), i)).collect();
    assert!(different.len() > 45);
}
