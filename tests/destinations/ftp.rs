//! FTP in its three forms by vsftpd, which demands that data connections resume the TLS session, has no MLSD and prefers EPSV;
//! by pyftpdlib, which takes TLS 1.3 only, has MLSD and nothing but PASV, with an address that nobody can reach; by ProFTPD, which
//! refuses to overwrite and to go on with a part unless it is told otherwise; and by pure-ftpd.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, OnceLock};

use archive::config::secret::Secret;
use archive::config::settings::{DestinationSettings, FtpSecurity, FtpSettings, Protocol as ProtocolSettings};
use archive::destination::{Capabilities, ErrorKind};

use crate::server::{Directory, Disk, Feature, Place, Protocol, Refusal, Server};
use crate::support::ftpd::{Ftpd, Mode, Program, VSFTPD};
use crate::support::harness::Need;
use crate::support::proxy::Proxy;
use crate::support::pyftpd::{self, PyFtpd};
use crate::support::tls::Authority;

/// TLS after `AUTH TLS`.
pub const EXPLICIT: Protocol = protocol(
    "ftps",
    || Box::new(Ftp::start(VSFTPD, Mode::Explicit)),
    &[
        "wrong_password",
        "wrong_user",
        "unknown_authority",
        "expired_certificate",
        "wrong_host_name",
        "plain_to_a_server_that_demands_tls",
    ],
);

/// TLS from the first byte.
pub const IMPLICIT: Protocol = protocol(
    "ftps-implicit",
    || Box::new(Ftp::start(VSFTPD, Mode::Implicit)),
    &["wrong_password", "wrong_user", "unknown_authority", "expired_certificate", "wrong_host_name"],
);

/// No TLS.
pub const PLAIN: Protocol = protocol(
    "ftp",
    || Box::new(Ftp::start(VSFTPD, Mode::Plain)),
    &["wrong_password", "wrong_user", "tls_where_there_is_none", "implicit_tls_where_there_is_none"],
);

/// TLS 1.3, MLSD, PASV.
pub const MLSD: Protocol = Protocol {
    name: "ftps-mlsd",
    needs: &[Need::PyFtpd],
    features: &[Feature::Any, Feature::Many, Feature::Move, Feature::Resume],
    start: || Box::new(Mlsd(PyFtpd::start())),
    refusals: &[],
    more_needs: |_| Vec::new(),
};

/// ProFTPD as it comes: TLS sessions are resumed, nothing is overwritten, and a part is not gone on with.
pub const PROFTPD: Protocol =
    variant("ftps-proftpd", "proftpd", || Box::new(Ftp::start(Program::ProFtpd(""), Mode::Explicit)));

/// ProFTPD with everything allowed.
pub const PROFTPD_IMPLICIT: Protocol = variant("ftps-implicit-proftpd", "proftpd", || {
    let lines = "TLSOptions UseImplicitSSL NoSessionReuseRequired\nAllowStoreRestart on\nAllowOverwrite on\n";
    Box::new(Ftp::start(Program::ProFtpd(lines), Mode::Implicit))
});

/// ProFTPD that shows a file when it is whole, and refuses every command that a server may lack.
pub const PROFTPD_HIDDEN: Protocol = Protocol {
    features: &[Feature::Any, Feature::Many, Feature::Directory, Feature::ReadOnly, Feature::Move],
    ..variant("ftps-proftpd-hidden", "proftpd", || {
        let lines = "TLSOptions NoSessionReuseRequired\nAllowStoreRestart on\nAllowOverwrite on\nHiddenStores on\n\
                 <Limit EPSV FEAT MDTM MLSD MLST OPTS SIZE>\nDenyAll\n</Limit>\n";
        Box::new(Ftp::start(Program::ProFtpd(lines), Mode::Explicit))
    })
};

/// pure-ftpd.
pub const PUREFTPD: Protocol =
    variant("ftps-pureftpd", "pure-ftpd", || Box::new(Ftp::start(Program::PureFtpd(20_000), Mode::Explicit)));

/// Another server: what the protocol has to do with a broken line was asked of vsftpd.
const fn variant(name: &'static str, program: &'static str, start: fn() -> Box<dyn Server>) -> Protocol {
    let needs: &'static [Need] = match program.as_bytes() {
        b"proftpd" => &[Need::Unpacked("proftpd")],
        _ => &[Need::Unpacked("pure-ftpd")],
    };
    let features: &[Feature] = &[
        Feature::Any,
        Feature::Many,
        Feature::Directory,
        Feature::ReadOnly,
        Feature::Small,
        Feature::Move,
        Feature::Resume,
    ];
    let more_needs = |feature| if feature == Feature::Small { vec![Need::Tmpfs] } else { Vec::new() };
    Protocol { name, needs, features, start, refusals: &["wrong_password"], more_needs }
}

const WRONG: &str = "a-wrong-secret";

const fn protocol(name: &'static str, start: fn() -> Box<dyn Server>, refusals: &'static [&'static str]) -> Protocol {
    Protocol {
        name,
        needs: &[Need::Vsftpd],
        features: &[
            Feature::Any,
            Feature::Many,
            Feature::Directory,
            Feature::ReadOnly,
            Feature::Small,
            Feature::Network,
            Feature::Move,
            Feature::NetworkMove,
            Feature::Resume,
        ],
        start,
        refusals,
        more_needs: |feature| if feature == Feature::Small { vec![Need::Tmpfs] } else { Vec::new() },
    }
}

struct Ftp {
    program: Program,
    mode: Mode,
    server: OnceLock<Ftpd>,
    /// The address of each proxy, by its port.
    proxies: Mutex<BTreeMap<u16, String>>,
}

impl Ftp {
    fn start(program: Program, mode: Mode) -> Self {
        Ftp { program, mode, server: OnceLock::new(), proxies: Mutex::default() }
    }

    /// Refuses every command that a server may lack.
    fn is_limited(&self) -> bool {
        matches!(self.program, Program::ProFtpd(lines) if lines.contains("<Limit"))
    }

    /// Started by the first question, which tells whether a small disk is wanted.
    fn server(&self, small: bool) -> &Ftpd {
        self.server.get_or_init(|| Ftpd::start(self.program, self.mode, small.then_some(1 << 20)))
    }

    /// The directory's name, and what lies below.
    fn place(&self, place: Place) -> String {
        match place {
            Place::Data => "data".to_owned(),
            Place::Below(more) => format!("data/{more}"),
            Place::ReadOnly => "read-only".to_owned(),
            Place::BelowReadOnly(more) => format!("read-only/{more}"),
            Place::Small => "small".to_owned(),
        }
    }

    fn keys(&self, place: Place) -> FtpSettings {
        let server = self.server(place == Place::Small);
        FtpSettings {
            security: match self.mode {
                Mode::Explicit => FtpSecurity::Explicit,
                Mode::Implicit => FtpSecurity::Implicit,
                Mode::Plain => FtpSecurity::None,
            },
            host: "127.0.0.1".to_owned(),
            port: server.port(),
            username: server.username().to_owned(),
            password: Secret::new(server.password()),
            path: format!("/{}", self.place(place)),
            ca_file: (self.mode != Mode::Plain).then(|| server.ca_file()),
        }
    }
}

impl Server for Ftp {
    fn protocol(&self, place: Place) -> ProtocolSettings {
        ProtocolSettings::Ftp(self.keys(place))
    }

    fn disk(&self, place: Place) -> Box<dyn Disk> {
        let server = self.server(place == Place::Small);
        Box::new(Directory { path: server.local(&self.place(place)), owner: Some(server.username().to_owned()) })
    }

    fn capabilities(&self) -> Capabilities {
        // Where `FEAT` is refused, nothing tells that it can.
        Capabilities { move_in_one_step: true, resume: !self.is_limited(), ..Capabilities::NONE }
    }

    fn shows_oddities(&self) -> bool {
        // The MLSD of ProFTPD leaves out links to nowhere.
        !matches!(self.program, Program::ProFtpd(_)) || self.is_limited()
    }

    fn keeps_blanks(&self) -> bool {
        !matches!(self.program, Program::PureFtpd(_))
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.server(false).password().to_owned(), WRONG.to_owned()]
    }

    fn refusal(&self, what: &str) -> Refusal {
        // Before the server of the case is there: it is to show another certificate.
        match what {
            "expired_certificate" => {
                let _ =
                    self.server.set(Ftpd::start_with(self.program, self.mode, None, |ca, names| ca.leaf(names, 2001)));
            }
            "wrong_host_name" => {
                let _ = self.server.set(Ftpd::start_with(self.program, self.mode, None, |ca, _| ca.wrong_name()));
            }
            _ => {}
        }
        let mut keys = self.keys(Place::Data);
        let (kind, words, hint): (_, &'static [&'static str], _) = match what {
            "wrong_password" => {
                keys.password = Secret::new(WRONG);
                (ErrorKind::Auth, &["authentication as `archtest`", "530"], "check `username` and `password`")
            }
            "wrong_user" => {
                keys.username = "nobody-of-that-name".to_owned();
                (ErrorKind::Auth, &["`nobody-of-that-name`", "530"], "check `username` and `password`")
            }
            "unknown_authority" => {
                let other = keys.ca_file.take().expect("TLS").with_file_name("other-ca.pem");
                std::fs::write(&other, Authority::new("another CA").pem()).expect("own directory");
                keys.ca_file = Some(other);
                (ErrorKind::Untrusted, &["the certificate of `127.", "does not trust"], "`ca_file`")
            }
            "expired_certificate" => (ErrorKind::Untrusted, &["the certificate of `127.", "expired"], "renewed"),
            "wrong_host_name" => {
                (ErrorKind::Untrusted, &["the certificate of `127.", "not valid for", "elsewhere.example"], "`host`")
            }
            "plain_to_a_server_that_demands_tls" => {
                keys.security = FtpSecurity::None;
                (ErrorKind::Auth, &["530", "encryption"], "type = \"ftps\"")
            }
            "tls_where_there_is_none" => {
                keys.security = FtpSecurity::Explicit;
                (ErrorKind::Other, &["does not offer TLS", "530"], "implicit")
            }
            "implicit_tls_where_there_is_none" => {
                keys.security = FtpSecurity::Implicit;
                (ErrorKind::Other, &["something that is not TLS"], "leave out `implicit`")
            }
            _ => unreachable!("no such refusal: `{what}`"),
        };
        let settings = DestinationSettings { protocol: ProtocolSettings::Ftp(keys), ..self.settings(Place::Data) };
        Refusal { settings, kind, connections: 1, words, hint }
    }

    fn port(&self) -> u16 {
        self.server(false).port()
    }

    fn proxy(&self) -> Proxy {
        let mut proxies = self.proxies.lock().expect("no test panics while it holds this");
        loop {
            let proxy = self.server(false).proxy();
            // Two addresses may have been given the same port.
            if let Entry::Vacant(entry) = proxies.entry(proxy.port()) {
                entry.insert(proxy.host().to_string());
                return proxy;
            }
        }
    }

    fn redirected(&self, settings: &DestinationSettings, port: u16) -> DestinationSettings {
        let mut settings = settings.clone();
        if let ProtocolSettings::Ftp(keys) = &mut settings.protocol {
            keys.port = port;
            if let Some(host) = self.proxies.lock().expect("no test panics while it holds this").get(&port) {
                keys.host.clone_from(host);
            }
        }
        settings
    }

    fn freeze(&self) {
        self.server(false).freeze();
    }
}

struct Mlsd(PyFtpd);

impl Server for Mlsd {
    fn protocol(&self, place: Place) -> ProtocolSettings {
        assert_eq!(place, Place::Data, "the only one that it has");
        ProtocolSettings::Ftp(FtpSettings {
            security: FtpSecurity::Explicit,
            host: "localhost".to_owned(),
            port: self.0.port(),
            username: pyftpd::USERNAME.to_owned(),
            password: Secret::new(pyftpd::PASSWORD),
            path: "data".to_owned(),
            ca_file: Some(self.0.ca_file()),
        })
    }

    fn disk(&self, _place: Place) -> Box<dyn Disk> {
        Box::new(Directory { path: self.0.data(), owner: None })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { move_in_one_step: true, resume: true, ..Capabilities::NONE }
    }

    fn secrets(&self) -> Vec<String> {
        vec![pyftpd::PASSWORD.to_owned()]
    }
}
