//! Images that several views look at: read and decoded once.

use super::{DataError, ImageStore, Picture};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most bytes of pictures that are kept; beyond them the oldest go, and are decoded again where a view still wants them.
const MOST_BYTES: usize = 256 << 20;

/// A store whose images are asked for several times each, by views that follow each other closely: what one of them has decoded
/// stays until all have had it.
#[derive(Debug)]
pub(crate) struct Kept {
    store: Arc<dyn ImageStore>,
    /// How often each image is asked for.
    times: usize,
    most_bytes: usize,
    pictures: Mutex<Pictures>,
}

#[derive(Debug, Default)]
struct Pictures {
    /// The oldest first.
    list: VecDeque<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    image: usize,
    /// Those who have still to ask.
    left: usize,
    bytes: usize,
    picture: Place,
}

/// Held while the picture is decoded, so that the others wait for it.
type Place = Arc<Mutex<Decoded>>;

#[derive(Debug, Default)]
enum Decoded {
    #[default]
    NotYet,
    Whole(Picture),
    /// Everyone finds out for himself what is wrong, and may find it whole by then.
    Bad,
}

impl Kept {
    /// Images of `store`, each of which is asked for so often.
    pub(crate) fn new(store: Arc<dyn ImageStore>, times: usize) -> Kept {
        Kept { store, times, most_bytes: MOST_BYTES, pictures: Mutex::default() }
    }

    fn pictures(&self) -> MutexGuard<'_, Pictures> {
        // Nothing that may panic happens while it is held.
        self.pictures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where image `i` is or will be.
    fn place(&self, i: usize) -> Place {
        let mut pictures = self.pictures();
        if let Some(at) = pictures.list.iter().position(|entry| entry.image == i) {
            let entry = &mut pictures.list[at];
            entry.left -= 1;
            let picture = Arc::clone(&entry.picture);
            if entry.left == 0 {
                pictures.bytes -= entry.bytes;
                pictures.list.remove(at);
            }
            return picture;
        }
        let picture = Place::default();
        if self.times > 1 {
            let entry = Entry { image: i, left: self.times - 1, bytes: 0, picture: Arc::clone(&picture) };
            pictures.list.push_back(entry);
        }
        picture
    }

    /// Counts the bytes of a picture that has just come, and lets the oldest go where there are too many.
    fn count(&self, i: usize, bytes: usize) {
        let mut pictures = self.pictures();
        if let Some(entry) = pictures.list.iter_mut().find(|entry| entry.image == i && entry.bytes == 0) {
            entry.bytes = bytes;
            pictures.bytes += bytes;
        }
        while pictures.bytes > self.most_bytes {
            let Some(oldest) = pictures.list.pop_front() else { break };
            pictures.bytes -= oldest.bytes;
        }
    }
}

impl ImageStore for Kept {
    fn count(&self) -> usize {
        self.store.count()
    }

    fn origin(&self, i: usize) -> String {
        self.store.origin(i)
    }

    fn picture(&self, i: usize) -> Result<Picture, DataError> {
        let place = self.place(i);
        let mut decoded = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Decoded::NotYet = &*decoded {
            let picture = self.store.picture(i).inspect_err(|_| *decoded = Decoded::Bad)?;
            self.count(i, picture.pixels.len());
            *decoded = Decoded::Whole(picture);
        }
        match &*decoded {
            Decoded::Whole(picture) => Ok(picture.clone()),
            Decoded::NotYet | Decoded::Bad => self.store.picture(i),
        }
    }

    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>, DataError> {
        self.store.encoded(i)
    }

    fn fingerprint(&self) -> Option<u32> {
        self.store.fingerprint()
    }

    fn passed_over(&self) -> &[String] {
        self.store.passed_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts what is decoded; image 3 is bad.
    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl ImageStore for Counting {
        fn count(&self) -> usize {
            8
        }

        fn origin(&self, i: usize) -> String {
            i.to_string()
        }

        fn picture(&self, i: usize) -> Result<Picture, DataError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            match i {
                3 => Err(DataError::Undecodable { origin: self.origin(i), message: "words".to_string() }),
                _ => Ok(Picture { width: 2, height: 1, pixels: vec![i as u8; 6] }),
            }
        }

        fn encoded(&self, _: usize) -> Result<Option<Vec<u8>>, DataError> {
            Ok(None)
        }
    }

    fn kept(times: usize, most_bytes: usize) -> (Arc<Counting>, Kept) {
        let store = Arc::new(Counting::default());
        (Arc::clone(&store), Kept { most_bytes, ..Kept::new(store, times) })
    }

    #[test]
    fn each_image_is_decoded_once_and_kept_no_longer_than_it_is_wanted() {
        let (store, kept) = kept(3, 1 << 20);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for i in [0, 1, 2, 4, 5, 6, 7] {
                        assert_eq!(kept.picture(i).expect("good").pixels, [i as u8; 6]);
                    }
                });
            }
        });
        assert_eq!(store.0.load(Ordering::Relaxed), 7);
        let pictures = kept.pictures();
        assert!(pictures.list.is_empty() && pictures.bytes == 0, "{pictures:?}");
    }

    #[test]
    fn a_bad_image_is_bad_for_everyone_and_a_budget_lets_the_oldest_go() {
        let (store, kept) = kept(2, 12);
        assert!(kept.picture(3).is_err() && kept.picture(3).is_err());
        assert_eq!(store.0.load(Ordering::Relaxed), 2);
        for i in [0, 1, 2] {
            kept.picture(i).expect("good");
        }
        let held = || {
            let pictures = kept.pictures();
            (pictures.list.len(), pictures.bytes)
        };
        assert_eq!(held(), (2, 12));
        for i in [1, 2, 0] {
            assert_eq!(kept.picture(i).expect("good").pixels[0], i as u8);
        }
        assert_eq!(store.0.load(Ordering::Relaxed), 2 + 3 + 1, "only the oldest had gone");
    }
}
