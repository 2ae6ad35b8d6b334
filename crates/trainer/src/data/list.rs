//! List files: one image and its class on each line.
//!
//! `path<TAB>class` or `path class` (the last blank divides, so paths may hold blanks). Classes are all numbers, counted from
//! 0, or names. Lines end in LF or CRLF, empty ones and a byte order mark are passed over. Caffe's `train.txt` is one.

use super::DataError;

/// The longest list accepted, in bytes: 16 times that of ImageNet.
pub const MAX_BYTES: usize = 1 << 30;
/// The most classes that numbers may stand for.
pub const MAX_CLASSES: u32 = 1 << 20;
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
}

/// Reads a list; `origin` names the bytes in messages.
///
/// # Errors
/// A line without a path or a class, a class that is not UTF-8, a number of 2^20 or more, a path of more than 4096 bytes or
/// with a zero byte, no line at all, more than [`MAX_BYTES`].
pub fn parse(bytes: &[u8], origin: &str) -> Result<List, DataError> {
    if bytes.len() > MAX_BYTES {
        let (limit, got) = (MAX_BYTES as u64, bytes.len() as u64);
        return Err(DataError::TooLarge { origin: origin.to_owned(), what: "a list", limit, got });
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (mut paths, mut classes) = (Vec::new(), Vec::new());
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
    }
    if paths.is_empty() {
        return Err(DataError::Empty { origin: origin.to_owned(), what: "line with a path and a class" });
    }
    let (labels, class_names) = named(&classes, origin)?;
    Ok(List { paths, labels, class_names })
}

fn named(classes: &[&str], origin: &str) -> Result<(Vec<u32>, Vec<String>), DataError> {
    let digits = |class: &&str| class.bytes().all(|b| b.is_ascii_digit());
    if classes.iter().all(digits) {
        let mut labels = Vec::with_capacity(classes.len());
        for (record, class) in classes.iter().enumerate() {
            let value = class.parse().unwrap_or(u32::MAX);
            if value >= MAX_CLASSES {
                return Err(DataError::WrongLabel { origin: origin.to_owned(), record, value, limit: MAX_CLASSES });
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
        says(b"a\0b 1\n", "none of them 0");
        says(&[vec![b'a'; 5000], b" 1".to_vec()].concat(), "4096");
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
            }
        }
    }
}
