//! Samba three times: with encryption required, with signing only, and with a slow disk.

use std::sync::OnceLock;

use archive::config::secret::Secret;
use archive::config::settings::{DestinationSettings, Protocol as ProtocolSettings, SmbEncryption, SmbSettings};
use archive::destination::{Capabilities, ErrorKind};

use crate::server::{Directory, Disk, Feature, Place, Protocol, Refusal, Server};
use crate::support::accounts;
use crate::support::harness::Need;
use crate::support::samba::{Builder, CLOSED_SHARE, SHARE, Samba};

/// Encrypted.
pub const ENCRYPTED: Protocol = Protocol {
    name: "smb",
    needs: &[Need::Samba],
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
    start: || Box::new(Smb::start(SmbEncryption::Required, |builder| builder)),
    refusals: &["wrong_password", "wrong_user", "wrong_share", "closed_share", "nothing_at_once", "old_dialect"],
    more_needs: |feature| if feature == Feature::Small { vec![Need::Tmpfs] } else { Vec::new() },
};

/// Signed: the server has no encryption to offer, and takes whoever it does not know for a guest.
pub const SIGNED: Protocol = Protocol {
    name: "smb-signed",
    features: &[Feature::Any, Feature::Many, Feature::Move, Feature::Resume],
    start: || {
        let setup = |builder: Builder| builder.without_encryption().more("map to guest = Bad User\n");
        Box::new(Smb::start(SmbEncryption::IfOffered, setup))
    },
    refusals: &["missing_encryption", "being_a_guest", "wrong_password"],
    ..ENCRYPTED
};

/// Encrypted, with a disk that is slow and few requests on their way.
pub const SLOW: Protocol = Protocol {
    name: "smb-slow",
    needs: &[Need::Samba, Need::Program("cc", "gcc")],
    features: &[Feature::Any, Feature::Many, Feature::Resume],
    start: || Box::new(Smb::start(SmbEncryption::Required, Builder::slow_disk)),
    refusals: &[],
    ..ENCRYPTED
};

const WRONG: &str = "a-wrong-secret";

struct Smb {
    encryption: SmbEncryption,
    setup: fn(Builder) -> Builder,
    samba: OnceLock<Samba>,
}

impl Smb {
    fn start(encryption: SmbEncryption, setup: fn(Builder) -> Builder) -> Self {
        Smb { encryption, setup, samba: OnceLock::new() }
    }

    /// Started by the first question, which tells what is wanted.
    fn samba(&self, small: bool, more: &str) -> &Samba {
        self.samba.get_or_init(|| {
            let builder = (self.setup)(Samba::builder().more(more));
            if small { builder.small_disk(1 << 20).start() } else { builder.start() }
        })
    }

    fn keys(&self, place: Place) -> SmbSettings {
        let samba = self.samba(place == Place::Small, "");
        SmbSettings {
            host: "127.0.0.1".to_owned(),
            port: samba.port(),
            share: SHARE.to_owned(),
            path: place_of(place).split('/').map(str::to_owned).collect(),
            username: accounts::SHELL.to_owned(),
            password: Secret::new(samba.password()),
            domain: None,
            encryption: self.encryption,
        }
    }
}

fn place_of(place: Place) -> String {
    match place {
        Place::Data => "data".to_owned(),
        Place::Below(more) => format!("data/{more}"),
        Place::ReadOnly => "read-only".to_owned(),
        Place::BelowReadOnly(more) => format!("read-only/{more}"),
        Place::Small => "small".to_owned(),
    }
}

impl Server for Smb {
    fn protocol(&self, place: Place) -> ProtocolSettings {
        ProtocolSettings::Smb(self.keys(place))
    }

    fn disk(&self, place: Place) -> Box<dyn Disk> {
        let path = self.samba(place == Place::Small, "").path(&place_of(place));
        Box::new(Directory { path, owner: Some(accounts::SHELL.to_owned()) })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            move_refuses_to_clobber: true,
            move_in_one_step: true,
            checksum_by_server: false,
            resume: true,
            free_space: true,
            server_clock: true,
            atomic_put: false,
        }
    }

    fn can_store(&self, name: &str) -> bool {
        SmbSettings::unusable_name(name).is_none()
    }

    fn shows_oddities(&self) -> bool {
        false
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.samba(false, "").password().to_owned(), WRONG.to_owned()]
    }

    fn refusal(&self, what: &str) -> Refusal {
        if what == "old_dialect" {
            self.samba(false, "server min protocol = SMB2\nserver max protocol = SMB2\nserver smb encrypt = off\n");
        }
        if what == "nothing_at_once" {
            self.samba(false, "smb2 max read = 0\nsmb2 max write = 0\n");
        }
        let mut keys = self.keys(Place::Data);
        // One that has no encryption is asked for it first, without any credential.
        let mut connections = if self.encryption == SmbEncryption::IfOffered { 2 } else { 1 };
        let (kind, words, hint): (_, &'static [&'static str], _) = match what {
            "wrong_password" => {
                keys.password = Secret::new(WRONG);
                (
                    ErrorKind::Auth,
                    &["logging in as `archtest` failed", "0xC000006D"],
                    "`username`, `password` and `domain`",
                )
            }
            "wrong_user" => {
                keys.username = "nobody-of-that-name".to_owned();
                (ErrorKind::Auth, &["`nobody-of-that-name`", "0xC000006D"], "`username`, `password` and `domain`")
            }
            "being_a_guest" => {
                keys.username = "nobody-of-that-name".to_owned();
                (ErrorKind::Auth, &["`nobody-of-that-name`", "does not know this user", "guest"], "`username`")
            }
            "wrong_share" => {
                keys.share = "none".to_owned();
                (ErrorKind::Other, &["the share `none`", "no such share"], "check `share`")
            }
            "closed_share" => {
                keys.share = CLOSED_SHARE.to_owned();
                (ErrorKind::PermissionDenied, &["the share `closed`", "access denied"], "rights on the share `closed`")
            }
            "old_dialect" => (ErrorKind::Other, &["cannot agree on how to speak SMB"], "SMB 3.0 or later"),
            "nothing_at_once" => (ErrorKind::Other, &["less than 65536 bytes"], "`smb2 max read`"),
            "missing_encryption" => {
                keys.encryption = SmbEncryption::Required;
                connections = 1;
                (ErrorKind::Other, &["does not offer encryption"], "`encryption = \"if_offered\"`")
            }
            _ => unreachable!("no such refusal: `{what}`"),
        };
        let settings = DestinationSettings { protocol: ProtocolSettings::Smb(keys), ..self.settings(Place::Data) };
        Refusal { settings, kind, connections, words, hint }
    }

    fn port(&self) -> u16 {
        self.samba(false, "").port()
    }

    fn redirected(&self, settings: &DestinationSettings, port: u16) -> DestinationSettings {
        let mut settings = settings.clone();
        if let ProtocolSettings::Smb(keys) = &mut settings.protocol {
            keys.port = port;
        }
        settings
    }

    fn freeze(&self) {
        self.samba(false, "").freeze(true);
    }
}
