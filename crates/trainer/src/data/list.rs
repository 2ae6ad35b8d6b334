//! List files: one image and its class on each line.
//!
//! `path<TAB>class` or `path class` (the last blank divides, so paths may hold blanks). Classes are all numbers, counted from
//! 0, or names. Lines end in LF or CRLF, empty ones and a byte order mark are passed over. Caffe's `train.txt` is one.

use std::collections::HashMap;

use super::DataError;

/// The longest list accepted, in bytes: 16 times that of ImageNet.
pub const MAX_BYTES: usize = 1 << 30;
/// The most classes of a data set.
pub const MAX_CLASSES: u32 = 1 << 20;
/// The most classes that numbers may stand for in a list of fewer lines: each below the largest has a name, whether an image has
/// it or not, and a short list shall not ask for much memory. In a longer one they may be as many as its lines.
pub const MAX_NUMBERED: u32 = 1 << 15;
const MAX_PATH_BYTES: usize = 4096;

/// What a list says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Path of each image, as its bytes stand there.
    pub paths: Vec<Vec<u8>>,
    /// Class of each image, below `class_names.len()`.
    pub labels: Vec<u32>,
    /// Names of the classes: sorted by their bytes, or `0`, `1`, … where the list has numbers.
    pub class_names: Vec<String>,
    /// Line that each image stands in, from 1.
    pub lines: Vec<u32>,
}

impl List {
    /// Whether a network can learn from the list: every class has an image, and no image stands there twice, be it with one
    /// class or with two. Paths are the same where they differ in `.` and doubled slashes alone.
    ///
    /// # Errors
    /// The first line that breaks it; `origin` names the list.
    pub fn check_training(&self, origin: &str) -> Result<(), DataError> {
        let wrong = |i: usize, wanted, got| {
            let line = self.lines.get(i).copied().unwrap_or_default();
            Err(DataError::Layout { origin: format!("{origin}, line {line}"), wanted, got })
        };
        let mut is_seen = vec![false; self.class_names.len()];
        self.labels.iter().for_each(|&label| is_seen[label as usize] = true);
        if let Some(gap) = is_seen.iter().position(|seen| !seen) {
            let above = self.labels.iter().position(|&label| label as usize > gap).unwrap_or_default();
            let got = format!("class {} and no image of class {gap}", self.labels[above]);
            return wrong(above, "classes numbered from 0 without a gap", got);
        }
        let mut first = HashMap::with_capacity(self.paths.len());
        for (i, path) in self.paths.iter().enumerate() {
            let parts: Vec<&[u8]> = path.split(|&b| b == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
            if let Some(before) = first.insert(parts.join(&b'/'), self.lines[i]) {
                let path = String::from_utf8_lossy(&path[..path.len().min(200)]);
                return wrong(i, "each image once", format!("{path:?}, which is in line {before}, too"));
            }
        }
        Ok(())
    }
}

/// Reads a list; `origin` names the bytes in messages.
///
/// # Errors
/// A line without a path or a class, a class that is not UTF-8, a number that is neither below
/// [`MAX_NUMBERED`] nor below the number of lines, one of [`MAX_CLASSES`] or more, a path of more than 4096 bytes or with a zero
/// byte, no line at all, more than [`MAX_BYTES`].
pub fn parse(bytes: &[u8], origin: &str) -> Result<List, DataError> {
    if bytes.len() > MAX_BYTES {
        let (limit, got) = (MAX_BYTES as u64, bytes.len() as u64);
        return Err(DataError::TooLarge { origin: origin.to_owned(), what: "a list", limit, got });
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (mut paths, mut classes, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    for (number, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            continue;
        }
        let wrong = |wanted, got: &[u8]| DataError::Layout {
            origin: format!("{origin}, line {}", number + 1),
            wanted,
            got: format!("{:?}", String::from_utf8_lossy(&got[..got.len().min(80)])),
        };
        let line = line.trim_ascii_end();
        let blank = line.iter().rposition(|&b| b == b'\t').or_else(|| line.iter().rposition(|&b| b == b' '));
        let at = blank.ok_or_else(|| wrong("a path, a blank or tab, and a class", line))?;
        let (path, class) = (line[..at].trim_ascii(), line[at + 1..].trim_ascii());
        if path.is_empty() || class.is_empty() {
            return Err(wrong("a path, a blank or tab, and a class", line));
        }
        if path.len() > MAX_PATH_BYTES || path.contains(&0) {
            return Err(wrong("a path of at most 4096 bytes, none of them 0", path));
        }
        let class = std::str::from_utf8(class).map_err(|_| wrong("a class in UTF-8", class))?;
        paths.push(path.to_vec());
        classes.push(class);
        lines.push(u32::try_from(number + 1).unwrap_or(u32::MAX));
    }
    if paths.is_empty() {
        return Err(DataError::Empty { origin: origin.to_owned(), what: "line with a path and a class" });
    }
    let (labels, class_names) = named(&classes, origin)?;
    Ok(List { paths, labels, class_names, lines })
}

fn named(classes: &[&str], origin: &str) -> Result<(Vec<u32>, Vec<String>), DataError> {
    let digits = |class: &&str| class.bytes().all(|b| b.is_ascii_digit());
    if classes.iter().all(digits) {
        let limit = u32::try_from(classes.len()).unwrap_or(u32::MAX).clamp(MAX_NUMBERED, MAX_CLASSES);
        let mut labels = Vec::with_capacity(classes.len());
        for (record, class) in classes.iter().enumerate() {
            let value = class.parse().unwrap_or(u32::MAX);
            if value >= limit {
                return Err(DataError::WrongLabel { origin: origin.to_owned(), record, value, limit });
            }
            labels.push(value);
        }
        let count = labels.iter().max().map_or(0, |max| max + 1);
        return Ok((labels, (0..count).map(|i| i.to_string()).collect()));
    }
    let mut names: Vec<&str> = classes.to_vec();
    names.sort_unstable();
    names.dedup();
    let label = |class: &&str| names.binary_search(class).unwrap_or(0) as u32;
    Ok((classes.iter().map(label).collect(), names.iter().map(|&name| name.to_owned()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgrad_tensor::philox::Stream;

    #[test]
    fn numbers_and_names() {
        let list = parse(b"\xef\xbb\xbfa b/c.jpg 2\r\n\r\nd.png\t0\n", "f").expect("good");
        assert_eq!(list.paths, [b"a b/c.jpg".to_vec(), b"d.png".to_vec()]);
        assert_eq!((list.labels, list.class_names.len()), (vec![2, 0], 3));
        let list = parse(b"x\xff.jpg dog\ny.jpg ant\nz.jpg dog", "f").expect("good");
        assert_eq!((list.labels, list.class_names), (vec![1, 0, 1], vec!["ant".to_owned(), "dog".to_owned()]));
        assert_eq!(list.paths[0], b"x\xff.jpg");
        let long = format!("{}b.jpg 32768\n", "a.jpg 0\n".repeat(MAX_NUMBERED as usize));
        assert_eq!(parse(long.as_bytes(), "f").expect("as many lines").class_names.len(), 32769);
    }

    #[test]
    fn bad_lines_are_named() {
        let says = |bytes: &[u8], part: &str| {
            let e = parse(bytes, "f").expect_err("bad").to_string();
            assert!(e.contains(part), "{e}");
        };
        says(b"a.jpg 0\nb.jpg\n", "f, line 2: wanted a path, a blank or tab, and a class, got \"b.jpg\"");
        says(b"a.jpg \xff\n", "class in UTF-8");
        says(b"\n\n", "at least one line");
        says(b"a.jpg 4294967295\n", "record 0 has label 4294967295");
        says(b"a.jpg 444444\n", "record 0 has label 444444, wanted one below 32768");
        let long = "a.jpg 0\n".repeat(MAX_NUMBERED as usize);
        says(format!("{long}b.jpg 32769\n").as_bytes(), "has label 32769, wanted one below 32769");
        says(b"a\0b 1\n", "none of them 0");
        says(&[vec![b'a'; 5000], b" 1".to_vec()].concat(), "4096");
    }

    #[test]
    fn a_training_list_has_every_class_and_every_image_once() {
        let check = |bytes: &[u8]| parse(bytes, "f").expect("a list").check_training("f");
        check(b"a.jpg 1\n\nb.jpg 0\nb/b.jpg 1\n").expect("good");
        check(b"a.jpg dog\nb.jpg cat\n").expect("good");
        let says = |bytes: &[u8], all: &str| {
            let e = check(bytes).expect_err("bad").to_string();
            assert_eq!(e, all);
        };
        let gap = "f, line 4: wanted classes numbered from 0 without a gap, got class 3 and no image of class 2";
        says(b"a 0\nb 1\n\nc 3\n", gap);
        says(b"a 1\n", "f, line 1: wanted classes numbered from 0 without a gap, got class 1 and no image of class 0");
        let twice = "f, line 3: wanted each image once, got \"./x//a.jpg\", which is in line 1, too";
        says(b"x/a.jpg 0\nb.jpg 1\n./x//a.jpg 1\n", twice);
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut rng = Stream::new(7, 99, 0, 0);
        let alphabet = b"ab/.01 \t\r\n\xff\0\xef\xbb\xbf";
        for _ in 0..20_000 {
            let n = rng.below(40) as usize;
            let bytes: Vec<u8> = (0..n).map(|_| alphabet[rng.below(alphabet.len() as u32) as usize]).collect();
            if let Ok(list) = parse(&bytes, "f") {
                assert_eq!(list.paths.len(), list.labels.len());
                assert!(list.labels.iter().all(|&l| (l as usize) < list.class_names.len()));
                let _ = list.check_training("f");
            }
        }
    }
}
