//! One whole life of a job over each protocol that speaks to a server: publish, unchanged, outage, catching up, purge. And one
//! night with an archive that is larger than the memory it may take.

#[cfg(feature = "ftp")]
mod ftp;
#[cfg(feature = "nfs")]
mod nfs;
#[cfg(feature = "rsync")]
mod rsync;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "sftp")]
mod sftp;
#[cfg(feature = "sftp")]
mod sftp_words;
#[cfg(feature = "smb")]
mod smb;
#[cfg(feature = "webdav")]
mod webdav;

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use anyhow::{Result, ensure};

use crate::job::{ENTRY, Job};
use crate::support::binary::Signal;
use crate::support::dumps::{self, Dump};
use crate::support::harness::Suite;
use crate::support::proxy::{Fault, Plan, Proxy};
use crate::support::zips;

/// A server under test, and its directory.
trait Remote {
    /// Keys of the `[[destination]]` beside `name`, `retries` and `retention`.
    fn keys(&self) -> String;
    /// The directory as its disk has it.
    fn directory(&self) -> PathBuf;
    /// Refuses connections from now on.
    fn stop(&mut self);
    /// Is there again, with the same files on the same port.
    fn restart(&mut self);
}

pub fn cases(suite: &mut Suite) {
    #[cfg(feature = "ftp")]
    ftp::cases(suite);
    #[cfg(feature = "sftp")]
    sftp::cases(suite);
    #[cfg(feature = "sftp")]
    sftp_words::cases(suite);
    #[cfg(feature = "smb")]
    smb::cases(suite);
    #[cfg(feature = "nfs")]
    nfs::cases(suite);
    #[cfg(feature = "rsync")]
    rsync::cases(suite);
    #[cfg(feature = "webdav")]
    webdav::cases(suite);
    #[cfg(feature = "s3")]
    s3::cases(suite);
}

/// Five nights: the first, one without news, one while the server is away, the one after, and one that purges.
fn whole_run(server: &mut dyn Remote) -> Result<()> {
    let mut job = Job::new();
    job.destinations = format!(
        "[[destination]]\nname = \"nas\"\nretries = 0\n{}\nretention = {{ keep_days = 5, keep_last = 1 }}\n",
        server.keys()
    );
    let dump = |seed| Dump::new(seed).size(300_000).text();
    let directory = server.directory();
    let archives = || Job::names(&directory).into_iter().filter(|name| name.ends_with(".tgz")).collect::<Vec<_>>();
    let night = |job: &Job, day: &str, code: i32| {
        let done = job.night(&format!("2026-11-{day} 01:00:00"));
        ensure!(done.code == code, "on the {day}, expected {code}: {done}\n{}", job.log());
        Ok(())
    };

    job.publish(&dump(1));
    night(&job, "19", 0)?;
    ensure!(Job::names(&directory) == ["20261119.tgz", "20261119.tgz.sha256"], "{:?}", Job::names(&directory));
    ensure!(Job::unpacked(&directory.join("20261119.tgz")) == dump(1), "another dump");
    let first = fs::read(directory.join("20261119.tgz"))?;

    night(&job, "20", 0)?;
    ensure!(archives() == ["20261119.tgz"], "unchanged, yet: {:?}", archives());

    job.publish(&dump(2));
    server.stop();
    night(&job, "21", 6)?;
    let waiting = job.waiting();
    ensure!(waiting.len() == 1 && waiting[0].starts_with("20261121"), "{waiting:?}");

    server.restart();
    job.publish(&dump(3));
    night(&job, "22", 0)?;
    ensure!(job.waiting().is_empty(), "{:?}", job.waiting());
    ensure!(archives() == ["20261119.tgz", "20261121.tgz", "20261122.tgz"], "{:?}", archives());
    ensure!(fs::read(directory.join("20261119.tgz"))? == first, "an archive was touched");
    for (name, seed) in [("20261121.tgz", 2), ("20261122.tgz", 3)] {
        ensure!(Job::unpacked(&directory.join(name)) == dump(seed), "`{name}` holds another dump");
    }

    job.publish(&dump(4));
    night(&job, "26", 0)?;
    let left = Job::names(&directory);
    ensure!(!left.iter().any(|name| name.starts_with("20261119")), "not purged: {left:?}\n{}", job.log());
    ensure!(left.contains(&"20261122.tgz".to_owned()) && left.contains(&"20261126.tgz.sha256".to_owned()), "{left:?}");
    ensure!(!left.iter().any(|name| name.ends_with(".part")), "{left:?}");

    let checked = job.command(&["check", "--config", "archive.toml"]).run();
    let lines = format!("{}{}", checked.stdout, checked.stderr);
    ensure!(lines.contains("deleted a test file"), "{lines}");
    Ok(())
}

/// Bytes that do not compress: the archive is as large as they are.
const LARGE_BYTES: usize = 100_000_000;
/// Less than the archive, so that whoever held all of it would be noticed; what the program needs does not grow with it.
const MOST_MEMORY_BYTES: u64 = 64_000_000;

/// One night with an archive that is larger than the memory it may take.
fn little_memory(server: &mut dyn Remote) -> Result<()> {
    static ZIP: LazyLock<Vec<u8>> = LazyLock::new(|| zips::good(ENTRY, &dumps::noise(LARGE_BYTES)));
    let mut job = Job::new();
    job.destinations = format!("[[destination]]\nname = \"nas\"\nretries = 0\n{}\n", server.keys());
    job.dump = "complete = \"off\"\n".into();
    job.publish_bytes(ZIP.clone());
    let done = job.night("2026-11-20 01:00:00");
    ensure!(done.code == 0, "{done}\n{}", job.log());
    let bytes = fs::metadata(server.directory().join("20261120.tgz"))?.len();
    ensure!(bytes > LARGE_BYTES as u64, "{bytes} bytes arrived");
    ensure!(done.peak_memory_bytes < MOST_MEMORY_BYTES, "{} bytes of memory", done.peak_memory_bytes);
    Ok(())
}

/// Large enough for two parts in protocols that know parts; bytes that do not compress.
const MIDDLING_BYTES: usize = 24_000_000;

/// What becomes of an upload of [`MIDDLING_BYTES`] that is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// It begins again, or after the last whole part.
    BeginsAgain,
    /// It goes on where it was cut.
    GoesOn,
}

/// A bad week with an archive of 24 MB: the line is cut, then refused for the whole night, then the program is killed while it
/// uploads; the next night catches up.
fn bad_week(server: &mut dyn Remote, port: u16, cut: Cut, keys: &dyn Fn(&dyn Remote, u16) -> String) -> Result<()> {
    let archive = |seed: u8| {
        let mut noise = dumps::noise(MIDDLING_BYTES);
        noise[0] = seed;
        noise
    };
    let proxy = Proxy::start(port);
    let mut job = Job::new();
    job.destinations = format!(
        "[[destination]]\nname = \"nas\"\nretries = 2\nstall_timeout = \"20s\"\n{}\n",
        keys(server, proxy.port())
    );
    job.dump = "complete = \"off\"\n".into();
    let whole = |job: &Job, name: &str, seed: u8| {
        ensure!(Job::unpacked(&server.directory().join(name)) == archive(seed), "`{name}` is another\n{}", job.log());
        Ok(())
    };

    job.publish_bytes(zips::good(ENTRY, &archive(1)));
    // So that the second connection is cut, too, if it has less to send.
    for bytes in if cut == Cut::GoesOn { [5_000_000, 12_000_000] } else { [5_000_000, 21_000_000] } {
        proxy.next(Plan::pass().up(Fault::ResetAfter(bytes)));
    }
    let done = job.night("2026-11-20 01:00:00");
    ensure!(done.code == 0, "cut: {done}\n{}", job.log());
    whole(&job, "20261120.tgz", 1)?;
    let sent = proxy.bytes_up();
    ensure!(cut != Cut::GoesOn || sent < MIDDLING_BYTES as u64 * 5 / 4, "{sent} bytes were sent\n{}", job.log());
    ensure!(proxy.connections() >= 3, "it was not cut twice");

    job.publish_bytes(zips::good(ENTRY, &archive(2)));
    proxy.refuse(true);
    let done = job.night("2026-11-21 01:00:00");
    ensure!(done.code == 6 && job.waiting().len() == 1, "refused: {done}\n{}", job.log());
    proxy.refuse(false);

    job.publish_bytes(zips::good(ENTRY, &archive(3)));
    let before = proxy.bytes_up();
    let killed = job
        .command(&["run", "--config", "archive.toml"])
        .at("2026-11-22 01:00:00")
        .run_and_kill(Signal::KILL, || proxy.bytes_up() > before + 30_000_000);
    ensure!(killed.code == 137, "{killed}");
    let names = Job::names(&server.directory());
    ensure!(names.iter().filter(|name| name.ends_with(".tgz")).count() <= 2, "a part shows: {names:?}");

    let done = job.night("2026-11-23 01:00:00");
    ensure!(done.code == 0 && job.waiting().is_empty(), "caught up: {done}\n{}", job.log());
    whole(&job, "20261121.tgz", 2)?;
    let last = Job::names(&server.directory()).into_iter().rfind(|name| name.ends_with(".tgz"));
    whole(&job, &last.unwrap_or_default(), 3)?;
    let left = Job::names(&server.directory());
    ensure!(!left.iter().any(|name| name.ends_with(".part")), "{left:?}");
    Ok(())
}
