//! Apache's `mod_dav` twice, by Basic and by Digest, nginx by Basic, and others with the cases that need no disturbance; over TLS.

use std::sync::OnceLock;

use archive::config::secret::Secret;
use archive::config::settings::{
    DestinationSettings, HttpScheme, Protocol as ProtocolSettings, WebdavLogin, WebdavSettings,
};
use archive::destination::{Capabilities, ErrorKind};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::server::{Directory, Disk, Feature, Place, Protocol, Refusal, Server};
use crate::support::harness::Need;
use crate::support::webdav::{self, Certificate, Login, PASSWORD, Software, USER};

/// The password goes with every request.
pub const BASIC: Protocol = Protocol {
    name: "webdav-basic",
    needs: &[Need::Apache],
    features: &[
        Feature::Any,
        Feature::Many,
        Feature::Directory,
        Feature::Move,
        Feature::Network,
        Feature::NetworkMove,
        Feature::ReadOnly,
        Feature::Small,
    ],
    start: || Box::new(Webdav::start(Software::Apache, Login::Basic)),
    refusals: &[
        "wrong_password",
        "wrong_user",
        "wrong_scheme",
        "wrong_authority",
        "wrong_host_name",
        "expired_certificate",
        "no_webdav",
        "redirect",
        "forbidden",
    ],
    more_needs: |feature| if feature == Feature::Small { vec![Need::Tmpfs] } else { Vec::new() },
};

/// The password never leaves this machine.
pub const DIGEST: Protocol = Protocol {
    name: "webdav-digest",
    start: || Box::new(Webdav::start(Software::Apache, Login::Digest)),
    refusals: &["wrong_password", "wrong_user", "wrong_scheme", "token"],
    ..BASIC
};

/// Says `500` where the disk is full: no [`Feature::Small`].
pub const NGINX: Protocol = Protocol {
    name: "webdav-nginx",
    needs: &[Need::Nginx],
    features: &[
        Feature::Any,
        Feature::Many,
        Feature::Directory,
        Feature::Move,
        Feature::Network,
        Feature::NetworkMove,
        Feature::ReadOnly,
    ],
    start: || Box::new(Webdav::start(Software::Nginx, Login::Basic)),
    refusals: &["wrong_password", "wrong_user", "wrong_authority", "no_webdav", "redirect", "forbidden"],
    more_needs: |_| Vec::new(),
};

/// Takes addresses that begin with `https` for another server's.
pub const NGINX_BEHIND_TLS: Protocol = Protocol {
    name: "webdav-nginx-behind-tls",
    features: &[Feature::Move],
    start: || Box::new(Webdav::start(Software::NginxBehindTls, Login::Basic)),
    refusals: &["wrong_password"],
    ..NGINX
};

/// `mod_webdav`
pub const LIGHTTPD: Protocol = Protocol {
    name: "webdav-lighttpd",
    needs: &[Need::program("lighttpd")],
    features: &[Feature::Any, Feature::Many, Feature::Move],
    start: || Box::new(Webdav::start(Software::Lighttpd, Login::Basic)),
    refusals: &["wrong_password"],
    more_needs: |_| Vec::new(),
};

/// Starts slowly: few cases.
pub const WSGIDAV: Protocol = Protocol {
    name: "webdav-wsgidav",
    needs: &[Need::Python("wsgidav"), Need::Python("cheroot")],
    features: &[Feature::Move],
    start: || Box::new(Webdav::start(Software::Wsgidav, Login::Digest)),
    refusals: &["wrong_password"],
    more_needs: |_| Vec::new(),
};

/// `rclone serve webdav`
pub const RCLONE: Protocol = Protocol {
    name: "webdav-rclone",
    needs: &[Need::program("rclone")],
    features: &[Feature::Move],
    start: || Box::new(Webdav::start(Software::Rclone, Login::Basic)),
    refusals: &["wrong_password"],
    more_needs: |_| Vec::new(),
};

const WRONG: &str = "a-wrong-secret";

struct Webdav {
    software: Software,
    login: Login,
    server: OnceLock<webdav::Webdav>,
}

impl Webdav {
    fn start(software: Software, login: Login) -> Self {
        Webdav { software, login, server: OnceLock::new() }
    }

    /// Over plain HTTP, Basic must be asked for.
    fn scheme(&self) -> HttpScheme {
        if self.software == Software::Lighttpd { HttpScheme::Basic } else { HttpScheme::Auto }
    }

    fn server(&self) -> &webdav::Webdav {
        self.server_with(Certificate::Good, false)
    }

    /// Started by the first question, which tells what is wanted.
    fn server_with(&self, certificate: Certificate, small: bool) -> &webdav::Webdav {
        self.server.get_or_init(|| {
            let builder = webdav::Webdav::builder(self.software).certificate(certificate);
            if small { builder.small_disk(1 << 20).start() } else { builder.start() }
        })
    }

    fn keys(&self, place: Place) -> WebdavSettings {
        let server = self.server_with(Certificate::Good, place == Place::Small);
        let (directory, below) = directory_of(place);
        let mut url = server.url(self.login, directory);
        for segment in below.split('/').filter(|segment| !segment.is_empty()) {
            url = format!("{url}{}/", utf8_percent_encode(segment, NON_ALPHANUMERIC));
        }
        WebdavSettings {
            url: Url::parse(&url).expect("our own"),
            login: password(USER, PASSWORD, self.scheme()),
            ca_file: Some(server.ca_file()),
        }
    }
}

fn directory_of(place: Place) -> (&'static str, &'static str) {
    match place {
        Place::Data => ("data", ""),
        Place::Below(below) => ("data", below),
        Place::ReadOnly => ("read-only", ""),
        Place::BelowReadOnly(below) => ("read-only", below),
        Place::Small => ("small", ""),
    }
}

fn password(username: &str, password: &str, scheme: HttpScheme) -> WebdavLogin {
    WebdavLogin::Password { username: username.to_owned(), password: Secret::new(password), scheme }
}

impl Server for Webdav {
    fn protocol(&self, place: Place) -> ProtocolSettings {
        ProtocolSettings::Webdav(self.keys(place))
    }

    fn disk(&self, place: Place) -> Box<dyn Disk> {
        let server = self.server_with(Certificate::Good, place == Place::Small);
        let (directory, below) = directory_of(place);
        // The directory is the server's own: it may replace and delete what lies in it.
        Box::new(Directory { path: server.path(directory).join(below), owner: None })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            move_refuses_to_clobber: false,
            move_in_one_step: true,
            checksum_by_server: false,
            resume: false,
            free_space: false,
            server_clock: true,
            atomic_put: false,
        }
    }

    fn shows_oddities(&self) -> bool {
        // `mod_dav` leaves out links to nowhere, nginx fails at them.
        false
    }

    fn shows_hidden(&self) -> bool {
        !matches!(self.software, Software::Nginx | Software::NginxBehindTls)
    }

    fn secrets(&self) -> Vec<String> {
        use base64::Engine as _;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
        vec![PASSWORD.to_owned(), WRONG.to_owned(), pair]
    }

    fn refusal(&self, what: &str) -> Refusal {
        let certificate = if what == "expired_certificate" { Certificate::Expired } else { Certificate::Good };
        let server = self.server_with(certificate, false);
        let mut keys = self.keys(Place::Data);
        let (kind, words, hint): (_, &'static [&'static str], _) = match what {
            "wrong_password" => {
                keys.login = password(USER, WRONG, self.scheme());
                (ErrorKind::Auth, &["the login of `archive` was refused"], "check `username` and `password`")
            }
            "wrong_user" => {
                keys.login = password("nobody-of-that-name", PASSWORD, HttpScheme::Auto);
                (ErrorKind::Auth, &["the login of `nobody-of-that-name` was refused"], "check `username` and")
            }
            "wrong_scheme" => {
                let (other, words): (_, &'static [&'static str]) = match self.login {
                    Login::Basic => (HttpScheme::Digest, &["accepts `Basic`, not what `auth` says"]),
                    Login::Digest => (HttpScheme::Basic, &["accepts `Digest`, not what `auth` says"]),
                };
                keys.login = password(USER, PASSWORD, other);
                (ErrorKind::Auth, words, "set `auth`")
            }
            "token" => {
                keys.login = WebdavLogin::Bearer(Secret::new(WRONG));
                (ErrorKind::Auth, &["accepts `Digest`, not a token"], "instead of `bearer_token`")
            }
            "wrong_authority" => {
                keys.ca_file = Some(server.other_ca_file());
                (ErrorKind::Untrusted, &["from an authority that this machine does not trust"], "`ca_file`")
            }
            "wrong_host_name" => {
                keys.url.set_host(Some("localhost")).expect("a host");
                (ErrorKind::Untrusted, &["the certificate of `localhost:", "is not valid for that name"], "`url`")
            }
            "expired_certificate" => {
                (ErrorKind::Untrusted, &["the certificate of `127.0.0.1:", "expired on 2001-01-01"], "must be renewed")
            }
            "no_webdav" => {
                keys.url = Url::parse(&server.plain_url()).expect("our own");
                (
                    ErrorKind::Other,
                    &["failed to open the directory", "answered `405 Method Not Allowed`"],
                    "check `url`",
                )
            }
            "redirect" => {
                keys.url = Url::parse(&server.url(self.login, "moved")).expect("our own");
                (ErrorKind::Other, &["it redirects to `https://127.0.0.1:"], "`url` should be `https://127.0.0.1:")
            }
            "forbidden" => {
                keys.url = Url::parse(&server.url(self.login, "forbidden")).expect("our own");
                (ErrorKind::PermissionDenied, &["answered `403 Forbidden`"], "give this account the right")
            }
            _ => unreachable!("no such refusal: `{what}`"),
        };
        let settings = DestinationSettings { protocol: ProtocolSettings::Webdav(keys), ..self.settings(Place::Data) };
        Refusal { settings, kind, connections: 1, words, hint }
    }

    fn port(&self) -> u16 {
        self.server().port()
    }

    fn redirected(&self, settings: &DestinationSettings, port: u16) -> DestinationSettings {
        let mut settings = settings.clone();
        if let ProtocolSettings::Webdav(keys) = &mut settings.protocol {
            keys.url.set_port(Some(port)).expect("a port");
        }
        settings
    }

    fn freeze(&self) {
        self.server().freeze(true);
    }
}
