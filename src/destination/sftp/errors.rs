//! What libssh2 and the server answer, translated once into what the rest of the program understands.

use std::fmt;
use std::io;
use std::time::Duration;

use ssh2::ErrorCode;

use crate::destination::{DestinationError, ErrorKind};
use crate::text;
use crate::text::Text;

/// Codes of draft-ietf-secsh-filexfer-02 and later drafts.
pub(super) const FX_NO_SUCH_FILE: i32 = 2;
pub(super) const FX_PERMISSION_DENIED: i32 = 3;
pub(super) const FX_FAILURE: i32 = 4;
pub(super) const FX_OP_UNSUPPORTED: i32 = 8;
const FX_NO_SUCH_PATH: i32 = 10;

/// Codes of libssh2 (`libssh2.h`).
/// No algorithm in common, or the line broke while one was looked for.
pub(super) const ERROR_KEX_FAILURE: i32 = -5;
pub(super) const ERROR_PASSWORD_EXPIRED: i32 = -15;
pub(super) const ERROR_FILE: i32 = -16;
pub(super) const ERROR_AUTHENTICATION: i32 = -18;
const ERROR_CHANNEL_FAILURE: i32 = -21;
pub(super) const ERROR_SFTP_PROTOCOL: i32 = -31;
pub(super) const ERROR_EAGAIN: i32 = -37;

/// Why an exchange with the server failed.
#[derive(Debug)]
pub(super) enum Wire {
    /// The library or the server said so.
    Ssh(ssh2::Error),
    /// Nothing moved for so long.
    Stalled(Duration),
    /// Less than 4 KiB moved in that time.
    Trickles(Duration),
    /// The server sends what was not asked for, without end.
    Floods,
    /// A signal came, or the time limit is over.
    Interrupted(io::Error),
    /// The connection was given up earlier.
    Gone,
}

impl Wire {
    /// The server's SFTP status code, if that is what this is.
    pub(super) fn sftp_status(&self) -> Option<i32> {
        match self {
            Wire::Ssh(error) => match error.code() {
                ErrorCode::SFTP(code) => Some(code),
                ErrorCode::Session(_) => None,
            },
            _ => None,
        }
    }

    /// libssh2's own code, if that is what this is.
    pub(super) fn session_code(&self) -> Option<i32> {
        match self {
            Wire::Ssh(error) => match error.code() {
                ErrorCode::Session(code) => Some(code),
                ErrorCode::SFTP(_) => None,
            },
            _ => None,
        }
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(self.sftp_status(), Some(FX_NO_SUCH_FILE | FX_NO_SUCH_PATH))
    }

    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Wire::Stalled(_) | Wire::Trickles(_) | Wire::Floods | Wire::Gone => ErrorKind::Unreachable,
            Wire::Interrupted(_) => ErrorKind::Local,
            Wire::Ssh(error) => match error.code() {
                ErrorCode::SFTP(code) => match code {
                    FX_NO_SUCH_FILE | FX_NO_SUCH_PATH => ErrorKind::NotFound,
                    FX_PERMISSION_DENIED | 12 => ErrorKind::PermissionDenied,
                    6 | 7 => ErrorKind::Unreachable,
                    11 => ErrorKind::AlreadyExists,
                    14 | 15 => ErrorKind::NoSpace,
                    _ => ErrorKind::Other,
                },
                ErrorCode::Session(code) => match code {
                    // A connection that breaks while libssh2 waits for the verdict has the code of a refusal
                    // (`userauth.c`); only the words tell them apart.
                    ERROR_AUTHENTICATION | -19 if error.message().starts_with("Waiting for") => ErrorKind::Unreachable,
                    // A channel that is refused (MaxSessions) leaves the connection as it is.
                    ERROR_CHANNEL_FAILURE if error.message().starts_with("Channel open failure") => ErrorKind::Other,
                    // -19, -15: key not accepted, password expired.
                    ERROR_AUTHENTICATION | -19 | ERROR_PASSWORD_EXPIRED => ErrorKind::Auth,
                    // Banner, MAC, exchange of keys, socket, timeout, decryption, disconnection, protocol, closed channel.
                    -5..=-1 | -9..=-7 | -14..=-12 | ERROR_CHANNEL_FAILURE | -26 | -27 | -30 | -43 | -45 => {
                        ErrorKind::Unreachable
                    }
                    _ => ErrorKind::Other,
                },
            },
        }
    }

    /// As the error of an operation of a destination that writes.
    pub(super) fn during(self, what: impl Into<String>) -> DestinationError {
        self.without(Right::Write, what)
    }

    /// As the error of an operation that needs this right.
    pub(super) fn without(self, right: Right, what: impl Into<String>) -> DestinationError {
        let kind = self.kind();
        let error = DestinationError::new(kind, what);
        let error = match self {
            Wire::Interrupted(stop) => error.caused_by(stop),
            other => error.caused_by(other),
        };
        match hint_for(kind, right) {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

impl From<ssh2::Error> for Wire {
    fn from(error: ssh2::Error) -> Self {
        Wire::Ssh(error)
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wire::Stalled(limit) => write!(f, "no byte moved for {} s", limit.as_secs_f32()),
            Wire::Trickles(limit) => write!(f, "less than 4 KiB moved in {} s", limit.as_secs_f32()),
            Wire::Floods => f.write_str("the server sends without end what was not asked for"),
            Wire::Interrupted(stop) => write!(f, "{stop}"),
            Wire::Gone => f.write_str("the connection was lost"),
            Wire::Ssh(error) => match error.code() {
                ErrorCode::SFTP(FX_FAILURE) => f.write_str("the server answered only `failure`"),
                ErrorCode::SFTP(_) => write!(f, "the server answered `{}`", error.message()),
                ErrorCode::Session(code) => write!(f, "{} (libssh2 error {code})", error.message()),
            },
        }
    }
}

impl std::error::Error for Wire {}

/// What an account must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    List,
    Look,
    Read,
    Write,
    Rename,
    Delete,
}

fn hint_for(kind: ErrorKind, right: Right) -> Option<Text> {
    match kind {
        ErrorKind::Unreachable => Some(text!(
            "check that the server is up, and that the network and its firewall let the connection through"
                / "vérifiez que le serveur est en marche, et que le réseau et le pare-feu laissent passer la connexion"
        )),
        ErrorKind::PermissionDenied => Some(right_hint(right)),
        ErrorKind::NoSpace => Some(no_space_hint()),
        _ => None,
    }
}

fn right_hint(right: Right) -> Text {
    match right {
        Right::List => text!(
            "give this account the right to list `path` on the server (`r` and `x` on the directory; `opendir` and `readdir` where requests are filtered)"
                / "donnez à ce compte le droit de lister `path` sur le serveur (`r` et `x` sur le répertoire ; `opendir` et `readdir` si les requêtes sont filtrées)"
        ),
        Right::Look => text!(
            "give this account the right to look at files in `path` on the server (`x` on each directory above; `stat` and `lstat` where requests are filtered)"
                / "donnez à ce compte le droit de voir les fichiers de `path` sur le serveur (`x` sur chaque répertoire au-dessus ; `stat` et `lstat` si les requêtes sont filtrées)"
        ),
        Right::Read => text!(
            "give this account the right to read its files in `path` on the server, or set `verify = \"size\"`, which reads nothing back"
                / "donnez à ce compte le droit de lire ses fichiers dans `path` sur le serveur, ou indiquez `verify = \"size\"`, qui ne relit rien"
        ),
        Right::Write => text!(
            "give this account the right to write in `path` on the server, or choose another `path`"
                / "donnez à ce compte le droit d'écrire dans `path` sur le serveur, ou choisissez un autre `path`"
        ),
        Right::Rename => text!(
            "give this account the right to rename its files in `path` on the server: an archive gets its name once it is whole"
                / "donnez à ce compte le droit de renommer ses fichiers dans `path` sur le serveur : une archive reçoit son nom une fois complète"
        ),
        Right::Delete => text!(
            "give this account the right to delete its files in `path` on the server; without `retention` nothing need be deleted"
                / "donnez à ce compte le droit de supprimer ses fichiers dans `path` sur le serveur ; sans `retention` rien n'a besoin d'être supprimé"
        ),
    }
}

pub(super) fn no_space_hint() -> Text {
    text!(
        "make room on the server, raise the account's quota, or keep fewer archives (`retention`)"
            / "libérez de la place sur le serveur, augmentez le quota du compte, ou gardez moins d'archives (`retention`)"
    )
}

/// Finds the code again that `ssh2` drops when it makes an [`std::io::Error`] of an SFTP status: only its words are left.
pub(super) fn status_from_words(words: &str) -> Option<ssh2::Error> {
    (1..=21).map(|code| ssh2::Error::from_errno(ErrorCode::SFTP(code))).find(|error| error.message() == words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sftp(code: i32) -> Wire {
        Wire::Ssh(ssh2::Error::from_errno(ErrorCode::SFTP(code)))
    }

    fn session(code: i32) -> Wire {
        Wire::Ssh(ssh2::Error::from_errno(ErrorCode::Session(code)))
    }

    #[test]
    fn every_answer_has_its_kind() {
        for (wire, kind) in [
            (sftp(2), ErrorKind::NotFound),
            (sftp(3), ErrorKind::PermissionDenied),
            (sftp(4), ErrorKind::Other),
            (sftp(11), ErrorKind::AlreadyExists),
            (sftp(14), ErrorKind::NoSpace),
            (sftp(15), ErrorKind::NoSpace),
            (session(-5), ErrorKind::Unreachable),
            (session(-9), ErrorKind::Unreachable),
            (session(-13), ErrorKind::Unreachable),
            (session(-43), ErrorKind::Unreachable),
            (session(-18), ErrorKind::Auth),
            (
                Wire::Ssh(ssh2::Error::new(ErrorCode::Session(-19), "Waiting for USERAUTH response")),
                ErrorKind::Unreachable,
            ),
            (session(-21), ErrorKind::Unreachable),
            (
                Wire::Ssh(ssh2::Error::new(
                    ErrorCode::Session(-21),
                    "Channel open failure (administratively prohibited)",
                )),
                ErrorKind::Other,
            ),
            (session(-16), ErrorKind::Other),
            (Wire::Stalled(Duration::from_secs(60)), ErrorKind::Unreachable),
            (Wire::Trickles(Duration::from_secs(60)), ErrorKind::Unreachable),
            (Wire::Interrupted(io::Error::other("stopped")), ErrorKind::Local),
        ] {
            assert_eq!(wire.kind(), kind, "{wire}");
        }
    }

    #[test]
    fn a_stall_says_how_long_nothing_moved() {
        assert_eq!(Wire::Stalled(Duration::from_secs(60)).to_string(), "no byte moved for 60 s");
    }

    #[test]
    fn the_status_is_found_again_from_its_words() {
        for code in [2, 3, 4, 14, 15] {
            let words = ssh2::Error::from_errno(ErrorCode::SFTP(code)).message().to_owned();
            assert_eq!(status_from_words(&words).unwrap().code(), ErrorCode::SFTP(code));
        }
        assert!(status_from_words("timed out").is_none());
    }
}
