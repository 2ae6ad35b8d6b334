//! Commands that need no device: the list of networks, completions, help.

mod common;

use common::{done, refused};
use std::path::Path;

#[test]
fn networks_have_the_published_counts() {
    let here = Path::new(".");
    let (json, table) = (done(here, &["models", "--json"]), done(here, &["models"]));
    let nets: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).expect("an object on each line")).collect();
    assert_eq!(table.lines().count(), nets.len() + 1);
    assert!(nets.iter().all(|net| net["parameters"].as_u64() > Some(1000) && net["macs"].as_u64() > Some(1000)));
    // Those of the papers and of torchvision; multiply-adds of convolutions and matrix products.
    for (name, parameters, macs) in [
        ("lenet", 61_706, None),
        ("resnet20", 269_722, None),
        ("alexnet", 61_100_840, Some(714_188_480)),
        ("vgg16", 138_357_544, Some(15_470_264_320_u64)),
        ("resnet18", 11_689_512, Some(1_814_073_344)),
        ("resnet50", 25_557_032, Some(4_089_184_256)),
        ("squeezenet1_1", 1_235_496, None),
        ("densenet121", 7_978_856, None),
    ] {
        let net = nets.iter().find(|net| net["model"] == name).expect(name);
        assert_eq!(net["parameters"], parameters, "{name}");
        assert!(macs.is_none_or(|macs| net["macs"] == macs), "{net}");
        assert!(table.lines().any(|line| line.starts_with(name) && line.contains(&parameters.to_string())), "{name}");
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = done(Path::new("."), &["completions", shell]);
        assert!(script.contains("resume") && script.contains("batch-size"), "{shell}");
    }
    refused(Path::new("."), &["completions", "csh"]);
}

#[test]
fn help_shows_commands_and_defaults() {
    assert!(done(Path::new("."), &["--help"]).contains("evaluate"));
    let help = done(Path::new("."), &["train", "--help"]);
    assert!(help.contains("--batch-size") && help.contains("[default: 64]"), "{help}");
    refused(Path::new("."), &[]);
}
