//! Height and width of a filter, stride or padding.

/// `[height, width]`, from one number for both or from an array: `3` or `[1, 7]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair(pub [usize; 2]);

impl From<usize> for Pair {
    fn from(both: usize) -> Pair {
        Pair([both; 2])
    }
}

impl From<[usize; 2]> for Pair {
    fn from(height_width: [usize; 2]) -> Pair {
        Pair(height_width)
    }
}
