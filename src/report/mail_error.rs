//! Why a mail did not go, in a closed list of kinds: which decides about a second attempt, and about what to tell people.
//!
//! An I/O error may wrap one of TLS, which tells a wrong certificate from a cut cable.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use lettre::Address;

use super::smtp::{Reply, SmtpError};
use crate::config::settings::{SmtpSecurity, SmtpSettings};
use crate::error::{Hinted, chain_of, hint_of};
use crate::http::Trouble;
use crate::text;
use crate::text::{MAX_LINE_CHARS, Text, quote};

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailErrorKind {
    /// Nothing listens on that host and port.
    Refused,
    /// No address for that host name.
    HostUnknown,
    /// Connected or not, no answer within the timeout.
    Timeout,
    /// The network failed in another way: reset, unreachable.
    Network,
    /// The server's certificate is not to be trusted for this name.
    Certificate,
    /// What came back was not TLS.
    NotTls,
    /// The server offers no STARTTLS, which is required.
    StarttlsMissing,
    /// The server does not take this user and password (535).
    WrongPassword,
    /// The server wants a user and password (530).
    AuthRequired,
    /// The server offers neither PLAIN nor LOGIN.
    NoAuthMechanism,
    /// The server takes no session from us: a 5xx reply in the greeting or to EHLO, STARTTLS or AUTH.
    SessionRefused,
    /// The sender was refused.
    SenderRefused,
    /// At least one recipient was refused; the others, if any, have the mail.
    RecipientsRefused,
    /// Another answer of the 5xx kind.
    Rejected,
    /// An answer of the 4xx kind: try later.
    TryLater,
    /// Refused for its size.
    TooLarge,
    /// The answer was not SMTP.
    NotSmtp,
    /// Answers came before TLS began that were meant to be taken for answers inside it.
    Injected,
    /// The `sendmail` command could not be started.
    SendmailMissing,
    /// The `sendmail` command failed.
    SendmailFailed,
    /// A local matter: a certificate file, or an address that makes no mail.
    Local,
}

/// A mail that was not sent, or not to everybody.
#[derive(Debug)]
pub struct MailError {
    /// What went wrong.
    pub kind: MailErrorKind,
    /// The recipients who did not get it. Those who are not listed have it.
    pub undelivered: Vec<Address>,
    /// Whether somebody got it.
    pub partly: bool,
    message: String,
    /// Of the server, for the hint.
    place: String,
    security: Option<SmtpSecurity>,
    /// What to do, where the kind alone does not tell.
    hint: Option<Box<Text>>,
}

impl fmt::Display for MailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

// No `source`: the message holds the whole chain, as lettre's own messages do, and nothing should be shown twice.
impl StdError for MailError {}

impl MailError {
    /// An error that has nothing to do with a server.
    pub(super) fn local(kind: MailErrorKind, place: impl Into<String>, message: impl Into<String>) -> Self {
        MailError {
            kind,
            undelivered: Vec::new(),
            partly: false,
            message: message.into(),
            place: place.into(),
            security: None,
            hint: None,
        }
    }

    /// `mail.ca_file` cannot be used.
    pub(super) fn tls_config(settings: &SmtpSettings, error: &anyhow::Error) -> Self {
        let place = settings.ca_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let message = format!("failed to read `mail.ca_file`: {}", chain_of(error).join(": "));
        MailError {
            hint: hint_of(error).cloned().map(Box::new),
            ..MailError::local(MailErrorKind::Local, place, message)
        }
    }

    /// What went wrong while talking to the server of `settings`.
    pub(super) fn from_smtp(error: &SmtpError, settings: &SmtpSettings) -> Self {
        let place = format!("{}:{}", settings.host, settings.port);
        let mut hint = None;
        let (kind, message) = match error {
            SmtpError::Refused(reply) => (of_reply(reply), format!("`{place}` answered `{}`", reply.shown())),
            SmtpError::NotSmtp(said) => (MailErrorKind::NotSmtp, format!("`{place}` does not speak SMTP: `{said}`")),
            SmtpError::NoStarttls => (MailErrorKind::StarttlsMissing, format!("`{place}` does not offer STARTTLS")),
            SmtpError::Injected => (
                MailErrorKind::Injected,
                format!("more than the answer to STARTTLS came from `{place}` before TLS began"),
            ),
            SmtpError::NoMechanism(offered) => {
                let (message, what_to_do) = no_mechanism(&place, offered);
                hint = Some(Box::new(what_to_do));
                (MailErrorKind::NoAuthMechanism, message)
            }
            SmtpError::Io(error) => match sources(error).find_map(|source| source.downcast_ref::<rustls::Error>()) {
                Some(tls) => {
                    let trouble = Trouble::of_tls(tls, &place);
                    hint = trouble.certificate_hint("mail.host", "mail.ca_file").map(Box::new);
                    let cause = trouble.cause.map(|cause| format!(": {}", quote(&cause, MAX_LINE_CHARS)));
                    (of_tls(tls), trouble.message + &cause.unwrap_or_default())
                }
                None => {
                    let kind = of_io(error);
                    let message = match kind {
                        MailErrorKind::Refused => format!("`{place}`: connection refused"),
                        _ => format!("`{place}`: {}", quote(&error.to_string(), MAX_LINE_CHARS)),
                    };
                    (kind, message)
                }
            },
        };
        let security = Some(settings.security);
        MailError { kind, undelivered: Vec::new(), partly: false, message, place, security, hint }
    }

    /// The same, for refused recipients; `replies` are the server's words, one per refused address. `transient`: at least
    /// one of them only for now (greylisting).
    pub(super) fn recipients(
        replies: &[(Address, String)],
        transient: bool,
        partly: bool,
        settings: &SmtpSettings,
    ) -> Self {
        let said: Vec<String> = replies.iter().map(|(address, reply)| format!("`{address}`: {reply}")).collect();
        let rest = if partly { "; the other recipients have the mail" } else { "" };
        MailError {
            kind: if transient { MailErrorKind::TryLater } else { MailErrorKind::RecipientsRefused },
            undelivered: replies.iter().map(|(address, _)| address.clone()).collect(),
            partly,
            message: format!("recipient refused: {}{rest}", said.join(", ")),
            place: format!("{}:{}", settings.host, settings.port),
            security: Some(settings.security),
            hint: None,
        }
    }

    /// A mail of `bytes` for a server that announces a limit of `most`.
    pub(super) fn too_large(bytes: u64, most: u64, settings: &SmtpSettings) -> Self {
        let place = format!("{}:{}", settings.host, settings.port);
        let message = format!("`{place}` takes mails of at most {most} bytes, this one has {bytes}");
        MailError { security: Some(settings.security), ..MailError::local(MailErrorKind::TooLarge, place, message) }
    }

    pub(super) fn with_undelivered(mut self, undelivered: &[Address]) -> Self {
        self.undelivered = undelivered.to_vec();
        self
    }

    /// The same, where the mail had been handed over: nothing is wrong with the port.
    pub(super) fn without_verdict(mut self) -> Self {
        if self.kind == MailErrorKind::Timeout {
            self.hint = Some(Box::new(text!(
                "`{}` has the mail and did not say whether it takes it: look at its own log and at what filters mails there"
                    / "`{}` a reçu le courriel sans dire s’il l’accepte\u{a0}: voyez son journal et ce qui y filtre le courrier",
                self.place
            )));
        }
        self
    }

    /// Whether it may well work in a few seconds.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            MailErrorKind::Refused
                | MailErrorKind::HostUnknown
                | MailErrorKind::Timeout
                | MailErrorKind::Network
                | MailErrorKind::TryLater
                | MailErrorKind::SendmailFailed
        )
    }

    /// Whether the mail is worth keeping for the next run: not if only some addresses are wrong for good.
    pub fn is_worth_keeping(&self) -> bool {
        !(self.partly && self.kind == MailErrorKind::RecipientsRefused)
    }

    /// Whether it is about this one mail, so that another may still go.
    pub fn is_about_this_mail(&self) -> bool {
        matches!(
            self.kind,
            MailErrorKind::RecipientsRefused
                | MailErrorKind::Rejected
                | MailErrorKind::SenderRefused
                | MailErrorKind::TooLarge
        )
    }
}

fn sources<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An `io::Error` that wraps another error does not give it as its source, but the source of that one.
        let inner = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        inner.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| error.source())
    })
}

/// What to say of a server with which we have no mechanism in common.
fn no_mechanism(place: &str, offered: &[String]) -> (String, Text) {
    if offered.is_empty() {
        return (
            format!("`{place}` offers no AUTH at all"),
            text!(
                "this port takes no password: try port 587 with `security = \"starttls\"`, or remove `mail.username`"
                    / "ce port n’accepte pas de mot de passe\u{a0}: essayez le port 587 avec `security = \"starttls\"`, ou retirez `mail.username`"
            ),
        );
    }
    let offered = quote(&offered.join(" "), MAX_LINE_CHARS);
    (
        format!("`{place}` offers neither AUTH PLAIN nor AUTH LOGIN, only `{offered}`"),
        text!(
            "have SMTP AUTH with a password (PLAIN or LOGIN) allowed for this account, or use a relay that trusts this machine's address, without `mail.username`"
                / "faites autoriser l’authentification SMTP par mot de passe (PLAIN ou LOGIN) pour ce compte, ou passez par un relais qui accepte l’adresse de cette machine, sans `mail.username`"
        ),
    )
}

fn of_reply(reply: &Reply) -> MailErrorKind {
    if reply.is_about_size() { MailErrorKind::TooLarge } else { of_code(reply.code) }
}

/// RFC 5321 §4.2.3, RFC 4954 §6.
fn of_code(code: u16) -> MailErrorKind {
    match code {
        530 => MailErrorKind::AuthRequired,
        534 | 535 | 538 => MailErrorKind::WrongPassword,
        400..=499 => MailErrorKind::TryLater,
        _ => MailErrorKind::Rejected,
    }
}

fn of_tls(error: &rustls::Error) -> MailErrorKind {
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => MailErrorKind::Certificate,
        rustls::Error::InvalidMessage(_) => MailErrorKind::NotTls,
        _ => MailErrorKind::Network,
    }
}

fn of_io(error: &io::Error) -> MailErrorKind {
    match error.kind() {
        // A read timeout on a socket shows as EAGAIN on Linux.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => MailErrorKind::Timeout,
        io::ErrorKind::ConnectionRefused => MailErrorKind::Refused,
        io::ErrorKind::InvalidInput => MailErrorKind::HostUnknown,
        _ if error.to_string().contains("lookup address") => MailErrorKind::HostUnknown,
        _ => MailErrorKind::Network,
    }
}

impl Hinted for MailError {
    fn hint(&self) -> Option<Text> {
        if let Some(hint) = &self.hint {
            return Some(hint.as_ref().clone());
        }
        let place = &self.place;
        Some(match self.kind {
            MailErrorKind::Refused => text!(
                "check `mail.host` and `mail.port`: nothing listens on `{place}`"
                    / "vérifiez `mail.host` et `mail.port`\u{a0}: rien n’écoute sur `{place}`"
            ),
            MailErrorKind::HostUnknown => text!(
                "check `mail.host` and the machine's name resolution: `{place}` has no address"
                    / "vérifiez `mail.host` et la résolution de noms de la machine\u{a0}: `{place}` n’a pas d’adresse"
            ),
            MailErrorKind::Timeout if self.security == Some(SmtpSecurity::Tls) => text!(
                "is this port for STARTTLS? try `security = \"starttls\"`; or does a firewall drop it?"
                    / "ce port attend-il STARTTLS\u{202f}? essayez `security = \"starttls\"`\u{202f}; ou un pare-feu bloque-t-il\u{202f}?"
            ),
            MailErrorKind::Timeout => text!(
                "is this port for implicit TLS? try `security = \"tls\"`; or does a firewall drop it?"
                    / "ce port attend-il TLS dès le début\u{202f}? essayez `security = \"tls\"`\u{202f}; ou un pare-feu bloque-t-il\u{202f}?"
            ),
            MailErrorKind::Network => text!(
                "the connection to `{place}` broke: look at the network and at the mail server's own log"
                    / "la connexion à `{place}` a été coupée\u{a0}: voyez le réseau et le journal du serveur de courrier"
            ),
            MailErrorKind::Certificate => text!(
                "if the certificate is your own authority's, give it as `mail.ca_file`; otherwise `mail.host` must be a name in the certificate, and it must not have expired"
                    / "si le certificat vient de votre propre autorité, indiquez-la dans `mail.ca_file`\u{202f}; sinon `mail.host` doit être un nom du certificat, et celui-ci ne pas être périmé"
            ),
            MailErrorKind::NotTls => text!(
                "this port does not speak TLS from the start: try `security = \"starttls\"` (usually port 587)"
                    / "ce port ne parle pas TLS dès le début\u{a0}: essayez `security = \"starttls\"` (port 587 en général)"
            ),
            MailErrorKind::StarttlsMissing => text!(
                "try `security = \"tls\"` with port 465; on a trusted local network, `security = \"none\"`"
                    / "essayez `security = \"tls\"` avec le port 465\u{202f}; sur un réseau local sûr, `security = \"none\"`"
            ),
            MailErrorKind::WrongPassword => text!(
                "check `mail.username` and `mail.password`; some providers want a password made for programs"
                    / "vérifiez `mail.username` et `mail.password`\u{202f}; certains fournisseurs exigent un mot de passe d’application"
            ),
            MailErrorKind::AuthRequired => text!(
                "set `mail.username` and `mail.password`; if they are set, the server may want `security = \"starttls\"`"
                    / "renseignez `mail.username` et `mail.password`\u{202f}; s’ils le sont, le serveur veut peut-être `security = \"starttls\"`"
            ),
            MailErrorKind::NoAuthMechanism => text!(
                "this port takes no password: try port 587 with `security = \"starttls\"`, or remove `mail.username`"
                    / "ce port n’accepte pas de mot de passe\u{a0}: essayez le port 587 avec `security = \"starttls\"`, ou retirez `mail.username`"
            ),
            MailErrorKind::SessionRefused => text!(
                "`{place}` takes no mail from this machine: have its address allowed there, check `mail.helo` and `mail.username`, or use another relay"
                    / "`{place}` n’accepte pas de courrier de cette machine\u{a0}: faites-y autoriser son adresse, vérifiez `mail.helo` et `mail.username`, ou passez par un autre relais"
            ),
            MailErrorKind::SenderRefused => text!(
                "check `mail.from`: the server does not let this user send under that address"
                    / "vérifiez `mail.from`\u{a0}: le serveur ne laisse pas cet utilisateur écrire sous cette adresse"
            ),
            MailErrorKind::RecipientsRefused => text!(
                "check the addresses in `mail.to`; a server that relays for known users only wants `mail.username`; one that complains about HELO wants another `mail.helo`"
                    / "vérifiez les adresses de `mail.to`\u{202f}; un serveur qui ne relaie que pour ses utilisateurs veut `mail.username`\u{202f}; s’il se plaint de HELO, changez `mail.helo`"
            ),
            MailErrorKind::Rejected => text!(
                "the server's answer says why; if it is about the name of this machine, set `mail.helo`"
                    / "la réponse du serveur dit pourquoi\u{202f}; si elle concerne le nom de cette machine, indiquez `mail.helo`"
            ),
            MailErrorKind::TooLarge => text!(
                "raise the server's limit for the size of a mail: even the short form of the report does not fit"
                    / "relevez la taille maximale d’un courriel sur le serveur\u{a0}: même la forme courte du rapport ne passe pas"
            ),
            MailErrorKind::Injected => text!(
                "something between here and `{place}` writes into the connection, or the server is broken: try `security = \"tls\"` (port 465), and look at proxies and firewalls that inspect mail"
                    / "quelque chose écrit dans la connexion entre ici et `{place}`, ou le serveur est défectueux\u{a0}: essayez `security = \"tls\"` (port 465), et voyez les mandataires et pare-feu qui inspectent le courrier"
            ),
            MailErrorKind::TryLater => text!(
                "nothing to do: the mail is kept and goes with the next run"
                    / "rien à faire\u{a0}: le courriel est conservé et partira à la prochaine exécution"
            ),
            MailErrorKind::NotSmtp => text!(
                "check `mail.port`: what answers on `{place}` is no mail server"
                    / "vérifiez `mail.port`\u{a0}: ce qui répond sur `{place}` n’est pas un serveur de courrier"
            ),
            MailErrorKind::SendmailMissing => text!(
                "check `mail.command`, or install a mail program (postfix, msmtp-mta …), or use `transport = \"smtp\"`"
                    / "vérifiez `mail.command`, ou installez un programme de courrier (postfix, msmtp-mta…), ou utilisez `transport = \"smtp\"`"
            ),
            MailErrorKind::SendmailFailed => text!(
                "look at the log of the machine's mail program (`journalctl`, `/var/log/mail.log`)"
                    / "voyez le journal du programme de courrier de la machine (`journalctl`, `/var/log/mail.log`)"
            ),
            MailErrorKind::Local => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_codes_have_their_kinds() {
        assert_eq!(of_code(535), MailErrorKind::WrongPassword);
        assert_eq!(of_code(530), MailErrorKind::AuthRequired);
        assert_eq!(of_code(451), MailErrorKind::TryLater);
        assert_eq!(of_code(554), MailErrorKind::Rejected);
    }

    #[test]
    fn an_error_within_an_io_error_is_found() {
        let inner = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = io::Error::new(io::ErrorKind::InvalidData, inner);
        assert!(sources(&error).any(|source| source.downcast_ref::<rustls::Error>().is_some()));
    }

    #[test]
    fn every_kind_but_a_local_one_has_a_hint_in_both_languages() {
        use MailErrorKind::*;
        for kind in [
            Refused,
            HostUnknown,
            Timeout,
            Network,
            Certificate,
            NotTls,
            StarttlsMissing,
            WrongPassword,
            AuthRequired,
            NoAuthMechanism,
            SessionRefused,
            SenderRefused,
            RecipientsRefused,
            Rejected,
            TryLater,
            TooLarge,
            NotSmtp,
            Injected,
            SendmailMissing,
            SendmailFailed,
        ] {
            let hint = MailError::local(kind.clone(), "h:1", "m").hint().unwrap_or_else(|| panic!("{kind:?}"));
            assert!(!hint.en.is_empty() && hint.en != hint.fr, "{kind:?}");
        }
    }
}
