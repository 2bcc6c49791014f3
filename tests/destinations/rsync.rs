//! rsync three times: to a module of a daemon, over SSH, and over SSH to an account that `rrsync` keeps to a directory.

use std::cell::{OnceCell, Ref, RefCell};
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use archive::config::secret::Secret;
use archive::config::settings::{DestinationSettings, HostKey, Protocol as ProtocolSettings, RsyncSettings, RsyncWay};
use archive::destination::{Capabilities, ErrorKind};

use crate::server::{self, Directory, Disk, Feature, Given, Place, Protocol, Refusal, Server, content, says};
use crate::support::accounts;
use crate::support::harness::{Need, Suite};
use crate::support::rsyncd::{MODULE, PASSWORD, Rsyncd, USER, give};
use crate::support::ssh_keys;
use crate::support::sshd::{self, Account, Sshd};

const FEATURES: &[Feature] = &[
    Feature::Any,
    Feature::Many,
    Feature::Calls,
    Feature::Directory,
    Feature::PutNew,
    Feature::ReadOnly,
    Feature::Small,
];
const RSYNC: Need = Need::program("rsync");
const WRONG: &str = "a-wrong-secret";
const CAPABILITIES: Capabilities = Capabilities { atomic_put: true, ..Capabilities::NONE };

pub const DAEMON: Protocol = Protocol {
    name: "rsync-daemon",
    needs: &[RSYNC],
    features: FEATURES,
    start: || Box::new(Daemon::refusing("")),
    refusals: &["wrong_password", "wrong_user", "wrong_module"],
    more_needs: |feature| match feature {
        Feature::Small => vec![Need::Tmpfs],
        _ => Vec::new(),
    },
};

pub const SSH: Protocol = Protocol {
    name: "rsync-ssh",
    needs: &[RSYNC, Need::SshdAccounts],
    features: FEATURES,
    start: || Box::new(OverSsh { sshd: OnceLock::new(), rrsync: false }),
    refusals: &[
        "wrong_key",
        "wrong_user",
        "missing_passphrase",
        "unknown_host_key",
        "changed_host_key",
        "changed_known_host",
    ],
    more_needs: DAEMON.more_needs,
};

pub const RRSYNC: Protocol = Protocol {
    name: "rsync-rrsync",
    needs: &[RSYNC, Need::Program("rrsync", "rsync"), Need::SshdAccounts],
    features: &[Feature::Any, Feature::Many, Feature::Directory, Feature::PutNew, Feature::ReadOnly],
    start: || Box::new(OverSsh { sshd: OnceLock::new(), rrsync: true }),
    refusals: &["wrong_key"],
    more_needs: |_| Vec::new(),
};

/// Daemons with settings of their own.
pub fn cases(suite: &mut Suite) {
    suite.case("rsync-daemon::a_deletion_that_the_server_refuses_is_said", &[RSYNC], || {
        for refused in ["delete", "delete*", "delete delete-missing-args"] {
            let server = Daemon::refusing(refused);
            let mut destination = server.connect(Place::Data)?;
            server.disk(Place::Data).write("20261120.tgz", b"content");
            let result = destination.remove("20261120.tgz");
            let told = server::refused(&server, result, ErrorKind::PermissionDenied)
                .with_context(|| format!("refuse options = {refused}"))?;
            says(&told, &["20261120.tgz", "refuse options", "retention"])?;
            ensure!(server.disk(Place::Data).read("20261120.tgz").is_some(), "gone all the same: {refused}");
        }
        Ok(())
    });
    suite.case("rsync-daemon::a_file_is_read_where_the_server_refuses_to_write_in_place", &[RSYNC], || {
        let server = Daemon::refusing("inplace");
        let mut destination = server.connect(Place::Data)?;
        let held = content(3_000_000, 21);
        server.disk(Place::Data).write("x", &held);
        ensure!(
            server::read(&mut *destination, "x", 0)? == held && server::read(&mut *destination, "x", 10)? == held[10..]
        );
        Ok(())
    });
    suite.case("rsync-daemon::a_file_that_there_is_no_room_for_here_is_said_to_be_too_large", &[RSYNC], || {
        let server = Daemon::refusing("inplace");
        let mut destination = server.connect(Place::Data)?;
        server.disk(Place::Data).write("x", b"");
        let file = fs::File::options().write(true).open(server.server().path("data/x"))?;
        // Nothing but a size.
        file.set_len(8 << 40)?;
        let told = server::refused(&server, destination.get("x", 0, &mut |_| Ok(())), ErrorKind::NoSpace)?;
        says(&told, &["8.80 TB", &format!("`{}`", std::env::temp_dir().display()), "TMPDIR"])
    });
    suite.case("rsync-daemon::a_file_of_60_gb_is_read_no_further_than_wanted", &[RSYNC], || {
        let server = Daemon::refusing("");
        let mut destination = server.connect(Place::Data)?;
        server.disk(Place::Data).write("x", b"");
        let file = fs::File::options().write(true).open(server.server().path("data/x"))?;
        file.set_len(60 << 30)?;
        let (mut bytes, begun) = (0, Instant::now());
        let result = destination.get("x", 0, &mut |block| {
            bytes += block.len();
            if bytes > 100 << 20 { Err(std::io::Error::other("enough")) } else { Ok(()) }
        });
        server::refused(&server, result, ErrorKind::Local)?;
        ensure!(bytes < 120 << 20 && begun.elapsed() < Duration::from_secs(60), "{bytes} bytes, {:?}", begun.elapsed());
        Ok(())
    });
}

struct Daemon {
    server: RefCell<Rsyncd>,
    /// Mounted by the first question about it.
    small: OnceCell<()>,
}

impl Daemon {
    fn refusing(options: &'static str) -> Self {
        Daemon { server: RefCell::new(Rsyncd::refusing(options)), small: OnceCell::new() }
    }

    fn server(&self) -> Ref<'_, Rsyncd> {
        self.server.borrow()
    }

    fn path(&self, place: Place) -> String {
        match place {
            Place::Data => "data".to_owned(),
            Place::Below(more) => format!("data/{more}"),
            Place::ReadOnly => "read-only".to_owned(),
            Place::BelowReadOnly(more) => format!("read-only/{more}"),
            Place::Small => {
                self.small.get_or_init(|| self.server.borrow_mut().mount_small());
                "small".to_owned()
            }
        }
    }

    fn keys(&self, place: Place) -> RsyncSettings {
        let path = self.path(place);
        let login = Some((USER.to_owned(), Secret::new(PASSWORD)));
        let way = RsyncWay::Daemon { module: MODULE.to_owned(), login };
        RsyncSettings { host: "127.0.0.1".to_owned(), port: self.server().port(), path, way }
    }
}

impl Server for Daemon {
    fn protocol(&self, place: Place) -> ProtocolSettings {
        ProtocolSettings::Rsync(self.keys(place))
    }

    fn disk(&self, place: Place) -> Box<dyn Disk> {
        let path = self.path(place);
        Box::new(Given(Directory { path: self.server().path(&path), owner: None }, give))
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn secrets(&self) -> Vec<String> {
        vec![PASSWORD.to_owned(), WRONG.to_owned()]
    }

    fn refusal(&self, what: &str) -> Refusal {
        let mut keys = self.keys(Place::Data);
        let RsyncWay::Daemon { module, login } = &mut keys.way else { unreachable!("a daemon") };
        let (kind, words, hint): (_, &'static [&'static str], _) = match what {
            "wrong_password" => {
                *login = Some((USER.to_owned(), Secret::new(WRONG)));
                (ErrorKind::Auth, &["auth failed on module archives"], "check `username` and `password`")
            }
            "wrong_user" => {
                *login = Some(("nobody-of-that-name".to_owned(), Secret::new(PASSWORD)));
                (ErrorKind::Auth, &["auth failed on module archives"], "check `username` and `password`")
            }
            "wrong_module" => {
                *module = "none-of-that-name".to_owned();
                (ErrorKind::NotFound, &["Unknown module 'none-of-that-name'"], "check `module`")
            }
            _ => unreachable!("no such refusal: `{what}`"),
        };
        let settings = DestinationSettings { protocol: ProtocolSettings::Rsync(keys), ..self.settings(Place::Data) };
        Refusal { settings, kind, connections: 1, words, hint }
    }

    fn port(&self) -> u16 {
        self.server().port()
    }

    fn redirected(&self, settings: &DestinationSettings, port: u16) -> DestinationSettings {
        redirected(settings, port)
    }

    fn freeze(&self) {
        self.server().freeze();
    }
}

fn redirected(settings: &DestinationSettings, port: u16) -> DestinationSettings {
    let mut settings = settings.clone();
    if let ProtocolSettings::Rsync(keys) = &mut settings.protocol {
        keys.port = port;
    }
    settings
}

struct OverSsh {
    sshd: OnceLock<Sshd>,
    /// The key opens nothing but `rrsync`, in the directory that holds those of [`Place`].
    rrsync: bool,
}

impl OverSsh {
    /// Started by the first question, which tells whether a small disk is wanted.
    fn sshd(&self, small: bool) -> &Sshd {
        self.sshd.get_or_init(|| {
            let builder = Sshd::builder().accounts();
            let sshd = if small { builder.small_disk(1 << 20).start() } else { builder.start() };
            if self.rrsync {
                let list = sshd.key().with_file_name("authorized_keys");
                let root = Self::root(&sshd);
                let lines = fs::read_to_string(&list).expect("own file");
                let kept: String = lines
                    .lines()
                    .map(|key| format!("command=\"rrsync {}\",restrict {key}\n", root.display()))
                    .collect();
                fs::write(&list, kept).expect("own file");
                // Where it puts what an interrupted upload has brought.
                accounts::give_to(&root, accounts::SHELL);
            }
            sshd
        })
    }

    fn root(sshd: &Sshd) -> PathBuf {
        sshd.place(Account::Shell).local.parent().expect("below it").to_owned()
    }

    fn place(&self, place: Place) -> sshd::Place {
        let sshd = self.sshd(place == Place::Small);
        let below = |mut at: sshd::Place, more: &str| {
            at.remote = format!("{}/{more}", at.remote);
            at.local = at.local.join(more);
            at
        };
        match place {
            Place::Data => sshd.place(Account::Shell),
            Place::Below(more) => below(sshd.place(Account::Shell), more),
            Place::ReadOnly => sshd.read_only(Account::Shell),
            Place::BelowReadOnly(more) => below(sshd.read_only(Account::Shell), more),
            Place::Small => sshd.small(Account::Shell),
        }
    }

    /// What is known of the server, at any port: that of whoever stands between.
    fn known_hosts(&self, name: &str, line: &str) -> PathBuf {
        let file = self.sshd(false).known_hosts().with_file_name(name);
        fs::write(&file, line).expect("own directory");
        file
    }

    fn keys(&self, place: Place) -> RsyncSettings {
        let mut at = self.place(place);
        let sshd = self.sshd(false);
        if self.rrsync {
            let below = at.local.strip_prefix(Self::root(sshd)).expect("below it");
            at.remote = below.to_str().expect("plain").to_owned();
        }
        let known = sshd.known_hosts_line(ssh_keys::KeyType::Ed25519);
        let (_, key) = known.split_once(' ').expect("a name and a key");
        let way = RsyncWay::Ssh {
            username: at.user,
            private_key: Some(sshd.key()),
            agent: false,
            host_key: HostKey::KnownHosts(self.known_hosts("any_port", &format!("[127.0.0.1]:* {key}"))),
        };
        RsyncSettings { host: "127.0.0.1".to_owned(), port: sshd.port(), path: at.remote, way }
    }
}

impl Server for OverSsh {
    fn protocol(&self, place: Place) -> ProtocolSettings {
        ProtocolSettings::Rsync(self.keys(place))
    }

    fn disk(&self, place: Place) -> Box<dyn Disk> {
        let at = self.place(place);
        Box::new(Directory { path: at.local, owner: Some(at.user) })
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn refusal(&self, what: &str) -> Refusal {
        let sshd = self.sshd(false);
        let mut keys = self.keys(Place::Data);
        let RsyncWay::Ssh { username, private_key, host_key, .. } = &mut keys.way else { unreachable!("over SSH") };
        // Its keys are asked for, one sort after the other, to be shown.
        let mut connections = 8;
        let (kind, words, hint): (_, &'static [&'static str], _) = match what {
            "wrong_key" => {
                *private_key = Some(sshd.stranger_key());
                connections = 1;
                (ErrorKind::Auth, &["Permission denied (publickey"], "check `username` and `private_key`")
            }
            "wrong_user" => {
                *username = "nobody-of-that-name".to_owned();
                connections = 1;
                (ErrorKind::Auth, &["nobody-of-that-name@127.0.0.1: Permission denied"], "check `username`")
            }
            "missing_passphrase" => {
                *private_key = Some(sshd.encrypted_key());
                connections = 1;
                (ErrorKind::Auth, &["Permission denied (publickey"], "it must have no passphrase")
            }
            "unknown_host_key" => {
                *host_key = HostKey::KnownHosts(self.known_hosts("empty", ""));
                (ErrorKind::Untrusted, &["Host key verification failed", "the server shows `SHA256:"], "archive trust")
            }
            "changed_host_key" => {
                *host_key = HostKey::Fingerprints(vec![format!("SHA256:{}", "A".repeat(43))]);
                (ErrorKind::Untrusted, &["not the expected one", "SHA256:AAAA"], "nothing was sent")
            }
            "changed_known_host" => {
                let line = format!("[127.0.0.1]:* {}\n", ssh_keys::public(&sshd.stranger_key()));
                *host_key = HostKey::KnownHosts(self.known_hosts("wrong", &line));
                (ErrorKind::Untrusted, &["the server shows `SHA256:"], "nothing was sent")
            }
            _ => unreachable!("no such refusal: `{what}`"),
        };
        let settings = DestinationSettings { protocol: ProtocolSettings::Rsync(keys), ..self.settings(Place::Data) };
        Refusal { settings, kind, connections, words, hint }
    }

    fn port(&self) -> u16 {
        self.sshd(false).port()
    }

    fn redirected(&self, settings: &DestinationSettings, port: u16) -> DestinationSettings {
        redirected(settings, port)
    }

    fn freeze(&self) {
        self.sshd(false).freeze(true);
    }
}
