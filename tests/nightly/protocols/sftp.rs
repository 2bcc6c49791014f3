//! Over SFTP at servers that are not OpenSSH's, with an archive that OpenSSH would be sent over several channels.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use super::{Remote, whole_run};
use crate::job::Job;
use crate::support::binary::Signal;
use crate::support::dumps;
use crate::support::harness::{Need, Suite};
use crate::support::proxy::{Fault, Plan, Proxy};
use crate::support::sftp_servers::{SftpServer, Software};

const SERVERS: &[(&str, Software)] = &[
    ("proftpd", Software::Proftpd),
    ("proftpd_without_overwriting", Software::ProftpdWithoutOverwriting),
    ("rclone", Software::Rclone),
    ("rclone_with_a_cache", Software::RcloneCached),
    ("dropbear", Software::Dropbear),
    ("paramiko", Software::Paramiko),
    ("asyncssh", Software::Asyncssh),
];

const SIZE: usize = 24_000_000;
const SLOWLY: &str = "bandwidth_limit = \"30 MB/s\"\n";

pub fn cases(suite: &mut Suite) {
    for (name, software) in SERVERS {
        let needs: Vec<Need> = software.needs().iter().copied().chain([Need::Faketime]).collect();
        let software = *software;
        suite.case(format!("protocols::sftp_at_{name}_cut_killed_and_caught_up"), &needs, move || bad_nights(software));
    }
    let needs: Vec<Need> = Software::Rclone.needs().iter().copied().chain([Need::Faketime]).collect();
    suite.case("protocols::sftp_at_rclone_over_five_nights", &needs, || {
        whole_run(&mut Foreign(SftpServer::start(Software::Rclone)))
    });
}

struct Foreign(SftpServer);

impl Remote for Foreign {
    fn keys(&self) -> String {
        self.0.keys(self.0.port())
    }

    fn directory(&self) -> PathBuf {
        self.0.data()
    }

    fn stop(&mut self) {
        self.0.stop();
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

/// Four nights: one that is well, one whose upload is cut, one that is killed, one that catches up. With `verify = "size"`: a
/// checksum would mend whatever goes wrong, and nothing of it would show.
fn bad_nights(software: Software) -> Result<()> {
    let server = SftpServer::start(software);
    let proxy = Proxy::start(server.port());
    let mut job = Job::new();
    let destination = |keys: &str| {
        let server = server.keys(proxy.port());
        format!("[[destination]]\nname = \"nas\"\n{server}connect_timeout = \"20s\"\nstall_timeout = \"20s\"\n{keys}")
    };
    job.dump = "complete = \"off\"\nmin_size = \"1 B\"\nmax_shrink = \"off\"\n".into();
    job.rest = "[log]\nlevel = \"debug\"\n".into();
    let dump = |night: usize| dumps::noise(SIZE + night);
    let holds = |job: &Job, name: &str, night: usize| {
        let path = server.data().join(name);
        let held = Job::names(&server.data());
        ensure!(path.exists(), "`{name}` is not there, {held:?} are\n{}\n{}", job.log(), server.log());
        ensure!(Job::unpacked(&path) == dump(night), "`{name}` holds something else\n{}", job.log());
        Ok(())
    };

    job.destinations = destination("verify = \"size\"\nretries = 0\n");
    job.publish(&dump(1));
    let done = job.night("2026-11-20 01:00:00");
    ensure!(done.code == 0, "{done}\n{}\n{}", job.log(), server.log());
    holds(&job, "20261120.tgz", 1).context("a night that is well")?;

    let checked = job.command(&["check", "--config", "archive.toml"]).run();
    let lines = format!("{}{}", checked.stdout, checked.stderr);
    ensure!(lines.contains("deleted a test file"), "{lines}");

    job.destinations = destination("verify = \"size\"\nretries = 4\n");
    job.publish(&dump(2));
    for bytes in [10_000_000, 6_000_000] {
        proxy.next(Plan::pass().up(Fault::ResetAfter(bytes)));
    }
    let done = job.night("2026-11-21 01:00:00");
    ensure!(done.code == 0, "{done}\n{}\n{}", job.log(), server.log());
    ensure!(job.log().contains("trying again"), "nothing was cut:\n{}", job.log());
    holds(&job, "20261121.tgz", 2).context("a night that is cut")?;

    job.destinations = destination(&format!("retries = 0\n{SLOWLY}"));
    job.publish(&dump(3));
    let before = proxy.bytes_up();
    let run = job.command(&["run", "--config", "archive.toml"]).at("2026-11-22 01:00:00");
    let done = run.run_and_kill(Signal::KILL, || proxy.bytes_up() > before + 10_000_000);
    ensure!(done.code == 137, "{done}\n{}", job.log());

    job.destinations = destination("verify = \"size\"\nretries = 0\n");
    let done = job.night("2026-11-23 01:00:00");
    ensure!(done.code == 0, "{done}\n{}\n{}", job.log(), server.log());
    let name = fs::read_dir(server.data())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| {
            name.starts_with("2026112")
                && name.ends_with(".tgz")
                && !["20261120.tgz", "20261121.tgz"].contains(&name.as_str())
        })
        .with_context(|| format!("not caught up\n{}", job.log()))?;
    holds(&job, &name, 3).context("a night that catches up")?;
    let left = Job::names(&server.data());
    ensure!(!left.iter().any(|name| name.ends_with(".part")), "{left:?}");
    Ok(())
}
