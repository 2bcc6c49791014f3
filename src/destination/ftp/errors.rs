//! What the server answers and what the connection says, translated once into what the rest of the program understands.
//!
//! Replies have three digits (RFC 959, 4.2), but most refusals are a plain `550` or `553`: then the words decide, and where
//! they say nothing, whoever asked has to look.

use std::fmt;
use std::io;
use std::time::Duration;

use suppaftp::FtpError;
use suppaftp::types::Response;

use crate::destination::{DestinationError, ErrorKind};
use crate::error::Hinted as _;
use crate::interrupt::{Interrupted, is_time_limit};
use crate::text;
use crate::text::{MAX_LINE_CHARS, Text, quote};

/// Why an exchange with the server failed.
#[derive(Debug)]
pub(super) enum Wire {
    /// The server said so.
    Refused(Reply),
    /// Hardly a byte moved for so long.
    Stalled(Duration),
    /// A signal came, or the time limit of the destination is over.
    Interrupted(io::Error),
    /// TLS failed, by what either side found.
    Tls(rustls::Error),
    /// The second connection, for the data, could not be made.
    NoData(String),
    /// The connection failed.
    Broken(io::Error),
    /// What came is no FTP.
    Nonsense(String),
    /// The listing is not understood, or too long.
    Unlisted(DestinationError),
    /// It was not even sent.
    Unsendable(String),
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u32,
    /// All of it, on one line.
    pub(super) words: String,
}

impl Reply {
    /// The code is read here once more: the crate knows some only as `Unknown`, 522 for example.
    pub(super) fn of(response: &Response) -> Self {
        let text = String::from_utf8_lossy(&response.body);
        let last = text.trim_end().lines().next_back().unwrap_or_default();
        let code = last.get(..3).and_then(|digits| digits.parse().ok()).unwrap_or_else(|| response.status.code());
        Reply { code, words: quote(text.trim(), MAX_LINE_CHARS) }
    }

    fn says_any(&self, words: &[&str]) -> bool {
        let text = self.words.to_lowercase();
        words.iter().any(|word| text.contains(word))
    }

    /// Whether the server says in so many words that there is no such file.
    pub(super) fn says_missing(&self) -> bool {
        self.code == 550 && self.kind() == ErrorKind::NotFound
    }

    /// Whether an upload that was to go on at an offset, or on to an older file, was refused for that: ProFTPD by default answers
    /// `451 Append/Restart not permitted` or `550 Overwrite permission denied`.
    pub(super) fn refuses_to_go_on(&self) -> bool {
        matches!(self.code, 451 | 500..=504 | 550 | 551 | 553 | 554) && self.kind() != ErrorKind::NoSpace
    }

    pub(super) fn kind(&self) -> ErrorKind {
        let says_full = ["no space", "disk full", "disk is full", "not enough space", "quota", "exceeded storage"];
        match self.code {
            400..=599 if self.says_any(&says_full) => ErrorKind::NoSpace,
            452 | 552 => ErrorKind::NoSpace,
            // vsftpd has only this for a full disk: `451 Failure writing to local file.`
            451 if self.says_any(&["writ"]) => ErrorKind::NoSpace,
            430 | 530 | 532 | 332 => ErrorKind::Auth,
            400..=499 => ErrorKind::Unreachable,
            _ if self.says_any(&[
                "no such file",
                "not found",
                "cannot find",
                "can't find",
                "not exist",
                "doesn't exist",
            ]) =>
            {
                ErrorKind::NotFound
            }
            _ if self.says_any(&["permission", "denied", "read-only", "not allowed", "privileges"]) => {
                ErrorKind::PermissionDenied
            }
            _ if self.says_any(&["exists"]) => ErrorKind::AlreadyExists,
            553 => ErrorKind::PermissionDenied,
            _ => ErrorKind::Other,
        }
    }
}

/// Put into an [`io::Error`] by whoever opens the second connection.
#[derive(Debug)]
pub(super) struct NoDataConnection(pub(super) String);

impl fmt::Display for NoDataConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoDataConnection {}

impl Wire {
    /// What the crate said; `limit` is how long it was allowed to wait.
    pub(super) fn of(error: FtpError, limit: Duration) -> Self {
        match error {
            FtpError::UnexpectedResponse(response) => Wire::Refused(Reply::of(&response)),
            FtpError::ConnectionError(error) => Wire::of_io(error, limit),
            FtpError::BadResponse => Wire::Nonsense("the server's answer makes no sense".to_owned()),
            other => Wire::Nonsense(other.to_string()),
        }
    }

    /// What reading or writing said.
    pub(super) fn of_io(error: io::Error, limit: Duration) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Wire::Stalled(limit),
            io::ErrorKind::InvalidInput => return Wire::Unsendable(error.to_string()),
            _ => {}
        }
        if is_time_limit(&error) || error.get_ref().is_some_and(|inner| inner.is::<Interrupted>()) {
            return Wire::Interrupted(error);
        }
        let inner = error.get_ref();
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Wire::Tls(tls.clone());
        }
        if let Some(data) = inner.and_then(|inner| inner.downcast_ref::<NoDataConnection>()) {
            return Wire::NoData(data.to_string());
        }
        if inner.is_some_and(|inner| inner.is::<suppaftp::ReplyTooLarge>()) {
            return Wire::Nonsense(error.to_string());
        }
        Wire::Broken(error)
    }

    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Wire::Refused(reply) => reply.kind(),
            Wire::Stalled(_) | Wire::NoData(_) | Wire::Broken(_) => ErrorKind::Unreachable,
            Wire::Interrupted(_) => ErrorKind::Local,
            Wire::Unlisted(error) => error.kind,
            Wire::Tls(rustls::Error::InvalidCertificate(_)) => ErrorKind::Untrusted,
            Wire::Tls(error) if left_tls(error) => ErrorKind::Unreachable,
            Wire::Tls(_) | Wire::Nonsense(_) | Wire::Unsendable(_) => ErrorKind::Other,
        }
    }

    /// Whether the connection can be used no more.
    pub(super) fn is_the_end(&self) -> bool {
        match self {
            Wire::Refused(reply) => reply.code == 421,
            Wire::Unsendable(_) | Wire::Unlisted(_) | Wire::NoData(_) => false,
            _ => true,
        }
    }

    /// As the error of an operation of a destination.
    pub(super) fn during(self, what: impl Into<String>) -> DestinationError {
        let kind = self.kind();
        let hint = match self {
            Wire::NoData(_) => Some(passive_hint()),
            Wire::Unlisted(ref error) => error.hint(),
            _ => hint_for(kind),
        };
        let error = DestinationError::new(kind, what);
        let error = match self {
            Wire::Interrupted(stop) => error.caused_by(stop),
            Wire::Unlisted(why) => error.caused_by(why),
            other => error.caused_by(other),
        };
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// The same of an attempt to write: a refusal without a reason is one of rights.
    pub(super) fn during_write(self, what: impl Into<String>) -> DestinationError {
        match self {
            Wire::Refused(reply) if reply.code == 550 && reply.kind() == ErrorKind::Other => denied(what, reply),
            other => other.during(what),
        }
    }
}

/// Whether TLS ended in the middle of it. Seen at vsftpd after a cut of the second connection, on a busy machine; supposedly
/// its `500 OOPS` unencrypted, the bytes themselves were not seen. A handshake that fails in this way has an error of its own (`tls::failed`).
fn left_tls(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidMessage(_) | rustls::Error::DecryptError)
}

/// A refusal that can only be one of rights, whatever its words.
pub(super) fn denied(what: impl Into<String>, reply: Reply) -> DestinationError {
    let error = DestinationError::new(ErrorKind::PermissionDenied, what).caused_by(Wire::Refused(reply));
    error.with_hint(rights_hint())
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wire::Refused(reply) if reply.kind() == ErrorKind::NoSpace => {
                write!(f, "the server's disk is full, or the account's quota used up: it answered `{}`", reply.words)
            }
            Wire::Refused(reply) => write!(f, "the server answered `{}`", reply.words),
            Wire::Stalled(limit) => write!(f, "no byte moved for {} s", limit.as_secs_f32()),
            Wire::Tls(error) if left_tls(error) => write!(f, "the server went on without TLS: {error}"),
            Wire::Tls(error) => write!(f, "{error}"),
            Wire::NoData(words) | Wire::Nonsense(words) | Wire::Unsendable(words) => f.write_str(words),
            Wire::Unlisted(error) => write!(f, "{error}"),
            Wire::Broken(error) | Wire::Interrupted(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Wire {}

fn hint_for(kind: ErrorKind) -> Option<Text> {
    match kind {
        ErrorKind::Unreachable => Some(text!(
            "check that the server is up, and that the network and its firewall let the connection through"
                / "vérifiez que le serveur est en marche, et que le réseau et le pare-feu laissent passer la connexion"
        )),
        ErrorKind::PermissionDenied => Some(rights_hint()),
        ErrorKind::NoSpace => Some(text!(
            "make room on the server, raise the account's quota, or keep fewer archives (`retention`)"
                / "libérez de la place sur le serveur, augmentez le quota du compte, ou gardez moins d'archives (`retention`)"
        )),
        _ => None,
    }
}

fn rights_hint() -> Text {
    text!(
        "give this account the right to write in `path` on the server, or choose another `path`"
            / "donnez à ce compte le droit d'écrire dans `path` sur le serveur, ou choisissez un autre `path`"
    )
}

fn passive_hint() -> Text {
    text!(
        "FTP opens a second connection for each transfer: set a range of passive ports on the server, and let the firewalls pass it"
            / "FTP ouvre une seconde connexion pour chaque transfert : fixez une plage de ports passifs sur le serveur, et autorisez-la dans les pare-feux"
    )
}

#[cfg(test)]
mod tests {
    use suppaftp::Status;

    use super::*;

    fn reply(text: &str) -> Wire {
        let code: u32 = text[..3].parse().unwrap();
        Wire::Refused(Reply::of(&Response::new(Status::from(code), format!("{text}\r\n").into_bytes())))
    }

    #[test]
    fn words_in_clear_in_the_middle_of_tls_are_a_broken_connection() {
        let left = Wire::Tls(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType));
        assert_eq!(left.kind(), ErrorKind::Unreachable);
        assert!(left.to_string().starts_with("the server went on without TLS: "), "{left}");
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(Wire::Tls(unknown).kind(), ErrorKind::Untrusted);
    }

    #[test]
    fn every_answer_has_its_kind() {
        for (text, kind) in [
            ("550 nope: No such file or directory", ErrorKind::NotFound),
            ("550 Failed to open file.", ErrorKind::Other),
            ("550 x: Permission denied", ErrorKind::PermissionDenied),
            ("550 Not enough privileges.", ErrorKind::PermissionDenied),
            ("553 Could not create file.", ErrorKind::PermissionDenied),
            ("550 File exists", ErrorKind::AlreadyExists),
            ("451 Failure writing to local file.", ErrorKind::NoSpace),
            ("426 No space left on device; transfer aborted.", ErrorKind::NoSpace),
            ("552 Disk full - please upload later", ErrorKind::NoSpace),
            ("452 Transfer aborted. No space left on device", ErrorKind::NoSpace),
            ("451 Local error in processing", ErrorKind::Unreachable),
            ("426 Failure reading network stream.", ErrorKind::Unreachable),
            ("421 Too many connections", ErrorKind::Unreachable),
            ("530 Login incorrect.", ErrorKind::Auth),
            ("522 SSL connection failed: session reuse required", ErrorKind::Other),
        ] {
            assert_eq!(reply(text).kind(), kind, "{text}");
        }
        assert_eq!(reply("550 Failed to open file.").during_write("x").kind, ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_reply_keeps_its_own_code_and_all_its_lines() {
        let response = Response::new(Status::from(522), b"522-SSL\r\n522 reuse required\r\n".to_vec());
        let reply = Reply::of(&response);
        assert_eq!(reply.code, 522);
        assert!(reply.words.contains("SSL") && reply.words.contains("reuse required"), "{reply:?}");
        assert!(!reply.words.contains('\n'));
    }

    #[test]
    fn a_stall_and_a_broken_connection_are_told_apart() {
        let limit = Duration::from_secs(60);
        let of = |kind: io::ErrorKind| Wire::of_io(kind.into(), limit);
        assert_eq!(of(io::ErrorKind::WouldBlock).to_string(), "no byte moved for 60 s");
        assert!(matches!(of(io::ErrorKind::ConnectionReset), Wire::Broken(_)));
        let error = io::Error::other(NoDataConnection("no data".to_owned()));
        let error = Wire::of_io(error, limit).during("failed to write `x`");
        assert!(error.is_transient());
        assert!(crate::error::Hinted::hint(&error).unwrap().en.contains("passive ports"));
    }
}
