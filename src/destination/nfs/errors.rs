//! What the client and the server answer, translated once into what the rest of the program understands.

use std::fmt;
use std::io;

use nfs3_client::RpcError;
use nfs3_client::nfs3_types::nfs3::{Nfs3Result, nfsstat3};

use super::socket::Stalled;
use crate::destination::{DestinationError, ErrorKind};
use crate::error::Hinted as _;
use crate::interrupt::{Interrupted, is_time_limit};
use crate::text;
use crate::text::Text;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Wire {
    /// The server's status (RFC 1813 §2.6).
    Status(nfsstat3),
    /// The way there, or a request that the server's RPC layer refused.
    Rpc(RpcError),
    /// A listing without an end.
    Endless(DestinationError),
}

/// The two layers of an answer as one.
pub(super) fn answered<T, E>(result: Result<Nfs3Result<T, E>, RpcError>) -> Result<T, Wire> {
    match result {
        Ok(Nfs3Result::Ok(value)) => Ok(value),
        Ok(Nfs3Result::Err((status, _))) => Err(Wire::Status(status)),
        Err(error) => Err(Wire::Rpc(error)),
    }
}

impl Wire {
    pub(super) fn is(&self, status: nfsstat3) -> bool {
        matches!(self, Wire::Status(found) if *found == status)
    }

    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Wire::Status(status) => match status {
                nfsstat3::NFS3ERR_NOENT => ErrorKind::NotFound,
                nfsstat3::NFS3ERR_EXIST => ErrorKind::AlreadyExists,
                nfsstat3::NFS3ERR_PERM | nfsstat3::NFS3ERR_ACCES | nfsstat3::NFS3ERR_ROFS => {
                    ErrorKind::PermissionDenied
                }
                nfsstat3::NFS3ERR_NOSPC | nfsstat3::NFS3ERR_DQUOT => ErrorKind::NoSpace,
                // Mounting anew gives a handle that is good; JUKEBOX asks to come back later.
                nfsstat3::NFS3ERR_STALE | nfsstat3::NFS3ERR_BADHANDLE | nfsstat3::NFS3ERR_JUKEBOX => {
                    ErrorKind::Unreachable
                }
                _ => ErrorKind::Other,
            },
            Wire::Endless(error) => error.kind,
            Wire::Rpc(RpcError::Io(error)) if is_interrupted(error) => ErrorKind::Local,
            Wire::Rpc(RpcError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => ErrorKind::Other,
            Wire::Rpc(RpcError::Io(_)) => ErrorKind::Unreachable,
            Wire::Rpc(RpcError::Auth(_)) => ErrorKind::Auth,
            Wire::Rpc(RpcError::UnexpectedXid | RpcError::SystemErr) => ErrorKind::Unreachable,
            Wire::Rpc(_) => ErrorKind::Other,
        }
    }

    /// As the error of an operation of a destination, by whoever we say we are.
    pub(super) fn during(self, what: impl Into<String>, who: Who) -> DestinationError {
        let kind = self.kind();
        let error = DestinationError::new(kind, what);
        let hint = self.hint(who);
        let error = match self {
            Wire::Rpc(RpcError::Io(io)) if io.get_ref().is_some_and(|inner| inner.is::<Stalled>()) => {
                error.caused_by(io.to_string())
            }
            Wire::Rpc(RpcError::Io(io)) => error.caused_by(io),
            Wire::Endless(why) => error.caused_by(why),
            other => error.caused_by(other),
        };
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    fn hint(&self, who: Who) -> Option<Text> {
        if let Wire::Endless(error) = self {
            return error.hint();
        }
        match self.kind() {
            ErrorKind::Unreachable => Some(text!(
                "check that the server is up, and that the network and its firewall let the connection through"
                    / "vérifiez que le serveur est en marche, et que le réseau et le pare-feu laissent passer la connexion"
            )),
            ErrorKind::PermissionDenied if self.is(nfsstat3::NFS3ERR_ROFS) => Some(text!(
                "the export is read-only for this machine: allow writing in the server's exports (`rw`), or choose another `export`"
                    / "l'export est en lecture seule pour cette machine : autorisez l'écriture dans les exports du serveur (`rw`), ou choisissez un autre `export`"
            )),
            ErrorKind::PermissionDenied => Some(who.hint()),
            ErrorKind::Auth => Some(text!(
                "the server refuses AUTH_SYS from here: allow `sec=sys` for this machine in its exports; it may also want `privileged_port = true` (then run as root) or `insecure` in its exports"
                    / "le serveur refuse AUTH_SYS depuis ici : autorisez `sec=sys` pour cette machine dans ses exports ; il peut aussi exiger `privileged_port = true` (lancez alors en root) ou `insecure` dans ses exports"
            )),
            ErrorKind::NoSpace => Some(text!(
                "make room on the server, raise the quota of this `uid`, or keep fewer archives (`retention`)"
                    / "libérez de la place sur le serveur, augmentez le quota de cet `uid`, ou gardez moins d'archives (`retention`)"
            )),
            _ => None,
        }
    }
}

/// Who we say we are (AUTH_SYS, RFC 5531 appendix A); the server believes it, or makes `nobody` of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Who {
    fn hint(self) -> Text {
        let Who { uid, gid } = self;
        match uid {
            0 => text!(
                "the server was told `uid` {uid}, which most exports turn into `nobody` (`root_squash`): set `uid` and `gid` to the owner of `path` on the server"
                    / "le serveur a reçu `uid` {uid}, que la plupart des exports changent en `nobody` (`root_squash`) : mettez dans `uid` et `gid` le propriétaire de `path` sur le serveur"
            ),
            _ => text!(
                "the server was told `uid` {uid} and `gid` {gid}: give these the right to write in `path` there, or set `uid` and `gid` to its owner"
                    / "le serveur a reçu `uid` {uid} et `gid` {gid} : donnez-leur le droit d'écrire dans `path` là-bas, ou mettez dans `uid` et `gid` son propriétaire"
            ),
        }
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wire::Status(status) => match words(*status) {
                Some(words) => write!(f, "the server answered `{words}` ({status})"),
                None => write!(f, "the server answered {status}"),
            },
            Wire::Rpc(RpcError::Io(error)) => error.fmt(f),
            Wire::Endless(error) => error.fmt(f),
            Wire::Rpc(error) => write!(f, "the server's RPC layer answered `{error}`"),
        }
    }
}

impl std::error::Error for Wire {}

fn is_interrupted(error: &io::Error) -> bool {
    is_time_limit(error) || error.get_ref().is_some_and(|inner| inner.is::<Interrupted>())
}

/// The status in the words of the C library, which technicians know.
fn words(status: nfsstat3) -> Option<&'static str> {
    Some(match status {
        nfsstat3::NFS3ERR_PERM => "Operation not permitted",
        nfsstat3::NFS3ERR_NOENT => "No such file or directory",
        nfsstat3::NFS3ERR_IO => "Input/output error",
        nfsstat3::NFS3ERR_ACCES => "Permission denied",
        nfsstat3::NFS3ERR_EXIST => "File exists",
        nfsstat3::NFS3ERR_NOTDIR => "Not a directory",
        nfsstat3::NFS3ERR_ISDIR => "Is a directory",
        nfsstat3::NFS3ERR_FBIG => "File too large",
        nfsstat3::NFS3ERR_NOSPC => "No space left on device",
        nfsstat3::NFS3ERR_ROFS => "Read-only file system",
        nfsstat3::NFS3ERR_NAMETOOLONG => "File name too long",
        nfsstat3::NFS3ERR_DQUOT => "Disk quota exceeded",
        nfsstat3::NFS3ERR_STALE => "Stale file handle",
        nfsstat3::NFS3ERR_NOTSUPP => "Operation not supported",
        nfsstat3::NFS3ERR_JUKEBOX => "try again later",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nfs3_client::nfs3_types::rpc::auth_stat;

    use super::*;

    #[test]
    fn every_answer_has_its_kind() {
        let io = |error: io::Error| Wire::Rpc(RpcError::Io(error));
        for (wire, kind) in [
            (Wire::Status(nfsstat3::NFS3ERR_NOENT), ErrorKind::NotFound),
            (Wire::Status(nfsstat3::NFS3ERR_EXIST), ErrorKind::AlreadyExists),
            (Wire::Status(nfsstat3::NFS3ERR_PERM), ErrorKind::PermissionDenied),
            (Wire::Status(nfsstat3::NFS3ERR_ACCES), ErrorKind::PermissionDenied),
            (Wire::Status(nfsstat3::NFS3ERR_ROFS), ErrorKind::PermissionDenied),
            (Wire::Status(nfsstat3::NFS3ERR_NOSPC), ErrorKind::NoSpace),
            (Wire::Status(nfsstat3::NFS3ERR_DQUOT), ErrorKind::NoSpace),
            (Wire::Status(nfsstat3::NFS3ERR_STALE), ErrorKind::Unreachable),
            (Wire::Status(nfsstat3::NFS3ERR_JUKEBOX), ErrorKind::Unreachable),
            (Wire::Status(nfsstat3::NFS3ERR_IO), ErrorKind::Other),
            (Wire::Rpc(RpcError::Auth(auth_stat::AUTH_TOOWEAK)), ErrorKind::Auth),
            (io(io::ErrorKind::ConnectionReset.into()), ErrorKind::Unreachable),
            (io(io::Error::new(io::ErrorKind::TimedOut, Stalled(Duration::from_secs(60)))), ErrorKind::Unreachable),
            (io(io::Error::other(Interrupted)), ErrorKind::Local),
        ] {
            assert_eq!(wire.kind(), kind, "{wire}");
        }
    }

    #[test]
    fn who_was_refused_is_told_who_it_was() {
        let told = |uid| {
            let error = Wire::Status(nfsstat3::NFS3ERR_ACCES).during("failed", Who { uid, gid: 7 });
            crate::error::Hinted::hint(&error).unwrap().en
        };
        assert!(told(0).contains("root_squash"), "{}", told(0));
        assert!(told(1000).contains("`uid` 1000 and `gid` 7"), "{}", told(1000));
    }
}
