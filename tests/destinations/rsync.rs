//! rsync twice: to a module of a daemon, and over SSH.

use std::cell::{OnceCell, Ref, RefCell};
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use archive::config::secret::Secret;
use archive::config::settings::{DestinationSettings, HostKey, Protocol as ProtocolSettings, RsyncSettings, RsyncWay};
use archive::destination::{Capabilities, ErrorKind};

use crate::server::{Directory, Disk, Feature, Given, Place, Protocol, Refusal, Server};
use crate::support::harness::Need;
use crate::support::rsyncd::{MODULE, PASSWORD, Rsyncd, USER, give};
use crate::support::ssh_keys;
use crate::support::sshd::{self, Account, Sshd};

const FEATURES: &[Feature] =
    &[Feature::Any, Feature::Calls, Feature::Directory, Feature::PutNew, Feature::ReadOnly, Feature::Small];
const RSYNC: Need = Need::program("rsync");
const WRONG: &str = "a-wrong-secret";
const CAPABILITIES: Capabilities = Capabilities { atomic_put: true, ..Capabilities::NONE };

pub const DAEMON: Protocol = Protocol {
    name: "rsync-daemon",
    needs: &[RSYNC],
    features: FEATURES,
    start: || Box::new(Daemon { server: RefCell::new(Rsyncd::start()), small: OnceCell::new() }),
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
    start: || Box::new(OverSsh { sshd: OnceLock::new() }),
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

struct Daemon {
    server: RefCell<Rsyncd>,
    /// Mounted by the first question about it.
    small: OnceCell<()>,
}

impl Daemon {
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
}

impl OverSsh {
    /// Started by the first question, which tells whether a small disk is wanted.
    fn sshd(&self, small: bool) -> &Sshd {
        self.sshd.get_or_init(|| {
            let builder = Sshd::builder().accounts();
            if small { builder.small_disk(1 << 20).start() } else { builder.start() }
        })
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
        let at = self.place(place);
        let sshd = self.sshd(false);
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
