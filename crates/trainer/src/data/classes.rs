//! Files that name classes, for networks and data sets that number or call them differently.
//!
//! One class on each line, in one of these forms, the same on all lines:
//!
//! | line | class |
//! |---|---|
//! | `name` | the number of the line, counted from 0 |
//! | `n01440764 tench, Tinca tinca` | the number of the line; folder and name (ImageNet's `synset_words.txt`) |
//! | `0<TAB>name` | the number in front; other classes have no name |
//! | `0<TAB>n01440764<TAB>tench` | the number in front, folder, name |
//!
//! A class of a data set is looked up by its folder, then by its name. Lines end in LF or CRLF; a byte order mark and empty lines
//! at the end are passed over.

use std::collections::{HashMap, HashSet};

use super::{DataError, Dataset};
use crate::model_card::{MAX_CLASSES, MAX_NAME_BYTES, plain};

/// The longest file accepted, in bytes.
pub const MAX_BYTES: usize = 16 << 20;
/// Classes of a data set that are named when none of the file fits.
const SHOWN: usize = 8;

/// A class as a file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Number of the network's output.
    pub index: u32,
    /// What a data set calls it: the name of its folder.
    pub folder: String,
    /// What people call it; the folder's name where there is no other.
    pub name: String,
}

/// What a file of classes says: in the order of its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// At least one; no two of the same number or the same folder.
    pub classes: Vec<Class>,
}

/// Reads a file of classes; `origin` names the bytes in messages.
///
/// # Errors
/// Text that is not UTF-8, an empty line between others, a line without a name, a name of more than 1024 bytes, a number or a folder
/// that stands there twice, more than 65,536 classes or [`MAX_BYTES`], no line at all.
pub fn parse(bytes: &[u8], origin: &str) -> Result<Classes, DataError> {
    if bytes.len() > MAX_BYTES {
        let (limit, got) = (MAX_BYTES as u64, bytes.len() as u64);
        return Err(DataError::TooLarge { origin: origin.to_owned(), what: "class names", limit, got });
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| DataError::Layout {
        origin: format!("{origin}, byte {}", error.valid_up_to()),
        wanted: "class names in UTF-8",
        got: "other bytes; save the file as UTF-8".to_owned(),
    })?;
    // Tabs divide columns: one at the end of a line is an empty column and no blank.
    let text = text.trim_end_matches(['\n', '\r', ' ']);
    let lines: Vec<&str> = text.lines().take(MAX_CLASSES + 1).collect();
    if lines.is_empty() {
        return Err(DataError::Empty { origin: origin.to_owned(), what: "line with the name of a class" });
    }
    if lines.len() > MAX_CLASSES {
        return Err(DataError::Layout {
            origin: origin.to_owned(),
            wanted: "at most 65536 classes, one on each line",
            got: "more lines".to_owned(),
        });
    }
    let numbered = lines.iter().all(|line| line.split_once('\t').is_some_and(|(number, _)| is_number(number)));
    let synsets = lines.iter().all(|line| line.split_once(' ').is_some_and(|(synset, _)| is_synset(synset)));
    let (mut numbers, mut folders) = (HashSet::new(), HashSet::new());
    let mut classes = Vec::with_capacity(lines.len());
    for (at, line) in lines.into_iter().enumerate() {
        let wrong = |wanted, got: &str| DataError::Layout {
            origin: format!("{origin}, line {}", at + 1),
            wanted,
            got: format!("{:?}", got.chars().take(80).collect::<String>()),
        };
        if !numbered && line.contains('\t') {
            return Err(wrong("a tab on all lines, each behind a class number, or on none", line));
        }
        let (index, folder, name) = match (numbered, synsets) {
            (true, _) => {
                let (number, rest) = line.split_once('\t').unwrap_or((line, ""));
                let index = number.parse().ok().filter(|&index: &u32| (index as usize) < MAX_CLASSES);
                let index = index.ok_or_else(|| wrong("a class number below 65536", line))?;
                let (folder, name) = rest.split_once('\t').unwrap_or((rest, rest));
                (index, folder, name)
            }
            (_, true) => {
                let (folder, name) = line.split_once(' ').unwrap_or((line, line));
                (at as u32, folder, name)
            }
            _ => (at as u32, line, line),
        };
        let [folder, name] = [folder, name].map(|text| plain(text.trim()));
        if folder.is_empty() || name.is_empty() {
            return Err(wrong("the name of a class", line));
        }
        if folder.len().max(name.len()) > MAX_NAME_BYTES {
            return Err(wrong("a name of at most 1024 bytes", line));
        }
        if !numbers.insert(index) {
            return Err(wrong("each class number once", line));
        }
        // ImageNet has two classes called "crane"; only what is looked up must be unambiguous.
        if (numbered || synsets) && !folders.insert(folder.clone()) {
            return Err(wrong("each folder once", line));
        }
        classes.push(Class { index, folder, name });
    }
    Ok(Classes { classes })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// WordNet's numbers of nouns, after which ImageNet's folders are called.
fn is_synset(text: &str) -> bool {
    text.len() == 9 && text.strip_prefix('n').is_some_and(is_number)
}

impl Classes {
    /// The names of a network's `count` classes; a class without one is called by its number.
    ///
    /// # Errors
    /// A class of the file that the network does not have.
    pub fn names(&self, count: usize, origin: &str) -> Result<Vec<String>, DataError> {
        let mut names: Vec<String> = (0..count).map(|index| index.to_string()).collect();
        for class in &self.classes {
            match names.get_mut(class.index as usize) {
                Some(name) => name.clone_from(&class.name),
                None => {
                    return Err(DataError::Layout {
                        origin: origin.to_owned(),
                        wanted: "classes that the network has",
                        got: format!("number {} of {count}, {:?}", class.index, class.name),
                    });
                }
            }
        }
        Ok(names)
    }
}

impl Dataset {
    /// The same images with the labels of a network whose classes are called `names`. Each class of this set is looked up in
    /// `classes`, where such a file was given, by folder and then by name; otherwise in `names`. Where the network's
    /// classes are called by their numbers and are as many as this set has, they are taken to be in the same order, and keep this
    /// set's names.
    ///
    /// # Errors
    /// Classes that are not found, or found twice.
    pub fn with_labels_of(mut self, names: &[String], classes: Option<&Classes>) -> Result<Dataset, DataError> {
        let mut known: HashMap<&str, Vec<u32>> = HashMap::new();
        match classes {
            Some(classes) => {
                let folders: HashSet<&str> = classes.classes.iter().map(|class| class.folder.as_str()).collect();
                for Class { index, folder, name } in &classes.classes {
                    known.entry(folder).or_default().push(*index);
                    if !folders.contains(name.as_str()) {
                        known.entry(name).or_default().push(*index);
                    }
                }
            }
            None => {
                for (index, name) in (0..).zip(names) {
                    known.entry(name).or_default().push(index);
                }
            }
        }
        let unnamed = classes.is_none() && names.iter().enumerate().all(|(i, name)| *name == i.to_string());
        if unnamed
            && names.len() == self.classes()
            && self.class_names.iter().all(|name| !known.contains_key(name.as_str()))
        {
            return Ok(self);
        }
        let mut map = Vec::with_capacity(self.classes());
        let mut missing = Vec::new();
        for name in &self.class_names {
            match known.get(name.as_str()).map(Vec::as_slice) {
                Some(&[index]) if (index as usize) < names.len() => map.push(index),
                Some([_, _, ..]) => missing.push(format!("{name:?} (several classes of that name)")),
                _ => missing.push(format!("{name:?}")),
            }
        }
        if !missing.is_empty() {
            let (count, more) = (missing.len(), missing.len().saturating_sub(SHOWN));
            missing.truncate(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            return Err(DataError::Layout {
                origin: format!("data set {}", self.name),
                wanted: "classes that the network has; give a file of lines `number<TAB>folder` with --classes",
                got: format!("{count} others: {}{more}", missing.join(", ")),
            });
        }
        for label in &mut self.labels {
            // A label outside its own set stays outside: `check` says it.
            *label = map.get(*label as usize).copied().unwrap_or(u32::MAX);
        }
        self.class_names = names.to_vec();
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgrad_tensor::philox::Stream;

    fn read(text: &str) -> Vec<(u32, String, String)> {
        let classes = parse(text.as_bytes(), "f").expect("good").classes;
        classes.into_iter().map(|class| (class.index, class.folder, class.name)).collect()
    }

    fn class(index: u32, folder: &str, name: &str) -> (u32, String, String) {
        (index, folder.to_string(), name.to_string())
    }

    #[test]
    fn every_form_with_byte_order_mark_and_crlf() {
        let plain = [class(0, "tench", "tench"), class(1, "tree frog", "tree frog")];
        assert_eq!(read("tench\ntree frog\n"), plain);
        assert_eq!(read("\u{feff}tench\r\ntree frog\r\n\r\n"), plain);
        assert_eq!(
            read("\u{feff}0\ttench\r\n7\tparachute"),
            [class(0, "tench", "tench"), class(7, "parachute", "parachute")]
        );
        let words = "n01440764 tench, Tinca tinca\r\nn02102040 English springer\r\n";
        let wanted = [class(0, "n01440764", "tench, Tinca tinca"), class(1, "n02102040", "English springer")];
        assert_eq!(read(words), wanted);
        assert_eq!(read("217\tn02102040\tEnglish springer\r\n"), [class(217, "n02102040", "English springer")]);
        assert_eq!(read("crane\ncrane\n").len(), 2, "two classes may share a name");
        // A number alone is a name: CIFAR's folders are sometimes called so.
        assert_eq!(read("3\n4\n"), [class(0, "3", "3"), class(1, "4", "4")]);
        assert_eq!(read("a\u{1b}[2J"), [class(0, "a\\u{1b}[2J", "a\\u{1b}[2J")]);
    }

    #[test]
    fn bad_files_are_named() {
        let says = |bytes: &[u8], part: &str| {
            let error = parse(bytes, "f").expect_err("bad").to_string();
            assert!(error.contains(part), "{error}");
        };
        says(b"", "at least one line");
        says(b"\xef\xbb\xbf\r\n\n", "at least one line");
        says(b"a\n\nb", "f, line 2: wanted the name of a class");
        says(b"a\nb\xff", "f, byte 3: wanted class names in UTF-8");
        says(b"0\ta\n0\tb", "line 2: wanted each class number once");
        says(b"0\ta\n1\ta", "line 2: wanted each folder once");
        says(b"65536\ta", "below 65536");
        says(b"99999999999\ta", "below 65536");
        says(b"0\ta\n1\t", "line 2: wanted the name");
        says(b"0\ta\n1\t\tb", "line 2: wanted the name");
        says(b"0\ta\nb", "line 1: wanted a tab on all lines");
        says(&[b'a'; 1025], "1024 bytes");
        says("a\n".repeat(MAX_CLASSES + 1).as_bytes(), "more lines");
        says(&vec![b'a'; MAX_BYTES + 1], "class names");
    }

    #[test]
    fn names_of_a_network() {
        let classes = parse(b"2\tn02102040\tdog\n0\tn01440764\ttench", "f").expect("good");
        assert_eq!(classes.names(4, "f").expect("fits"), ["tench", "1", "dog", "3"]);
        let error = classes.names(2, "f").expect_err("too few").to_string();
        assert!(error.contains("number 2 of 2, \"dog\""), "{error}");
    }

    fn set(names: &[&str]) -> Dataset {
        let labels: Vec<u32> = (0..names.len() as u32).collect();
        Dataset {
            name: "set".into(),
            images: vec![0; names.len()].into(),
            labels,
            channels: 1,
            height: 1,
            width: 1,
            class_names: names.iter().map(|name| name.to_string()).collect(),
            mean: [0.5; 3],
            std: [0.5; 3],
        }
    }

    #[test]
    fn labels_become_the_network_s() {
        let names = ["ant", "bee", "cat", "bee"].map(String::from);
        let got = set(&["cat", "ant"]).with_labels_of(&names, None).expect("known");
        assert_eq!((got.labels.as_slice(), got.class_names.as_slice()), (&[2, 0][..], &names[..]));
        got.check().expect("fits");
        let error = set(&["bee", "dog", "ant"]).with_labels_of(&names, None).expect_err("unknown").to_string();
        assert!(error.contains("2 others: \"bee\" (several classes of that name), \"dog\""), "{error}");

        let classes = parse(b"3\tn2\tdog\n1\tn1\tn2", "f").expect("good");
        let got = set(&["n1", "dog", "n2"]).with_labels_of(&names, Some(&classes)).expect("known");
        assert_eq!(got.labels, [1, 3, 3], "a folder goes before a name");
        let far = parse(b"9\tn1", "f").expect("good");
        assert!(set(&["n1"]).with_labels_of(&names, Some(&far)).is_err(), "the network has no class 9");

        let numbers = ["0", "1"].map(String::from);
        let got = set(&["x", "y"]).with_labels_of(&numbers, None).expect("in order");
        assert_eq!(got, set(&["x", "y"]));
        assert_eq!(set(&["1", "0"]).with_labels_of(&numbers, None).expect("by name").labels, [1, 0]);
        assert!(set(&["x", "y", "z"]).with_labels_of(&numbers, None).is_err());
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut rng = Stream::new(8, 99, 0, 0);
        let alphabet = b"0179n\t\t \r\n\nab\xff\xc3\xa9\xef\xbb\xbf";
        for _ in 0..20_000 {
            let n = rng.below(40) as usize;
            let bytes: Vec<u8> = (0..n).map(|_| alphabet[rng.below(alphabet.len() as u32) as usize]).collect();
            if let Ok(found) = parse(&bytes, "f") {
                let numbers: HashSet<u32> = found.classes.iter().map(|class| class.index).collect();
                assert!(!found.classes.is_empty() && numbers.len() == found.classes.len());
            }
        }
    }
}
