//! Servers that never end, drip, lie, grow and forge: what may a run cost, whatever a server does?
//!
//! Each protocol has a *hostile twin* of its server: a small program that speaks just enough to be believed. A case is a twin
//! and one [`Behaviour`]: the program runs a night with two destinations, the twin and a directory of this machine, and lists.
//! The night ends within its limits and [`MEMORY_LIMIT_BYTES`], says so without a control character, and the healthy destination has
//! tonight's archive.

#[cfg(feature = "ftp")]
mod ftp;
#[allow(dead_code, reason = "whole nights need more of it")]
#[path = "../nightly/job.rs"]
mod job;
mod local;
#[cfg(feature = "nfs")]
mod nfs;
#[cfg(feature = "rsync")]
mod rsync;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "sftp")]
mod sftp;
mod silent;
#[cfg(feature = "smb")]
mod smb;
mod source;
#[path = "../support/mod.rs"]
mod support;
#[cfg(any(feature = "s3", feature = "webdav"))]
mod web;
#[cfg(feature = "webdav")]
mod webdav;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use job::Job;
use support::binary::Done;
use support::harness::{Need, Suite};

/// What no run under a twin may need.
const MEMORY_LIMIT_BYTES: u64 = 96 << 20;
/// `time_limit` of the twin's destination.
const TIME_LIMIT: Duration = Duration::from_secs(12);
/// No run lasts longer: the limit, and the steps beside it on a busy machine.
const LONGEST: Duration = Duration::from_secs(12 + 30);

/// What a twin does, in answer to any request unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behaviour {
    /// `20261119.tgz` is listed with 100 bytes; what is read of it never ends.
    EndlessFile,
    /// The directory never ends, as fast as the line allows: always new names.
    EndlessListing,
    /// The same page (or line) again and again.
    RepeatingListing,
    /// One byte a second, from the first one on.
    Dripping,
    /// Accepts the connection and never says a word.
    Silent,
    /// Announces lengths near 2⁶³ (or the protocol's largest) wherever a length is announced.
    LyingLengths,
    /// Names and messages hold terminal escapes, line breaks and forged "✓" lines, 1 MB long where they may be.
    Forging,
}

/// A server that means harm; stopped when dropped.
pub trait Hostile {
    /// Its `[[destination]]` table, named `hostile`, without timeouts and retries.
    fn destination(&self) -> String;
}

/// One line of the register.
pub struct Twin {
    /// The first half of the cases' names: the protocol.
    pub name: &'static str,
    /// What it needs of this machine.
    pub needs: &'static [Need],
    /// What it can do.
    pub behaviours: &'static [Behaviour],
    /// Starts it.
    pub start: fn(Behaviour) -> Box<dyn Hostile>,
}

/// Everything that is tested.
const TWINS: &[Twin] = &[
    local::TWIN,
    #[cfg(feature = "rsync")]
    rsync::TWIN,
    #[cfg(feature = "ftp")]
    ftp::TWIN,
    #[cfg(feature = "nfs")]
    nfs::TWIN,
    #[cfg(feature = "ftp")]
    silent::FTP,
    #[cfg(feature = "s3")]
    s3::S3,
    #[cfg(feature = "webdav")]
    webdav::WEBDAV,
    #[cfg(feature = "smb")]
    smb::TWIN,
    #[cfg(feature = "sftp")]
    sftp::TWIN,
    #[cfg(feature = "sftp")]
    sftp::GREETING,
];

type Peaks = Arc<Mutex<BTreeMap<String, u64>>>;

#[allow(clippy::print_stdout, reason = "the table of peaks is what a person looks for")]
fn main() -> ExitCode {
    let mut suite = Suite::new();
    let peaks = Peaks::default();
    for twin in TWINS {
        for behaviour in twin.behaviours {
            let (name, start, behaviour) = (format!("{}::{behaviour:?}", twin.name), twin.start, *behaviour);
            let (key, peaks) = (name.clone(), Arc::clone(&peaks));
            suite.case(name, twin.needs, move || {
                let peak = night(&*start(behaviour))?;
                note(&peaks, key, peak);
                Ok(())
            });
        }
    }
    source::cases(&mut suite, &peaks);
    local::cases(&mut suite);
    #[cfg(feature = "sftp")]
    sftp::cases(&mut suite);
    let code = suite.run();
    println!("peak memory under each twin:");
    for (name, peak) in peaks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("  {:>5.1} MB  {name}", *peak as f64 / 1e6);
    }
    code
}

fn note(peaks: &Peaks, name: String, peak: u64) {
    peaks.lock().unwrap_or_else(PoisonError::into_inner).insert(name, peak);
}

/// A night and a listing; gives the larger peak of memory, bytes.
fn night(twin: &dyn Hostile) -> Result<u64> {
    let mut job = Job::new();
    let limits = format!(
        "retries = 0\nconnect_timeout = \"2s\"\nstall_timeout = \"2s\"\ntime_limit = \"{}s\"\n",
        TIME_LIMIT.as_secs()
    );
    job.destinations = format!("{}\n{limits}\n{}", twin.destination(), job.destinations);
    job.publish(&support::dumps::Dump::new(1).size(200_000).text());
    let night = job.run();
    bounded(&night).with_context(|| format!("`archive run`: {night}\n{}", job.log()))?;
    let archives = job.held().into_iter().filter(|name| name.ends_with(".tgz")).count();
    ensure!(archives == 1, "the healthy destination holds {:?}: {night}\n{}", job.held(), job.log());
    ensure!(is_plain(&job.log()), "a control character in the log:\n{:?}", job.log());
    let listed = job.command(&["list", "--config", "archive.toml"]).run();
    bounded(&listed).with_context(|| format!("`archive list`: {listed}"))?;
    Ok(night.peak_memory_bytes.max(listed.peak_memory_bytes))
}

/// Time, memory, a proper end, and no control character.
fn bounded(done: &Done) -> Result<()> {
    ensure!(done.elapsed < LONGEST, "it took {:?}", done.elapsed);
    ensure!(done.peak_memory_bytes < MEMORY_LIMIT_BYTES, "it took {} bytes of memory", done.peak_memory_bytes);
    ensure!([0, 3, 6, 7].contains(&done.code), "exit code {}", done.code);
    ensure!(is_plain(&done.stdout) && is_plain(&done.stderr), "a control character");
    ensure!(done.stdout.len() + done.stderr.len() < 64 << 10, "it printed {} bytes", done.stdout.len());
    Ok(())
}

fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || !c.is_control())
}
