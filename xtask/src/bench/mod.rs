//! `cargo xtask bench`: how fast the kernels and whole training steps are on this adapter, and whether they are right.
//!
//! A benchmark makes [`row::Row`]s: verified against the f64 reference first, timed then, set against the adapter's own peak
//! rates. What becomes of the rows ([`output`]) is the same for all.

mod accuracy;
mod compare;
mod conv;
mod data;
mod gemm;
mod inference;
mod item;
mod markdown;
mod measure;
mod nets;
mod ops;
mod output;
mod peaks;
mod report;
mod row;
mod sample;

use crate::setting::{storage_parser, tier_parser};
use anyhow::{Result, bail};
use clap::Subcommand;
use item::Item;
use measure::{Clock, Effort};
use nets::NetArgs;
use output::OutputArgs;
use peaks::Peaks;
use row::Row;
use wgrad::tensor::plan::Profile;
use wgrad::tensor::{Device, DeviceOptions, Storage, Tier};

/// What to time, and what becomes of it.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    /// Images at a time [default: 32; of networks, what suits them]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Adapter by number or part of its name
    #[arg(long, global = true)]
    adapter: Option<String>,
    /// Family of kernels [default: as the adapter suggests]
    #[arg(long, global = true, value_parser = tier_parser())]
    tier: Option<Tier>,
    /// Numbers of the operands of kernels in memory (of networks: --precision). With f16, tiers f16 and coop multiply in 16 bits
    #[arg(long, global = true, default_value = "f32", value_parser = storage_parser())]
    storage: Storage,
    /// What times kernels [default: the device where it can, else the wall]; networks always take the wall's
    #[arg(long, global = true, value_enum)]
    clock: Option<Clock>,
    /// Also print the time of every dispatch
    #[arg(long, global = true)]
    profile: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Subcommand)]
enum What {
    /// Matrix products
    Gemm {
        /// Only rows whose name contains this
        filter: Option<String>,
    },
    /// Convolutions of well-known networks, every pass by every algorithm
    Conv {
        /// Only rows whose name contains this
        filter: Option<String>,
    },
    /// Every operation of the registry, by every algorithm
    Ops {
        /// Only rows whose name contains this
        filter: Option<String>,
    },
    /// How far every convolution algorithm is from f64, on layers of well-known networks; times nothing
    Accuracy {
        /// Only rows whose name contains this
        filter: Option<String>,
    },
    /// Training steps of whole networks
    #[command(visible_alias = "step")]
    Nets(NetArgs),
    /// The adapter's own peak rates: multiply-adds and copies
    Peaks,
    /// Images a second from folders and record files, without a device
    Data(data::DataArgs),
    /// A report about this adapter to paste into an issue; about a minute on two cores without a GPU
    Report,
}

/// What every benchmark needs.
struct Bench {
    device: Device,
    effort: Effort,
    peaks: Option<Peaks>,
    storage: Storage,
    json: bool,
    profile: bool,
}

impl Bench {
    /// A row with what all rows of this run share.
    fn row(&self) -> Row {
        let info = self.device.info();
        Row {
            tier: self.device.target().tier.name().to_string(),
            dtype: self.storage.name().to_string(),
            clock: self.effort.clock.name().to_string(),
            adapter: info.name.clone(),
            driver: info.driver.clone(),
            ..Row::default()
        }
    }

    /// Prints a row as soon as it is there.
    fn show(&self, row: &Row) {
        match row.json() {
            Ok(line) if self.json => println!("{line}"),
            _ => println!("{row}"),
        }
    }

    /// Prints where the time goes, where that is asked for. Lines for programs stay alone on the standard output.
    fn show_profile(&self, profile: impl FnOnce() -> wgrad::tensor::Result<Profile>) -> Result<()> {
        if self.profile {
            let profile = profile()?;
            if self.json { eprintln!("{profile}\n") } else { println!("{profile}\n") }
        }
        Ok(())
    }

    /// Runs the items whose name contains `filter`; that there is none is an error: a slip of the keyboard shall not pass for a
    /// measurement.
    fn items(&self, items: &[Item], filter: Option<&str>) -> Result<Vec<Row>> {
        let wanted = chosen(items, filter)?;
        let rows = wanted.into_iter().map(|item| {
            let row = item.run(self);
            self.show(&row);
            row
        });
        Ok(rows.collect())
    }
}

fn chosen<'a>(items: &'a [Item], filter: Option<&str>) -> Result<Vec<&'a Item>> {
    let part = filter.unwrap_or_default();
    let wanted: Vec<&Item> = items.iter().filter(|item| item.name.contains(part)).collect();
    if wanted.is_empty() {
        let mut known: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
        known.dedup();
        bail!("no row's name contains {part:?}; there are:\n  {}", known.join("\n  "));
    }
    Ok(wanted)
}

/// Runs one benchmark.
pub(crate) fn bench(args: &Args) -> Result<()> {
    if let What::Data(data) = &args.what {
        return data::run(data, args.batch.map_or(64, |batch| batch as usize));
    }
    let baseline = args.output.prepare()?;
    let options = DeviceOptions { adapter: args.adapter.clone(), tier: args.tier, ..DeviceOptions::default() };
    let device = Device::open(&options)?;
    let clock = args.clock.unwrap_or(if device.has_timestamps() { Clock::Device } else { Clock::Wall });
    if clock == Clock::Device && !device.has_timestamps() {
        bail!("{} has no timestamps; use --clock wall", device.info().name);
    }
    let effort = if matches!(args.what, What::Report) { Effort::brief(clock) } else { Effort::full(clock) };
    let (storage, json, profile) = (args.storage, args.output.json, args.profile);
    let mut bench = Bench { device, effort, peaks: None, storage, json, profile };
    if !bench.json {
        println!("{}", report::device(bench.device.info(), &bench.device.target()));
    }
    let batch = args.batch.map(|batch| batch as usize);
    let (is_software, target) = (bench.device.info().is_software, bench.device.target());
    if let What::Accuracy { filter } = &args.what {
        let rows = accuracy::run(&bench, &target, batch.unwrap_or(1), filter.as_deref())?;
        return args.output.finish(&rows, baseline.as_deref(), &command(std::env::args().skip(1)));
    }
    let peaks = Peaks::measure(&bench.device, clock)?;
    bench.peaks = Some(peaks);
    if !bench.json {
        println!("{peaks}\n{}\n", method(effort));
    }
    let rows = match &args.what {
        What::Gemm { filter } => bench.items(&gemm::items(is_software), filter.as_deref())?,
        What::Conv { filter } => bench.items(&conv::items(&target, batch.unwrap_or(32))?, filter.as_deref())?,
        What::Ops { filter } => bench.items(&ops::items(&target), filter.as_deref())?,
        What::Nets(args) => nets::run(&bench, &options, batch, args),
        What::Accuracy { .. } | What::Data(_) => Vec::new(), // Came and went above: they measure no peaks.
        What::Report => report::run(&bench, &options)?,
        What::Peaks => {
            let rows = peaks.rows(&bench.row());
            // Words for readers have been printed.
            rows.iter().filter(|_| bench.json).for_each(|row| bench.show(row));
            rows
        }
    };
    args.output.finish(&rows, baseline.as_deref(), &command(std::env::args().skip(1)))
}

/// How the figures come about.
fn method(effort: Effort) -> String {
    let Effort { clock, rounds, round } = effort;
    let timed = match clock {
        Clock::Device => "the device's timestamps around every dispatch, summed over the run",
        Clock::Wall => "the wall clock around runs submitted back to back",
    };
    format!(
        "Kernels: {timed}; median of {rounds} rounds\n\
         (least to most) of at least {} ms or 1000 runs, after a warm-up. Networks: the wall clock between the ends of steps.\n\
         Errors against f64: the largest relative to the largest value; of convolutions and products, on a part.\n\
         GFLOP/s by the direct count.",
        round.as_millis()
    )
}

/// The command that was typed, without what became of the rows.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let mut words = vec!["cargo xtask".to_string()];
    let mut arguments = arguments.peekable();
    while let Some(word) = arguments.next() {
        match word.split('=').next() {
            Some("--json" | "--force" | "--fail-on-regression") => {}
            Some("--save" | "--baseline" | "--threshold" | "--markdown") => {
                arguments.next_if(|next| !word.contains('=') && !next.starts_with("--"));
            }
            _ => words.push(word),
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, String> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.args).map_err(|error| error.to_string())
    }

    #[test]
    fn good_lines_parse() {
        for line in [
            "gemm",
            "gemm 1024 --json",
            "conv alexnet --batch 8 --tier base --clock wall",
            "--json conv",
            "ops batch_norm --save rows.jsonl --force",
            "ops --baseline rows.jsonl --threshold 5 --fail-on-regression",
            "nets --markdown",
            "nets resnet20 vgg16_bn --batch 4 --size 64 --precision mixed-f16 --steps 3 --markdown docs/table.md",
            "step resnet20 --profile",
            "nets resnet9 --batch 1 --inference --keep 256",
            "peaks",
            "accuracy conv3 --batch 2",
            "report --adapter 0",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        let What::Nets(nets) = parse("nets resnet20 alexnet --size 96").unwrap().what else { panic!("nets") };
        assert_eq!((nets.names.len(), nets.size, nets.steps), (2, Some(96), 10));
    }

    #[test]
    fn bad_lines_are_refused_with_a_reason() {
        for (line, part) in [
            ("", "subcommand"),
            ("speed", "speed"),
            ("nets resnet21", "there are airbench94, lenet"),
            ("nets --steps 0", "--steps"),
            ("nets --size 0", "--size"),
            ("nets --keep 8", "--inference"),
            ("nets --inference --memory 8", "--memory"),
            ("nets --precision fp8", "mixed-f16"),
            ("conv --batch 0", "--batch"),
            ("conv --tier gpu", "base, cpu"),
            ("conv --clock sun", "device, wall"),
            ("conv --force", "--save"),
            ("conv --fail-on-regression", "--baseline"),
            ("conv --baseline x --threshold=-3", "at least 0"),
        ] {
            let error = parse(line).err().unwrap_or_else(|| panic!("{line} parses"));
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn a_filter_that_meets_nothing_lists_what_there_is() {
        let items = gemm::items(true);
        assert_eq!(chosen(&items, Some("1024x1024")).unwrap().len(), 2);
        assert_eq!(chosen(&items, None).unwrap().len(), items.len());
        let error = chosen(&items, Some("1023")).err().unwrap().to_string();
        assert!(error.contains("\"1023\"") && error.contains("gemm 256x256x256 a b"), "{error}");
    }

    #[test]
    fn the_command_is_told_without_what_became_of_the_rows() {
        for line in [
            "bench nets resnet20 --markdown",
            "bench --json nets resnet20 --save rows.jsonl --force",
            "bench nets --markdown docs/table.md --baseline=old.jsonl --threshold 5 --fail-on-regression resnet20",
        ] {
            assert_eq!(command(line.split(' ').map(str::to_string)), "cargo xtask bench nets resnet20", "{line}");
        }
        assert_eq!(
            command(["bench", "conv", "--batch", "8"].map(str::to_string).into_iter()),
            "cargo xtask bench conv --batch 8"
        );
    }
}
