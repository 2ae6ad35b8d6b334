//! Fetches one file of the manifest: with progress, resumed where a part is there already, and checked before it counts.

use std::fs;
use std::io::{self, IsTerminal, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use ureq::Agent;
use ureq::http::{Response, StatusCode, header};
use wgrad_datasets::File;

use crate::verify;

/// An address that no connection is made to in this time is given up.
const CONNECT: Duration = Duration::from_secs(20);

/// A server that is silent for longer than this is given up.
const SILENCE: Duration = Duration::from_secs(60);

/// How often one address is tried again after a connection broke off.
const ATTEMPTS: usize = 3;

/// Downloads `file` to `path` from the first of its addresses that gives it.
///
/// What has arrived is kept in `path` + `.part`, and a later call asks only for the rest. Bytes with another sum are thrown
/// away and named in the error; `path` itself only ever holds the right file.
pub(crate) fn fetch(file: &File, path: &Path) -> Result<()> {
    let agent = Agent::new_with_config(
        Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("wgrad-xtask/", env!("CARGO_PKG_VERSION")))
            .build(),
    );
    let mut refusals = Vec::new();
    for url in file.urls {
        match fetch_from(&agent, url, file, path) {
            Ok(()) => return Ok(()),
            Err(error) => refusals.push(format!("{error:#}")),
        }
    }
    bail!(
        "could not download {}:\n{}\nRun the same command again to go on where it stopped, or give a local copy with --from FOLDER.",
        file.name,
        refusals.join("\n")
    )
}

/// Downloads from one address: goes on after a broken connection, and starts afresh once if resuming gave a wrong sum.
fn fetch_from(agent: &Agent, url: &str, file: &File, path: &Path) -> Result<()> {
    let part = verify::beside(path, ".part");
    let mut attempt = 1;
    let resumed = loop {
        let before_bytes = part_bytes(&part, file)?;
        match fetch_rest(agent, url, file, &part, before_bytes) {
            Ok(()) => break before_bytes > 0,
            Err(Failure::Broken(error)) if attempt < ATTEMPTS => {
                println!("  {error:#}; trying again");
                attempt += 1;
            }
            Err(Failure::Broken(error) | Failure::Final(error)) => {
                return Err(error.context(url.to_owned()));
            }
        }
    };
    let Err(error) = verify::check(&part, file) else {
        return verify::rename(&part, path);
    };
    fs::remove_file(&part).with_context(|| format!("cannot remove {}", part.display()))?;
    if resumed {
        println!("  {} went wrong when resumed; starting afresh", file.name);
        return fetch_from(agent, url, file, path);
    }
    Err(error.context(format!("{url} served another file (removed)")))
}

/// How a transfer ended early: by a broken connection, which may work the next time, or for good.
enum Failure {
    Broken(anyhow::Error),
    Final(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Final(error)
    }
}

/// How much of the file is there. A part that is too long is no part of it, and is removed.
fn part_bytes(part: &Path, file: &File) -> Result<u64> {
    let length_bytes = match fs::metadata(part) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", part.display())),
    };
    if length_bytes > file.bytes {
        fs::remove_file(part).with_context(|| format!("cannot remove {}", part.display()))?;
        return Ok(0);
    }
    Ok(length_bytes)
}

/// Appends to `part` what is missing after its first `have_bytes` bytes.
fn fetch_rest(agent: &Agent, url: &str, file: &File, part: &Path, have_bytes: u64) -> Result<(), Failure> {
    if have_bytes == file.bytes {
        return Ok(());
    }
    let mut request = agent.get(url).header(header::ACCEPT_ENCODING, "identity");
    if have_bytes > 0 {
        request = request.header(header::RANGE, format!("bytes={have_bytes}-"));
    }
    let response = request.call().map_err(|error| Failure::Final(anyhow::Error::new(error).context("no answer")))?;
    let start_bytes = match response.status() {
        StatusCode::OK => 0,
        StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(have_bytes) => have_bytes,
        StatusCode::PARTIAL_CONTENT => {
            return Err(restart(part, "the server sent another range than asked for")?);
        }
        StatusCode::RANGE_NOT_SATISFIABLE if have_bytes > 0 => {
            return Err(restart(part, "the server cannot resume this file")?);
        }
        status => {
            return Err(Failure::Final(anyhow::anyhow!("the server answered {status}")));
        }
    };
    let mut sink = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(part)
        .and_then(|mut sink| {
            sink.set_len(start_bytes)?;
            sink.seek(io::SeekFrom::End(0))?;
            Ok(sink)
        })
        .with_context(|| format!("cannot write {}", part.display()))?;
    let bar = progress_bar(file, start_bytes);
    // One byte more than expected is enough to know that there is too much.
    let source = response.into_body().into_reader().take(file.bytes + 1 - start_bytes);
    let end = transfer(source, &mut sink, &bar, part);
    bar.finish_and_clear();
    let got_bytes = start_bytes + end?;
    sink.sync_all().with_context(|| format!("cannot write {}", part.display()))?;
    if got_bytes < file.bytes {
        return Err(broken_off(got_bytes, file));
    }
    Ok(())
}

/// Copies until the source ends or breaks off, both of which end the transfer in order; returns the number of bytes.
fn transfer(mut source: impl Read, sink: &mut fs::File, bar: &ProgressBar, part: &Path) -> Result<u64> {
    let mut block = vec![0; 1 << 16];
    let mut count_bytes = 0;
    loop {
        match source.read(&mut block) {
            Ok(0) => return Ok(count_bytes),
            Ok(n) => {
                sink.write_all(&block[..n]).with_context(|| format!("cannot write {}", part.display()))?;
                count_bytes += n as u64;
                bar.inc(n as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What has arrived is good; the caller sees from the length that it is not all.
            Err(_) => return Ok(count_bytes),
        }
    }
}

fn broken_off(got_bytes: u64, file: &File) -> Failure {
    Failure::Broken(anyhow::anyhow!("the connection ended after {got_bytes} of {} bytes", file.bytes))
}

/// Throws a part away that this server cannot continue, so that the next attempt starts from the beginning.
fn restart(part: &Path, why: &'static str) -> Result<Failure> {
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", part.display()))
        }
        _ => Ok(Failure::Broken(anyhow::anyhow!(why))),
    }
}

/// The first byte of the range in `Content-Range: bytes 5-9/10`.
fn range_start<T>(response: &Response<T>) -> Option<u64> {
    let value = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (start, _) = value.strip_prefix("bytes ")?.split_once('-')?;
    start.trim().parse().ok()
}

/// A bar on a terminal; one plain line elsewhere.
fn progress_bar(file: &File, start_bytes: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        match start_bytes {
            0 => println!("  {}: {} bytes", file.name, file.bytes),
            _ => println!("  {}: {} bytes, going on at {start_bytes}", file.name, file.bytes),
        }
        return ProgressBar::hidden();
    }
    let template = "  {msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(file.bytes).with_style(style).with_message(file.name);
    bar.set_position(start_bytes);
    bar.reset_eta();
    bar
}

#[cfg(test)]
#[path = "download_tests.rs"]
pub(crate) mod tests;
