//! Getting in: every way that the configuration has, and everything that keeps us out.

use std::fs;

use anyhow::{Result, ensure};

use super::{at, destination, failed, good, job_at, json, new_dump, replace, secret_file, waits};
use crate::job::Job;
use crate::support::harness::{Need, Suite};
use crate::support::ssh_keys::{Agent, KeyType};
use crate::support::sshd::{Account, PASSPHRASE, Sshd};

pub fn cases(suite: &mut Suite) {
    let ours = &[Need::Faketime, Need::Sshd];
    let accounts = &[Need::Faketime, Need::SshdAccounts];
    suite.case("destination::refused_connection", ours, refused_connection);
    suite.case("destination::wrong_password", accounts, wrong_password);
    suite.case("destination::wrong_key", ours, wrong_key);
    suite.case("destination::missing_key_file", ours, missing_key_file);
    suite.case("destination::encrypted_key", ours, encrypted_key);
    suite.case("destination::unknown_host_key", ours, unknown_host_key);
    suite.case("destination::changed_host_key_sends_nothing", ours, changed_host_key);
    suite.case("destination::known_hosts_file", ours, known_hosts);
    suite.case("destination::agent", &[Need::Faketime, Need::Sshd, Need::SshAgent], agent);
    suite.case("destination::keyboard_interactive", &[Need::Faketime, Need::SshdPam], keyboard_interactive);
    suite.case("destination::shell_account_verifies_by_checksum", accounts, || verified_by(Account::Shell));
    suite.case("destination::chroot_account_verifies_by_reading_back", accounts, || verified_by(Account::Chroot));
}

fn refused_connection() -> Result<()> {
    let mut server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let job = job_at(&server, &place, "");
    server.stop();
    let done = job.night(&at(20));
    failed(&job, &done, 6, &["failed to reach `sftp://", "refused", "outbox"])?;
    waits(&job, "20261120.tgz")?;
    server.restart();
    new_dump(&job, 2);
    good(&job, &job.night(&at(21)))?;
    ensure!(job.waiting().is_empty());
    let held = Job::names(&place.local);
    ensure!(held.iter().filter(|name| name.ends_with(".tgz")).count() == 2, "{held:?}");
    Ok(())
}

/// The key is replaced by a password in a file.
fn by_password(job: &mut Job, server: &Sshd, password: &str) -> Result<()> {
    secret_file(job, "password", password)?;
    let key = format!("private_key = \"{}\"", server.key().display());
    replace(job, &key, "password = { file = \"password\" }");
    Ok(())
}

fn wrong_password() -> Result<()> {
    let server = Sshd::builder().accounts().start();
    let mut job = job_at(&server, &server.place(Account::Shell), "");
    replace(&mut job, "retries = 0", "retries = 3");
    by_password(&mut job, &server, "not-the-password")?;
    let done = job.night(&at(20));
    failed(&job, &done, 6, &["authentication as `archtest` was refused", "check `username` and `password`"])?;
    ensure!(!format!("{}{}", done.stderr, job.log()).contains("not-the-password"), "the password shows: {done}");
    let attempts = server.log().matches("Failed password for archtest").count();
    ensure!(attempts == 1, "{attempts} attempts:\n{}", server.log());
    waits(&job, "20261120.tgz")
}

fn wrong_key() -> Result<()> {
    let server = Sshd::builder().start();
    let mut job = job_at(&server, &server.place(Account::Own), "");
    replace(&mut job, "id_ed25519", "id_stranger");
    let done = job.night(&at(20));
    failed(&job, &done, 6, &["authentication as", "id_stranger` was refused", "authorized_keys"])?;
    waits(&job, "20261120.tgz")
}

fn missing_key_file() -> Result<()> {
    let server = Sshd::builder().start();
    let mut job = job_at(&server, &server.place(Account::Own), "");
    replace(&mut job, "id_ed25519", "id_missing");
    let done = job.night(&at(20));
    ensure!(done.code == 2, "{done}");
    for word in ["private_key", "id_missing", "archive.toml:"] {
        ensure!(done.stderr.contains(word), "`{word}` is missing: {done}");
    }
    ensure!(job.source.requests().is_empty(), "nothing is begun with a config like that");
    Ok(())
}

fn encrypted_key() -> Result<()> {
    let server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let mut job = job_at(&server, &place, "passphrase = { file = \"passphrase\" }");
    replace(&mut job, "id_ed25519", "id_encrypted");
    secret_file(&job, "passphrase", "not-the-passphrase")?;
    let done = job.night(&at(20));
    failed(&job, &done, 6, &["id_encrypted", "`passphrase` is wrong"])?;
    ensure!(!format!("{}{}", done.stderr, job.log()).contains("not-the-passphrase"), "the passphrase shows: {done}");
    waits(&job, "20261120.tgz")?;
    secret_file(&job, "passphrase", PASSPHRASE)?;
    new_dump(&job, 2);
    good(&job, &job.night(&at(21)))?;
    ensure!(!job.log().contains(PASSPHRASE));
    ensure!(Job::names(&place.local).contains(&"20261120.tgz".to_owned()));
    Ok(())
}

/// The host's keys come from a file with this content.
fn by_known_hosts(job: &mut Job, server: &Sshd, content: &str) -> Result<()> {
    fs::write(job.path("known_hosts"), content)?;
    replace(job, &format!("host_key = \"{}\"", server.fingerprint()), "known_hosts = \"known_hosts\"");
    Ok(())
}

/// Whether anybody tried to log in, in what `sshd` logged from a point on.
fn nobody_logged_in(log: &str) -> Result<()> {
    for word in ["Accepted", "Failed", "authenticating user", "Postponed"] {
        ensure!(!log.contains(word), "a credential was sent:\n{log}");
    }
    Ok(())
}

fn unknown_host_key() -> Result<()> {
    let server = Sshd::builder().start();
    let mut job = job_at(&server, &server.place(Account::Own), "");
    by_known_hosts(&mut job, &server, "# nobody yet\n")?;
    let done = job.night(&at(20));
    failed(&job, &done, 6, &["the host key of `[127.0.0.1]:", "is not known", &server.fingerprint(), "archive trust"])?;
    nobody_logged_in(&server.log())?;
    waits(&job, "20261120.tgz")
}

fn changed_host_key() -> Result<()> {
    let mut server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let mut job = job_at(&server, &place, "");
    replace(&mut job, "retries = 0", "retries = 3");
    good(&job, &job.night(&at(20)))?;
    let (before, seen) = (server.fingerprint(), server.log().len());
    server.change_host_key();
    new_dump(&job, 2);
    let done = job.night(&at(21));
    let words = ["is not the expected one", &before, &server.fingerprint(), "nothing was sent", "archive trust"];
    failed(&job, &done, 6, &words)?;
    nobody_logged_in(&server.log()[seen..])?;
    waits(&job, "20261121.tgz")?;
    // Once the new key is confirmed, the night that was missed comes first, under its own date.
    replace(&mut job, &before, &server.fingerprint());
    new_dump(&job, 3);
    good(&job, &job.night(&at(22)))?;
    let held = Job::names(&place.local);
    let archives: Vec<_> = held.iter().filter(|name| name.ends_with(".tgz")).collect();
    ensure!(archives == ["20261120.tgz", "20261121.tgz", "20261122.tgz"], "{held:?}");
    Ok(())
}

fn known_hosts() -> Result<()> {
    // Only the second of the server's keys is known: it must be asked for by its sort.
    let mut server = Sshd::builder().host_keys(&[KeyType::Ed25519, KeyType::Ecdsa]).start();
    let mut job = job_at(&server, &server.place(Account::Own), "");
    let line = server.known_hosts_line(KeyType::Ecdsa);
    by_known_hosts(&mut job, &server, &line)?;
    good(&job, &job.night(&at(20)))?;
    let seen = server.log().len();
    server.change_host_key();
    new_dump(&job, 2);
    let done = job.night(&at(21));
    failed(&job, &done, 6, &["is not the expected one", "nothing was sent"])?;
    nobody_logged_in(&server.log()[seen..])?;
    waits(&job, "20261121.tgz")
}

fn agent() -> Result<()> {
    let server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let mut job = job_at(&server, &place, "");
    replace(&mut job, &format!("private_key = \"{}\"", server.key().display()), "agent = true");
    let done = job.night(&at(20));
    failed(&job, &done, 6, &["SSH agent"])?;
    let agent = Agent::start(&[server.stranger_key(), server.key()]);
    new_dump(&job, 2);
    let command = job.command(&["run", "--config", "archive.toml"]);
    good(&job, &command.env("SSH_AUTH_SOCK", agent.socket()).at(&at(21)).run())?;
    ensure!(job.waiting().is_empty() && Job::names(&place.local).contains(&"20261121.tgz".to_owned()));
    Ok(())
}

fn keyboard_interactive() -> Result<()> {
    let server = Sshd::builder().accounts().keyboard_interactive().start();
    let place = server.place(Account::Shell);
    let mut job = job_at(&server, &place, "");
    by_password(&mut job, &server, server.password())?;
    good(&job, &job.night(&at(20)))?;
    ensure!(server.log().contains("Accepted keyboard-interactive"), "{}", server.log());
    ensure!(Job::names(&place.local) == ["20261120.tgz", "20261120.tgz.sha256"]);
    Ok(())
}

fn verified_by(account: Account) -> Result<()> {
    let server = Sshd::builder().accounts().start();
    let mut job = job_at(&server, &server.place(account), "");
    by_password(&mut job, &server, server.password())?;
    let (done, told) = json(&job, 20)?;
    ensure!(done.code == 0 && done.stderr.is_empty(), "{done}");
    let how = if account == Account::Shell { "server_checksum" } else { "read_back" };
    let text = destination(&told, "nas").to_string();
    ensure!(text.contains(&format!("\"verified_by\":\"{how}\"")), "{text}");
    ensure!(!done.stdout.contains(server.password()) && !job.log().contains(server.password()), "the password shows");
    Ok(())
}
