//! Builds the HTTP clients: whom to trust, who we are, through which proxy.
//!
//! There are two: the source's own, which holds the client certificate, and one for any other origin that a redirect leads
//! to, which must not.

use std::fs;

use anyhow::{Context as _, anyhow};
use reqwest::{Client, Identity, Proxy};
use url::Url;

use crate::config::settings::{ClientCert, SourceSettings};
use crate::error::{Explain as _, explained};
use crate::http::{authorities, authority, client_builder, root_cause};
use crate::text::Text;

/// The clients of one source.
pub(super) struct Clients {
    /// For the source's own origin.
    pub own: Client,
    /// For everybody else.
    pub foreign: Client,
    /// `host:port` of the configured proxy, for messages.
    pub proxy: Option<String>,
}

impl Clients {
    pub(super) fn build(settings: &SourceSettings, system_proxy: bool) -> anyhow::Result<Self> {
        if settings.url.scheme() != "https" && !settings.allow_http {
            return Err(explained(
                "`source.url` is not https",
                Text::new(
                    "use https, or set `source.allow_http = true`: everything then goes in clear",
                    "utilisez https, ou renseignez `source.allow_http = true` : tout passe alors en clair",
                ),
            ));
        }
        let own = client(settings, settings.client_cert.as_ref(), system_proxy)?;
        let foreign = match settings.client_cert {
            Some(_) => client(settings, None, system_proxy)?,
            None => own.clone(),
        };
        let proxy = settings.proxy.as_ref().and_then(|proxy| Url::parse(proxy.expose()).ok());
        let proxy = proxy.map(|proxy| authority(&proxy));
        Ok(Clients { own, foreign, proxy })
    }
}

fn client(settings: &SourceSettings, identity: Option<&ClientCert>, system_proxy: bool) -> anyhow::Result<Client> {
    let mut builder = client_builder(settings.connect_timeout);
    if let Some(file) = &settings.ca_file {
        builder = builder.tls_certs_merge(authorities(file, "source.ca_file")?);
    }
    if let Some(files) = identity {
        builder = builder.identity(own_certificate(files)?);
    }
    if let Some(proxy) = &settings.proxy {
        // The error of the URL parser may hold what it could not parse, a password for example: dropped.
        let proxy = Proxy::all(proxy.expose()).map_err(|_| {
            explained(
                "`source.proxy` is not the URL of a proxy",
                Text::new(
                    "write `http://host:port`, `https://host:port` or `socks5://host:port`",
                    "écrivez `http://hôte:port`, `https://hôte:port` ou `socks5://hôte:port`",
                ),
            )
        })?;
        builder = builder.proxy(proxy);
    } else if !system_proxy {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| anyhow!(root_cause(&error.without_url()))).explain(
        "failed to prepare TLS for `source.url`",
        Text::new(
            "install the system's authorities (package `ca-certificates`), or set `source.ca_file`; if a client \
             certificate is configured, check that its key belongs to it",
            "installez les autorités du système (paquet `ca-certificates`) ou renseignez `source.ca_file` ; si un \
             certificat client est configuré, vérifiez que la clé lui correspond",
        ),
    )
}

fn own_certificate(files: &ClientCert) -> anyhow::Result<Identity> {
    let mut pem = fs::read(&files.cert_file)
        .with_context(|| format!("failed to read `source.client_cert_file`, `{}`", files.cert_file.display()))?;
    pem.push(b'\n');
    pem.extend(
        fs::read(&files.key_file)
            .with_context(|| format!("failed to read `source.client_key_file`, `{}`", files.key_file.display()))?,
    );
    Identity::from_pem(&pem).map_err(|error| anyhow!(root_cause(&error))).explain(
        format!("failed to use the client certificate `{}`", files.cert_file.display()),
        Text::new(
            "both files must be PEM, and the key without a passphrase (`openssl pkey -in key.pem -out plain.pem`)",
            "les deux fichiers doivent être au format PEM, et la clé sans phrase de passe (`openssl pkey -in cle.pem -out \
             claire.pem`)",
        ),
    )
}
