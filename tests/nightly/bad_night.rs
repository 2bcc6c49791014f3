//! What every bad night has in common: the right exit code, words that help, and nothing lost.
//!
//! ```ignore
//! let mut job = bad_night::after_a_good_one();
//! job.source.remove(ZIP);
//! bad_night::refuses(&job, &Refused { code: 3, step: "download", says: &["`404 Not Found`"], hint: "check the path", .. })?;
//! ```

use std::fs;

use anyhow::ensure;
use serde_json::Value;

use crate::job::Job;
use crate::support::binary::Done;
use crate::support::dumps::Dump;

/// The night before, on which all was well.
pub const GOOD_NIGHT: &str = "2026-11-19 01:00:00";

/// The night under test.
pub const TONIGHT: &str = "2026-11-20 01:00:00";

/// Gives up soon, but not at once.
pub const ONE_RETRY: &str = "retries = 1\nconnect_timeout = \"5s\"\nstall_timeout = \"1s\"\n";

/// Would try again often, if it thought that this could help.
pub const PATIENT: &str = "retries = 9\nconnect_timeout = \"5s\"\nstall_timeout = \"5s\"\n";

/// The dump of the good night.
pub fn first_dump() -> Vec<u8> {
    Dump::new(1).size(100_000).text()
}

/// A job that has published `20261119.tgz`.
pub fn after_a_good_one() -> anyhow::Result<Job> {
    let job = Job::new();
    a_good_one(&job)?;
    Ok(job)
}

/// The good night of a job.
pub fn a_good_one(job: &Job) -> anyhow::Result<()> {
    job.publish(&first_dump());
    let done = job.night(GOOD_NIGHT);
    ensure!(done.code == 0, "the good night before: {done}");
    job.source.forget_requests();
    Ok(())
}

/// How a bad night must end.
#[derive(Clone, Copy)]
pub struct Refused {
    pub code: i32,
    pub step: &'static str,
    /// Words of the cause.
    pub says: &'static [&'static str],
    /// Words of the hint.
    pub hint: &'static str,
    /// Whether what came so far may be continued by the next run; otherwise the spool is empty.
    pub resumable: bool,
}

impl Refused {
    /// Exit code 3.
    pub const fn download(says: &'static [&'static str], hint: &'static str) -> Self {
        Self { code: 3, step: "download", says, hint, resumable: false }
    }

    /// Exit code 4.
    pub const fn verify(says: &'static [&'static str], hint: &'static str) -> Self {
        Self { code: 4, step: "verify", says, hint, resumable: false }
    }

    /// What arrived waits for the next run.
    pub const fn resumable(self) -> Self {
        Self { resumable: true, ..self }
    }
}

/// What must not change on a bad night.
#[derive(PartialEq)]
pub struct Kept {
    archives: Vec<(String, Vec<u8>)>,
    destinations: Value,
    source: Value,
}

impl Kept {
    /// As it is now.
    pub fn of(job: &Job) -> Self {
        let read = |name: &String| fs::read(job.path("nas").join(name)).expect("an archive can be read");
        let archives = job.held().iter().map(|name| (name.clone(), read(name))).collect();
        let state = if job.path("work/state.json").exists() { job.state() } else { Value::Null };
        Self { archives, destinations: state["destinations"].clone(), source: state["source"].clone() }
    }

    /// Whether the destination holds the same files.
    pub fn same_archives(&self, other: &Self) -> bool {
        self.archives == other.archives
    }

    /// Lets the source be what it is now: the step that failed comes after it was verified.
    pub fn forget_source(&mut self, job: &Job) {
        self.source = job.state()["source"].clone();
    }
}

/// Runs tonight and expects it to fail as it should.
pub fn refuses(job: &Job, expected: &Refused) -> anyhow::Result<Done> {
    let before = Kept::of(job);
    let done = job.night(TONIGHT);
    is_refused(job, &before, &done, expected)?;
    Ok(done)
}

/// Checks all that a bad night must and must not do.
pub fn is_refused(job: &Job, before: &Kept, done: &Done, expected: &Refused) -> anyhow::Result<()> {
    ensure!(done.code == expected.code, "exit code {} expected: {done}\n{}", expected.code, job.log());
    ensure!(done.stdout.is_empty(), "{done}");
    for words in expected.says {
        ensure!(done.stderr.contains(words), "`{words}` missing: {done}");
    }
    ensure!(done.stderr.starts_with("archive: job `boutique` failed: "), "{done}");
    ensure!(done.stderr.contains("\nerror: ") && done.stderr.contains("\n  caused by: "), "{done}");
    let hint = done.stderr.split_once("\nhint: ").map(|(_, hint)| hint).unwrap_or_default();
    ensure!(hint.contains(expected.hint), "hint `{}` missing: {done}", expected.hint);

    let block = last_words(&job.log());
    for part in ["what:       ", "why:        ", "what to do: "] {
        ensure!(block.contains(part), "`{part}` missing in the closing block: {block}");
    }
    ensure!(block.contains(&format!("step:       {}\n", expected.step)), "{block}");
    ensure!(block.contains(expected.hint) && expected.says.iter().all(|words| block.contains(words)), "{block}");
    ensure!(block.contains(&format!("exit code:  {}", expected.code)), "{block}");

    let after = Kept::of(job);
    ensure!(after.archives == before.archives, "archives changed: {:?}", job.held());
    ensure!(after.destinations == before.destinations, "state of the destinations moved: {}", after.destinations);
    ensure!(after.source == before.source, "state of the source moved: {}", after.source);
    ensure!(Job::names(&job.path("work/outbox")).is_empty(), "{:?}", Job::names(&job.path("work/outbox")));
    let spool = Job::names(&job.path("work/spool"));
    let expected_spool: &[&str] = if expected.resumable { &["source.zip", "source.zip.meta"] } else { &[] };
    ensure!(spool == expected_spool, "left in the spool: {spool:?}");
    Ok(())
}

/// The closing block of the last run that failed.
pub fn last_words(log: &str) -> String {
    log.rsplit_once("run FAILED").map(|(_, block)| block.to_owned()).unwrap_or_default()
}

/// Runs tonight and expects it to publish this dump.
pub fn publishes(job: &Job, dump: &[u8]) -> anyhow::Result<()> {
    let done = job.night(TONIGHT);
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(done.stdout.is_empty() && done.stderr.is_empty(), "cron would mail this: {done}");
    holds(job, "20261120.tgz", dump)
}

/// The archive, its sidecar and its content are there; spool and outbox are empty.
pub fn holds(job: &Job, name: &str, dump: &[u8]) -> anyhow::Result<()> {
    let held = job.held();
    ensure!(held.contains(&name.to_owned()) && held.contains(&format!("{name}.sha256")), "{held:?}");
    ensure!(Job::unpacked(&job.path("nas").join(name)) == dump, "`{name}` holds something else");
    for room in ["work/spool", "work/outbox"] {
        ensure!(Job::names(&job.path(room)).is_empty(), "{room}: {:?}", Job::names(&job.path(room)));
    }
    Ok(())
}

/// Tonight with `--json`: the result, whatever the exit code.
pub fn json(job: &Job, at: &str) -> anyhow::Result<(Done, Value)> {
    let done = job.command(&["run", "--config", "archive.toml", "--json"]).at(at).run();
    let value = serde_json::from_str(&done.stdout).map_err(|error| anyhow::anyhow!("{error}: {done}"))?;
    Ok((done, value))
}
