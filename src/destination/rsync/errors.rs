//! What rsync and ssh say on standard error, and their exit codes, translated once into what the rest of the program understands.

use std::time::Duration;

use super::host_key;
use super::program::Done;
use crate::destination::{DestinationError, ErrorKind, Timeouts};
use crate::text;
use crate::text::{Language, MAX_LINE_CHARS, Text};
use crate::units::show_size;

/// Which way the bytes go: the other end is the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the server: `[sender]` is this machine.
    There,
    /// From the server: everything else is this machine.
    Here,
}

/// What is needed to judge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    pub(super) way: Way,
    pub(super) over_ssh: bool,
    pub(super) timeouts: Timeouts,
}

/// Why a call of rsync failed.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) kind: ErrorKind,
    pub(super) why: String,
    hint: Option<Text>,
}

impl Verdict {
    /// A file or directory is not there, or lies below something that is none.
    pub(super) fn is_missing(&self) -> bool {
        (self.kind == ErrorKind::NotFound && !self.why.contains("@ERROR"))
            || BELOW_A_FILE.iter().any(|words| self.why.contains(words))
    }

    pub(super) fn during(self, what: impl Into<String>) -> DestinationError {
        let error = DestinationError::new(self.kind, what).caused_by(self.why);
        match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// What a path that goes through a file is answered; the second by newer daemons.
const BELOW_A_FILE: [&str; 2] = ["Not a directory (20)", "Too many levels of symbolic links (40)"];

/// Judges a call that failed: rsync(1), *EXIT VALUES*.
pub(super) fn verdict(done: &Done, circumstances: Circumstances) -> Verdict {
    let Circumstances { over_ssh, timeouts, .. } = circumstances;
    let said = |words: &str| done.errors.contains(words);
    let why = told(done);
    let is = |kind, hint: Option<Text>| Verdict { kind, why: why.clone(), hint };
    // Of ssh, which is quite definite about these.
    if said("REMOTE HOST IDENTIFICATION HAS CHANGED") || said("REVOKED HOST KEY") {
        return is(ErrorKind::Untrusted, Some(host_key::changed_hint()));
    }
    if said("Host key verification failed") {
        return is(ErrorKind::Untrusted, Some(unknown_key_hint()));
    }
    // With the ways to log in that there are; a number there would be the operating system's.
    let refused =
        done.errors.split("Permission denied (").skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
    if over_ssh && (refused || said("Too many authentication failures")) {
        return is(ErrorKind::Auth, Some(ssh_login_hint()));
    }
    if let Some(verdict) = of_daemon(done, &why).or_else(|| of_rrsync(done, &why)) {
        return verdict;
    }
    if matches!(done.code, Some(35)) || said("timed out") || said("Timed out") || said("timeout waiting for daemon") {
        return stalled(timeouts.connect);
    }
    if matches!(done.code, Some(30)) || said("io timeout") {
        return stalled(timeouts.stall);
    }
    if let Some(verdict) = of_a_file(done, circumstances, &why) {
        return verdict;
    }
    if said("Failed to exec") {
        return is(ErrorKind::Other, Some(no_ssh_hint()));
    }
    if said("not found") && matches!(done.code, Some(12 | 127)) || said("remote command not found") {
        return is(ErrorKind::Other, Some(no_rsync_there_hint()));
    }
    if said("is your shell clean") || said("unknown option") {
        return is(ErrorKind::Other, Some(strange_rsync_there_hint()));
    }
    match done.code {
        // 5: the server ended before it greeted; what it refuses was looked at above.
        Some(5 | 10 | 12 | 20 | 255) => is(ErrorKind::Unreachable, Some(unreachable_hint())),
        _ => is(ErrorKind::Other, None),
    }
}

/// Nothing moved for so long.
pub(super) fn stalled(limit: Duration) -> Verdict {
    Verdict {
        kind: ErrorKind::Unreachable,
        why: format!("no byte moved for {} s", limit.as_secs_f32()),
        hint: Some(unreachable_hint()),
    }
}

/// A file of `size` bytes, which has to come here as a whole first, and the room that there is for it, bytes.
pub(super) fn no_room_here(size: u64, room: u64) -> Verdict {
    let shown = |bytes| show_size(bytes, Language::En);
    let directory = std::env::temp_dir();
    Verdict {
        kind: ErrorKind::NoSpace,
        why: format!("it has {}, and `{}` has room for {}", shown(size), directory.display(), shown(room)),
        hint: Some(room_hint()),
    }
}

/// What the daemon refuses (`clientserver.c`).
fn of_daemon(done: &Done, why: &str) -> Option<Verdict> {
    let said = |words: &str| done.errors.contains(words);
    let is = |kind, hint| Some(Verdict { kind, why: why.to_owned(), hint });
    if said("@ERROR: auth failed") {
        return is(
            ErrorKind::Auth,
            Some(text!(
                "check `username` and `password`: `auth users` and `secrets file` of the module in the server's `rsyncd.conf`"
                    / "vérifiez `username` et `password` : `auth users` et `secrets file` du module dans le `rsyncd.conf` du serveur"
            )),
        );
    }
    if said("@ERROR: Unknown module") {
        return is(
            ErrorKind::NotFound,
            Some(text!(
                "check `module`: the name in brackets in the server's `rsyncd.conf` (`rsync rsync://HOST/` lists those that are shown)"
                    / "vérifiez `module` : le nom entre crochets dans le `rsyncd.conf` du serveur (`rsync rsync://HOST/` liste ceux qui sont montrés)"
            )),
        );
    }
    if said("@ERROR: access denied") {
        return is(
            ErrorKind::PermissionDenied,
            Some(text!(
                "the module does not accept this machine: `hosts allow` in the server's `rsyncd.conf`"
                    / "le module n'accepte pas cette machine : `hosts allow` dans le `rsyncd.conf` du serveur"
            )),
        );
    }
    if said("module is read only") {
        return is(
            ErrorKind::PermissionDenied,
            Some(text!(
                "the module cannot be written to: `read only = no` in the server's `rsyncd.conf`"
                    / "le module n'est pas ouvert en écriture : `read only = no` dans le `rsyncd.conf` du serveur"
            )),
        );
    }
    if said("@ERROR: max connections") {
        return is(ErrorKind::Unreachable, Some(unreachable_hint()));
    }
    if said("is configured to refuse") {
        return is(ErrorKind::PermissionDenied, Some(refused_hint()));
    }
    (said("@ERROR") || said("not configured to")).then(|| Verdict {
        kind: ErrorKind::Other,
        why: why.to_owned(),
        hint: None,
    })
}

/// What `rrsync` says, which keeps an account to a directory and to some options.
fn of_rrsync(done: &Done, why: &str) -> Option<Verdict> {
    let line = done.errors.lines().map(str::trim).find(|line| line.contains("rrsync error: "))?;
    let (kind, hint) = match line {
        // Of 3.4.4 and later, which look at the path themselves.
        line if ["No such file or directory", "Not a directory"].iter().any(|words| line.ends_with(words)) => {
            (ErrorKind::NotFound, None)
        }
        line if line.ends_with("Permission denied") => (ErrorKind::PermissionDenied, Some(rights_hint())),
        line if line.contains("-only server") => (ErrorKind::PermissionDenied, Some(refused_hint())),
        _ => (ErrorKind::Other, Some(refused_hint())),
    };
    Some(Verdict { kind, why: why.to_owned(), hint })
}

/// What the operating system of either end says: `rsync: [receiver] mkstemp "…" failed: Permission denied (13)`.
fn of_a_file(done: &Done, circumstances: Circumstances, why: &str) -> Option<Verdict> {
    let own = |line: &&str| match circumstances.way {
        Way::There => line.contains("[sender]"),
        Way::Here => line.contains("[receiver]") || line.contains("[generator]") || line.contains("[Receiver]"),
    };
    let (kind, line) = done.errors.lines().find_map(|line| Some((kind_of(line)?, line)))?;
    if own(&line) {
        let hint = matches!(kind, ErrorKind::NoSpace).then(room_hint);
        return Some(Verdict { kind: ErrorKind::Local, why: why.to_owned(), hint });
    }
    let hint = match kind {
        ErrorKind::NoSpace => Some(text!(
            "make room on the server, raise the account's quota, or keep fewer archives (`retention`)"
                / "libérez de la place sur le serveur, augmentez le quota du compte, ou gardez moins d'archives (`retention`)"
        )),
        ErrorKind::PermissionDenied if circumstances.over_ssh => Some(rights_hint()),
        ErrorKind::PermissionDenied => Some(text!(
            "give the daemon's user (`uid` of the module in `rsyncd.conf`, else `nobody`) the right to write in `path`, or choose another `path`"
                / "donnez à l'utilisateur du démon (`uid` du module dans `rsyncd.conf`, sinon `nobody`) le droit d'écrire dans `path`, ou choisissez un autre `path`"
        )),
        _ => None,
    };
    Some(Verdict { kind, why: why.to_owned(), hint })
}

fn kind_of(line: &str) -> Option<ErrorKind> {
    // With its number, as rsync prints it: the words alone could be part of a name.
    [
        ("No space left on device (28)", ErrorKind::NoSpace),
        ("Disk quota exceeded (122)", ErrorKind::NoSpace),
        ("Permission denied (13)", ErrorKind::PermissionDenied),
        ("Operation not permitted (1)", ErrorKind::PermissionDenied),
        ("Read-only file system (30)", ErrorKind::PermissionDenied),
        ("No such file or directory (2)", ErrorKind::NotFound),
        (BELOW_A_FILE[0], ErrorKind::Other),
        (BELOW_A_FILE[1], ErrorKind::Other),
        ("could not make way for new regular file", ErrorKind::Other),
    ]
    .into_iter()
    .find_map(|(words, kind)| line.contains(words).then_some(kind))
}

/// The lines that say something, without ornaments and without the consequences of what was said before.
fn told(done: &Done) -> String {
    let says = |line: &&str| {
        let ornament = line.is_empty() || line.starts_with('@') && line.ends_with('@');
        let consequence = [
            "rsync error: ",
            "connection unexpectedly closed",
            "read error: Connection reset",
            "[Receiver] write error",
        ];
        !ornament && !consequence.iter().any(|words| line.contains(words))
    };
    let lines: Vec<String> = done.errors.lines().map(str::trim).filter(says).take(3).map(quoted).collect();
    if !lines.is_empty() {
        return lines.join("; ");
    }
    let last = done.errors.lines().map(str::trim).find(|line| !line.is_empty());
    match (last, done.code) {
        (Some(line), _) => quoted(line),
        (None, Some(code)) => format!("rsync ended with code {code} and no word"),
        (None, None) => "rsync was killed".to_owned(),
    }
}

fn quoted(line: &str) -> String {
    text::quote(line, MAX_LINE_CHARS)
}

/// What a server does not allow at all.
pub(super) fn refused_hint() -> Text {
    text!(
        "the server allows this account no such thing: `refuse options` of the module in `rsyncd.conf`, the options of `rrsync`, or a disk that takes no deletions; if it is meant so, the server must purge: leave out `retention`"
            / "le serveur ne le permet pas à ce compte : `refuse options` du module dans `rsyncd.conf`, les options de `rrsync`, ou un disque qui n'accepte pas de suppressions ; si c'est voulu, c'est au serveur de purger : retirez `retention`"
    )
}

fn room_hint() -> Text {
    text!(
        "rsync cannot hand over a file piece by piece, so one is read back through this machine's temporary directory: make room there, or point `TMPDIR` to a larger disk"
            / "rsync ne peut pas transmettre un fichier par morceaux, il est donc relu par le répertoire temporaire de cette machine : libérez-y de la place, ou faites pointer `TMPDIR` vers un disque plus grand"
    )
}

fn rights_hint() -> Text {
    text!(
        "give this account the right to write in `path` on the server (with `rrsync` also in the directory that it is kept to), or choose another `path`"
            / "donnez à ce compte le droit d'écrire dans `path` sur le serveur (avec `rrsync` aussi dans le répertoire où il est confiné), ou choisissez un autre `path`"
    )
}

fn unreachable_hint() -> Text {
    text!(
        "check `host` and `port`, that the server is up, and that the network and its firewall let the connection through"
            / "vérifiez `host` et `port`, que le serveur est en marche, et que le réseau et le pare-feu laissent passer la connexion"
    )
}

fn unknown_key_hint() -> Text {
    text!(
        "run `archive trust`, compare the fingerprint with what the server's administrator says, and confirm; or put the server's key into `known_hosts`"
            / "lancez `archive trust`, comparez l'empreinte avec ce que dit l'administrateur du serveur, et confirmez ; ou mettez la clé du serveur dans `known_hosts`"
    )
}

fn ssh_login_hint() -> Text {
    text!(
        "check `username` and `private_key` (it must have no passphrase, unless an agent holds it: `agent = true`), and that its public half is in `authorized_keys` on the server"
            / "vérifiez `username` et `private_key` (sans phrase secrète, sauf si un agent la détient : `agent = true`), et que sa moitié publique est dans `authorized_keys` sur le serveur"
    )
}

fn no_ssh_hint() -> Text {
    text!(
        "install OpenSSH's client programs (`openssh-client`), which rsync calls"
            / "installez les programmes clients d'OpenSSH (`openssh-client`), que rsync appelle"
    )
}

fn no_rsync_there_hint() -> Text {
    text!(
        "install `rsync` on the server too, or use `type = \"sftp\"`, which needs nothing there"
            / "installez `rsync` aussi sur le serveur, ou utilisez `type = \"sftp\"`, qui n'y demande rien"
    )
}

fn strange_rsync_there_hint() -> Text {
    text!(
        "what answers there is no rsync that can be used: it is too old, or the account's shell prints something at login, or allows no rsync; `type = \"sftp\"` may be the better way"
            / "ce qui répond là n'est pas un rsync utilisable : il est trop vieux, ou le shell du compte affiche quelque chose à la connexion, ou n'autorise pas rsync ; `type = \"sftp\"` est peut-être préférable"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(code: i32, errors: &str, way: Way) -> Verdict {
        let done = Done { code: Some(code), output: Vec::new(), errors: errors.to_owned() };
        let timeouts = Timeouts { connect: Duration::from_secs(15), stall: Duration::from_secs(60) };
        verdict(&done, Circumstances { way, over_ssh: !errors.contains("@ERROR"), timeouts })
    }

    /// As rsync 3.5.0 and OpenSSH 9.2 said it.
    const SAID: &[(i32, &str, ErrorKind, &str)] = &[
        (
            5,
            "@ERROR: Unknown module 'nomod'\nrsync error: error starting client-server protocol (code 5) at main.c(1954) [Receiver=3.5.0]\n",
            ErrorKind::NotFound,
            "@ERROR: Unknown module 'nomod'",
        ),
        (
            5,
            "@ERROR: auth failed on module archive\nrsync error: error starting client-server protocol (code 5) at main.c(1954)\n",
            ErrorKind::Auth,
            "@ERROR: auth failed on module archive",
        ),
        (
            5,
            "rsync: did not see server greeting\nrsync error: error starting client-server protocol (code 5)\n",
            ErrorKind::Unreachable,
            "rsync: did not see server greeting",
        ),
        (
            1,
            "ERROR: module is read only\nrsync error: syntax or usage error (code 1) at main.c(1185) [Receiver=3.5.0]\nrsync: [sender] read error: Connection reset by peer (104)\n",
            ErrorKind::PermissionDenied,
            "ERROR: module is read only",
        ),
        (
            10,
            "rsync: [Receiver] failed to connect to 127.0.0.1 (127.0.0.1): Connection refused (111)\nrsync error: error in socket IO (code 10)\n",
            ErrorKind::Unreachable,
            "rsync: [Receiver] failed to connect to 127.0.0.1 (127.0.0.1): Connection refused (111)",
        ),
        (
            23,
            "rsync: [receiver] mkstemp \".20261120.tgz.dhb7nK\" (in archive) failed: Permission denied (13)\nrsync error: some files/attrs were not transferred (see previous errors) (code 23)\n",
            ErrorKind::PermissionDenied,
            "rsync: [receiver] mkstemp \".20261120.tgz.dhb7nK\" (in archive) failed: Permission denied (13)",
        ),
        (
            11,
            "rsync: [receiver] write failed on \"/mnt/x\": No space left on device (28)\nrsync error: error in file IO (code 11)\n",
            ErrorKind::NoSpace,
            "rsync: [receiver] write failed on \"/mnt/x\": No space left on device (28)",
        ),
        (
            30,
            "[Receiver] io timeout after 2 seconds -- exiting\nrsync error: timeout in data send/receive (code 30)\n",
            ErrorKind::Unreachable,
            "no byte moved for 60 s",
        ),
        (
            255,
            "Connection timed out during banner exchange\nConnection to 127.0.0.1 port 2301 timed out\nrsync: connection unexpectedly closed (0 bytes received so far) [Receiver]\n",
            ErrorKind::Unreachable,
            "no byte moved for 15 s",
        ),
        (
            255,
            "ssh: connect to host 127.0.0.1 port 2302: Connection refused\nrsync: connection unexpectedly closed (0 bytes received so far) [Receiver]\nrsync error: unexplained error (code 255) at io.c(285) [Receiver=3.5.0]\n",
            ErrorKind::Unreachable,
            "ssh: connect to host 127.0.0.1 port 2302: Connection refused",
        ),
        (
            12,
            "root@127.0.0.1: Permission denied (publickey,password).\nrsync: connection unexpectedly closed (0 bytes received so far) [Receiver]\n",
            ErrorKind::Auth,
            "root@127.0.0.1: Permission denied (publickey,password).",
        ),
        (
            255,
            "No ED25519 host key is known for [127.0.0.1]:2301 and you have requested strict checking.\nHost key verification failed.\n",
            ErrorKind::Untrusted,
            "No ED25519 host key is known for [127.0.0.1]:2301 and you have requested strict checking.; Host key verification failed.",
        ),
        (
            12,
            "bash: line 1: rsync: command not found\nrsync: connection unexpectedly closed (0 bytes received so far) [Receiver]\n",
            ErrorKind::Other,
            "bash: line 1: rsync: command not found",
        ),
        (
            12,
            "/usr/bin/rrsync error: post-realpath open failed (race detected): boutique No such file or directory\nrsync: connection unexpectedly closed (0 bytes received so far) [Receiver]\n",
            ErrorKind::NotFound,
            "/usr/bin/rrsync error: post-realpath open failed (race detected): boutique No such file or directory",
        ),
        (
            12,
            "/usr/bin/rrsync error: sending to read-only server is not allowed\nrsync: connection unexpectedly closed (0 bytes received so far) [sender]\n",
            ErrorKind::PermissionDenied,
            "/usr/bin/rrsync error: sending to read-only server is not allowed",
        ),
        (
            4,
            "rsync: The server is configured to refuse --delete\nrsync error: requested action not supported (code 4) at clientserver.c(1267) [Receiver=3.5.0]\n",
            ErrorKind::PermissionDenied,
            "rsync: The server is configured to refuse --delete",
        ),
        (5, "@ERROR: no\u{1b}[2J\r✓ published\n", ErrorKind::Other, "@ERROR: no\\u{1b}[2J\\u{d}✓ published"),
        (
            12,
            "rsync: connection unexpectedly closed (0 bytes received so far) [Receiver]\nrsync error: error in rsync protocol data stream (code 12)\n",
            ErrorKind::Unreachable,
            "rsync: connection unexpectedly closed (0 bytes received so far) [Receiver]",
        ),
    ];

    #[test]
    fn every_answer_has_its_kind_and_keeps_its_words() {
        for (code, errors, kind, why) in SAID {
            let verdict = judged(*code, errors, Way::There);
            assert_eq!((verdict.kind, verdict.why.as_str()), (*kind, *why), "{errors}");
        }
    }

    #[test]
    fn a_full_disk_is_ours_or_theirs() {
        let errors = "rsync: [receiver] write failed on \"/tmp/x\": No space left on device (28)\n";
        assert_eq!(judged(11, errors, Way::There).kind, ErrorKind::NoSpace);
        let here = judged(11, errors, Way::Here);
        assert_eq!(here.kind, ErrorKind::Local);
        assert!(here.hint.unwrap().en.contains("TMPDIR"));
        let source = "rsync: [sender] send_files failed to open \"/x\": Permission denied (13)\n";
        assert_eq!(judged(23, source, Way::There).kind, ErrorKind::Local);
    }
}
