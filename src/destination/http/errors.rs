//! Why a call brought no answer, or only half of one, as an error of a destination.

use reqwest::StatusCode;

use super::Http;
use crate::destination::{DestinationError, ErrorKind};
use crate::error::hint_of;
use crate::http::{Trouble, TroubleKind, authority, root_cause};
use crate::interrupt::Interrupted;
use crate::text;
use crate::text::Text;

/// Why a call ended early.
pub(super) enum Stop {
    /// No answer: the client's reason.
    Failed(reqwest::Error),
    /// The answer's body broke off.
    Cut(reqwest::Error),
    /// A success before everything was sent.
    Early(StatusCode),
    /// Nothing moved for the stall timeout.
    Stalled,
    /// A signal came, or the time limit is over.
    Interrupted,
    /// Reading the source failed.
    Source(DestinationError),
}

impl Http {
    /// The error of what was being done.
    pub(super) fn during(&self, stop: Stop, what: &dyn Fn() -> String) -> DestinationError {
        let new = |kind| DestinationError::new(kind, what());
        match stop {
            Stop::Source(error) => error,
            Stop::Interrupted => {
                let stop = self.interrupt.check().err().unwrap_or_else(|| std::io::Error::other(Interrupted));
                new(ErrorKind::Local).caused_by(stop)
            }
            Stop::Early(status) => new(ErrorKind::Other)
                .caused_by(format!("the server answered `{status}` before it had received everything")),
            Stop::Stalled => new(ErrorKind::Unreachable)
                .caused_by(format!("no byte moved for {} s", self.timeouts.stall.as_secs_f32()))
                .with_hint(stalled_hint()),
            Stop::Cut(error) => {
                let cut = format!("the connection to `{}` was cut before the end of the answer", authority(&self.base));
                let cause =
                    DestinationError::new(ErrorKind::Unreachable, cut).caused_by(root_cause(&error.without_url()));
                new(ErrorKind::Unreachable).caused_by(cause)
            }
            Stop::Failed(error) => {
                let trouble = Trouble::of(error, &self.base, None);
                let kind = kind_of(trouble.kind);
                let hint = self.hint(&trouble);
                let silence = match trouble.kind {
                    TroubleKind::Late => format!(": no byte moved for {} s", self.timeouts.connect.as_secs_f32()),
                    _ => String::new(),
                };
                let mut cause = DestinationError::new(kind, format!("{}{silence}", trouble.message));
                if let Some(deeper) = trouble.cause {
                    cause = cause.caused_by(deeper);
                }
                match hint {
                    Some(hint) => new(kind).caused_by(cause).with_hint(hint),
                    None => new(kind).caused_by(cause),
                }
            }
        }
    }

    fn hint(&self, trouble: &Trouble) -> Option<Text> {
        let address = self.keys.address;
        let host = self.base.host_str().unwrap_or_default();
        if let Some(hint) = trouble.certificate_hint(address, self.keys.ca_file) {
            return Some(hint);
        }
        Some(match trouble.kind {
            TroubleKind::HostNotFound => text!(
                "check the host in `{address}`, and the name server of this machine (`getent hosts {host}`)"
                    / "vérifiez l'hôte dans `{address}`, et le serveur de noms de cette machine (`getent hosts {host}`)"
            ),
            TroubleKind::Refused | TroubleKind::Late | TroubleKind::NoConnection => text!(
                "check the host and the port in `{address}`, that the server is up, and that no firewall is in the way"
                    / "vérifiez l'hôte et le port dans `{address}`, que le serveur est en marche, et qu'aucun pare-feu ne bloque"
            ),
            TroubleKind::Cut | TroubleKind::NoAnswer => text!(
                "look at the server's log, and at proxies and firewalls on the way; is it a web server that listens at `{address}`?"
                    / "regardez le journal du serveur, et les proxys et pare-feu sur le trajet ; est-ce bien un serveur web qui écoute à `{address}` ?"
            ),
            TroubleKind::Tls | TroubleKind::TlsCut => text!(
                "check the port in `{address}`: does the server speak HTTPS there, TLS 1.2 or newer, without asking for a client certificate?"
                    / "vérifiez le port dans `{address}` : le serveur y parle-t-il HTTPS, en TLS 1.2 ou plus récent, sans demander de certificat client ?"
            ),
            TroubleKind::Proxy | TroubleKind::ProxyDenied => text!(
                "check `https_proxy` and `no_proxy` in the environment: does the proxy let `{host}` through?"
                    / "vérifiez `https_proxy` et `no_proxy` dans l'environnement : le proxy laisse-t-il passer `{host}` ?"
            ),
            _ => return None,
        })
    }
}

fn kind_of(kind: TroubleKind) -> ErrorKind {
    use TroubleKind as T;
    match kind {
        T::HostNotFound | T::Refused | T::Late | T::NoConnection | T::Cut | T::NoAnswer | T::Proxy | T::TlsCut => {
            ErrorKind::Unreachable
        }
        T::CertificateExpired
        | T::CertificateNotYet
        | T::CertificateName
        | T::CertificateIssuer
        | T::CertificateRevoked
        | T::CertificateOfAuthority
        | T::Certificate => ErrorKind::Untrusted,
        T::Tls | T::ProxyDenied | T::Impossible => ErrorKind::Other,
    }
}

/// The error of a `ca_file` that cannot be used.
pub(super) fn bad_authorities(error: anyhow::Error, key: &str) -> DestinationError {
    let hint = hint_of(&error).cloned();
    let error = DestinationError::new(ErrorKind::Other, format!("failed to use `{key}`")).caused_by(error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

pub(super) fn no_authorities_hint(ca_file: &str) -> Text {
    text!(
        "install the system's authorities (package `ca-certificates`), or set `{ca_file}`"
            / "installez les autorités du système (paquet `ca-certificates`), ou renseignez `{ca_file}`"
    )
}

fn stalled_hint() -> Text {
    Text::new(
        "the server or the network stands still; if the server is merely slow to begin, raise `stall_timeout`",
        "le serveur ou le réseau ne répond plus ; si le serveur est seulement lent à démarrer, augmentez `stall_timeout`",
    )
}
