//! Some images of a data set.

use std::sync::Arc;

use super::{DataError, Dataset, ImageStore, Picture, Pixels};

/// Some images of a store, under numbers of their own.
#[derive(Clone, Debug)]
struct Selection {
    store: Arc<dyn ImageStore>,
    indices: Vec<u32>,
}

impl Selection {
    fn index(&self, i: usize) -> Result<usize, DataError> {
        let index = self.indices.get(i).map(|&index| index as usize);
        index.ok_or_else(|| DataError::Empty { origin: format!("image {i} of a selection"), what: "such image" })
    }
}

impl ImageStore for Selection {
    fn count(&self) -> usize {
        self.indices.len()
    }

    fn origin(&self, i: usize) -> String {
        self.index(i).map_or_else(|_| format!("image {i}"), |index| self.store.origin(index))
    }

    fn picture(&self, i: usize) -> Result<Picture, DataError> {
        self.store.picture(self.index(i)?)
    }

    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>, DataError> {
        self.store.encoded(self.index(i)?)
    }

    fn fingerprint(&self) -> Option<u32> {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&self.store.fingerprint()?.to_le_bytes());
        self.indices.iter().for_each(|index| sum.update(&index.to_le_bytes()));
        Some(sum.finalize())
    }

    fn passed_over(&self) -> &[String] {
        self.store.passed_over()
    }
}

impl Dataset {
    /// Every `n`-th image, the first one among them: a smaller set with the same mix of classes where images are sorted by
    /// class. With 0 as with 1, all images.
    #[must_use]
    pub fn every(mut self, n: usize) -> Self {
        if n <= 1 {
            return self;
        }
        let indices: Vec<u32> = (0..self.len() as u32).step_by(n).collect();
        self.labels = indices.iter().map(|&i| self.labels[i as usize]).collect();
        let bytes = self.image_bytes();
        self.images = match self.images {
            Pixels::Memory(pixels) => {
                let image = |&i: &u32| pixels.get(i as usize * bytes..(i as usize + 1) * bytes).unwrap_or_default();
                Pixels::Memory(indices.iter().flat_map(image).copied().collect())
            }
            Pixels::Stored(store) => Pixels::Stored(Arc::new(Selection { store, indices })),
        };
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Numbers {
        sum: Option<u32>,
        passed_over: Vec<String>,
    }

    impl ImageStore for Numbers {
        fn count(&self) -> usize {
            5
        }

        fn origin(&self, i: usize) -> String {
            format!("number {i}")
        }

        fn picture(&self, i: usize) -> Result<Picture, DataError> {
            Ok(Picture { width: 1, height: 1, pixels: vec![i as u8; 3] })
        }

        fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>, DataError> {
            Ok(Some(vec![i as u8]))
        }

        fn fingerprint(&self) -> Option<u32> {
            self.sum
        }

        fn passed_over(&self) -> &[String] {
            &self.passed_over
        }
    }

    fn five(images: Pixels) -> Dataset {
        Dataset {
            name: "five".into(),
            images,
            labels: vec![0, 0, 1, 1, 2],
            channels: 3,
            height: 1,
            width: 1,
            class_names: ["a", "b", "c"].map(String::from).to_vec(),
            mean: [0.5; 3],
            std: [0.5; 3],
        }
    }

    #[test]
    fn every_second_image_in_memory_and_in_files() {
        let all: Vec<u8> = (0..5).flat_map(|i| [i; 3]).collect();
        let some = five(all.clone().into()).every(2);
        assert_eq!(
            (some.images.in_memory(), some.labels.as_slice()),
            (&[0, 0, 0, 2, 2, 2, 4, 4, 4][..], &[0, 1, 2][..])
        );
        let stored = five(Pixels::Stored(Arc::new(Numbers::default()))).every(3);
        assert_eq!(stored.labels, [0, 1]);
        stored.check().expect("fits");
        let Pixels::Stored(store) = &stored.images else { panic!("in files") };
        assert_eq!((store.count(), store.origin(1)), (2, "number 3".to_string()));
        assert_eq!(store.picture(1).expect("there").pixels, [3; 3]);
        assert_eq!(store.encoded(1).expect("there"), Some(vec![3]));
        assert!(store.picture(2).is_err());
        for n in [0, 1] {
            assert_eq!(five(all.clone().into()).every(n).len(), 5);
        }
        assert_eq!(five(all.into()).every(100).len(), 1);
    }

    #[test]
    fn other_images_and_others_of_the_same_are_told_apart() {
        let stored = |sum| Numbers { sum, passed_over: vec!["x: no image".to_owned()] };
        let print = |sum, n| {
            let some = five(Pixels::Stored(Arc::new(stored(sum)))).every(n);
            assert_eq!(some.passed_over(), ["x: no image"]);
            let Pixels::Stored(store) = some.images else { panic!("in files") };
            store.fingerprint()
        };
        assert_eq!(print(Some(7), 2), print(Some(7), 2));
        let different = [print(Some(7), 1), print(Some(7), 2), print(Some(7), 3), print(Some(8), 2), print(None, 2)];
        for (i, a) in different.iter().enumerate() {
            assert!(different[..i].iter().all(|b| a != b), "{different:?}");
        }
    }
}
