//! The two accounts on this machine that `sshd` lets in with a password, and the directory that chroots need.
//!
//! Made once and left in place, since other test processes may be using them: `archtest` has a shell, `archchroot` has
//! none. Their password is random, per machine, and readable by root only. `ChrootDirectory` refuses any path with a
//! component that others may write to, hence not `/tmp`.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::harness::{find_program, run};
use super::ssh_keys::{self, KeyType};

/// The account with a shell.
pub const SHELL: &str = "archtest";
/// The account that gets `internal-sftp` in a chroot and nothing else.
pub const CHROOT: &str = "archchroot";

const BASE: &str = "/var/lib/archive-test";

/// Password of both accounts.
pub struct Accounts {
    pub password: String,
}

/// Makes the accounts if they are missing. Needs root.
pub fn ensure() -> Accounts {
    DirBuilder::new().recursive(true).mode(0o755).create(BASE).expect("root can write there");
    let lock = File::create(base().join("lock")).expect("root can write there");
    lock.lock().expect("a local file can be locked");
    let file = base().join("password");
    let known = fs::read_to_string(&file).ok();
    let password = known.clone().unwrap_or_else(random);
    for (user, shell) in [(SHELL, "/bin/bash"), (CHROOT, "/usr/sbin/nologin")] {
        let home = base().join("home").join(user);
        let exists = Command::new("id").arg(user).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let exists = exists.is_ok_and(|status| status.success());
        if !exists {
            let useradd = find_program("useradd").expect("the case names Need::SshdAccounts");
            run(Command::new(useradd)
                .args(["--system", "--user-group", "--no-create-home", "--shell", shell, "--home-dir"])
                .arg(&home)
                .arg(user));
        }
        fs::create_dir_all(&home).expect("root can write there");
        give_to(&home, user);
        if !exists || known.is_none() {
            set_password(user, &password);
        }
    }
    if known.is_none() {
        let mut new =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).expect("root can write there");
        new.write_all(password.as_bytes()).expect("root can write there");
    }
    Accounts { password }
}

/// A private key that opens [`SHELL`] where the server reads `~/.ssh/authorized_keys` and no other list, as Dropbear does. Made once,
/// like the accounts. Needs root.
pub fn key() -> PathBuf {
    ensure();
    let lock = File::create(base().join("lock")).expect("root can write there");
    lock.lock().expect("a local file can be locked");
    let (key, directory) = (base().join("id_ed25519"), base().join("home").join(SHELL).join(".ssh"));
    let list = directory.join("authorized_keys");
    if !list.exists() {
        ssh_keys::generate(&key, KeyType::Ed25519, "");
        fs::create_dir_all(&directory).expect("root can write there");
        let new = directory.join("new");
        fs::write(&new, ssh_keys::public(&key) + "\n").expect("root can write there");
        give_to(&directory, SHELL);
        give_to(&new, SHELL);
        fs::rename(new, &list).expect("root can write there");
    }
    key
}

/// Where directories live that the accounts must reach and a chroot may start from.
pub fn base() -> PathBuf {
    BASE.into()
}

/// Gives a file or directory to an account.
pub fn give_to(path: &Path, user: &str) {
    // Asked once: some cases make ten thousand files.
    static KNOWN: Mutex<BTreeMap<String, (u32, u32)>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().expect("nobody panics while holding this");
    let (uid, gid) = *known.entry(user.to_owned()).or_insert_with(|| (id("-u", user), id("-g", user)));
    chown(path, Some(uid), Some(gid)).expect("root may");
}

/// `id -u` or `id -g` of a user.
pub fn id(which: &str, user: &str) -> u32 {
    run(Command::new("id").args([which, user])).trim().parse().expect("a number")
}

fn set_password(user: &str, password: &str) {
    let chpasswd = find_program("chpasswd").expect("the case names Need::SshdAccounts");
    let mut child = Command::new(chpasswd).stdin(Stdio::piped()).spawn().expect("chpasswd starts");
    writeln!(child.stdin.take().expect("piped"), "{user}:{password}").expect("chpasswd reads");
    assert!(child.wait().expect("ours").success(), "chpasswd failed for {user}");
}

fn random() -> String {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("urandom");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
