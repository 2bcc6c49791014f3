//! The directory at the destination: missing, closed, full, or not the one it should be.

use std::fs;

use anyhow::{Result, ensure};

use super::{at, failed, good, is_whole, job_at, new_dump, replace, waits};
use crate::job::Job;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::support::sshd::{Account, Sshd};

pub fn cases(suite: &mut Suite) {
    let ours = &[Need::Faketime, Need::Sshd];
    let accounts = &[Need::Faketime, Need::SshdAccounts];
    suite.case("destination::missing_directory_is_made", ours, missing_directory);
    suite.case("destination::directory_that_cannot_be_made", accounts, not_creatable);
    suite.case("destination::no_permission_to_write", accounts, no_permission);
    let full = &[Need::Faketime, Need::SshdAccounts, Need::Tmpfs];
    suite.case("destination::disk_full", full, || disk_full(Account::Shell));
    suite.case("destination::disk_full_in_a_chroot", full, || disk_full(Account::Chroot));
    suite.case("destination::rename_refused", ours, rename_refused);
    suite.case("destination::local_marker_missing", &[Need::Faketime], marker_missing);
    suite.case("destination::local_not_mounted", &[Need::Faketime], not_mounted);
}

fn missing_directory() -> Result<()> {
    let server = Sshd::builder().start();
    let mut place = server.place(Account::Own);
    (place.remote, place.local) = (format!("{}/a/b c/d'é", place.remote), place.local.join("a/b c/d'é"));
    let job = job_at(&server, &place, "");
    good(&job, &job.night(&at(20)))?;
    ensure!(Job::names(&place.local) == ["20261120.tgz", "20261120.tgz.sha256"]);
    Ok(())
}

fn not_creatable() -> Result<()> {
    let server = Sshd::builder().accounts().start();
    for account in [Account::Shell, Account::Chroot] {
        let mut place = server.read_only(account);
        place.remote.push_str("/new/deeper");
        let job = job_at(&server, &place, "");
        let done = job.night(&at(20));
        failed(&job, &done, 6, &["/read-only/new` is missing and could not be created", "create `"])?;
        waits(&job, "20261120.tgz")?;
        ensure!(Job::names(&place.local).is_empty());
    }
    Ok(())
}

fn no_permission() -> Result<()> {
    let server = Sshd::builder().accounts().start();
    for account in [Account::Shell, Account::Chroot] {
        let place = server.read_only(account);
        let mut job = job_at(&server, &place, "");
        replace(&mut job, "retries = 0", "retries = 3");
        let done = job.night(&at(20));
        failed(&job, &done, 6, &["failed to publish `20261120.tgz`", "permission denied", "right to write"])?;
        ensure!(!done.stderr.contains("gave up after"), "it was retried: {done}");
        waits(&job, "20261120.tgz")?;
        ensure!(Job::names(&place.local).is_empty());
    }
    Ok(())
}

fn disk_full(account: Account) -> Result<()> {
    let server = Sshd::builder().accounts().small_disk(1 << 20).start();
    let place = server.small(account);
    let mut job = job_at(&server, &place, "");
    replace(&mut job, "retries = 0", "retries = 3");
    fs::write(place.local.join("foreign"), vec![1; 700 << 10])?;
    let dump = Dump::new(1).size(3_000_000).text();
    job.publish(&dump);
    let done = job.night(&at(20));
    failed(&job, &done, 6, &["failed to publish `20261120.tgz`", "the server's disk is full", "make room"])?;
    waits(&job, "20261120.tgz")?;
    let held = Job::names(&place.local);
    ensure!(!held.iter().any(|name| name.starts_with("2026")), "{held:?}");
    // Room is made: the same archive goes, under its own date.
    fs::remove_file(place.local.join("foreign"))?;
    let done = job.night(&at(21));
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(Job::names(&place.local) == ["20261120.tgz", "20261120.tgz.sha256"], "{:?}", Job::names(&place.local));
    is_whole(&place.local, "20261120.tgz", &dump)
}

fn rename_refused() -> Result<()> {
    let server = Sshd::builder().deny(&["rename"]).start();
    let place = server.place(Account::Own);
    let job = job_at(&server, &place, "");
    let done = job.night(&at(20));
    failed(&job, &done, 6, &["failed to rename `.20261120.tgz.boutique.part` to `20261120.tgz`", "permission denied"])?;
    waits(&job, "20261120.tgz")?;
    ensure!(!Job::names(&place.local).iter().any(|name| name.starts_with("2026")), "{:?}", Job::names(&place.local));
    Ok(())
}

fn marker_missing() -> Result<()> {
    let mut job = Job::new();
    new_dump(&job, 1);
    job.destinations.push_str("marker = \".archive-target\"\n");
    let done = job.night(&at(20));
    failed(&job, &done, 6, &["the marker `", "/nas/.archive-target` is missing", "mount the share"])?;
    ensure!(job.held().is_empty(), "{:?}", job.held());
    waits(&job, "20261120.tgz")?;
    // The share is back.
    fs::write(job.path("nas/.archive-target"), "")?;
    new_dump(&job, 2);
    good(&job, &job.night(&at(21)))?;
    ensure!(job.waiting().is_empty() && job.held().len() == 5, "{:?}", job.held());
    Ok(())
}

fn not_mounted() -> Result<()> {
    let mut job = Job::new();
    new_dump(&job, 1);
    // Below the root directory, hence on the root's file system.
    let nas = job.path("nas").display().to_string();
    replace(&mut job, &nas, "/archive-test-not-mounted/nas");
    job.destinations.push_str("require_mount = true\n");
    let done = job.night(&at(20));
    failed(&job, &done, 6, &["is not on a mounted file system", "findmnt", "require_mount"])?;
    ensure!(!std::path::Path::new("/archive-test-not-mounted").exists(), "it filled the root disk");
    waits(&job, "20261120.tgz")
}
