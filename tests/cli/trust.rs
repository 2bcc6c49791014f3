//! `archive trust`: the only way in for a host key is a person who compared it.

use std::fs;

use anyhow::{Result, ensure};

use crate::job::Job;
use crate::says;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::support::sshd::{Account, Sshd};
use crate::terminal::{TERMINAL, at_a_terminal, shown};

const NEEDS: &[Need] = &[Need::Sshd, TERMINAL];

/// A job whose destination trusts nobody yet.
fn job(server: &Sshd, trust: &str) -> Job {
    let mut job = Job::new();
    job.publish(&Dump::new(1).text());
    job.destinations = Job::sftp("nas", server.port(), &server.place(Account::Own), &server.key(), "-", "")
        .replace("host_key = \"-\"", trust);
    job
}

/// Keeps what `trust` wrote into the config, for `Job` writes it anew.
fn adopt(job: &mut Job) -> Result<()> {
    let written = fs::read_to_string(job.path("archive.toml"))?;
    let line = written.lines().find(|line| line.starts_with("host_key")).unwrap_or_default().to_owned();
    job.destinations =
        job.destinations.lines().filter(|line| !line.starts_with("host_key")).collect::<Vec<_>>().join("\n");
    job.destinations.push_str(&format!("\n{line}\n"));
    Ok(())
}

pub fn cases(suite: &mut Suite) {
    suite.case("trust::a_key_is_stored_in_the_config_once_a_person_says_so", NEEDS, || {
        let server = Sshd::builder().start();
        let mut job = job(&server, "# note of a person");
        let refused = job.run();
        ensure!(refused.code == 2 && refused.stderr.contains("archive trust"), "{refused}");
        let no = at_a_terminal(&job, "trust", "n\n").run();
        ensure!(no.code == 0, "{no}");
        says(&shown(&no), &[&server.fingerprint(), "trust this key? [y/N]", "nothing stored", "ssh-keygen -lf"])?;
        ensure!(!fs::read_to_string(job.path("archive.toml"))?.contains("host_key"));
        let yes = at_a_terminal(&job, "trust", "y\n").run();
        ensure!(yes.code == 0, "{yes}");
        says(&shown(&yes), &["stored in `", "as `host_key`"])?;
        let config = fs::read_to_string(job.path("archive.toml"))?;
        says(&config, &[&format!("host_key = \"{}\"", server.fingerprint()), "# note of a person"])?;
        adopt(&mut job)?;
        let done = job.run();
        ensure!(done.code == 0, "{done}\n{}", server.log());
        let again = job.command(&["trust", "--config", "archive.toml"]).run();
        ensure!(again.code == 0 && again.stdout.contains("it is trusted already"), "{again}");
        Ok(())
    });

    suite.case("trust::rsync_over_ssh_is_trusted_likewise", &[Need::Sshd, TERMINAL, Need::program("rsync")], || {
        let server = Sshd::builder().start();
        let mut job = job(&server, "");
        job.destinations = job.destinations.replace("type = \"sftp\"", "type = \"rsync\"");
        let yes = at_a_terminal(&job, "trust", "y\n").run();
        ensure!(yes.code == 0, "{yes}");
        says(&shown(&yes), &["rsync+ssh://", &server.fingerprint(), "stored in `"])?;
        adopt(&mut job)?;
        let done = job.run();
        ensure!(done.code == 0, "{done}\n{}", server.log());
        Ok(())
    });

    suite.case("trust::a_key_is_added_to_known_hosts", NEEDS, || {
        let server = Sshd::builder().start();
        let job = job(&server, "known_hosts = \"known_hosts\"");
        let other =
            "other.example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS\n";
        fs::write(job.path("known_hosts"), other)?;
        let unknown = job.run();
        ensure!(unknown.code == 6 && unknown.stderr.contains("archive trust"), "{unknown}");
        ensure!(!server.log().contains("Accepted"), "no credential is sent before:\n{}", server.log());
        let yes = at_a_terminal(&job, "trust", "y\n").run();
        ensure!(yes.code == 0, "{yes}");
        let known = fs::read_to_string(job.path("known_hosts"))?;
        ensure!(known.starts_with(other) && known.lines().count() == 2, "{known}");
        says(&known, &[&format!("[127.0.0.1]:{} ssh-ed25519 ", server.port())])?;
        let done = job.run();
        ensure!(done.code == 0, "{done}");
        Ok(())
    });

    suite.case("trust::a_changed_key_takes_the_whole_word", NEEDS, || {
        let mut server = Sshd::builder().start();
        let mut job = job(&server, "");
        ensure!(job.command(&["trust", "--yes", "--config", "archive.toml"]).run().code == 0);
        adopt(&mut job)?;
        let old = server.fingerprint();
        ensure!(job.run().code == 0);
        server.change_host_key();
        job.publish(&Dump::new(2).text());
        let done = job.run();
        ensure!(done.code == 6, "{done}");
        says(&done.stderr, &[&old, &server.fingerprint(), "archive trust"])?;
        let forced = job.command(&["trust", "--yes", "--config", "archive.toml"]).run();
        ensure!(forced.code == 2, "{forced}");
        says(&forced.stderr, &["`--yes` does not replace a trusted key", "--fingerprint"])?;
        let other = job.command(&["trust", "--fingerprint", &old, "--config", "archive.toml"]).run();
        ensure!(other.code == 2 && other.stderr.contains("the server does not show"), "{other}");
        ensure!(fs::read_to_string(job.path("archive.toml"))?.contains(&old), "nothing stored");
        let short = at_a_terminal(&job, "trust", "y\n").run();
        says(&shown(&short), &["THE KEY HAS CHANGED", &old, &server.fingerprint(), "[yes/N]", "nothing stored"])?;
        let whole = at_a_terminal(&job, "trust", "yes\n").run();
        says(&shown(&whole), &["stored in"])?;
        adopt(&mut job)?;
        let done = job.run();
        ensure!(done.code == 0, "what waited goes: {done}");
        Ok(())
    });

    suite.case("trust::a_fingerprint_on_the_command_line_replaces_a_changed_key", &[Need::Sshd], || {
        let mut server = Sshd::builder().start();
        let mut job = job(&server, "");
        let trust = |job: &Job, server: &Sshd| {
            job.command(&["trust", "--fingerprint", &server.fingerprint(), "--config", "archive.toml"]).run()
        };
        ensure!(trust(&job, &server).code == 0);
        adopt(&mut job)?;
        server.change_host_key();
        let done = trust(&job, &server);
        ensure!(done.code == 0, "{done}");
        says(&done.stdout, &["THE KEY HAS CHANGED", "stored in"])?;
        adopt(&mut job)?;
        let done = job.run();
        ensure!(done.code == 0, "{done}");
        Ok(())
    });

    suite.case("trust::a_changed_key_in_known_hosts_is_replaced", NEEDS, || {
        let mut server = Sshd::builder().start();
        let job = job(&server, "known_hosts = \"known_hosts\"");
        ensure!(job.command(&["trust", "--yes", "--config", "archive.toml"]).run().code == 0);
        server.change_host_key();
        ensure!(job.run().code == 6);
        let whole = at_a_terminal(&job, "trust", "yes\n").run();
        says(&shown(&whole), &["THE KEY HAS CHANGED", "stored in"])?;
        ensure!(fs::read_to_string(job.path("known_hosts"))?.lines().count() == 1);
        let done = job.run();
        ensure!(done.code == 0, "{done}");
        Ok(())
    });

    suite.case("trust::without_a_person_nothing_is_stored", &[Need::Sshd], || {
        let server = Sshd::builder().start();
        let job = job(&server, "");
        let done = job.command(&["trust", "--config", "archive.toml"]).run();
        ensure!(done.code == 2, "{done}");
        says(&done.stdout, &[&server.fingerprint()])?;
        says(&done.stderr, &["nobody is there to confirm the key", "--fingerprint"])?;
        ensure!(!fs::read_to_string(job.path("archive.toml"))?.contains("host_key"));
        Ok(())
    });

    suite.case("trust::a_local_destination_has_no_key", &[], || {
        let job = Job::new();
        let done = job.command(&["trust", "--config", "archive.toml"]).run();
        ensure!(done.code == 0, "{done}");
        says(&done.stdout, &["nas: no host key to trust"])
    });
}
