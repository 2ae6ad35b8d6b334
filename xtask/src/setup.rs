//! `cargo xtask setup`: a machine without any Vulkan adapter gets the software driver, or is told what to install.

use std::env;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::run;

/// What Debian and Ubuntu call the software driver and the Vulkan loader.
const DEBIAN_PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];

/// Makes sure that there is an adapter: installs the software driver where that can be done, says what to do elsewhere.
pub(crate) fn setup(has_adapter: impl Fn() -> bool) -> Result<()> {
    if !needs_driver(&has_adapter) {
        println!("setup: an adapter is there");
        return Ok(());
    }
    let advice = match remedy(&Host::here()) {
        Remedy::Install(commands) => {
            println!("setup: no GPU adapter; installing the software driver");
            for command in &commands {
                let mut process = Command::new(&command[0]);
                process.args(&command[1..]).env("DEBIAN_FRONTEND", "noninteractive");
                run::command(process.stdin(Stdio::null()))?;
            }
            if !needs_driver(&has_adapter) {
                println!("setup: done");
                return Ok(());
            }
            "The software driver is installed, and still no adapter is found; `vulkaninfo --summary` (package vulkan-tools) says why."
                .to_owned()
        }
        Remedy::Advise(advice) => advice,
    };
    bail!("wgrad needs a GPU adapter (Vulkan, Metal or DX12), and this machine has none.\n{advice}")
}

/// Whether this machine lacks a driver.
pub(crate) fn needs_driver(has_adapter: impl Fn() -> bool) -> bool {
    !has_adapter()
}

/// Whether wgpu finds any adapter.
pub(crate) fn has_adapter() -> bool {
    !wgrad::tensor::adapters().is_empty()
}

/// What matters about a machine for installing a driver.
#[derive(Clone, Debug)]
struct Host {
    /// As `std::env::consts::OS` has it.
    os: String,
    /// The distribution and what it is like: ID and ID_LIKE of `/etc/os-release`.
    likes: Vec<String>,
    root: bool,
}

impl Host {
    fn here() -> Self {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Host { os: env::consts::OS.to_owned(), likes: likes(&release), root: effective_user(&status) == Some(0) }
    }
}

/// ID and ID_LIKE of an os-release file.
fn likes(release: &str) -> Vec<String> {
    let mut likes = Vec::new();
    for key in ["ID=", "ID_LIKE="] {
        let values = release.lines().filter_map(|line| line.strip_prefix(key));
        for value in values {
            let value = value.trim_matches(['"', '\'']);
            likes.extend(value.split_whitespace().map(str::to_owned));
        }
    }
    likes
}

/// The effective user of a `/proc/self/status` file: the second number after `Uid:`.
fn effective_user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// What to do about a missing driver.
#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    /// Run these.
    Install(Vec<Vec<String>>),
    /// Tell the user this.
    Advise(String),
}

fn remedy(host: &Host) -> Remedy {
    let advice = |text: &str| Remedy::Advise(text.to_owned());
    match host.os.as_str() {
        "macos" => {
            return advice("macOS brings Metal along and needs nothing installed; is this a machine without a GPU?");
        }
        "windows" => {
            return advice("Install the driver from your GPU's maker (Intel, AMD or NVIDIA), then run this again.");
        }
        "linux" => {}
        other => {
            return Remedy::Advise(format!("Install a Vulkan driver and loader for {other}, then run this again."));
        }
    }
    let like = |names: &[&str]| host.likes.iter().any(|like| names.contains(&like.as_str()));
    let gpu = "(With a GPU, install its maker's Vulkan driver instead: it is much faster.)";
    let line = if like(&["debian", "ubuntu"]) {
        let update = ["apt-get", "update"].map(str::to_owned).to_vec();
        let mut install = ["apt-get", "install", "-y", "--no-install-recommends"].map(str::to_owned).to_vec();
        install.extend(DEBIAN_PACKAGES.map(str::to_owned));
        if host.root {
            return Remedy::Install(vec![update, install]);
        }
        format!("sudo {} && sudo {}", update.join(" "), install.join(" "))
    } else if like(&["fedora", "rhel", "centos"]) {
        "sudo dnf install mesa-vulkan-drivers vulkan-loader".to_owned()
    } else if like(&["arch"]) {
        "sudo pacman -S vulkan-swrast vulkan-icd-loader".to_owned()
    } else if like(&["alpine"]) {
        "sudo apk add mesa-vulkan-swrast vulkan-loader".to_owned()
    } else if like(&["opensuse", "suse"]) {
        "sudo zypper install libvulkan_lvp libvulkan1".to_owned()
    } else {
        return Remedy::Advise(format!(
            "Install Mesa's software Vulkan driver (lavapipe) and the Vulkan loader (libvulkan.so.1), then run this again.\n{gpu}"
        ));
    };
    Remedy::Advise(format!("Install the software driver, then run this again:\n\n    {line}\n\n{gpu}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(os: &str, likes: &[&str], root: bool) -> Host {
        Host { os: os.to_owned(), likes: likes.iter().map(|&like| like.to_owned()).collect(), root }
    }

    #[test]
    fn an_adapter_is_enough() {
        setup(|| true).unwrap();
        assert!(needs_driver(|| false) && !needs_driver(|| true));
    }

    #[test]
    fn root_on_debian_and_ubuntu_installs() {
        for likes in [&["debian"][..], &["ubuntu", "debian"], &["linuxmint", "ubuntu", "debian"]] {
            let Remedy::Install(commands) = remedy(&host("linux", likes, true)) else {
                panic!("{likes:?} is to install");
            };
            assert_eq!(commands[0], ["apt-get", "update"]);
            let install = commands[1].join(" ");
            assert_eq!(install, "apt-get install -y --no-install-recommends mesa-vulkan-drivers libvulkan1");
        }
    }

    #[test]
    fn everyone_else_is_told_what_to_install() {
        for (os, likes, root, wanted) in [
            (
                "linux",
                &["debian"][..],
                false,
                "sudo apt-get install -y --no-install-recommends mesa-vulkan-drivers libvulkan1",
            ),
            ("linux", &["fedora"], true, "dnf install mesa-vulkan-drivers"),
            ("linux", &["manjaro", "arch"], false, "pacman -S vulkan-swrast"),
            ("linux", &["alpine"], false, "apk add mesa-vulkan-swrast"),
            ("linux", &["opensuse-leap", "suse", "opensuse"], false, "zypper install libvulkan_lvp"),
            ("linux", &["nixos"], false, "lavapipe"),
            ("macos", &[], false, "needs nothing"),
            ("windows", &[], false, "GPU's maker"),
            ("freebsd", &[], false, "for freebsd"),
        ] {
            let Remedy::Advise(advice) = remedy(&host(os, likes, root)) else {
                panic!("{os} {likes:?} is to be told");
            };
            assert!(advice.contains(wanted), "{advice}");
        }
    }

    #[test]
    fn reads_os_release_and_the_user() {
        let release = "NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"22\"\n";
        assert_eq!(likes(release), ["linuxmint", "ubuntu", "debian"]);
        assert_eq!(effective_user("Name:\tx\nUid:\t1000\t0\t0\t0\n"), Some(0));
        assert_eq!(effective_user("Uid:\t0\t1000\t0\t0\n"), Some(1000));
        assert_eq!(effective_user(""), None);
    }
}
