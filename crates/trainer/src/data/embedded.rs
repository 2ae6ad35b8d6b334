//! The data set inside the binary, so that the first run needs no download.

use super::{DataError, Splits, open};
use wgrad_datasets::FASHION_MNIST_12K;

/// The first 12,000 training and the first 2,000 test images of Fashion-MNIST: 28x28, grey, 10 classes.
///
/// # Errors
/// None in practice: the bytes are part of the binary and a test reads them.
pub fn fashion_mnist_12k() -> Result<Splits, DataError> {
    open::fashion_mnist_from_bytes(
        FASHION_MNIST_12K.train_images,
        FASHION_MNIST_12K.train_labels,
        FASHION_MNIST_12K.test_images,
        FASHION_MNIST_12K.test_labels,
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_embedded_set_reads() {
        let splits = super::fashion_mnist_12k().expect("good");
        assert_eq!((splits.train.len(), splits.test.len()), (12_000, 2_000));
    }
}
