//! Where each setting comes from: a flag goes before the config file, the file before the default.

use super::{Settings, keys};
use anyhow::{Context, anyhow, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use toml::{Table, Value};
use wgrad::prelude::Augment;

/// The largest config file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Keys that only one schedule or optimiser knows: where a flag takes another one than the file, the file's numbers for them go.
const FOLLOWERS: [(&str, &[&str]); 2] = [
    ("schedule", &["step_every", "milestones", "gamma", "min_lr", "pct_start", "div_factor", "final_div_factor"]),
    ("optimizer", &["momentum", "nesterov"]),
];

/// All settings of a run: those of `file`, if there is one, and of the flags, defaults for the rest, in their ranges.
///
/// # Errors
/// A file that cannot be read, a key that is unknown, a value of another type or out of its range: the key is named.
pub(crate) fn resolve(file: Option<&Path>, flags: Table) -> anyhow::Result<Settings> {
    let mut all = defaults()?;
    if let Some(path) = file {
        let mut table = read(path).with_context(|| path.display().to_string())?;
        for (key, followers) in FOLLOWERS {
            let begun = table.get(key).or_else(|| all.get(key));
            if flags.get(key).is_some_and(|flag| Some(flag) != begun) {
                followers.iter().for_each(|follower| drop(table.remove(*follower)));
            }
        }
        all.extend(table);
    }
    all.extend(flags);
    // Flags have their types already: what has another one stands in the file.
    let origin = || file.map_or_else(|| "settings".to_string(), |path| path.display().to_string());
    let one_line = |error: toml::de::Error| anyhow!("{}", error.to_string().trim_end().replace('\n', ", "));
    let mut settings: Settings = all.try_into().map_err(one_line).with_context(origin)?;
    settings.check_use()?;
    settings.fill();
    settings.check()?;
    Ok(settings)
}

/// The settings that stood on the command line.
pub(crate) fn flags(settings: &Settings, given: &ArgMatches) -> anyhow::Result<Table> {
    let mut table = Table::try_from(settings)?;
    table.retain(|key, _| given.value_source(key) == Some(ValueSource::CommandLine));
    Ok(table)
}

/// The defaults, as the flags have them.
fn defaults() -> anyhow::Result<Table> {
    let nothing = Settings::augment_args(Command::new("defaults")).no_binary_name(true);
    let nothing = nothing.try_get_matches_from(std::iter::empty::<&str>())?;
    Ok(Table::try_from(Settings::from_arg_matches(&nothing)?)?)
}

/// A config file whose keys are all known.
fn read(path: &Path) -> anyhow::Result<Table> {
    // Asked before opening: to open a pipe without a writer would hang.
    if !std::fs::metadata(path)?.is_file() {
        bail!("wanted a file of settings, got something else");
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("wanted a file of settings, at most {MAX_BYTES} bytes, got more");
    }
    let table: Table = toml::from_str(std::str::from_utf8(&bytes)?)?;
    known(&table, keys::of::<Settings>(), "")?;
    if let Some(Value::Table(augment)) = table.get("augment") {
        known(augment, keys::of::<Augment>(), "augment.")?;
    }
    Ok(table)
}

/// Refuses the first key that is not among these.
fn known(table: &Table, known: &[&str], section: &str) -> anyhow::Result<()> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => bail!("unknown key `{section}{}`{}", key.escape_debug(), keys::hint(key, known.iter().copied())),
        None => Ok(()),
    }
}

/// The augmentation of a flag, written as a table of the config file.
pub(super) fn augment(text: &str) -> Result<Augment, String> {
    let mut table: Table = toml::from_str(&format!("augment = {text}")).map_err(|error| error.to_string())?;
    match (table.remove("augment"), table.keys().next()) {
        (Some(Value::Table(augment)), None) => {
            known(&augment, keys::of::<Augment>(), "augment.").map_err(|error| error.to_string())?;
            augment.try_into().map_err(|error: toml::de::Error| error.to_string())
        }
        _ => Err("wanted one table, as in { flip = true }".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("tmp");
        std::fs::write(file.path(), text).expect("written");
        file
    }

    fn refused(text: &str) -> String {
        format!("{:#}", resolve(Some(file(text).path()), Table::new()).expect_err(text))
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_defaults() {
        let file = file("epochs = 3\nlr = 1\nseed = 7\nschedule = \"step\"\ngamma = 0.5\n");
        let flags: Table = toml::from_str("epochs = 4").expect("good");
        let settings = resolve(Some(file.path()), flags).expect("good");
        assert_eq!((settings.epochs, settings.lr, settings.seed, settings.keep), (4, Some(1.0), 7, 3));
        assert_eq!((settings.gamma, settings.step_every), (Some(0.5), Some(4.0 / 3.0)));
        // Another schedule does not know of gamma.
        let flags: Table = toml::from_str("schedule = \"cosine\"").expect("good");
        let settings = resolve(Some(file.path()), flags).expect("good");
        assert_eq!((settings.gamma, settings.min_lr, settings.epochs), (None, Some(0.0), 3));
    }

    #[test]
    fn what_is_printed_reads_as_the_same() {
        for text in [
            "",
            "data = \"images\"\nmodel = \"inception_v3\"\nclip_norm = 1.0\nmixup = 0.2",
            "data = \"cifar10\"\noptimizer = \"lars\"\nlr = 2\nschedule = \"multi-step\"\n[augment]\npad_crop = [4, \"reflect\"]\n\
             grayscale = 0.1\nview = { scale-jitter = { shorter = [256, 480] } }\ncolour = { hue = 0.1 }",
        ] {
            let settings = resolve(Some(file(text).path()), Table::new()).expect(text);
            let printed = settings.to_toml().expect("text");
            assert_eq!(resolve(Some(file(&printed).path()), Table::new()).expect(&printed), settings, "{printed}");
            assert!(!printed.contains("0.1000000"), "{printed}");
        }
        let files = resolve(Some(file("data = \"x\"\nmodel = \"inception_v3\"").path()), Table::new()).expect("good");
        assert_eq!(files.size, Some(299));
    }

    #[test]
    fn bad_files_are_refused_by_key() {
        for (text, part) in [
            ("epoch = 3", "unknown key `epoch`; did you mean `epochs`?"),
            ("[augment]\nflipp = true", "unknown key `augment.flipp`; did you mean `flip`?"),
            ("[augment.colour]\nhued = 1", "hued"),
            ("epochs = -1", "epochs"),
            ("epochs = 4294967296", "epochs"),
            ("batch_size = \"many\"", "batch_size"),
            ("schedule = \"steps\"", "schedule"),
            ("epochs = 0", "epochs: wanted"),
            ("lr = nan", "lr: wanted"),
            ("lr = 1e30", "lr: wanted"),
            ("a = [", "TOML parse error"),
        ] {
            let error = refused(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(refused(&"#".repeat(1 << 21)).contains("at most 1048576 bytes"));
        assert!(resolve(Some(Path::new("/")), Table::new()).is_err());
    }

    #[test]
    fn an_augmentation_is_one_table() {
        assert_eq!(augment("{}"), Ok(Augment::none()));
        assert_eq!(augment("{ flip = true, cutout = 8 }"), Ok(Augment::none().flip().cutout(8)));
        for bad in ["true", "{ flipp = true }", "{}\nepochs = 3", "{ flip = 3 }", ""] {
            assert!(augment(bad).is_err(), "{bad}");
        }
    }
}
