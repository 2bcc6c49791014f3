//! SFTP servers that refuse one thing: the night goes well without it, or what is said leads to the cause.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::job::Job;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::support::sftp_servers::{SftpServer, Software};
use crate::support::ssh_keys::{self, Agent, KeyType};
use crate::support::sshd::{Account, Sshd};

const NEEDS: &[Need] = &[Need::Faketime, Need::Sshd];
const NIGHT: &str = "2026-11-20 01:00:00";

pub fn cases(suite: &mut Suite) {
    suite.case("protocols::sftp_without_flushing_publishes", NEEDS, || {
        let server = Sshd::builder().deny(&["fsync"]).start();
        published(&job(&server, ""))
    });

    suite.case("protocols::sftp_without_deleting_publishes_and_check_says_so", NEEDS, || {
        let server = Sshd::builder().deny(&["remove"]).start();
        let mut job = job(&server, "");
        published(&job)?;
        let words = "this account cannot delete: good against ransomware; the server must purge";
        let checked = job.command(&["check", "--config", "archive.toml"]).run();
        let lines = format!("{}{}", checked.stdout, checked.stderr);
        ensure!(lines.contains(words) && !lines.contains("failed to delete"), "{lines}");
        let left = server.place(Account::Own).local;
        let left =
            Job::names(&left).into_iter().filter(|name| name.starts_with(".archive-check")).map(|name| left.join(name));
        let sizes: Vec<u64> = left.map(|path| fs::metadata(path).map(|found| found.len())).collect::<Result<_, _>>()?;
        ensure!(sizes == [0], "the test file should be left, emptied: {sizes:?}");

        job.destinations.push_str("retention = { keep_days = 5 }\n");
        let checked = job.command(&["check", "--config", "archive.toml"]).run();
        let lines = format!("{}{}", checked.stdout, checked.stderr);
        ensure!(checked.code != 0 && lines.contains("the right to delete its files"), "{lines}");
        Ok(())
    });

    let needs: Vec<Need> = Software::ParamikoWithoutExec.needs().iter().copied().chain([Need::Faketime]).collect();
    suite.case("protocols::sftp_that_hangs_up_on_commands_publishes", &needs, || {
        for (keys, reconnects) in [("retries = 2\n", true), ("retries = 0\nserver_checksum = false\n", false)] {
            let server = SftpServer::start(Software::ParamikoWithoutExec);
            let mut job = Job::new();
            job.destinations = format!("[[destination]]\nname = \"nas\"\n{}{keys}", server.keys(server.port()));
            published(&job)?;
            ensure!(job.log().contains("trying again") == reconnects, "{}", job.log());
            ensure!(job.log().matches("trying again").count() <= 1, "{}", job.log());
            let checked = job.command(&["check", "--config", "archive.toml"]).run();
            let lines = format!("{}{}", checked.stdout, checked.stderr);
            ensure!(lines.contains("deleted a test file"), "{lines}");
        }
        // Where a night may not reconnect, it fails, and so does a check: both say what to do.
        let server = SftpServer::start(Software::ParamikoWithoutExec);
        let mut job = Job::new();
        job.destinations = format!("[[destination]]\nname = \"nas\"\n{}retries = 0\n", server.keys(server.port()));
        says(&job, &["check"], &["failed to ask for the checksum", "`server_checksum = false`"])?;
        job.publish(&Dump::new(1).size(100_000).text());
        says(&job, &["run"], &["`server_checksum = false`"])
    });

    suite.case("protocols::sftp_says_which_right_is_missing", NEEDS, || {
        for (denied, words) in [
            ("opendir", "the right to list `path`"),
            ("read", "the right to read its files"),
            ("rename", "the right to rename its files"),
            ("lstat", "the right to look at files"),
            ("write", "the right to write in `path`"),
        ] {
            let server = Sshd::builder().deny(&[denied]).start();
            says(&job(&server, "server_checksum = false\n"), &["check"], &[words])?;
        }
        Ok(())
    });

    suite.case("protocols::sftp_quotes_what_is_printed_before_the_protocol", NEEDS, || {
        let dir = tempfile::tempdir()?;
        let script = script_in(&dir, "echo 'Welcome to the machine'\nexec /usr/lib/openssh/sftp-server");
        let server = Sshd::builder().sftp(&script).start();
        says(&job(&server, "retries = 2\n"), &["check"], &["it said `Welcome to the machine`", ".bashrc"])
    });

    suite.case("protocols::sftp_says_that_a_password_has_expired", NEEDS, || {
        // As OpenSSH itself answers to whatever is asked for: on the standard error.
        let dir = tempfile::tempdir()?;
        let script = script_in(&dir, "echo 'WARNING: Your password has expired.' >&2\nexit 1");
        let server = Sshd::builder().config(&format!("ForceCommand {script}")).start();
        says(&job(&server, "retries = 2\n"), &["check"], &["has expired", "Your password has expired.", "chage"])
    });

    suite.case("protocols::sftp_says_which_algorithm_is_missing", NEEDS, || {
        for (line, words) in [
            ("Ciphers 3des-cbc", "cipher (the server offers `3des-cbc`)"),
            ("Ciphers aes128-ctr\nMACs hmac-md5", "MAC (the server offers `hmac-md5`)"),
        ] {
            let server = Sshd::builder().config(line).start();
            let job = job(&server, "retries = 4\n");
            says(&job, &["check"], &["no algorithm in common", words])?;
            job.publish(&Dump::new(1).size(100_000).text());
            let done = job.night(NIGHT);
            ensure!(done.code == 6 && done.stderr.contains(words), "{done}");
            ensure!(!job.log().contains("trying again"), "{}", job.log());
        }
        Ok(())
    });

    suite.case("protocols::sftp_at_an_old_server_takes_what_is_weak", NEEDS, || {
        let server = Sshd::builder().config("Ciphers aes128-cbc\nMACs hmac-sha2-256").start();
        published(&job(&server, ""))
    });

    suite.case("protocols::sftp_quotes_a_server_that_speaks_something_else", NEEDS, || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        thread::spawn(move || {
            let mut held = Vec::new();
            for mut connection in listener.incoming().flatten() {
                let _ = connection.write_all(b"220 ready for \x1b[2J files\r\n");
                held.push(connection);
            }
        });
        let server = Sshd::builder().start();
        let mut job = job(&server, "");
        job.destinations = job
            .destinations
            .replace(&format!("port = {}", server.port()), &format!("port = {port}"))
            .replace("connect_timeout = \"5s\"", "connect_timeout = \"1s\"");
        says(&job, &["check"], &["it said `220 ready for \\u{1b}[2J files`", "is it an SSH server"])
    });

    let needs = &[Need::Faketime, Need::Sshd, Need::SshAgent];
    suite.case("protocols::sftp_says_that_an_agent_holds_too_many_keys", needs, || {
        let server = Sshd::builder().config("MaxAuthTries 3").start();
        let dir = tempfile::tempdir()?;
        let mut keys: Vec<_> = (0..7).map(|number| dir.path().join(format!("key-{number}"))).collect();
        keys.iter().for_each(|key| ssh_keys::generate(key, KeyType::Ed25519, ""));
        keys.push(server.key());
        let agent = Agent::start(&keys);
        let mut job = job(&server, "retries = 2\nagent = true\n");
        let key = format!("private_key = \"{}\"\n", server.key().display());
        job.destinations = job.destinations.replace(&key, "");
        let command = job.command(&["check", "--config", "archive.toml"]).env("SSH_AUTH_SOCK", agent.socket());
        let checked = command.run();
        let lines = format!("{}{}", checked.stdout, checked.stderr);
        for words in ["of the SSH agent's 8 keys", "`MaxAuthTries`", "`private_key`"] {
            ensure!(lines.contains(words), "`{words}` is missing in: {lines}");
        }
        Ok(())
    });
}

/// A job whose only destination is this server.
fn job(server: &Sshd, keys: &str) -> Job {
    let mut job = Job::new();
    let place = server.place(Account::Own);
    job.destinations = Job::sftp("nas", server.port(), &place, &server.key(), &server.fingerprint(), keys);
    if keys.contains("retries") {
        job.destinations = job.destinations.replace("retries = 0\n", "");
    }
    job
}

/// A script of these lines.
fn script_in(dir: &TempDir, lines: &str) -> String {
    let script = dir.path().join("script");
    fs::write(&script, format!("#!/bin/sh\n{lines}\n")).expect("own directory");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("own file");
    script.display().to_string()
}

/// One night, after which the archive waits nowhere.
fn published(job: &Job) -> Result<()> {
    job.publish(&Dump::new(1).size(100_000).text());
    let done = job.night(NIGHT);
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(job.waiting().is_empty(), "{:?}", job.waiting());
    Ok(())
}

/// A command that fails, with these words on the terminal.
fn says(job: &Job, command: &[&str], words: &[&str]) -> Result<()> {
    let done = job.command(&[command, &["--config", "archive.toml"]].concat()).run();
    let lines = format!("{}{}", done.stdout, done.stderr);
    ensure!(done.code != 0, "it went well: {lines}");
    for words in words {
        ensure!(lines.contains(words), "`{words}` is missing in: {lines}");
    }
    Ok(())
}
