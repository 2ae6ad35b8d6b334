//! Which crate may depend on which.

use super::code::{Strings, code, lines_with_word};
use super::{File, Finding, Rule, Tree};

/// Each crate, the folder of its manifest, and the project's crates it may depend on.
const ALLOWED: &[(&str, &str, &[&str])] = &[
    ("wgrad-shaders", "shaders", &[]),
    ("wgrad-datasets", "datasets", &[]),
    ("wgrad-tensor", "crates/tensor", &["wgrad-shaders"]),
    ("wgrad-layers", "crates/layers", &["wgrad-tensor"]),
    ("wgrad-trainer", "crates/trainer", &["wgrad-layers", "wgrad-tensor", "wgrad-datasets"]),
    ("wgrad", "crates/wgrad", &["wgrad-trainer", "wgrad-layers", "wgrad-tensor", "wgrad-datasets"]),
    ("wgrad-cli", "crates/cli", &["wgrad"]),
    ("xtask", "xtask", &["wgrad", "wgrad-trainer", "wgrad-layers", "wgrad-tensor", "wgrad-datasets", "wgrad-shaders"]),
    ("wgrad-fuzz", "fuzz", &["wgrad-trainer", "wgrad-tensor", "wgrad-datasets"]),
];

/// Crates that only tensor (and xtask, which checks shaders) may depend on.
const GPU_CRATES: [&str; 2] = ["wgpu", "naga"];

pub(super) const DIRECTION: Rule = Rule {
    name: "crate direction",
    why: "dependencies point one way: examples, cli, xtask -> wgrad -> trainer -> layers -> tensor -> shaders",
    find: direction,
};

fn direction(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        let Some(folder) = file.path.strip_suffix("/Cargo.toml") else {
            continue;
        };
        let Some((name, _, allowed)) = ALLOWED.iter().find(|(_, known, _)| *known == folder) else {
            findings.push(Finding::new(
                file,
                1,
                "this crate has no place in the order; give it one in xtask/src/tidy/crates.rs",
            ));
            continue;
        };
        for (line, dependency) in dependencies(file) {
            let ours = ALLOWED.iter().any(|(known, ..)| *known == dependency);
            let gpu = GPU_CRATES.contains(&dependency) && !["wgrad-tensor", "xtask", "wgrad-shaders"].contains(name);
            if gpu || (ours && !allowed.contains(&dependency)) {
                findings.push(Finding::new(file, line, format!("{name} must not depend on {dependency}")));
            }
        }
    }
    findings
}

/// The dependencies that a manifest names, of whatever kind, with their lines.
fn dependencies(file: &File) -> Vec<(usize, &str)> {
    let mut dependencies = Vec::new();
    let mut inside = false;
    for (number, line) in file.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            // [dependencies], [dev-dependencies], [target.'cfg(unix)'.dependencies], [dependencies.name]
            inside = section.ends_with("dependencies");
            if let Some((_, name)) = section.rsplit_once("dependencies.") {
                dependencies.push((number, name.trim_matches('"')));
            }
        } else if inside {
            let name = line.split(['=', '.', ' ']).next().unwrap_or("").trim_matches('"');
            if !name.is_empty() {
                dependencies.push((number, name));
            }
            // name = { package = "other" }
            let package = line.split_once("package").and_then(|(_, rest)| rest.split('"').nth(1));
            dependencies.extend(package.map(|name| (number, name)));
        }
    }
    dependencies
}

pub(super) const FACADE: Rule = Rule {
    name: "examples and the command use the facade",
    why: "an example shows what a user writes, the command can do what a user can, and users depend on wgrad alone",
    find: facade,
};

fn facade(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of_users = |file: &&File| ["examples/", "crates/cli/"].iter().any(|folder| file.below(folder).is_some());
    for file in tree.with_extension("rs").filter(of_users) {
        let code = code(&file.text, Strings::Blank);
        for name in ["wgrad_tensor", "wgrad_layers", "wgrad_trainer", "wgrad_shaders"] {
            for line in lines_with_word(&code, name) {
                findings.push(Finding::new(file, line, format!("names {name}; use what wgrad re-exports")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NONE, found};
    use super::*;

    #[test]
    fn dependencies_point_one_way() {
        let good =
            "[package]\nname = \"wgrad-layers\"\n[dependencies]\nwgrad-tensor.workspace = true\nthiserror = \"2\"\n";
        assert_eq!(found(&DIRECTION, "crates/layers/Cargo.toml", good), NONE);
        for bad in [
            "[dependencies]\nwgrad-trainer.workspace = true",
            "[dependencies]\nwgrad-shaders = { path = \"x\" }",
            "[dev-dependencies]\nwgrad = { workspace = true }",
            "[target.'cfg(unix)'.dependencies]\nwgpu.workspace = true",
            "[dependencies]\nt = { package = \"wgrad-trainer\", path = \"x\" }",
            "\n[dependencies.wgrad-trainer] # why\npath = \"x\"",
        ] {
            assert_eq!(found(&DIRECTION, "crates/layers/Cargo.toml", bad), [2], "{bad}");
        }
    }

    #[test]
    fn the_command_knows_the_facade_alone() {
        let manifest = |name: &str| format!("[dependencies]\n{name}.workspace = true\n");
        assert_eq!(found(&DIRECTION, "crates/cli/Cargo.toml", &manifest("wgrad")), NONE);
        assert_eq!(found(&DIRECTION, "crates/cli/Cargo.toml", &manifest("wgrad-trainer")), [2]);
        assert_eq!(found(&DIRECTION, "crates/wgrad/Cargo.toml", &manifest("wgrad-cli")), [2]);
    }

    #[test]
    fn the_gpu_is_tensor_s() {
        let manifest = "[dependencies]\nwgpu.workspace = true\n";
        assert_eq!(found(&DIRECTION, "crates/tensor/Cargo.toml", manifest), NONE);
        assert_eq!(found(&DIRECTION, "crates/trainer/Cargo.toml", manifest), [2]);
    }

    #[test]
    fn other_tables_are_no_dependencies() {
        let manifest = "[features]\nwgrad-trainer = []\n[lints]\nworkspace = true\n";
        assert_eq!(found(&DIRECTION, "crates/layers/Cargo.toml", manifest), NONE);
        assert_eq!(found(&DIRECTION, "Cargo.toml", "[workspace.dependencies]\nwgrad = { path = \"x\" }\n"), NONE);
    }

    #[test]
    fn an_unknown_crate_is_named() {
        assert_eq!(found(&DIRECTION, "crates/other/Cargo.toml", "[package]\n"), [1]);
    }

    #[test]
    fn examples_use_the_facade() {
        assert_eq!(found(&FACADE, "examples/a.rs", "//! A.\nuse wgrad::prelude::*;\n"), NONE);
        assert_eq!(found(&FACADE, "examples/a.rs", "//! See wgrad_tensor.\nuse wgrad_tensor::Graph;\n"), [2]);
        assert_eq!(found(&FACADE, "crates/cli/src/main.rs", "//! A.\nuse wgrad_trainer::Exit;\n"), [2]);
        assert_eq!(found(&FACADE, "crates/wgrad/src/lib.rs", "pub use wgrad_tensor as tensor;\n"), NONE);
    }
}
