//! Rules about Rust source: what each part may name.

use super::code::{Strings, code, has_word, lines_with_word, without_tests};
use super::{File, Finding, Rule, Tree};

pub(super) const DOC_LINE: Rule = Rule {
    name: "doc line",
    why: "the first line of a file says what it is for",
    find: |tree| {
        let files = tree.with_extension("rs");
        let wrong = files.filter(|file| !file.text.starts_with("//! "));
        wrong.map(|file| Finding::new(file, 1, "does not begin with a `//!` line")).collect()
    },
};

/// The parts of tensor that may name wgpu, as beginnings of paths below its `src/`.
const WGPU_PARTS: [&str; 5] = ["device", "kernel", "params", "plan/run", "plan/profile"];

pub(super) const TENSOR_WGPU: Rule = Rule {
    name: "wgpu inside tensor",
    why: "only device, kernel, params and plan/{run,profile} name wgpu, so that the rest is tested without an adapter",
    find: |tree| {
        let elsewhere = |path: &str| !WGPU_PARTS.iter().any(|part| path.starts_with(part));
        named(tree, |file| file.below("crates/tensor/src/").is_some_and(elsewhere), &["wgpu"])
    },
};

/// The one place that makes buffers, and counts them.
const BUFFERS_HOME: &str = "crates/tensor/src/device/mod.rs";

pub(super) const BUFFERS: Rule = Rule {
    name: "buffers are counted",
    why: "Device::create_buffer counts every buffer, so that a test sees a step that makes one",
    find: |tree| {
        let elsewhere = |file: &File| file.below("crates/tensor/src/").is_some() && file.path != BUFFERS_HOME;
        named(tree, elsewhere, &["wgpu().create_buffer", "create_buffer_init"])
    },
};

pub(super) const LAYERS_PLAIN: Rule = Rule {
    name: "layers are plain",
    why: "layers name no shader, buffer or dispatch",
    find: |tree| {
        let in_layers = |file: &File| file.below("crates/layers/src/").is_some();
        let mut findings = named(tree, in_layers, &["wgpu"]);
        for file in tree.with_extension("rs").filter(|file| in_layers(file)) {
            let code = code(&file.text, Strings::Keep);
            for (i, line) in code.lines().enumerate() {
                for part in [".wgsl", "dispatch("] {
                    if line.contains(part) {
                        findings.push(Finding::new(file, i + 1, format!("names `{part}`")));
                    }
                }
            }
        }
        findings
    },
};

pub(super) const TRAINER_NO_WGPU: Rule = Rule {
    name: "trainer without wgpu",
    why: "the trainer touches the GPU only through a plan",
    find: |tree| named(tree, |file| file.below("crates/trainer/src/").is_some(), &["wgpu"]),
};

/// The one module that may hold unsafe code.
const UNSAFE_HOME: &str = "crates/tensor/src/device/trusted.rs";

pub(super) const UNSAFE: Rule = Rule {
    name: "unsafe",
    why: "unsafe stands in crates/tensor/src/device/trusted.rs alone, with its reasons",
    find: |tree| named(tree, |file| file.path != UNSAFE_HOME, &["unsafe"]),
};

/// Whether this is the source of a library (tests beside it left out). The command is a program that lies beside the libraries.
fn is_library(file: &File) -> bool {
    let source = ["crates/", "shaders/", "datasets/"].iter().any(|folder| file.below(folder).is_some());
    let source = source && file.below("crates/cli/").is_none();
    let name = file.path.rsplit('/').next().unwrap_or("");
    source && file.path.contains("/src/") && !name.ends_with("tests.rs") && !file.path.contains("/tests/")
}

/// What a result could depend on without being passed in.
const OUTSIDE_STATE: [&str; 9] = [
    "std::env",
    "env::var",
    "env::vars",
    "env::var_os",
    "env::args",
    "static mut",
    "thread_local",
    "OnceLock",
    "LazyLock",
];

pub(super) const NO_ENVIRONMENT: Rule = Rule {
    name: "no environment",
    why: "library crates have no global state and read no environment variables; programs pass options in",
    find: |tree| {
        let mut findings = Vec::new();
        for file in tree.with_extension("rs").filter(|file| is_library(file)) {
            let code = without_tests(&code(&file.text, Strings::Blank));
            for (i, line) in code.lines().enumerate() {
                if let Some(name) = OUTSIDE_STATE.iter().find(|name| has_word(line, name)) {
                    findings.push(Finding::new(file, i + 1, format!("a library uses `{name}`")));
                }
            }
        }
        findings
    },
};

/// The parsers, which get bytes.
const PARSERS_PATHS: [&str; 10] = [
    "crates/trainer/src/data/cifar.rs",
    "crates/trainer/src/data/classes.rs",
    "crates/trainer/src/data/idx.rs",
    "crates/trainer/src/data/decode.rs",
    "crates/trainer/src/data/jpeg.rs",
    "crates/trainer/src/data/list.rs",
    "crates/trainer/src/data/record/parse.rs",
    "crates/trainer/src/checkpoint/parse.rs",
    "crates/trainer/src/model_card.rs",
    "crates/tensor/src/tune/table.rs",
];

/// Folders of parsers alone.
const PARSERS_FOLDERS: [&str; 1] = ["crates/trainer/src/weights/"];

fn is_parser(file: &File) -> bool {
    PARSERS_PATHS.contains(&file.path.as_str()) || PARSERS_FOLDERS.iter().any(|folder| file.below(folder).is_some())
}

pub(super) const PARSERS: Rule = Rule {
    name: "parsers open no files",
    why: "bytes in, arrays out: a parser is tested and fuzzed on memory",
    find: |tree| {
        let mut findings = Vec::new();
        for file in tree.files.iter().filter(|file| is_parser(file)) {
            let code = without_tests(&code(&file.text, Strings::Blank));
            for (i, line) in code.lines().enumerate() {
                if ["std::fs", "fs::read", "File::open"].iter().any(|name| has_word(line, name)) {
                    findings.push(Finding::new(file, i + 1, "a parser opens a file"));
                }
            }
        }
        findings
    },
};

/// Files in `ops/` that implement `OpDef` without being an entry: the trait itself, and what users register.
const NOT_REGISTERED: [&str; 3] = ["mod", "op_def", "custom"];

pub(super) const REGISTRY: Rule = Rule {
    name: "ops registry",
    why: "tests and benchmarks walk the `ops!` registry: what is not in it is not tested",
    find: registry,
};

fn registry(tree: &Tree) -> Vec<Finding> {
    let below = |file: &File| file.below("crates/tensor/src/ops/").map(str::to_owned);
    let ops: Vec<&File> = tree.with_extension("rs").filter(|file| below(file).is_some()).collect();
    let codes: Vec<String> = ops.iter().map(|file| without_tests(&code(&file.text, Strings::Blank))).collect();
    let entries: String = codes.iter().filter_map(|code| registry_body(code)).collect();
    let mut findings = Vec::new();
    for (file, code) in ops.iter().zip(&codes) {
        let Some(name) = below(file).and_then(|path| path.strip_suffix(".rs").map(str::to_owned)) else {
            continue;
        };
        if name.contains('/') || NOT_REGISTERED.contains(&name.as_str()) || has_word(&entries, &name) {
            continue;
        }
        let implements =
            code.lines().position(|line| line.trim_start().starts_with("impl") && line.contains("OpDef for "));
        if let Some(i) = implements {
            findings.push(Finding::new(
                file,
                i + 1,
                format!("`{name}` implements OpDef and is not in the `ops!` registry"),
            ));
        }
    }
    findings
}

/// What stands between the brackets of `ops! { … }`.
fn registry_body(code: &str) -> Option<&str> {
    let starts = code.match_indices("ops!").map(|(at, found)| at + found.len());
    for start in starts {
        let rest = code[start..].trim_start();
        let close = match rest.chars().next() {
            Some('{') => '}',
            Some('[') => ']',
            Some('(') => ')',
            _ => continue,
        };
        return rest.get(1..rest.find(close)?);
    }
    None
}

/// Where the code of the chosen files names one of `words`.
fn named(tree: &Tree, chosen: impl Fn(&File) -> bool, words: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with_extension("rs").filter(|file| chosen(file)) {
        let code = code(&file.text, Strings::Blank);
        for word in words {
            for line in lines_with_word(&code, word) {
                findings.push(Finding::new(file, line, format!("names `{word}`")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NONE, found, tree};
    use super::*;

    #[test]
    fn a_file_begins_with_a_doc_line() {
        assert_eq!(found(&DOC_LINE, "a/b.rs", "//! What it is.\nfn f() {}\n"), NONE);
        for bad in ["", "fn f() {}\n", "// comment\n", "\n//! Late.\n", "/// Item.\n"] {
            assert_eq!(found(&DOC_LINE, "a/b.rs", bad), [1], "{bad:?}");
        }
    }

    #[test]
    fn wgpu_stays_in_its_parts_of_tensor() {
        let text = "//! A list of wgpu dispatches.\n/* wgpu */ let s = \"wgpu\";\nuse wgpu::Device;\n";
        for path in ["device/mod.rs", "kernel/variant.rs", "params/flat.rs", "plan/run.rs", "plan/profile.rs"] {
            assert_eq!(found(&TENSOR_WGPU, &format!("crates/tensor/src/{path}"), text), NONE, "{path}");
        }
        for path in ["lib.rs", "graph/mod.rs", "ops/conv2d.rs", "passes/memory.rs", "plan/mod.rs", "plan/lower.rs"] {
            assert_eq!(found(&TENSOR_WGPU, &format!("crates/tensor/src/{path}"), text), [3], "{path}");
        }
        assert_eq!(found(&TENSOR_WGPU, "crates/tensor/tests/device.rs", text), NONE);
    }

    #[test]
    fn buffers_are_made_in_one_place() {
        let text = "//! B.\nself.device.create_buffer(&d, n);\nself.device.wgpu().create_buffer(&d);\n";
        assert_eq!(found(&BUFFERS, "crates/tensor/src/plan/run.rs", text), [3]);
        assert_eq!(found(&BUFFERS, BUFFERS_HOME, text), NONE);
    }

    #[test]
    fn layers_name_no_shader_and_no_dispatch() {
        let good = "//! See conv2d.wgsl.\nlet x = s.relu(x);\n";
        assert_eq!(found(&LAYERS_PLAIN, "crates/layers/src/conv.rs", good), NONE);
        for bad in ["use wgpu::Buffer;", "include_str!(\"a.wgsl\")", "pass.dispatch(1)"] {
            assert_eq!(found(&LAYERS_PLAIN, "crates/layers/src/conv.rs", bad), [1], "{bad}");
            assert_eq!(found(&LAYERS_PLAIN, "crates/tensor/src/device/mod.rs", bad), NONE, "{bad}");
        }
    }

    #[test]
    fn the_trainer_names_no_wgpu() {
        assert_eq!(found(&TRAINER_NO_WGPU, "crates/trainer/src/lib.rs", "//! wgpu\nplan.run(feed)\n"), NONE);
        assert_eq!(found(&TRAINER_NO_WGPU, "crates/trainer/src/lib.rs", "//! T.\nwgpu::Queue\n"), [2]);
    }

    #[test]
    fn unsafe_has_one_home() {
        let text = "#![allow(unsafe_code)]\n// unsafe\nunsafe { f() }\n";
        assert_eq!(found(&UNSAFE, UNSAFE_HOME, text), NONE);
        for path in ["crates/tensor/src/device/mod.rs", "xtask/src/main.rs", "examples/a.rs"] {
            assert_eq!(found(&UNSAFE, path, text), [3], "{path}");
        }
    }

    #[test]
    fn libraries_read_no_environment() {
        let text = "fn f() {}\nlet x = std::env::var(\"A\");\n#[cfg(test)]\nmod tests {\n    use std::env;\n}\n";
        assert_eq!(found(&NO_ENVIRONMENT, "crates/trainer/src/lib.rs", text), [2]);
        assert_eq!(found(&NO_ENVIRONMENT, "crates/trainer/src/lib.rs", "use std::env;\n"), [1]);
        for path in [
            "xtask/src/main.rs",
            "examples/a.rs",
            "crates/cli/src/main.rs",
            "crates/tensor/tests/a.rs",
            "crates/tensor/src/device/tests.rs",
        ] {
            assert_eq!(found(&NO_ENVIRONMENT, path, text), NONE, "{path}");
        }
        for state in ["static mut N: u32 = 0;\n", "static N: OnceLock<u32> = OnceLock::new();\n", "thread_local! {}\n"]
        {
            assert_eq!(found(&NO_ENVIRONMENT, "crates/trainer/src/lib.rs", state), [1], "{state}");
        }
        let compile_time = "const V: &str = env!(\"CARGO_PKG_VERSION\");\n";
        assert_eq!(found(&NO_ENVIRONMENT, "crates/trainer/src/lib.rs", compile_time), NONE);
    }

    #[test]
    fn parsers_open_no_files() {
        let text = "//! Never std::fs.\nuse std::fs;\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        for path in PARSERS_PATHS.into_iter().chain(["crates/trainer/src/weights/pickle.rs"]) {
            assert_eq!(found(&PARSERS, path, text), [2], "{path}");
        }
        assert_eq!(found(&PARSERS, "crates/trainer/src/data/cifar.rs", "//! C.\nfn parse(bytes: &[u8]) {}\n"), NONE);
        assert_eq!(found(&PARSERS, "crates/trainer/src/data/folder.rs", text), NONE);
    }

    #[test]
    fn every_operation_is_registered() {
        let op = "//! Op.\nimpl OpDef for Conv2d {\n}\n";
        let helper = "//! Shared by several.\npub fn f() {}\n";
        let with = |registry: &str| {
            let tree = tree(&[
                ("crates/tensor/src/ops/mod.rs", registry),
                ("crates/tensor/src/ops/conv2d.rs", op),
                ("crates/tensor/src/ops/shared.rs", helper),
                ("crates/tensor/src/ops/custom.rs", op),
            ]);
            (REGISTRY.find)(&tree).into_iter().map(|finding| (finding.path, finding.line)).collect::<Vec<_>>()
        };
        let define = "macro_rules! ops { ($($name:ident),*) => {} }\n";
        assert_eq!(with(&format!("{define}ops! {{ matmul, conv2d }}\n")), Vec::new());
        let missing = vec![("crates/tensor/src/ops/conv2d.rs".to_owned(), 2)];
        assert_eq!(with(&format!("{define}ops![matmul, conv2d_transposed];\n")), missing);
        assert_eq!(with("//! conv2d, but no registry\n"), missing);
    }
}
