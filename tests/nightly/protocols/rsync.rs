//! By rsync, to a daemon and over SSH.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::{Remote, little_memory, whole_run};
use crate::job::{ENTRY, Job};
use crate::support::binary::Signal;
use crate::support::dumps;
use crate::support::harness::{Need, Suite};
use crate::support::proxy::{Fault, Plan, Proxy};
use crate::support::rsyncd::{MODULE, PASSWORD, Rsyncd, USER};
use crate::support::sshd::Sshd;
use crate::support::zips;

impl Remote for Rsyncd {
    fn keys(&self) -> String {
        format!(
            "type = \"rsync\"\nhost = \"127.0.0.1\"\nport = {}\nmodule = \"{MODULE}\"\npath = \"data/boutique\"\n\
             username = \"{USER}\"\npassword = \"{PASSWORD}\"",
            self.port()
        )
    }

    fn directory(&self) -> PathBuf {
        self.path("data/boutique")
    }

    fn stop(&mut self) {
        Rsyncd::stop(self);
    }

    fn restart(&mut self) {
        Rsyncd::restart(self);
    }
}

struct OverSsh(Sshd);

/// The same behind `rrsync`: the key opens nothing else, in the directory above that of the job.
struct Kept(OverSsh);

impl Kept {
    fn start() -> Self {
        let sshd = Sshd::builder().start();
        let list = sshd.key().with_file_name("authorized_keys");
        let lines = fs::read_to_string(&list).expect("own file");
        let root = sshd.main().local;
        let kept = lines.lines().map(|key| format!("command=\"rrsync {}\",restrict {key}\n", root.display()));
        fs::write(&list, kept.collect::<String>()).expect("own file");
        Kept(OverSsh(sshd))
    }
}

impl Remote for Kept {
    fn keys(&self) -> String {
        let keys = self.0.keys();
        let (rest, _) = keys.split_once("path = ").expect("it has one");
        format!("{rest}path = \"boutique\"")
    }

    fn directory(&self) -> PathBuf {
        self.0.directory()
    }

    fn stop(&mut self) {
        self.0.stop();
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

impl Remote for OverSsh {
    fn keys(&self) -> String {
        let at = self.0.main();
        format!(
            "type = \"rsync\"\nhost = \"127.0.0.1\"\nport = {}\nusername = \"{}\"\nprivate_key = \"{}\"\n\
             host_key = \"{}\"\npath = \"{}/boutique\"",
            self.0.port(),
            at.user,
            self.0.key().display(),
            self.0.fingerprint(),
            at.remote
        )
    }

    fn directory(&self) -> PathBuf {
        self.0.main().local.join("boutique")
    }

    fn stop(&mut self) {
        self.0.stop();
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

pub fn cases(suite: &mut Suite) {
    let needs = [Need::Faketime, Need::program("rsync")];
    suite.case("protocols::rsync_daemon_over_five_nights", &needs, || whole_run(&mut Rsyncd::start()));
    suite.case("protocols::rsync_daemon_needs_little_memory", &needs, || little_memory(&mut Rsyncd::start()));
    suite.case("protocols::rsync_ssh_over_five_nights", &[needs[0], needs[1], Need::Sshd], || {
        whole_run(&mut OverSsh(Sshd::builder().start()))
    });
    let kept = [needs[0], needs[1], Need::Sshd, Need::Program("rrsync", "rsync")];
    suite.case("protocols::rsync_behind_rrsync_over_five_nights", &kept, || whole_run(&mut Kept::start()));
    suite.case("protocols::rsync_goes_on_after_cuts_refusals_and_a_kill", &needs, disturbed);
}

const ARCHIVE_BYTES: usize = 24 << 20;

/// An archive of 24 MB over four nights: cut, refused, killed, and caught up.
fn disturbed() -> Result<()> {
    let server = Rsyncd::start();
    let proxy = Proxy::start(server.port());
    let mut job = Job::new();
    let keys = server.keys().replace(&format!("port = {}", server.port()), &format!("port = {}", proxy.port()));
    job.destinations = format!("[[destination]]\nname = \"nas\"\nretries = 0\n{keys}\n");
    job.dump = "complete = \"off\"\n".into();
    job.publish_bytes(zips::good(ENTRY, &dumps::noise(ARCHIVE_BYTES)));
    let partial = server.path("data/boutique/.archive-partial/20261119.tgz");

    let waits = |job: &Job| matches!(&job.waiting()[..], [one] if one.starts_with("20261119"));

    proxy.always(Plan::pass().up(Fault::CloseAfter(16 << 20)));
    let cut = job.night("2026-11-19 01:00:00");
    ensure!(cut.code == 6 && waits(&job), "{cut}\n{}", job.log());
    ensure!(partial.exists(), "nothing of the cut upload is left");
    proxy.refuse(true);
    let refused = job.night("2026-11-20 01:00:00");
    ensure!(refused.code == 6 && waits(&job), "{refused}\n{}", job.log());
    proxy.refuse(false);

    proxy.always(Plan::pass());
    proxy.set_rate(2 << 20);
    let before = proxy.bytes_up();
    let night = job.command(&["run", "--config", "archive.toml"]).at("2026-11-21 01:00:00");
    let killed = night.run_and_kill(Signal::KILL, || proxy.bytes_up() > before + (2 << 20));
    ensure!(killed.code == 137 && waits(&job), "{killed}: {:?}", job.waiting());
    proxy.cut_all();

    proxy.set_rate(0);
    let caught_up = job.night("2026-11-22 01:00:00");
    ensure!(caught_up.code == 0 && job.waiting().is_empty(), "{caught_up}\n{}", job.log());
    let directory = server.path("data/boutique");
    ensure!(Job::names(&directory) == ["20261119.tgz", "20261119.tgz.sha256"], "{:?}", Job::names(&directory));
    ensure!(Job::unpacked(&directory.join("20261119.tgz")) == dumps::noise(ARCHIVE_BYTES), "another dump");
    Ok(())
}
