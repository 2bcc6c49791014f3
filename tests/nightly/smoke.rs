//! The thin slice: a zip comes in, an archive goes out, plain `tar` opens it.

use crate::job::Job;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::support::sshd::{Account, Sshd};

pub fn cases(suite: &mut Suite) {
    suite.case("a_first_night_publishes_an_archive_that_tar_opens", &[Need::Faketime], || {
        let job = Job::new();
        let dump = Dump::new(1).size(200_000).text();
        job.publish(&dump);
        let done = job.night("2026-11-20 01:00:00");
        anyhow::ensure!(done.code == 0, "{done}\n{}", job.log());
        anyhow::ensure!(done.stdout.is_empty() && done.stderr.is_empty(), "cron would mail this: {done}");
        anyhow::ensure!(job.held() == ["20261120.tgz", "20261120.tgz.sha256"], "{:?}", job.held());
        anyhow::ensure!(Job::unpacked(&job.path("nas/20261120.tgz")) == dump);
        Ok(())
    });
    suite.case("a_first_night_over_sftp", &[Need::Faketime, Need::Sshd], || {
        let server = Sshd::builder().start();
        let place = server.place(Account::Own);
        let mut job = Job::new();
        job.destinations = Job::sftp("nas", server.port(), &place, &server.key(), &server.fingerprint(), "");
        job.publish(&Dump::new(1).size(200_000).text());
        let done = job.night("2026-11-20 01:00:00");
        anyhow::ensure!(done.code == 0, "{done}\n{}\n{}", job.log(), server.log());
        anyhow::ensure!(Job::names(&place.local) == ["20261120.tgz", "20261120.tgz.sha256"]);
        Ok(())
    });
}
