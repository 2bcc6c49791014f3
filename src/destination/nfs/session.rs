//! The way to the exported directory (portmapper, MOUNT, NFS), and the requests as plain functions.

use std::io;

use nfs3_client::nfs3_types::mount::{self, dirpath, mountstat3};
use nfs3_client::nfs3_types::nfs3::*;
use nfs3_client::nfs3_types::portmap::{IPPROTO_TCP, PMAP_PORT};
use nfs3_client::nfs3_types::rpc::{auth_unix, opaque_auth};
use nfs3_client::nfs3_types::xdr_codec::Opaque;
use nfs3_client::{MountClient, MountError, Nfs3Client, PortmapError, PortmapperClient};
use tokio::runtime::Runtime;

use super::errors::{Who, Wire, answered};
use super::socket::{Patience, Socket, addresses};
use crate::config::settings::NfsSettings;
use crate::destination::{DestinationError, ErrorKind, Timeouts};
use crate::interrupt::Interrupt;
use crate::text;

/// AUTH_SYS in a list of flavours (RFC 5531 §8.2).
const AUTH_SYS: u32 = 1;

/// A mounted export.
pub(super) struct Session {
    // Before the runtime: what is dropped first may still speak to it.
    pub(super) client: Nfs3Client<Socket>,
    pub(super) runtime: Runtime,
    pub(super) patience: Patience,
    pub(super) who: Who,
    pub(super) root: nfs_fh3,
    /// Sizes and abilities that the server tells.
    pub(super) info: FSINFO3resok,
}

/// A file or directory that is there.
pub(super) struct Found {
    pub(super) handle: nfs_fh3,
    pub(super) attributes: fattr3,
}

impl Session {
    /// Mounts the export; nothing is sent but who we say we are.
    pub(super) fn mount(
        settings: &NfsSettings,
        timeouts: Timeouts,
        interrupt: &Interrupt,
    ) -> Result<Self, DestinationError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            DestinationError::new(ErrorKind::Other, "failed to prepare the connection").caused_by(error)
        })?;
        let who = Who {
            uid: settings.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw()),
            gid: settings.gid.unwrap_or_else(|| rustix::process::getegid().as_raw()),
        };
        let way = Way {
            runtime: &runtime,
            settings,
            privileged: settings.privileged_port.unwrap_or_else(|| rustix::process::geteuid().is_root()),
            patience: Patience::new(timeouts.connect, interrupt),
            who,
        };
        let (mount_port, port) = way.ports()?;
        let root = way.mount(mount_port)?;
        let socket = way.dial(port, "port")?;
        let (credential, verifier) = way.credential();
        let mut client = Nfs3Client::new_with_auth(socket, credential, verifier);
        let info = runtime.block_on(client.fsinfo(&root.clone().into()));
        let info = answered(info).map_err(|wire| {
            let what = format!("no NFS server answered properly at port {port} of `{}`", settings.host);
            with_port_hint(wire.during(what, who), port, "port")
        })?;
        let patience = way.patience;
        patience.set_limit(timeouts.stall);
        Ok(Session { client, runtime, patience, who, root, info })
    }

    /// What a name stands for; links are not followed.
    pub(super) fn look_up(&mut self, directory: &nfs_fh3, name: &str) -> Result<Option<Found>, Wire> {
        let arguments = LOOKUP3args { what: named(directory, name) };
        let found = match answered(self.runtime.block_on(self.client.lookup(&arguments))) {
            Ok(found) => found,
            Err(wire) if wire.is(nfsstat3::NFS3ERR_NOENT) => return Ok(None),
            Err(wire) => return Err(wire),
        };
        let attributes = match found.obj_attributes {
            Nfs3Option::Some(attributes) => attributes,
            Nfs3Option::None => self.attributes(&found.object)?,
        };
        Ok(Some(Found { handle: found.object, attributes }))
    }

    pub(super) fn attributes(&mut self, file: &nfs_fh3) -> Result<fattr3, Wire> {
        let found = self.runtime.block_on(self.client.getattr(&file.clone().into()));
        Ok(answered(found)?.obj_attributes)
    }

    pub(super) fn make_directory(&mut self, parent: &nfs_fh3, name: &str, mode: u32) -> Result<(), Wire> {
        let arguments = MKDIR3args { where_: named(parent, name), attributes: of_mode(mode) };
        answered(self.runtime.block_on(self.client.mkdir(&arguments))).map(drop)
    }

    /// Makes an empty file; fails if the name is taken.
    pub(super) fn create(&mut self, directory: &nfs_fh3, name: &str, mode: u32) -> Result<nfs_fh3, Wire> {
        let arguments = CREATE3args { where_: named(directory, name), how: createhow3::GUARDED(of_mode(mode)) };
        match answered(self.runtime.block_on(self.client.create(&arguments)))?.obj {
            Nfs3Option::Some(handle) => Ok(handle),
            Nfs3Option::None => match self.look_up(directory, name)? {
                Some(found) => Ok(found.handle),
                None => Err(Wire::Status(nfsstat3::NFS3ERR_NOENT)),
            },
        }
    }

    pub(super) fn remove(&mut self, directory: &nfs_fh3, name: &str) -> Result<(), Wire> {
        let arguments = REMOVE3args { object: named(directory, name) };
        answered(self.runtime.block_on(self.client.remove(&arguments))).map(drop)
    }

    pub(super) fn link(&mut self, file: &nfs_fh3, directory: &nfs_fh3, name: &str) -> Result<(), Wire> {
        let arguments = LINK3args { file: file.clone(), link: named(directory, name) };
        answered(self.runtime.block_on(self.client.link(&arguments))).map(drop)
    }

    /// Replaces whatever has the name `to`.
    pub(super) fn rename(&mut self, directory: &nfs_fh3, from: &str, to: &str) -> Result<(), Wire> {
        let arguments = RENAME3args { from: named(directory, from), to: named(directory, to) };
        answered(self.runtime.block_on(self.client.rename(&arguments))).map(drop)
    }

    pub(super) fn free_space(&mut self, directory: &nfs_fh3) -> Result<u64, Wire> {
        let told = self.runtime.block_on(self.client.fsstat(&directory.clone().into()));
        Ok(answered(told)?.abytes)
    }

    pub(super) fn page(&mut self, arguments: &READDIRPLUS3args) -> Result<READDIRPLUS3resok<'static>, Wire> {
        answered(self.runtime.block_on(self.client.readdirplus(arguments)))
    }
}

fn named<'a>(directory: &nfs_fh3, name: &'a str) -> diropargs3<'a> {
    diropargs3 { dir: directory.clone(), name: name.as_bytes().into() }
}

fn of_mode(mode: u32) -> sattr3 {
    sattr3 { mode: Nfs3Option::Some(mode), ..sattr3::default() }
}

/// What is known before there is a session.
struct Way<'a> {
    runtime: &'a Runtime,
    settings: &'a NfsSettings,
    privileged: bool,
    patience: Patience,
    who: Who,
}

impl Way<'_> {
    /// Ports of MOUNT and NFS: as configured, else as the portmapper says (RFC 1833).
    fn ports(&self) -> Result<(u16, u16), DestinationError> {
        if let (Some(mount), Some(nfs)) = (self.settings.mount_port, self.settings.port) {
            return Ok((mount, nfs));
        }
        let mut portmapper = PortmapperClient::new(self.dial(PMAP_PORT, "mount_port")?);
        let mut ask = |program, version, service: &str, key: &str| {
            self.runtime.block_on(portmapper.getport(program, version, IPPROTO_TCP)).map_err(|error| {
                let what = format!("the portmapper of `{}` does not know the port of {service}", self.settings.host);
                let error = match error {
                    PortmapError::Rpc(rpc) => Wire::Rpc(rpc).during(what, self.who),
                    other => DestinationError::new(ErrorKind::Other, what).caused_by(other),
                };
                error.with_hint(text!(
                    "is it an NFS server that speaks version 3 over TCP? `rpcinfo -p HOST` shows what it offers; `{key}` can also be set"
                        / "est-ce un serveur NFS qui parle la version 3 sur TCP ? `rpcinfo -p HOST` montre ce qu'il offre ; on peut aussi fixer `{key}`"
                ))
            })
        };
        let mount = match self.settings.mount_port {
            Some(port) => port,
            None => ask(mount::PROGRAM, mount::VERSION, "MOUNT version 3", "mount_port")?,
        };
        let nfs = match self.settings.port {
            Some(port) => port,
            None => ask(PROGRAM, VERSION, "NFS version 3", "port")?,
        };
        Ok((mount, nfs))
    }

    /// The handle of the exported directory.
    fn mount(&self, port: u16) -> Result<nfs_fh3, DestinationError> {
        let (credential, verifier) = self.credential();
        let mut client = MountClient::new_with_auth(self.dial(port, "mount_port")?, credential, verifier);
        let (host, export) = (&self.settings.host, &self.settings.export);
        let what = format!("failed to mount `{export}` of `{host}`");
        let answer = self.runtime.block_on(client.mnt(dirpath(Opaque::borrowed(export.as_bytes()))));
        let mounted = answer.map_err(|error| match error {
            MountError::Rpc(rpc) => with_port_hint(Wire::Rpc(rpc).during(what.clone(), self.who), port, "mount_port"),
            MountError::Denied(status) => self.denied(status, what.clone()),
        })?;
        if !mounted.auth_flavors.is_empty() && !mounted.auth_flavors.contains(&AUTH_SYS) {
            let reason = "the server wants another proof than AUTH_SYS (Kerberos, as a rule)";
            return Err(DestinationError::new(ErrorKind::Auth, what).caused_by(reason).with_hint(text!(
                "allow `sec=sys` for this machine in the server's exports, or mount the share with the system and use `type = \"local\"`"
                    / "autorisez `sec=sys` pour cette machine dans les exports du serveur, ou montez le partage avec le système et utilisez `type = \"local\"`"
            )));
        }
        Ok(nfs_fh3 { data: mounted.fhandle.0 })
    }

    fn denied(&self, status: mountstat3, what: String) -> DestinationError {
        let (host, privileged) = (&self.settings.host, self.privileged);
        let kind = match status {
            mountstat3::MNT3ERR_NOENT | mountstat3::MNT3ERR_NOTDIR => ErrorKind::NotFound,
            mountstat3::MNT3ERR_ACCES | mountstat3::MNT3ERR_PERM => ErrorKind::PermissionDenied,
            _ => ErrorKind::Other,
        };
        let error = DestinationError::new(kind, what).caused_by(format!("the server answered {status}"));
        error.with_hint(match (kind, privileged) {
            (ErrorKind::PermissionDenied, false) => text!(
                "check `export` (`showmount -e {host}`) and that it is exported to this machine's address; many servers also want `privileged_port = true` (then run as root) or `insecure` in their exports"
                    / "vérifiez `export` (`showmount -e {host}`) et qu'il est exporté vers l'adresse de cette machine ; beaucoup de serveurs exigent aussi `privileged_port = true` (lancez alors en root) ou `insecure` dans leurs exports"
            ),
            _ => text!(
                "check `export` (`showmount -e {host}` shows what there is), and that it is exported to this machine's address"
                    / "vérifiez `export` (`showmount -e {host}` montre ce qu'il y a), et qu'il est exporté vers l'adresse de cette machine"
            ),
        })
    }

    /// AUTH_SYS: a name for the server's log, and two numbers.
    fn credential(&self) -> (opaque_auth<'static>, opaque_auth<'static>) {
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let auth = auth_unix {
            stamp: std::process::id(),
            // At most 255 bytes (RFC 5531 appendix A).
            machinename: Opaque::owned(machine.into_bytes().into_iter().take(255).collect()),
            uid: self.who.uid,
            gid: self.who.gid,
            gids: Vec::new(),
        };
        (opaque_auth::auth_unix(&auth), opaque_auth::default())
    }

    fn dial(&self, port: u16, key: &str) -> Result<Socket, DestinationError> {
        let host = &self.settings.host;
        let addresses = addresses(host, port).map_err(|error| {
            DestinationError::new(ErrorKind::Unreachable, format!("the host `{host}` was not found"))
                .caused_by(error)
                .with_hint(text!(
                    "check `host`, and the name server of this machine (`getent hosts {host}`)"
                        / "vérifiez `host`, et le serveur de noms de cette machine (`getent hosts {host}`)"
                ))
        })?;
        let dialled = self.runtime.block_on(Socket::dial(&addresses, self.privileged, &self.patience));
        dialled.map_err(|error| {
            let what = format!("failed to connect to port {port} of `{host}`");
            if error.kind() == io::ErrorKind::PermissionDenied {
                return DestinationError::new(ErrorKind::Other, what).caused_by(error).with_hint(text!(
                    "run as root, or set `privileged_port = false` and allow that on the server (`insecure` in its exports)"
                        / "lancez en root, ou mettez `privileged_port = false` et autorisez-le sur le serveur (`insecure` dans ses exports)"
                ));
            }
            let error = DestinationError::new(ErrorKind::Unreachable, what).caused_by(error);
            match port {
                PMAP_PORT => error.with_hint(text!(
                    "check `host`, that the server is up, and that no firewall hides its portmapper; without it, set `port` and `mount_port`"
                        / "vérifiez `host`, que le serveur est en marche, et qu'aucun pare-feu ne cache son portmapper ; sans lui, fixez `port` et `mount_port`"
                )),
                _ => error.with_hint(text!(
                    "check `host` and `{key}` ({port}), that the server is up, and that no firewall is in the way"
                        / "vérifiez `host` et `{key}` ({port}), que le serveur est en marche, et qu'aucun pare-feu ne bloque"
                )),
            }
        })
    }
}

/// Something answers there, though not what was expected.
fn with_port_hint(error: DestinationError, port: u16, key: &str) -> DestinationError {
    match error.kind {
        ErrorKind::Other | ErrorKind::Unreachable => error.with_hint(text!(
            "check `host` and `{key}` ({port}): `rpcinfo -p HOST` shows the ports of NFS and MOUNT"
                / "vérifiez `host` et `{key}` ({port}) : `rpcinfo -p HOST` montre les ports de NFS et de MOUNT"
        )),
        _ => error,
    }
}
