//! `s3s`, over plain HTTP and over TLS with an authority of its own.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use archive::config::secret::Secret;
use archive::config::settings::{DestinationSettings, Protocol as ProtocolSettings, S3Credentials, S3Settings};
use archive::destination::{Capabilities, ErrorKind};
use tempfile::TempDir;

use crate::server::{Directory, Disk, Feature, Place, Protocol, Refusal, Server};
use crate::support::s3::{BUCKET, OWNER, Quirks, S3Server, STRANGER, endpoint};
use crate::support::tls::Authority;

/// Over plain HTTP.
pub const PLAIN: Protocol = Protocol {
    name: "s3",
    needs: &[],
    features: &[
        Feature::Any,
        Feature::Many,
        Feature::Directory,
        Feature::Network,
        Feature::NetworkPutNew,
        Feature::Parts,
        Feature::PutNew,
        Feature::ReadOnly,
        Feature::Small,
    ],
    start: || Box::new(S3::start(None)),
    refusals: &["wrong_access_key_id", "wrong_secret", "wrong_bucket", "no_rights", "wrong_endpoint"],
    more_needs: |_| Vec::new(),
};

/// Over TLS.
pub const TLS: Protocol = Protocol {
    name: "s3-tls",
    features: &[Feature::NetworkPutNew, Feature::PutNew],
    start: || Box::new(S3::start(Some(Certificate::Good))),
    refusals: &["unknown_authority", "expired_certificate", "certificate_for_another_name"],
    ..PLAIN
};

/// Ignores the condition that a name must be free.
pub const UNCONDITIONAL: Protocol = Protocol {
    name: "s3-unconditional",
    features: &[Feature::Parts, Feature::PutNew],
    start: || Box::new(S3 { quirks: Quirks { ignores_conditions: true, ..Quirks::default() }, ..S3::start(None) }),
    refusals: &[],
    ..PLAIN
};

const WRONG: &str = "a-wrong-secret";

#[derive(Clone, Copy)]
enum Certificate {
    Good,
    Expired,
    WrongName,
}

struct S3 {
    tls: Option<Certificate>,
    server: OnceLock<S3Server>,
    authority: Authority,
    files: TempDir,
    quirks: Quirks,
}

impl S3 {
    fn start(tls: Option<Certificate>) -> Self {
        let files = tempfile::tempdir().expect("a temp directory");
        let authority = Authority::new("archive test CA of S3");
        S3 { tls, server: OnceLock::new(), authority, files, quirks: Quirks::default() }
    }

    fn server(&self) -> &S3Server {
        self.server_with(self.tls)
    }

    /// Started by the first question, which tells which certificate is wanted.
    fn server_with(&self, certificate: Option<Certificate>) -> &S3Server {
        self.server.get_or_init(|| {
            let leaf = certificate.map(|certificate| match certificate {
                Certificate::Good => self.authority.good(),
                Certificate::Expired => self.authority.expired(),
                Certificate::WrongName => self.authority.wrong_name(),
            });
            S3Server::start_with(leaf.map(|leaf| leaf.server_config()), self.quirks.clone())
        })
    }

    fn authority_file(&self, name: &str, authority: &Authority) -> PathBuf {
        let file = self.files.path().join(name);
        fs::write(&file, authority.pem()).expect("own directory");
        file
    }

    fn keys(&self, place: Place) -> S3Settings {
        S3Settings {
            bucket: BUCKET.to_owned(),
            prefix: prefix(place),
            endpoint: self.server().endpoint().parse().expect("a URL"),
            region: "us-east-1".to_owned(),
            credentials: credentials(OWNER.0, OWNER.1),
            path_style: true,
            storage_class: None,
            encryption: None,
            ca_file: self.tls.map(|_| self.authority_file("ca.pem", &self.authority)),
        }
    }
}

fn credentials(id: &str, secret: &str) -> S3Credentials {
    S3Credentials { access_key_id: id.to_owned(), secret_access_key: Secret::new(secret), session_token: None }
}

fn prefix(place: Place) -> String {
    match place {
        Place::Data => "data".to_owned(),
        Place::Below(more) => format!("data/{more}"),
        Place::ReadOnly => "read-only".to_owned(),
        Place::BelowReadOnly(more) => format!("read-only/{more}"),
        Place::Small => "small".to_owned(),
    }
}

/// The files behind the objects. What is no object's prefix is not there at all.
struct Objects(Directory);

impl Disk for Objects {
    fn write(&self, name: &str, content: &[u8]) {
        fs::create_dir_all(&self.0.path).expect("own directory");
        self.0.write(name, content);
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.0.read(name)
    }

    fn make_directory(&self, name: &str) {
        fs::create_dir_all(self.0.path.join(name)).expect("own directory");
        self.0.write(&format!("{name}/object"), b"x");
    }

    fn names(&self) -> Vec<String> {
        if self.0.path.is_dir() { self.0.names() } else { Vec::new() }
    }

    fn path(&self) -> PathBuf {
        fs::create_dir_all(&self.0.path).expect("own directory");
        self.0.path.clone()
    }
}

impl Server for S3 {
    fn has_directories(&self) -> bool {
        false
    }

    fn protocol(&self, place: Place) -> ProtocolSettings {
        ProtocolSettings::S3(self.keys(place))
    }

    fn disk(&self, place: Place) -> Box<dyn Disk> {
        Box::new(Objects(Directory { path: self.server().path(&prefix(place)), owner: None }))
    }

    fn capabilities(&self) -> Capabilities {
        let move_refuses_to_clobber = !self.quirks.ignores_conditions;
        Capabilities { move_refuses_to_clobber, server_clock: true, atomic_put: true, ..Capabilities::NONE }
    }

    fn secrets(&self) -> Vec<String> {
        // The signature of any request, too.
        [OWNER.1, STRANGER.1, WRONG, "X-Amz-Signature"].map(str::to_owned).into()
    }

    fn unfinished(&self) -> usize {
        self.server().unfinished_parts()
    }

    fn refuse_parts(&self, count: usize) {
        self.quirks.busy_parts.store(count, Ordering::SeqCst);
    }

    fn leave_unfinished(&self, name: &str) {
        self.server().leave_unfinished(&format!("{}/{name}", prefix(Place::Data)));
    }

    fn refusal(&self, what: &str) -> Refusal {
        let certificate = match what {
            "expired_certificate" => Some(Certificate::Expired),
            "certificate_for_another_name" => Some(Certificate::WrongName),
            _ => self.tls,
        };
        self.server_with(certificate);
        let mut keys = self.keys(Place::Data);
        let (kind, words, hint): (_, &'static [&'static str], _) = match what {
            "wrong_access_key_id" => {
                keys.credentials = credentials("AKIDNOBODY", WRONG);
                (ErrorKind::Auth, &["403"], "check `access_key_id`")
            }
            "wrong_secret" => {
                keys.credentials = credentials(OWNER.0, WRONG);
                (ErrorKind::Auth, &["SignatureDoesNotMatch"], "check `secret_access_key`")
            }
            "wrong_bucket" => {
                keys.bucket = "elsewhere".to_owned();
                (ErrorKind::NotFound, &["elsewhere", "NoSuchBucket"], "check `bucket`")
            }
            "no_rights" => {
                keys.credentials = credentials(STRANGER.0, STRANGER.1);
                (ErrorKind::PermissionDenied, &["AccessDenied"], "s3:ListBucket")
            }
            "wrong_endpoint" => {
                keys.endpoint = format!("{}/there", self.server().endpoint()).parse().expect("a URL");
                // Taken for an object of the bucket `there`.
                (ErrorKind::NotFound, &["NoSuchKey"], "check `endpoint` and `path_style`")
            }
            "unknown_authority" => {
                keys.ca_file = Some(self.authority_file("other.pem", &Authority::new("another test CA")));
                (ErrorKind::Untrusted, &["authority that this machine does not trust"], "`ca_file`")
            }
            "expired_certificate" => (ErrorKind::Untrusted, &["expired"], "must be renewed"),
            "certificate_for_another_name" => {
                (ErrorKind::Untrusted, &["not valid for that name", "elsewhere.example"], "`endpoint`")
            }
            _ => unreachable!("no such refusal: `{what}`"),
        };
        let settings = DestinationSettings { protocol: ProtocolSettings::S3(keys), ..self.settings(Place::Data) };
        Refusal { settings, kind, connections: 1, words, hint }
    }

    fn port(&self) -> u16 {
        self.server().port()
    }

    fn redirected(&self, settings: &DestinationSettings, port: u16) -> DestinationSettings {
        let mut settings = settings.clone();
        if let ProtocolSettings::S3(keys) = &mut settings.protocol {
            let path = keys.endpoint.path().to_owned();
            keys.endpoint = format!("{}{path}", endpoint(self.tls.is_some(), port)).parse().expect("a URL");
        }
        settings
    }

    fn freeze(&self) {
        self.server().freeze();
    }
}
