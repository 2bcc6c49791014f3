//! What the server and the library answer, translated once into what the rest of the program understands.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::destination::{DestinationError, ErrorKind};
use crate::error::Hinted as _;
use crate::text;
use crate::text::{MAX_LINE_CHARS, Text, quote};

/// Codes of MS-ERREF 2.3.1.
pub(super) const ACCESS_DENIED: u32 = 0xC000_0022;
pub(super) const DELETE_PENDING: u32 = 0xC000_0056;
pub(super) const NOT_A_DIRECTORY: u32 = 0xC000_0103;
pub(super) const BAD_NETWORK_NAME: u32 = 0xC000_00CC;
const NOT_SUPPORTED: u32 = 0xC000_00BB;

/// Every answer that says something to whoever reads it: code, kind, words.
const STATUSES: &[(u32, ErrorKind, &str)] = &[
    (0xC000_000F, ErrorKind::NotFound, "no such file"),
    (0xC000_0034, ErrorKind::NotFound, "no such file or directory"),
    (0xC000_003A, ErrorKind::NotFound, "a directory of the path is missing"),
    (0xC000_0035, ErrorKind::AlreadyExists, "the name is taken"),
    (ACCESS_DENIED, ErrorKind::PermissionDenied, "access denied"),
    (0xC000_0061, ErrorKind::PermissionDenied, "the account lacks a privilege"),
    (0xC000_00A2, ErrorKind::PermissionDenied, "the disk is write-protected"),
    (0xC000_00CA, ErrorKind::PermissionDenied, "network access denied"),
    (0xC000_0121, ErrorKind::PermissionDenied, "the file is read-only and cannot be deleted"),
    (0xC000_0044, ErrorKind::NoSpace, "the server's disk is full: the account's quota is used up"),
    (0xC000_007F, ErrorKind::NoSpace, "the server's disk is full"),
    (0xC000_0099, ErrorKind::NoSpace, "the server's disk is full: the space allotted is used up"),
    (0xC000_0802, ErrorKind::NoSpace, "the server's disk is full: the quota is used up"),
    (0xC000_0064, ErrorKind::Auth, "no such user"),
    (0xC000_006A, ErrorKind::Auth, "wrong password"),
    (0xC000_006D, ErrorKind::Auth, "logon failure: wrong user name or password"),
    (0xC000_006E, ErrorKind::Auth, "the account is restricted"),
    (0xC000_006F, ErrorKind::Auth, "the account may not log on at this hour"),
    (0xC000_0070, ErrorKind::Auth, "the account may not log on from this machine"),
    (0xC000_0071, ErrorKind::Auth, "the password has expired"),
    (0xC000_0072, ErrorKind::Auth, "the account is disabled"),
    (0xC000_015B, ErrorKind::Auth, "the account may not log on over the network"),
    (0xC000_0193, ErrorKind::Auth, "the account has expired"),
    (0xC000_0224, ErrorKind::Auth, "the password must be changed"),
    (0xC000_0234, ErrorKind::Auth, "the account is locked out"),
    (0xC000_0043, ErrorKind::Unreachable, "another program has the file open"),
    (0xC000_0054, ErrorKind::Unreachable, "another program has locked the file"),
    (DELETE_PENDING, ErrorKind::Unreachable, "the file is deleted as soon as whoever has it open closes it"),
    (0xC000_009A, ErrorKind::Unreachable, "the server is out of memory"),
    (0xC000_00B5, ErrorKind::Unreachable, "the server's disk did not answer in time"),
    (0xC000_00BF, ErrorKind::Unreachable, "the network is busy"),
    (0xC000_00C9, ErrorKind::Unreachable, "the server has taken the share away"),
    (0xC000_00D0, ErrorKind::Unreachable, "the server takes no more connections now"),
    (0xC000_0203, ErrorKind::Unreachable, "the server has ended the session"),
    (0xC000_0205, ErrorKind::Unreachable, "the server is out of resources"),
    (0xC000_020C, ErrorKind::Unreachable, "the server has ended the connection"),
    (0xC000_020D, ErrorKind::Unreachable, "the connection was reset"),
    (0xC000_026E, ErrorKind::Unreachable, "the server's disk was taken out"),
    (0xC000_035C, ErrorKind::Unreachable, "the session has expired"),
    (0xC000_0466, ErrorKind::Unreachable, "the server is not available now"),
    (0xC000_0480, ErrorKind::Unreachable, "the share is not available now"),
    (0xC000_0033, ErrorKind::Other, "the server does not accept this name"),
    (0xC000_00BA, ErrorKind::Other, "it is a directory"),
    (NOT_SUPPORTED, ErrorKind::Other, "the server does not support that"),
    (BAD_NETWORK_NAME, ErrorKind::Other, "no such share"),
    (NOT_A_DIRECTORY, ErrorKind::Other, "it is no directory"),
    (0xC000_0257, ErrorKind::Other, "the path lies on another server (DFS)"),
];

/// Why an exchange with the server failed.
#[derive(Debug)]
pub(super) enum Wire {
    /// The server said so: an NTSTATUS.
    Status(u32),
    /// Nothing moved for so long.
    Silent(Duration),
    /// A signal came, or the time limit of the destination is over.
    Interrupted(io::Error),
    /// A listing without an end.
    Endless(DestinationError),
    /// The library has lost count of how much it may send, and sends nothing any more; another connection can go on.
    Starved,
    /// The connection is gone, for this reason.
    Gone(String),
    /// The server does not offer encryption.
    Unencrypted,
    /// Server and program cannot agree on how to speak.
    Negotiation(String),
    /// Whatever else the library said.
    Library(String),
}

impl Wire {
    /// The server's code, if that is what this is.
    pub(super) fn status(&self) -> Option<u32> {
        match self {
            Wire::Status(status) => Some(*status),
            _ => None,
        }
    }

    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Wire::Status(status) => known(*status).map_or(ErrorKind::Other, |(kind, _)| kind),
            Wire::Silent(_) | Wire::Starved | Wire::Gone(_) => ErrorKind::Unreachable,
            Wire::Interrupted(_) => ErrorKind::Local,
            Wire::Endless(error) => error.kind,
            Wire::Unencrypted | Wire::Negotiation(_) | Wire::Library(_) => ErrorKind::Other,
        }
    }

    pub(super) fn is_missing(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    /// As the error of an operation of a destination.
    pub(super) fn during(self, what: impl Into<String>) -> DestinationError {
        let kind = self.kind();
        let error = DestinationError::new(kind, what);
        let (error, hint) = match self {
            Wire::Interrupted(stop) => (error.caused_by(stop), None),
            Wire::Endless(why) => {
                let hint = why.hint();
                (error.caused_by(why), hint)
            }
            other => (error.caused_by(other), hint_for(kind)),
        };
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// Kind and words of a status.
fn known(status: u32) -> Option<(ErrorKind, &'static str)> {
    STATUSES.iter().find(|(code, ..)| *code == status).map(|(_, kind, words)| (*kind, *words))
}

impl From<smb::Error> for Wire {
    fn from(error: smb::Error) -> Self {
        match error {
            smb::Error::UnexpectedMessageStatus(status) | smb::Error::ReceivedErrorMessage(status, _) => {
                Wire::Status(status)
            }
            smb::Error::NegotiationError(words) if words.starts_with("Encryption is required") => Wire::Unencrypted,
            smb::Error::NegotiationError(words) => Wire::Negotiation(words),
            smb::Error::ConnectionStopped | smb::Error::TransportError(_) | smb::Error::MessageProcessingError(_) => {
                Wire::Gone("the connection was lost".to_owned())
            }
            smb::Error::IoError(error) => error.into(),
            // The library waits for the final answer of some requests only.
            smb::Error::InvalidArgument(words) if words.starts_with("Async command is not allowed") => {
                Wire::Gone("the server takes longer than usual".to_owned())
            }
            other => Wire::Library(quote(&other.to_string(), MAX_LINE_CHARS)),
        }
    }
}

impl From<io::Error> for Wire {
    /// Reading and writing give their errors as text only, with the status in it.
    fn from(error: io::Error) -> Self {
        let words = error.to_string();
        match status_in(&words) {
            Some(status) => Wire::Status(status),
            None if words == smb::Error::ConnectionStopped.to_string() => {
                Wire::Gone("the connection was lost".to_owned())
            }
            None => Wire::Library(quote(&words, MAX_LINE_CHARS)),
        }
    }
}

/// `… Disk Full (0xc000007f).`, or the number alone.
fn status_in(words: &str) -> Option<u32> {
    let (_, digits) = words.rsplit_once("0x")?;
    let digits = digits.trim_end_matches(['.', ')']);
    u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 8)
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wire::Status(status) => match known(*status) {
                Some((_, words)) => write!(f, "{words} (NTSTATUS 0x{status:08X})"),
                None => write!(f, "the server answered NTSTATUS 0x{status:08X}"),
            },
            Wire::Silent(limit) => write!(f, "no byte moved for {} s", limit.as_secs_f32()),
            Wire::Interrupted(stop) => write!(f, "{stop}"),
            Wire::Endless(error) => write!(f, "{error}"),
            Wire::Starved => f.write_str("the server lets nothing more be sent"),
            Wire::Unencrypted => f.write_str("the server does not offer encryption"),
            Wire::Gone(words) | Wire::Negotiation(words) | Wire::Library(words) => f.write_str(words),
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
        ErrorKind::PermissionDenied => Some(text!(
            "give this account the right to write in `path` on the share, both in the share's rights and in the directory's, or choose another `path`"
                / "donnez à ce compte le droit d'écrire dans `path` sur le partage, dans les droits du partage et dans ceux du répertoire, ou choisissez un autre `path`"
        )),
        ErrorKind::NoSpace => Some(text!(
            "make room on the server, raise the account's quota, or keep fewer archives (`retention`)"
                / "libérez de la place sur le serveur, augmentez le quota du compte, ou gardez moins d'archives (`retention`)"
        )),
        _ => None,
    }
}

/// Why the two could not agree, in words for whoever has the configuration before them.
pub(super) fn disagreement(wire: Wire, server: &str, port: u16) -> DestinationError {
    let what = format!("`{server}` and this program cannot agree on how to speak SMB");
    match &wire {
        Wire::Unencrypted => {
            DestinationError::new(ErrorKind::Other, what)
                .caused_by(format!("{wire}, and `encryption` is \"required\""))
                .with_hint(text!(
                    "turn on encryption on the server (Samba: `server smb encrypt = desired`), or set `encryption = \"if_offered\"`: archives are then signed, but can be read on the way"
                        / "activez le chiffrement sur le serveur (Samba : `server smb encrypt = desired`), ou mettez `encryption = \"if_offered\"` : les archives sont alors signées, mais lisibles en chemin"
                ))
        }
        Wire::Status(NOT_SUPPORTED) | Wire::Negotiation(_) | Wire::Library(_) => {
            DestinationError::new(ErrorKind::Other, what).caused_by(wire).with_hint(text!(
                "the server must speak SMB 3.0 or later: turn that on there (Samba: `server max protocol = SMB3`)"
                    / "le serveur doit parler SMB 3.0 ou plus récent : activez-le là-bas (Samba : `server max protocol = SMB3`)"
            ))
        }
        Wire::Silent(_) | Wire::Starved | Wire::Gone(_) => wire.during(format!("no SMB server answered properly at `{server}`")).with_hint(
            text!(
                "check `host` and `port` (`{port}`): is it an SMB server that listens there?"
                    / "vérifiez `host` et `port` (`{port}`) : est-ce bien un serveur SMB qui y écoute ?"
            ),
        ),
        _ => wire.during(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_found_again_in_the_words() {
        for (words, status) in [
            ("Unexpected message status: Logon Failure (0xc000006d).", Some(0xC000_006D)),
            ("Unexpected message status: 0xc000007f.", Some(0xC000_007F)),
            ("Server returned an error message with status: No EAs on File (0xc0000044).", Some(0xC000_0044)),
            ("Resource is closed", None),
            ("0x10 of them", None),
        ] {
            assert_eq!(status_in(words), status, "{words}");
        }
    }

    #[test]
    fn every_status_is_there_once_and_has_its_kind() {
        for (index, (status, kind, _)) in STATUSES.iter().enumerate() {
            assert_eq!(STATUSES.iter().position(|(code, ..)| code == status), Some(index), "0x{status:08X}");
            assert_eq!(Wire::from(smb::Error::UnexpectedMessageStatus(*status)).kind(), *kind);
        }
        for (status, kind) in [
            (0xC000_0022, ErrorKind::PermissionDenied),
            (0xC000_0035, ErrorKind::AlreadyExists),
            (0xC000_003A, ErrorKind::NotFound),
            (0xC000_0056, ErrorKind::Unreachable),
            (0xC000_006D, ErrorKind::Auth),
            (0xC000_007F, ErrorKind::NoSpace),
            (0xC000_00CC, ErrorKind::Other),
            (0xC000_9999, ErrorKind::Other),
        ] {
            assert_eq!(Wire::Status(status).kind(), kind, "0x{status:08X}");
        }
    }

    #[test]
    fn a_stall_says_how_long_nothing_moved() {
        assert_eq!(Wire::Silent(Duration::from_secs(60)).to_string(), "no byte moved for 60 s");
    }
}
