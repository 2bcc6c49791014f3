//! `sshd` against OpenSSH's own `ssh` and `sftp`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

use crate::support::harness::{Need, Suite, is_root};
use crate::support::ssh_keys::{Agent, KeyType};
use crate::support::sshd::{Account, PASSPHRASE, Sshd};
use crate::support::wait;

/// One command through OpenSSH's client, without anything of the user's own configuration.
struct Client<'a> {
    server: &'a Sshd,
    user: String,
    options: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl<'a> Client<'a> {
    fn new(server: &'a Sshd, user: &str) -> Self {
        let known_hosts = server.known_hosts().display().to_string();
        let options = ["BatchMode=no", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "NumberOfPasswordPrompts=1"];
        let mut options: Vec<String> = options.map(str::to_owned).into();
        options.push(format!("UserKnownHostsFile={known_hosts}"));
        Self { server, user: user.to_owned(), options, environment: Vec::new() }
    }

    fn option(mut self, option: String) -> Self {
        self.options.push(option);
        self
    }

    fn key(self, key: &Path) -> Self {
        self.option(format!("IdentityFile={}", key.display())).option("PreferredAuthentications=publickey".into())
    }

    /// Answers every question with this, through `SSH_ASKPASS`.
    fn secret(mut self, directory: &Path, secret: &str) -> Result<Self> {
        let script = directory.join("askpass");
        fs::write(&script, format!("#!/bin/sh\ncat <<'END'\n{secret}\nEND\n"))?;
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        self.environment.push(("SSH_ASKPASS", script.display().to_string()));
        self.environment.push(("SSH_ASKPASS_REQUIRE", "force".into()));
        Ok(self)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-F", "none"]).args(self.options.iter().flat_map(|option| ["-o", option]));
        command.args(["-o", &format!("Port={}", self.server.port())]);
        command.env_remove("SSH_AUTH_SOCK").envs(self.environment.clone()).stdin(Stdio::null());
        command
    }

    fn exec(&self, line: &str) -> Result<Output> {
        Ok(self.command("ssh").arg(format!("{}@127.0.0.1", self.user)).arg(line).output()?)
    }

    /// Runs `sftp` commands; the first that fails ends it.
    fn sftp(&self, lines: &str) -> Result<Output> {
        let batch = tempfile::NamedTempFile::new()?;
        fs::write(batch.path(), lines)?;
        let mut command = self.command("sftp");
        // `-b` sets BatchMode; the first value of an option counts, and ours comes first.
        Ok(command.arg("-b").arg(batch.path()).arg(format!("{}@127.0.0.1", self.user)).output()?)
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub fn register(suite: &mut Suite) {
    suite.case("sshd::own_user_logs_in_by_key_only", &[Need::Sshd], || {
        let server = Sshd::builder().start();
        let place = server.place(Account::Own);
        let source = tempfile::NamedTempFile::new()?;
        fs::write(source.path(), "content")?;
        for key in [server.key(), server.new_key("id_rsa", KeyType::Rsa, "")] {
            let client = Client::new(&server, &place.user).key(&key);
            let put = client.sftp(&format!("put {} {}/file\n", source.path().display(), place.remote))?;
            ensure!(put.status.success() && fs::read(place.local.join("file"))? == b"content", "{}", text(&put));
        }
        let refused = Client::new(&server, &place.user).key(&server.stranger_key()).exec("true")?;
        ensure!(text(&refused).contains("Permission denied (publickey)"), "{}", text(&refused));
        ensure!(server.log().contains("Accepted publickey"), "{}", server.log());
        Ok(())
    });

    suite.case("sshd::encrypted_key_and_agent", &[Need::Sshd, Need::SshAgent], || {
        let server = Sshd::builder().start();
        let directory = tempfile::tempdir()?;
        let user = server.main().user;
        let with = |secret| Client::new(&server, &user).key(&server.encrypted_key()).secret(directory.path(), secret);
        ensure!(with(PASSPHRASE)?.exec("true")?.status.success(), "passphrase");
        ensure!(!with("wrong")?.exec("true")?.status.success(), "wrong passphrase");
        let agent = Agent::start(&[server.key()]);
        let mut client = Client::new(&server, &user).option("IdentitiesOnly=no".into());
        client.options.retain(|option| option != "IdentitiesOnly=yes");
        client.environment.push(("SSH_AUTH_SOCK", agent.socket().display().to_string()));
        let mut command = client.command("ssh");
        command.env("SSH_AUTH_SOCK", agent.socket()).env("HOME", directory.path());
        let output = command.arg(format!("{user}@127.0.0.1")).arg("true").output()?;
        ensure!(output.status.success(), "{}", text(&output));
        Ok(())
    });

    suite.case("sshd::host_keys_are_known_and_can_change", &[Need::Sshd], || {
        let mut server = Sshd::builder().host_keys(&[KeyType::Ed25519, KeyType::Ecdsa]).start();
        let (user, key, port) = (server.main().user, server.key(), server.port());
        for (key_type, name) in [(KeyType::Ed25519, "ssh-ed25519"), (KeyType::Ecdsa, "ecdsa-sha2-nistp256")] {
            let client = Client::new(&server, &user).key(&key).option(format!("HostKeyAlgorithms={name}"));
            ensure!(client.exec("true")?.status.success(), "{name}");
            ensure!(server.fingerprint_of(key_type).starts_with("SHA256:"), "fingerprint");
        }
        let before = (server.known_hosts_line(KeyType::Ed25519), server.fingerprint());
        server.change_host_key();
        ensure!(server.port() == port && server.fingerprint() != before.1, "changed");
        let client = Client::new(&server, &user).key(&key);
        fs::write(server.known_hosts(), before.0)?;
        let output = client.exec("true")?;
        ensure!(text(&output).contains("REMOTE HOST IDENTIFICATION HAS CHANGED"), "{}", text(&output));
        Ok(())
    });

    suite.case("sshd::stops_restarts_and_freezes", &[Need::Sshd], || {
        let mut server = Sshd::builder().start();
        let (user, key) = (server.main().user, server.key());
        let mut session = Client::new(&server, &user).key(&key).command("ssh");
        let mut session =
            session.arg(format!("{user}@127.0.0.1")).arg("exec sleep 1000").stderr(Stdio::null()).spawn()?;
        wait::until("the log-in", || server.log().contains("Accepted publickey"));
        server.stop();
        ensure!(session.wait()?.code() == Some(255), "the session ends with the server");
        ensure!(text(&Client::new(&server, &user).key(&key).exec("true")?).contains("refused"), "refused");
        server.restart();
        ensure!(Client::new(&server, &user).key(&key).exec("true")?.status.success(), "again");
        server.freeze(true);
        let client = Client::new(&server, &user).key(&key).option("ConnectTimeout=1".into());
        ensure!(text(&client.exec("true")?).contains("timed out"), "frozen");
        server.freeze(false);
        ensure!(Client::new(&server, &user).key(&key).exec("true")?.status.success(), "thawed");
        Ok(())
    });

    suite.case("sshd::refuses_what_it_is_told_to_refuse", &[Need::Sshd], || {
        let server = Sshd::builder().deny(&["rename", "posix-rename", "hardlink"]).start();
        let place = server.main();
        fs::write(place.local.join("a"), "a")?;
        let client = Client::new(&server, &place.user).key(&server.key());
        let output = client.sftp(&format!("rename {0}/a {0}/b\n", place.remote))?;
        ensure!(text(&output).contains("Permission denied") && place.local.join("a").exists(), "{}", text(&output));
        if !is_root() {
            let read_only = server.read_only(Account::Own);
            ensure!(!client.sftp(&format!("mkdir {}/d\n", read_only.remote))?.status.success(), "read-only");
        }
        Ok(())
    });

    suite.case("sshd::accounts_with_password_shell_and_chroot", &[Need::SshdAccounts], || {
        let server = Sshd::builder().accounts().start();
        let directory = tempfile::tempdir()?;
        for account in [Account::Shell, Account::Chroot] {
            let place = server.place(account);
            let client = || Client::new(&server, &place.user).option("PubkeyAuthentication=no".into());
            let good = client().secret(directory.path(), server.password())?;
            let output = good.sftp(&format!("mkdir {}/new\n", place.remote))?;
            ensure!(output.status.success() && place.local.join("new").is_dir(), "{account:?}: {}", text(&output));
            let output = good.exec("echo $0 && sha256sum --version")?;
            ensure!(output.status.success() == (account == Account::Shell), "{account:?}: {}", text(&output));
            let read_only = server.read_only(account);
            let output = good.sftp(&format!("mkdir {}/new\n", read_only.remote))?;
            ensure!(text(&output).contains("Permission denied"), "{account:?}: {}", text(&output));
            let output = client().secret(directory.path(), "wrong")?.exec("true")?;
            ensure!(text(&output).contains("Permission denied"), "{account:?}: {}", text(&output));
            let output = Client::new(&server, &place.user).key(&server.key()).sftp("pwd\n")?;
            ensure!(output.status.success(), "{account:?}: {}", text(&output));
        }
        let listing = Client::new(&server, "archchroot").key(&server.key()).sftp("ls -1 /\n")?;
        let names = String::from_utf8(listing.stdout)?;
        ensure!(names.contains("/data\n") && !names.contains("etc"), "{names}");
        Ok(())
    });

    suite.case("sshd::key_only_and_keyboard_interactive", &[Need::SshdPam], || {
        let directory = tempfile::tempdir()?;
        let server = Sshd::builder().accounts().key_only().start();
        let output = Client::new(&server, "archtest").secret(directory.path(), server.password())?.exec("true")?;
        ensure!(text(&output).contains("(publickey)"), "{}", text(&output));
        let server = Sshd::builder().accounts().keyboard_interactive().start();
        let client = Client::new(&server, "archtest").secret(directory.path(), server.password())?;
        let output = client.exec("true")?;
        ensure!(output.status.success(), "{}{}", text(&output), server.log());
        ensure!(server.log().contains("Accepted keyboard-interactive/pam"), "{}", server.log());
        Ok(())
    });

    suite.case("sshd::a_small_disk_is_full_soon_and_goes_away", &[Need::SshdAccounts, Need::Tmpfs], || {
        let server = Sshd::builder().accounts().small_disk(1 << 20).start();
        let source = tempfile::NamedTempFile::new()?;
        fs::write(source.path(), vec![1; 2 << 20])?;
        let mut locals = Vec::new();
        for account in [Account::Shell, Account::Chroot] {
            let place = server.small(account);
            let client = Client::new(&server, &place.user).key(&server.key());
            let output = client.sftp(&format!("put {} {}/file\n", source.path().display(), place.remote))?;
            ensure!(!output.status.success() && text(&output).contains("Failure"), "{}", text(&output));
            locals.push(place.local);
        }
        drop(server);
        let mounts = fs::read_to_string("/proc/mounts").context("mounts")?;
        ensure!(locals.iter().all(|local| !local.exists() && !mounts.contains(&*local.to_string_lossy())), "{mounts}");
        Ok(())
    });
}
