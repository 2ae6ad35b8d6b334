//! Folders of image files: a sub-folder for each class, or a list file.
//!
//! Classes are numbered in the order of their folders' names, files come in the order of their paths, both compared byte by
//! byte: the same tree gives the same data set on every machine. A folder with `train` and `val` (or `valid`, `validation`,
//! `test`) in it is a whole data set, as ImageNet's and imagenette's; so is one with `train.txt` and `val.txt`, see
//! [`super::list`].
//!
//! What counts as an image is told by its name when the tree is walked ([`EXTENSIONS`]) and by its bytes when it is read.
//! Anything that is no regular file is passed over, never opened: a pipe would hang. Symbolic links are followed to files and
//! folders within the root, once each; those that lead out of it or in a circle are passed over and said ([`Scan::skipped`]).

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::list::{self, List};
use super::store::escaped;
use super::{DataError, Dataset, ImageStore, Picture, Pixels, Splits, decode};

/// Endings of files that are taken for images, in lower case.
pub const EXTENSIONS: [&str; 12] =
    ["bmp", "gif", "jfif", "jpe", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm", "webp"];
/// The largest image file read, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 28;
/// Folders within folders that are walked.
const MAX_DEPTH: usize = 32;
/// Mean of ImageNet's training images, with pixels of 0 to 1, as torchvision has it.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's training images, with pixels of 0 to 1, as torchvision has it.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The image files that were found, before any is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The folder that all paths are below.
    pub root: PathBuf,
    /// Paths below the root.
    pub files: Vec<PathBuf>,
    /// Class of each file, below `class_names.len()`.
    pub labels: Vec<u32>,
    /// Name of each class, printable.
    pub class_names: Vec<String>,
    /// What was passed over, and why; one line each.
    pub skipped: Vec<String>,
}

/// Both halves of the data set in `folder`, whose images a loader brings to `size` by `size` pixels. Mean and standard
/// deviation are ImageNet's; `cargo xtask data stats` measures those of a folder.
///
/// # Errors
/// As [`scan`]; halves whose classes differ.
pub fn open(folder: &Path, size: usize) -> Result<Splits, DataError> {
    let [train, test] = halves(folder)?;
    let splits = Splits { train: train.dataset(size), test: test.dataset(size) };
    let classes = |set: &Dataset| set.class_names.clone();
    let (wanted, got) = (classes(&splits.train), classes(&splits.test));
    // A list with numbers names as many classes as it has seen.
    if wanted != got && !(numbered(&wanted) && numbered(&got)) {
        let differs = wanted.iter().find(|name| !got.contains(name)).or(got.iter().find(|name| !wanted.contains(name)));
        return Err(DataError::Layout {
            origin: test.root.display().to_string(),
            wanted: "the classes of the training images",
            got: format!("{} of {}, and {differs:?} in one of the two only", got.len(), wanted.len()),
        });
    }
    let most = if wanted.len() > got.len() { wanted } else { got };
    let named = |set: Dataset| Dataset { class_names: most.clone(), ..set };
    Ok(Splits { train: named(splits.train), test: named(splits.test) })
}

fn numbered(names: &[String]) -> bool {
    names.iter().enumerate().all(|(i, name)| *name == i.to_string())
}

/// The training and the validation half below `folder`, before any image is read.
///
/// # Errors
/// As [`scan`]; no such halves.
pub fn halves(folder: &Path) -> Result<[Scan; 2], DataError> {
    let there = |names: &[&str]| names.iter().map(|name| folder.join(name)).find(|path| path.exists());
    let tests = ["val", "valid", "validation", "test"];
    if let (Some(train), Some(test)) = (there(&["train"]), there(&tests)) {
        return Ok([scan(&train)?, scan(&test)?]);
    }
    let lists = ["val.txt", "valid.txt", "validation.txt", "test.txt"];
    if let (Some(train), Some(test)) = (there(&["train.txt"]), there(&lists)) {
        return Ok([scan_any_list(&train, folder, true)?, scan_any_list(&test, folder, false)?]);
    }
    Err(DataError::Layout {
        origin: folder.display().to_string(),
        wanted: "the folders train and val with a folder for each class in them, or train.txt and val.txt",
        got: if folder.is_dir() { "a folder without them" } else { "no folder" }.to_owned(),
    })
}

/// A half of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// What to learn from: `train`.
    Train,
    /// What to measure accuracy on: `val`, `valid`, `validation` or `test`.
    Val,
}

/// One half of the data set in `folder`, before any image is read; of a folder with neither half in it, all of it.
///
/// # Errors
/// As [`scan`]; a folder with the other half alone; a training list that fails [`List::check_training`].
pub fn half(folder: &Path, half: Half) -> Result<Scan, DataError> {
    let (train, test): (&[&str], &[&str]) = (&["train"], &["val", "valid", "validation", "test"]);
    let (names, others, wanted) = match half {
        Half::Train => (train, test, "a folder train or a list train.txt beside the other half"),
        Half::Val => (test, train, "a folder val (valid, validation, test) or such a list beside the training half"),
    };
    let there = |names: &[&str], ending: &str| {
        names.iter().map(|name| folder.join(format!("{name}{ending}"))).find(|path| path.exists())
    };
    if let Some(path) = there(names, "") {
        return scan(&path);
    }
    if let Some(path) = there(names, ".txt") {
        return scan_any_list(&path, folder, half == Half::Train);
    }
    match there(others, "").or(there(others, ".txt")) {
        None => scan(folder),
        Some(other) => Err(DataError::Layout {
            origin: folder.display().to_string(),
            wanted,
            got: format!("{} alone", escaped(other.file_name().unwrap_or_default())),
        }),
    }
}

/// Images without labels, for a network to classify: files as they are given, and of folders all images in the order of their
/// paths. All are of one class. A file that is not there is counted like one that cannot be decoded: when it is read.
///
/// # Errors
/// A folder that cannot be read; no image at all.
pub fn unlabelled(paths: &[PathBuf], size: usize) -> Result<Dataset, DataError> {
    let (mut files, mut skipped) = (Vec::new(), Vec::new());
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let real = real(path)?;
        let mut walk = Walk { root: &real, folders: HashSet::new(), skipped: Vec::new() };
        let mut found = Vec::new();
        walk.images(&real, Path::new(""), 0, &mut found)?;
        found.sort_unstable_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
        files.extend(found.into_iter().map(|file| path.join(file)));
        let folder = escaped(path.join("").as_os_str());
        skipped.extend(walk.skipped.iter().map(|line| format!("{folder}{line}")));
    }
    if files.is_empty() {
        let origin = paths.first().map_or_else(|| "images".to_owned(), |path| escaped(path.as_os_str()));
        return Err(DataError::Empty { origin, what: "image" });
    }
    let labels = vec![0; files.len()];
    let scan = Scan { files, labels, class_names: vec!["unknown".to_owned()], skipped, ..Scan::default() };
    Ok(scan.dataset(size))
}

/// The image files below `root`: each folder in it is a class, what is in that at any depth its images.
///
/// # Errors
/// A folder that cannot be read, fewer than two classes, a class without an image, two images of a class whose paths differ in
/// the ending alone.
pub fn scan(root: &Path) -> Result<Scan, DataError> {
    let real = real(root)?;
    let mut walk = Walk { root: &real, folders: HashSet::from([real.clone()]), skipped: Vec::new() };
    let mut scan = Scan { root: root.to_owned(), ..Scan::default() };
    for (name, kind) in walk.entries(&real, Path::new(""))? {
        if kind != Kind::Folder {
            continue;
        }
        let class = scan.class_names.len() as u32;
        let mut files = Vec::new();
        walk.images(&real.join(&name), Path::new(&name), 0, &mut files)?;
        files.sort_unstable_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
        check_class(root, &name, &files)?;
        scan.labels.extend(std::iter::repeat_n(class, files.len()));
        scan.files.append(&mut files);
        scan.class_names.push(escaped(&name));
    }
    scan.skipped = walk.skipped;
    scan.check()
}

/// The image files that the list at `path` names, relative to `root`.
///
/// # Errors
/// A list that cannot be read or parsed, a path that is absolute or has `..` in it, fewer than two classes.
pub fn scan_list(path: &Path, root: &Path) -> Result<Scan, DataError> {
    scan_any_list(path, root, false)
}

/// [`scan_list`], of which a list to learn from must also pass [`List::check_training`].
pub(super) fn scan_any_list(path: &Path, root: &Path, training: bool) -> Result<Scan, DataError> {
    let bytes = read_regular(path, list::MAX_BYTES as u64)?;
    let origin = path.display().to_string();
    let list = list::parse(&bytes, &origin)?;
    if training {
        list.check_training(&origin)?;
    }
    let List { paths, labels, class_names, .. } = list;
    let mut files = Vec::with_capacity(paths.len());
    for bytes in paths {
        let file = os_path(bytes, &origin)?;
        if !file.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(DataError::Layout {
                origin,
                wanted: "paths below the folder of the list, without ..",
                got: escaped(file.as_os_str()),
            });
        }
        files.push(file);
    }
    Scan { root: root.to_owned(), files, labels, class_names, skipped: Vec::new() }.check()
}

#[cfg(unix)]
fn os_path(bytes: Vec<u8>, _origin: &str) -> Result<PathBuf, DataError> {
    use std::os::unix::ffi::OsStringExt;
    Ok(OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
fn os_path(bytes: Vec<u8>, origin: &str) -> Result<PathBuf, DataError> {
    let wrong = |e: std::string::FromUtf8Error| DataError::Layout {
        origin: origin.to_owned(),
        wanted: "paths in UTF-8",
        got: format!("{:?}", String::from_utf8_lossy(e.as_bytes())),
    };
    String::from_utf8(bytes).map(PathBuf::from).map_err(wrong)
}

fn unreadable(path: &Path, source: std::io::Error) -> DataError {
    DataError::Unreadable { path: path.to_owned(), source }
}

fn real(root: &Path) -> Result<PathBuf, DataError> {
    fs::canonicalize(root).map_err(|source| unreadable(root, source))
}

/// The bytes of a regular file of at most `limit` bytes.
///
/// # Errors
/// A file that is not there, is something else, is larger, or may not be read.
pub fn read_regular(path: &Path, limit: u64) -> Result<Vec<u8>, DataError> {
    // Asked before it is opened: opening a pipe waits for someone to write into it.
    let kind = fs::metadata(path).map_err(|source| unreadable(path, source))?;
    if !kind.is_file() {
        return Err(DataError::NotAFile { path: path.to_owned() });
    }
    let too_large = |got| DataError::TooLarge { origin: path.display().to_string(), what: "a file", limit, got };
    if kind.len() > limit {
        return Err(too_large(kind.len()));
    }
    let file = fs::File::open(path).map_err(|source| unreadable(path, source))?;
    let mut bytes = Vec::with_capacity(kind.len() as usize);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|source| unreadable(path, source))?;
    if bytes.len() as u64 > limit { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
}

fn check_class(root: &Path, name: &OsStr, files: &[PathBuf]) -> Result<(), DataError> {
    let origin = format!("{}, class {}", root.display(), escaped(name));
    if files.is_empty() {
        return Err(DataError::Layout {
            origin,
            wanted: "an image (.jpg, .png, …) in every class folder",
            got: "none; fill or remove the folder".to_owned(),
        });
    }
    let mut stems = HashSet::with_capacity(files.len());
    match files.iter().find(|file| !stems.insert(file.with_extension(""))) {
        None => Ok(()),
        Some(double) => Err(DataError::Layout {
            origin,
            wanted: "each image once: paths that differ in more than their ending",
            got: format!("{} and another of this stem; remove one", escaped(double.as_os_str())),
        }),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    File,
}

/// One walk through a tree.
struct Walk<'a> {
    /// Without links.
    root: &'a Path,
    /// Folders that were entered, without links.
    folders: HashSet<PathBuf>,
    skipped: Vec<String>,
}

impl Walk<'_> {
    /// What is in a folder, by the bytes of its name; hidden files and what must not be opened left out.
    fn entries(&mut self, folder: &Path, shown: &Path) -> Result<Vec<(OsString, Kind)>, DataError> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder).map_err(|source| unreadable(folder, source))? {
            let entry = entry.map_err(|source| unreadable(folder, source))?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            match self.kind(&entry) {
                Ok(kind) => entries.push((name, kind)),
                Err(why) => self.skipped.push(format!("{}: {why}", escaped(shown.join(&name).as_os_str()))),
            }
        }
        entries.sort_unstable_by(|(a, _), (b, _)| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
        Ok(entries)
    }

    /// File or folder, behind a link too if that stays below the root; otherwise why not.
    fn kind(&self, entry: &fs::DirEntry) -> Result<Kind, String> {
        let mut kind = entry.file_type().map_err(|error| error.to_string())?;
        if kind.is_symlink() {
            let target = fs::canonicalize(entry.path()).map_err(|error| format!("a broken link ({error})"))?;
            if !target.starts_with(self.root) {
                return Err("a link out of the data set".to_owned());
            }
            kind = fs::metadata(&target).map_err(|error| error.to_string())?.file_type();
        }
        match (kind.is_dir(), kind.is_file()) {
            (true, _) => Ok(Kind::Folder),
            (_, true) => Ok(Kind::File),
            _ => Err("neither a file nor a folder".to_owned()),
        }
    }

    /// Adds the paths of all images below `folder`, which is `shown` seen from the root.
    fn images(&mut self, folder: &Path, shown: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
        // A folder that is entered a second time is a circle of links, or would count its images twice.
        if depth > MAX_DEPTH || !self.folders.insert(real(folder)?) {
            self.skipped.push(format!("{}: a folder met before, or too deep", escaped(shown.as_os_str())));
            return Ok(());
        }
        for (name, kind) in self.entries(folder, shown)? {
            let shown = shown.join(&name);
            match kind {
                Kind::Folder => self.images(&folder.join(&name), &shown, depth + 1, files)?,
                Kind::File if is_image_name(&shown) => files.push(shown),
                Kind::File => self.skipped.push(format!("{}: not named as an image", escaped(shown.as_os_str()))),
            }
        }
        Ok(())
    }
}

fn is_image_name(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| EXTENSIONS.iter().any(|known| ending == *known))
}

impl Scan {
    fn check(self) -> Result<Scan, DataError> {
        let (images, classes) = (self.files.len(), self.class_names.len());
        let got = match (images, classes) {
            (_, 0) => "none".to_owned(),
            (_, 1) => format!("one, {:?}", self.class_names[0]),
            _ if images >= u32::MAX as usize => format!("{images} images"),
            _ => return Ok(self),
        };
        let wanted = "at least two classes, each a folder with images in it";
        Err(DataError::Layout { origin: self.root.display().to_string(), wanted, got })
    }

    /// The data set of these files, whose images a loader brings to `size` by `size` pixels.
    #[must_use]
    pub fn dataset(&self, size: usize) -> Dataset {
        let name = self.root.file_name().map_or_else(|| "folder".to_owned(), escaped);
        let store = FolderStore { root: self.root.clone(), files: self.files.clone(), skipped: self.skipped.clone() };
        Dataset {
            name,
            images: Pixels::Stored(Arc::new(store)),
            labels: self.labels.clone(),
            channels: 3,
            height: size,
            width: size,
            class_names: self.class_names.clone(),
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
        }
    }
}

/// Image files below a folder.
#[derive(Clone, Debug)]
struct FolderStore {
    root: PathBuf,
    files: Vec<PathBuf>,
    skipped: Vec<String>,
}

impl FolderStore {
    fn read(&self, i: usize) -> Result<Vec<u8>, DataError> {
        let file = self.files.get(i).ok_or_else(|| DataError::Empty { origin: self.origin(i), what: "such image" })?;
        let path = self.root.join(file);
        let bytes = read_regular(&path, MAX_FILE_BYTES)?;
        match bytes.is_empty() {
            true => Err(DataError::Empty { origin: self.origin(i), what: "byte of an image" }),
            false => Ok(bytes),
        }
    }
}

impl ImageStore for FolderStore {
    fn count(&self) -> usize {
        self.files.len()
    }

    fn origin(&self, i: usize) -> String {
        self.files.get(i).map_or_else(|| format!("image {i}"), |file| escaped(self.root.join(file).as_os_str()))
    }

    fn picture(&self, i: usize) -> Result<Picture, DataError> {
        decode::decode(&self.read(i)?, &self.origin(i))
    }

    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>, DataError> {
        self.read(i).map(Some)
    }

    /// A sum over the paths below the root: a folder that was moved is the same, a file that was changed in place is, too.
    fn fingerprint(&self) -> Option<u32> {
        let mut sum = crc32fast::Hasher::new();
        for file in &self.files {
            sum.update(file.as_os_str().as_encoded_bytes());
            sum.update(&[0]);
        }
        Some(sum.finalize())
    }

    fn passed_over(&self) -> &[String] {
        &self.skipped
    }
}
