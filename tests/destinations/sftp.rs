//! OpenSSH twice: an account with a shell, and one that has `internal-sftp` in a chroot and nothing else.

use std::fs;
use std::sync::OnceLock;

use archive::config::secret::Secret;
use archive::config::settings::{DestinationSettings, HostKey, Protocol as ProtocolSettings, SftpSettings, SshAuth};
use archive::destination::{Capabilities, ErrorKind};

use crate::server::{Directory, Disk, Feature, Place, Protocol, Refusal, Server};
use crate::support::harness::Need;
use crate::support::ssh_keys;
use crate::support::sshd::{self, Account, PASSPHRASE, Sshd};

/// Logs in by key.
pub const SHELL: Protocol = protocol("sftp-shell", || Box::new(Sftp::start(Account::Shell)));

/// Logs in by password.
pub const CHROOT: Protocol = protocol("sftp-chroot", || Box::new(Sftp::start(Account::Chroot)));

const WRONG: &str = "a-wrong-secret";

const fn protocol(name: &'static str, start: fn() -> Box<dyn Server>) -> Protocol {
    Protocol {
        name,
        needs: &[Need::SshdAccounts],
        features: &[
            Feature::Any,
            Feature::Many,
            Feature::Directory,
            Feature::Move,
            Feature::Network,
            Feature::NetworkMove,
            Feature::ReadOnly,
            Feature::Resume,
            Feature::Small,
        ],
        start,
        refusals: &[
            "wrong_password",
            "wrong_key",
            "wrong_user",
            "wrong_passphrase",
            "missing_passphrase",
            "unknown_host_key",
            "changed_host_key",
            "changed_known_host",
        ],
        more_needs: |feature| if feature == Feature::Small { vec![Need::Tmpfs] } else { Vec::new() },
    }
}

struct Sftp {
    account: Account,
    sshd: OnceLock<Sshd>,
}

impl Sftp {
    fn start(account: Account) -> Self {
        Sftp { account, sshd: OnceLock::new() }
    }

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
            Place::Data => sshd.place(self.account),
            Place::Below(more) => below(sshd.place(self.account), more),
            Place::ReadOnly => sshd.read_only(self.account),
            Place::BelowReadOnly(more) => below(sshd.read_only(self.account), more),
            Place::Small => sshd.small(self.account),
        }
    }

    fn keys(&self, place: Place) -> SftpSettings {
        let at = self.place(place);
        let sshd = self.sshd(false);
        let auth = match self.account {
            Account::Chroot => SshAuth::Password(Secret::new(sshd.password())),
            _ => SshAuth::PrivateKey { file: sshd.key(), passphrase: None },
        };
        SftpSettings {
            host: "127.0.0.1".to_owned(),
            port: sshd.port(),
            username: at.user,
            auth: vec![auth],
            host_key: HostKey::Fingerprints(vec![sshd.fingerprint()]),
            path: at.remote,
            connections: None,
            server_checksum: true,
        }
    }
}

impl Server for Sftp {
    fn protocol(&self, place: Place) -> ProtocolSettings {
        ProtocolSettings::Sftp(self.keys(place))
    }

    fn disk(&self, place: Place) -> Box<dyn Disk> {
        let at = self.place(place);
        Box::new(Directory { path: at.local, owner: Some(at.user) })
    }

    fn capabilities(&self) -> Capabilities {
        let shell = self.account == Account::Shell;
        Capabilities {
            move_refuses_to_clobber: true,
            move_in_one_step: false,
            checksum_by_server: shell,
            resume: true,
            free_space: true,
            server_clock: shell,
            atomic_put: false,
        }
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.sshd(false).password().to_owned(), PASSPHRASE.to_owned(), WRONG.to_owned()]
    }

    fn refusal(&self, what: &str) -> Refusal {
        let sshd = self.sshd(false);
        let mut keys = self.keys(Place::Data);
        let key = |file, passphrase: Option<&str>| {
            vec![SshAuth::PrivateKey { file, passphrase: passphrase.map(Secret::new) }]
        };
        let known_hosts = |line: String| {
            let file = sshd.known_hosts();
            fs::write(&file, line).expect("own directory");
            HostKey::KnownHosts(file)
        };
        let mut connections = 1;
        let (kind, words, hint): (_, &'static [&'static str], _) = match what {
            "wrong_password" => {
                keys.auth = vec![SshAuth::Password(Secret::new(WRONG))];
                (
                    ErrorKind::Auth,
                    &["authentication as `arch", "the server accepts", "password"],
                    "check `username` and",
                )
            }
            "wrong_key" => {
                keys.auth = key(sshd.stranger_key(), None);
                (ErrorKind::Auth, &["was refused", "id_stranger"], "authorized_keys")
            }
            "wrong_user" => {
                keys.username = "nobody-of-that-name".to_owned();
                (ErrorKind::Auth, &["`nobody-of-that-name`", "was refused"], "check `username`")
            }
            "wrong_passphrase" => {
                keys.auth = key(sshd.encrypted_key(), Some(WRONG));
                (ErrorKind::Auth, &["id_encrypted", "`passphrase` is wrong"], "check `private_key` and `passphrase`")
            }
            "missing_passphrase" => {
                keys.auth = key(sshd.encrypted_key(), None);
                (ErrorKind::Auth, &["id_encrypted", "set `passphrase`"], "check `private_key` and `passphrase`")
            }
            "unknown_host_key" => {
                keys.host_key = known_hosts(String::new());
                (ErrorKind::Untrusted, &["is not known", "SHA256:"], "archive trust")
            }
            "changed_host_key" => {
                keys.host_key = HostKey::Fingerprints(vec![format!("SHA256:{}", "A".repeat(43))]);
                // The server's other keys are looked at before it is called another one.
                connections = 3;
                (ErrorKind::Untrusted, &["not the expected one", "SHA256:AAAA"], "nothing was sent")
            }
            "changed_known_host" => {
                // Any key will do that is not the server's; the port is that of whoever stands between.
                keys.host_key = known_hosts(format!("[127.0.0.1]:* {}\n", ssh_keys::public(&sshd.stranger_key())));
                (ErrorKind::Untrusted, &["not the expected one", "SHA256:"], "nothing was sent")
            }
            _ => unreachable!("no such refusal: `{what}`"),
        };
        let settings = DestinationSettings { protocol: ProtocolSettings::Sftp(keys), ..self.settings(Place::Data) };
        Refusal { settings, kind, connections, words, hint }
    }

    fn port(&self) -> u16 {
        self.sshd(false).port()
    }

    fn redirected(&self, settings: &DestinationSettings, port: u16) -> DestinationSettings {
        let mut settings = settings.clone();
        if let ProtocolSettings::Sftp(keys) = &mut settings.protocol {
            keys.port = port;
        }
        settings
    }

    fn freeze(&self) {
        self.sshd(false).freeze(true);
    }
}
