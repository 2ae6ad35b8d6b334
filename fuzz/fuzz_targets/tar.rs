//! Archives of data sets, unpacked into a folder of the system's temporary ones.
#![no_main]

#[allow(dead_code)]
#[path = "../../xtask/src/unpack.rs"]
mod unpack;
#[allow(dead_code)]
#[path = "../../xtask/src/verify.rs"]
mod verify;

use std::path::Path;
use std::sync::LazyLock;
use wgrad_datasets::File;

/// SHA-256 of "aaa".
const SUM: &str = "9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0";

static FOLDER: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("wgrad-fuzz-tar-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let file = |name| File { name, bytes: 3, sha256: SUM, ..wgrad_datasets::DATASETS[0].files[0] };
    let files = [file("a.bin"), file("b.bin")];
    let _ = unpack::take(bytes, Path::new("archive"), "set", &files, &FOLDER);
    for entry in std::fs::read_dir(&*FOLDER).expect("the folder") {
        let entry = entry.expect("an entry");
        // Whatever the archive says, nothing but what was expected is ever written, and that is whole.
        assert!(files.iter().any(|file| *file.name == *entry.file_name()), "{entry:?}");
        assert_eq!(std::fs::read(entry.path()).expect("a file"), b"aaa");
        std::fs::remove_file(entry.path()).expect("removed");
    }
});
