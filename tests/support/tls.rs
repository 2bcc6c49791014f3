//! Certificates of our own: a small authority and server certificates that are good, expired, or for another name.
//!
//! The authority's common name differs from every leaf's: with equal names a client would call a leaf self-signed.
//! Depends on nothing else of the tests, so that the demo can use it too.
//!
//! ```ignore
//! let ca = Authority::new("archive test CA");
//! let server = HttpsServer::start(Some(ca.good().server_config()));
//! std::fs::write(dir.join("ca.pem"), ca.pem())?;       // `ca_file` of the configuration
//! let files = ca.good().write_to(&dir);                // `cert.pem` and `key.pem`, for servers that read files
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// An authority that signs certificates. Each one is another: a second makes the "wrong authority".
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

/// A certificate for a server, with its key.
#[derive(Clone)]
pub struct Leaf {
    chain: Vec<CertificateDer<'static>>,
    key_der: Vec<u8>,
    chain_pem: String,
    key_pem: String,
}

/// Where [`Leaf::write_to`] has put a certificate.
pub struct LeafFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// An authority valid from 2000 to 2100, so that tests may set the date as they like.
    pub fn new(common_name: &str) -> Self {
        let key = KeyPair::generate().expect("a fresh P-256 key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
        let certificate = params.self_signed(&key).expect("the parameters are complete");
        Self { der: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// The authority's certificate as PEM: what goes into a `ca_file`.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The authority's certificate as DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// Valid for `localhost`, `127.0.0.1` and `::1`.
    pub fn good(&self) -> Leaf {
        self.leaf(&["localhost", "127.0.0.1", "::1"], 2100)
    }

    /// Right name, but no longer valid since 2001.
    pub fn expired(&self) -> Leaf {
        self.leaf(&["localhost", "127.0.0.1", "::1"], 2001)
    }

    /// Valid, but for `elsewhere.example`.
    pub fn wrong_name(&self) -> Leaf {
        self.leaf(&["elsewhere.example"], 2100)
    }

    /// A certificate for these names (or addresses), valid from 2000 to the first day of `until_year`.
    pub fn leaf(&self, names: &[&str], until_year: i32) -> Leaf {
        let key = KeyPair::generate().expect("a fresh P-256 key");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names are valid");
        params.distinguished_name.push(DnType::CommonName, "archive test server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until_year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("the parameters are complete");
        Leaf {
            // The authority itself is not sent, as servers rightly do: clients have it or do not trust it.
            chain: vec![certificate.der().clone()],
            chain_pem: certificate.pem(),
            key_der: key.serialize_der(),
            key_pem: key.serialize_pem(),
        }
    }
}

impl Leaf {
    /// Valid for `localhost` and signed by itself, as an authority (what `openssl req -x509` makes unless told otherwise) or not.
    pub fn self_signed(is_ca: bool) -> Self {
        let key = KeyPair::generate().expect("a fresh P-256 key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("names are valid");
        params.distinguished_name.push(DnType::CommonName, "a server on its own");
        params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
        let certificate = params.self_signed(&key).expect("the parameters are complete");
        Leaf {
            chain: vec![certificate.der().clone()],
            chain_pem: certificate.pem(),
            key_der: key.serialize_der(),
            key_pem: key.serialize_pem(),
        }
    }

    /// A rustls configuration that shows this certificate and asks for none.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_der.clone()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the default versions")
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), key)
            .expect("key and certificate belong together");
        Arc::new(config)
    }

    /// The certificate as PEM, without its authority.
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The private key as PEM (PKCS #8).
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Writes `cert.pem` and `key.pem` into `directory`.
    pub fn write_to(&self, directory: &Path) -> LeafFiles {
        let files = LeafFiles { certificate: directory.join("cert.pem"), key: directory.join("key.pem") };
        fs::write(&files.certificate, &self.chain_pem).expect("a temp directory is writable");
        fs::write(&files.key, &self.key_pem).expect("a temp directory is writable");
        files
    }
}
