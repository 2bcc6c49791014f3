//! nfs-ganesha, one for all cases. It cannot be frozen for one of them alone: between each case and the server stands a proxy,
//! which falls silent instead.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use archive::config::settings::{DestinationSettings, NfsSettings, Protocol as ProtocolSettings};
use archive::destination::{Capabilities, ErrorKind};

use crate::server::{Directory, Disk, Feature, Given, Place, Protocol, Refusal, Server};
use crate::support::ganesha::{self, UID, give};
use crate::support::harness::Need;
use crate::support::proxy::Proxy;

pub const PROTOCOL: Protocol = Protocol {
    name: "nfs",
    needs: &[Need::Ganesha],
    features: &[
        Feature::Any,
        Feature::Many,
        Feature::Directory,
        Feature::Move,
        Feature::Network,
        Feature::NetworkMove,
        Feature::ReadOnly,
        Feature::Resume,
        Feature::Small,
    ],
    start: || Box::new(Nfs { place: ganesha::place(), proxy: Proxy::start(ganesha::server().port) }),
    refusals: &["wrong_export", "wrong_uid", "wrong_mount_port", "unprivileged_port"],
    more_needs: |_| Vec::new(),
};

struct Nfs {
    place: ganesha::Place,
    proxy: Proxy,
}

impl Nfs {
    fn keys(&self, place: Place) -> NfsSettings {
        let server = ganesha::server();
        let (export, path) = match place {
            Place::Data => ("export", self.place.path("data")),
            Place::Below(more) => ("export", format!("{}/{more}", self.place.path("data"))),
            Place::ReadOnly => ("export", self.place.path("read-only")),
            Place::BelowReadOnly(more) => ("export", format!("{}/{more}", self.place.path("read-only"))),
            Place::Small => ("small", self.place.small_path()),
        };
        NfsSettings {
            host: "127.0.0.1".to_owned(),
            export: server.export(export),
            path,
            uid: Some(UID),
            gid: Some(UID),
            port: Some(self.proxy.port()),
            mount_port: Some(server.mount_port),
            privileged_port: Some(false),
        }
    }
}

impl Server for Nfs {
    fn protocol(&self, place: Place) -> ProtocolSettings {
        ProtocolSettings::Nfs(self.keys(place))
    }

    fn disk(&self, place: Place) -> Box<dyn Disk> {
        let path = match place {
            Place::Data => self.place.local("data"),
            Place::Below(more) => self.place.local("data").join(more),
            Place::ReadOnly => self.place.local("read-only"),
            Place::BelowReadOnly(more) => self.place.local("read-only").join(more),
            Place::Small => self.place.small(),
        };
        Box::new(Given(Directory { path, owner: None }, give))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            move_refuses_to_clobber: true,
            move_in_one_step: false,
            checksum_by_server: false,
            resume: true,
            free_space: true,
            server_clock: false,
            atomic_put: false,
        }
    }

    fn refusal(&self, what: &str) -> Refusal {
        let server = ganesha::server();
        let mut keys = self.keys(Place::Data);
        let mut connections = 0;
        let (kind, words, hint): (_, &'static [&'static str], _) = match what {
            "wrong_export" => {
                keys.export = "/of/that/name/there/is/none".to_owned();
                // Like others, this server does not tell strangers which exports there are.
                (
                    ErrorKind::PermissionDenied,
                    &["failed to mount `/of/that/name/there/is/none`", "MNT3ERR_ACCES"],
                    "check `export`",
                )
            }
            "wrong_uid" => {
                fs::set_permissions(self.place.local("data"), Permissions::from_mode(0o700)).expect("own directory");
                keys.path.push_str("/below");
                keys.uid = Some(UID + 1);
                connections = 1;
                (ErrorKind::PermissionDenied, &["Permission denied"], "`uid` 54322")
            }
            "wrong_mount_port" => {
                keys.mount_port = Some(server.port);
                (ErrorKind::Other, &["failed to mount", "Program unavailable"], "`mount_port`")
            }
            "unprivileged_port" => {
                keys.export = server.export("guarded");
                connections = 1;
                (ErrorKind::Auth, &["AUTH_TOOWEAK"], "privileged_port")
            }
            _ => unreachable!("no such refusal: `{what}`"),
        };
        let settings = DestinationSettings { protocol: ProtocolSettings::Nfs(keys), ..self.settings(Place::Data) };
        Refusal { settings, kind, connections, words, hint }
    }

    fn port(&self) -> u16 {
        ganesha::server().port
    }

    fn redirected(&self, settings: &DestinationSettings, port: u16) -> DestinationSettings {
        let mut settings = settings.clone();
        if let ProtocolSettings::Nfs(keys) = &mut settings.protocol {
            keys.port = Some(port);
        }
        settings
    }

    fn freeze(&self) {
        self.proxy.freeze();
    }
}
