//! `parallel_uploads = true`: all destinations at the same time, each with its own luck.

use anyhow::{Result, ensure};

use crate::job::Job;
use crate::support::binary::Signal;
use crate::support::harness::{Need, Suite};
use crate::support::wait;

const NIGHT: &str = "2026-11-20 01:00:00";

pub fn cases(suite: &mut Suite) {
    let needs = &[Need::Faketime];
    suite.case("parallel::a_slow_destination_holds_nobody_up", needs, || quick_before_slow(true));
    suite.case("parallel::one_after_the_other_unless_asked_for", needs, || quick_before_slow(false));
    suite.case("parallel::a_destination_that_is_away_gets_it_later", needs, away);
    suite.case("parallel::a_signal_stops_all_and_loses_nothing", needs, signal);
}

fn destination(job: &Job, name: &str, more: &str) -> String {
    let dir = job.path(name);
    std::fs::create_dir_all(&dir).expect("own directory");
    format!("[[destination]]\nname = \"{name}\"\ntype = \"local\"\npath = \"{}\"\nretries = 0\n{more}\n", dir.display())
}

/// Bytes that do not compress: at the limit below they take seconds.
fn noise() -> Vec<u8> {
    let mut bytes = vec![0; 3_000_000];
    fastrand::Rng::with_seed(7).fill(&mut bytes);
    bytes
}

/// A job with a destination that takes seconds, and a second one that takes none.
fn slow_and_quick(parallel: bool) -> Job {
    let mut job = Job::new();
    job.top = format!("parallel_uploads = {parallel}\n");
    job.dump = "complete = \"off\"\nmin_size = \"1 B\"\n".to_owned();
    job.destinations = destination(&job, "slow", "bandwidth_limit = \"1 MB/s\"") + &destination(&job, "quick", "");
    job.publish(&noise());
    job
}

fn quick_before_slow(parallel: bool) -> Result<()> {
    let job = slow_and_quick(parallel);
    let done = job.night(NIGHT);
    ensure!(done.code == 0, "{done}\n{}", job.log());
    for name in ["slow", "quick"] {
        ensure!(Job::names(&job.path(name)) == ["20261120.tgz", "20261120.tgz.sha256"]);
        ensure!(Job::unpacked(&job.path(name).join("20261120.tgz")) == noise());
    }
    let log = job.log();
    let order: Vec<bool> =
        log.lines().filter(|line| line.contains("published `")).map(|line| line.contains("slow")).collect();
    ensure!(order == [!parallel, parallel], "{order:?}\n{log}");
    ensure!(job.waiting().is_empty(), "{:?}", job.waiting());
    Ok(())
}

fn away() -> Result<()> {
    let mut job = slow_and_quick(true);
    job.destinations = destination(&job, "usb", "marker = \".here\"") + &destination(&job, "quick", "");
    let done = job.night(NIGHT);
    ensure!(done.code == 6, "{done}\n{}", job.log());
    ensure!(Job::names(&job.path("quick")) == ["20261120.tgz", "20261120.tgz.sha256"]);
    ensure!(job.waiting().len() == 1, "{:?}", job.waiting());
    std::fs::write(job.path("usb/.here"), "")?;
    let done = job.night("2026-11-21 01:00:00");
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(Job::names(&job.path("usb")).contains(&"20261120.tgz".to_owned()), "{:?}", Job::names(&job.path("usb")));
    ensure!(job.waiting().is_empty(), "{:?}", job.waiting());
    Ok(())
}

fn signal() -> Result<()> {
    let mut job = slow_and_quick(true);
    job.destinations = ["one", "two"].map(|name| destination(&job, name, "bandwidth_limit = \"500 KB/s\"")).concat();
    let part = ".20261120.tgz.boutique.part";
    let running = job.command(&["run", "--config", "archive.toml"]).at(NIGHT).start();
    wait::until("both uploads are under way", || ["one", "two"].iter().all(|name| job.path(name).join(part).exists()));
    running.signal(Signal::TERM);
    let done = running.wait();
    ensure!(done.code == 143, "{done}\n{}", job.log());
    ensure!(job.waiting().len() == 1, "{:?}", job.waiting());
    job.destinations = job.destinations.replace("bandwidth_limit = \"500 KB/s\"", "");
    let done = job.night("2026-11-20 02:00:00");
    ensure!(done.code == 0, "{done}\n{}", job.log());
    for name in ["one", "two"] {
        ensure!(Job::names(&job.path(name)) == ["20261120.tgz", "20261120.tgz.sha256"], "{name}");
    }
    Ok(())
}
