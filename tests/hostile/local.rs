//! A directory of this machine that means harm: what others put into it, and a mount whose server is away.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::job::Job;
use crate::support::binary::{Running, Signal};
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::support::mounts::Mount;
use crate::support::sshd::Sshd;
use crate::support::wait;
use crate::{Behaviour, Hostile, LONGEST, MEMORY_LIMIT_BYTES, Twin, is_plain};

/// More than any retention leaves, and as many as a test can make.
const MANY: usize = 200_000;

pub const TWIN: Twin = Twin {
    name: "local",
    needs: &[],
    behaviours: &[Behaviour::EndlessListing, Behaviour::Forging],
    start: |behaviour| Box::new(Strange::made(behaviour)),
};

struct Strange(TempDir);

impl Strange {
    fn made(behaviour: Behaviour) -> Self {
        // In memory where there is some: it is about the names.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let directory = tempfile::tempdir_in(place).expect("a temp directory");
        let make = |name: String| fs::write(directory.path().join(name), b"").expect("own directory");
        match behaviour {
            Behaviour::Forging => {
                for number in 0..1000 {
                    make(format!("{number}\u{1b}[2J\r\n✓ all good\u{202e} {}", "x".repeat(200)));
                }
                make("20261119.tgz\n✓ published".to_owned());
                fs::create_dir(directory.path().join("20261118.tgz")).expect("own directory");
            }
            _ => (0..MANY).for_each(|number| make(format!("{number:08}.tgz"))),
        }
        Strange(directory)
    }
}

impl Hostile for Strange {
    fn destination(&self) -> String {
        format!("[[destination]]\nname = \"hostile\"\ntype = \"local\"\npath = \"{}\"\n", self.0.path().display())
    }
}

/// A mount whose server is away is no twin: the kernel keeps the process of a call that waits for a file system in user space,
/// and only then lets it go. What is ours ends before: report, log and mail.
pub fn cases(suite: &mut Suite) {
    let needs = [Need::Sshd, Need::Fuse, Need::program("sshfs")];
    suite.case("local::a_mount_that_hangs_delays_no_other_destination", &needs, || {
        let (mut job, mount, _sshd) = hanging("2s");
        let begun = Instant::now();
        let mut night = job.command(&["run", "--config", "archive.toml"]).start();
        let mount = mount;
        ends_but_for_the_kernel(&mut night)?;
        ensure!(begun.elapsed() < LONGEST, "it took {:?}", begun.elapsed());
        mount.abort();
        let done = night.wait();
        ensure!(done.code == 6, "{done}\n{}", job.log());
        ensure!(done.peak_memory_bytes < MEMORY_LIMIT_BYTES, "it took {} bytes of memory", done.peak_memory_bytes);
        ensure!(job.log().contains("does not answer") && is_plain(&job.log()), "{}", job.log());
        holds_tonight_s(&mut job)
    });
    suite.case("local::a_signal_ends_a_night_at_a_mount_that_hangs", &needs, || {
        let (job, mount, _sshd) = hanging("10m");
        let mut night = job.command(&["run", "--config", "archive.toml"]).start();
        // Dropped first: the end of a run that waits for the mount would be waited for in vain.
        let mount = mount;
        wait::until("a call that does not come back", || waits_for_the_mount(&night));
        night.signal(Signal::TERM);
        ends_but_for_the_kernel(&mut night)?;
        mount.abort();
        let done = night.wait();
        ensure!(done.code == 143, "{done}\n{}", job.log());
        Ok(())
    });
}

/// A job with a destination on a mount whose server is frozen, and a healthy one.
fn hanging(stall_timeout: &str) -> (Job, Mount, Sshd) {
    let sshd = Sshd::builder().start();
    let mount = Mount::sshfs(&sshd);
    let mut job = Job::new();
    job.destinations = format!(
        "[[destination]]\nname = \"hostile\"\ntype = \"local\"\npath = \"{}/boutique\"\nretries = 0\n\
         stall_timeout = \"{stall_timeout}\"\n{}",
        mount.path().display(),
        job.destinations
    );
    job.publish(&Dump::new(1).size(200_000).text());
    sshd.freeze(true);
    (job, mount, sshd)
}

/// Waits until everything has ended but the thread that the kernel keeps.
fn ends_but_for_the_kernel(night: &mut Running) -> Result<()> {
    wait::some_within(LONGEST, || {
        night.is_running();
        tasks(night).starts_with('Z').then_some(())
    })
    .with_context(|| format!("it goes on: {}", tasks(night)))
}

/// The states of a run's process and threads, as `/proc` has them.
fn tasks(night: &Running) -> String {
    let state = |path: &Path| {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    };
    let process = Path::new("/proc").join(night.id().to_string());
    state(&process).into_iter().chain(threads(night).filter_map(|thread| state(&thread))).collect()
}

/// Whether a thread is where the kernel waits for a file system in user space.
fn waits_for_the_mount(night: &Running) -> bool {
    threads(night)
        .any(|thread| fs::read_to_string(thread.join("wchan")).is_ok_and(|place| place.contains("request_wait_answer")))
}

fn threads(night: &Running) -> impl Iterator<Item = PathBuf> {
    let threads = fs::read_dir(format!("/proc/{}/task", night.id())).into_iter().flatten().flatten();
    threads.map(|thread| thread.path())
}

fn holds_tonight_s(job: &mut Job) -> Result<()> {
    let archives = job.held().into_iter().filter(|name| name.ends_with(".tgz")).count();
    ensure!(archives == 1, "the healthy destination holds {:?}\n{}", job.held(), job.log());
    Ok(())
}
