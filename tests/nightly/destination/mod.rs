//! Bad luck at the destination: whatever happens there, nothing is lost, somebody learns why, and the next night repairs it.

mod access;
mod cost;
mod outage;
mod place;
mod purge;
mod there;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::job::Job;
use crate::support::binary::Done;
use crate::support::dumps::Dump;
use crate::support::harness::Suite;
use crate::support::sshd::{Place, Sshd};

pub fn cases(suite: &mut Suite) {
    access::cases(suite);
    cost::cases(suite);
    outage::cases(suite);
    place::cases(suite);
    purge::cases(suite);
    there::cases(suite);
}

/// A date in November 2026, at one in the morning.
fn at(day: u32) -> String {
    format!("2026-11-{day:02} 01:00:00")
}

/// A job with one SFTP destination, reached by key, and a dump at its source.
fn job_at(server: &Sshd, place: &Place, more: &str) -> Job {
    let mut job = Job::new();
    job.destinations = Job::sftp("nas", server.port(), place, &server.key(), &server.fingerprint(), more);
    new_dump(&job, 1);
    job
}

/// Another dump of about 200 KB.
fn new_dump(job: &Job, seed: u64) {
    job.publish(&Dump::new(seed).size(200_000).text());
}

/// A run with `--json` on that night, and what it told.
fn json(job: &Job, day: u32) -> Result<(Done, Value)> {
    let done = job.command(&["run", "--json", "--config", "archive.toml"]).at(&at(day)).run();
    let told = serde_json::from_str(&done.stdout).with_context(|| format!("no JSON: {done}"))?;
    Ok((done, told))
}

/// What `--json` says of a destination.
fn destination<'a>(told: &'a Value, name: &str) -> &'a Value {
    let all = told["destinations"].as_array().expect("a list of destinations");
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no destination `{name}` in {told}"))
}

/// Fails unless the run was silently good.
fn good(job: &Job, done: &Done) -> Result<()> {
    ensure!(done.code == 0 && done.stderr.is_empty(), "{done}\n{}", job.log());
    Ok(())
}

/// Fails unless the run ended with this code, said these words on stderr and nothing on stdout, and left a hint.
fn failed(job: &Job, done: &Done, code: i32, words: &[&str]) -> Result<()> {
    ensure!(done.code == code, "{code} was expected: {done}\n{}", job.log());
    ensure!(done.stdout.is_empty(), "{done}");
    for word in words.iter().chain(&["hint: "]) {
        ensure!(done.stderr.contains(word), "`{word}` is missing: {done}");
    }
    Ok(())
}

/// Fails unless tonight's archive waits, and the state does not believe that it was published.
fn waits(job: &Job, archive: &str) -> Result<()> {
    let waiting = job.waiting();
    ensure!(waiting.len() == 1 && waiting[0].starts_with(&archive[..8]), "in the outbox: {waiting:?}");
    let published = &job.state()["destinations"]["nas"]["published"];
    ensure!(!published.to_string().contains(archive), "the state moved: {published}");
    Ok(())
}

/// Fails unless an archive matches its sidecar and opens to this dump.
fn is_whole(directory: &Path, archive: &str, dump: &[u8]) -> Result<()> {
    let mut check = std::process::Command::new("sha256sum");
    let output = check.arg("-c").arg(format!("{archive}.sha256")).current_dir(directory).output()?;
    ensure!(output.status.success(), "{archive}: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(Job::unpacked(&directory.join(archive)) == dump, "{archive} holds another dump");
    Ok(())
}

/// Replaces a key of the destinations' tables.
fn replace(job: &mut Job, from: &str, to: &str) {
    assert!(job.destinations.contains(from), "`{from}` is not in:\n{}", job.destinations);
    job.destinations = job.destinations.replace(from, to);
}

/// A file in the job's directory, mode 0600.
fn secret_file(job: &Job, name: &str, content: &str) -> Result<()> {
    fs::write(job.path(name), content)?;
    Ok(fs::set_permissions(job.path(name), std::os::unix::fs::PermissionsExt::from_mode(0o600))?)
}
