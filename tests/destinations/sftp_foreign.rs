//! SFTP servers that are not OpenSSH's. Lines that are cut and servers that fall silent are tested with OpenSSH: what is at work
//! then is our side.

use archive::config::secret::Secret;
use archive::config::settings::{HostKey, Protocol as ProtocolSettings, SftpSettings, SshAuth};
use archive::destination::Capabilities;

use crate::server::{Directory, Disk, Feature, Place, Protocol, Server};
use crate::support::sftp_servers::{SftpServer, Software};

pub const PROFTPD: Protocol = protocol("sftp-proftpd", Software::Proftpd, RESUMES, || start(Software::Proftpd));
pub const RCLONE: Protocol = protocol("sftp-rclone", Software::Rclone, NO_RESUME, || start(Software::Rclone));
pub const RCLONE_CACHED: Protocol =
    protocol("sftp-rclone-cached", Software::RcloneCached, NO_RESUME, || start(Software::RcloneCached));
pub const DROPBEAR: Protocol = protocol("sftp-dropbear", Software::Dropbear, RESUMES, || start(Software::Dropbear));
pub const PARAMIKO: Protocol = protocol("sftp-paramiko", Software::Paramiko, RESUMES, || start(Software::Paramiko));
pub const ASYNCSSH: Protocol = protocol("sftp-asyncssh", Software::Asyncssh, RESUMES, || start(Software::Asyncssh));

const RESUMES: &[Feature] = &[Feature::Any, Feature::Many, Feature::Directory, Feature::Move, Feature::Resume];
/// It refuses when asked to: the program finds out, and begins again.
const NO_RESUME: &[Feature] = &[Feature::Any, Feature::Many, Feature::Directory, Feature::Move];

const fn protocol(
    name: &'static str,
    software: Software,
    features: &'static [Feature],
    start: fn() -> Box<dyn Server>,
) -> Protocol {
    Protocol { name, needs: software.needs(), features, start, refusals: &[], more_needs: |_| Vec::new() }
}

fn start(software: Software) -> Box<dyn Server> {
    Box::new(Foreign { software, server: SftpServer::start(software) })
}

struct Foreign {
    software: Software,
    server: SftpServer,
}

impl Server for Foreign {
    fn protocol(&self, place: Place) -> ProtocolSettings {
        let path = match place {
            Place::Below(more) => format!("{}/{more}", self.server.remote()),
            _ => self.server.remote(),
        };
        ProtocolSettings::Sftp(SftpSettings {
            host: "127.0.0.1".to_owned(),
            port: self.server.port(),
            username: self.server.username().to_owned(),
            auth: vec![SshAuth::Password(Secret::new(self.server.password()))],
            host_key: HostKey::Fingerprints(vec![self.server.fingerprint()]),
            path,
            connections: None,
            server_checksum: true,
        })
    }

    fn disk(&self, place: Place) -> Box<dyn Disk> {
        let path = match place {
            Place::Below(more) => self.server.data().join(more),
            _ => self.server.data(),
        };
        Box::new(Directory { path, owner: self.server.owner() })
    }

    fn capabilities(&self) -> Capabilities {
        let shell = self.software == Software::Dropbear;
        Capabilities {
            move_refuses_to_clobber: false,
            move_in_one_step: true,
            checksum_by_server: shell,
            resume: true,
            free_space: matches!(self.software, Software::Proftpd | Software::Asyncssh),
            server_clock: shell,
            atomic_put: false,
        }
    }

    fn shows_oddities(&self) -> bool {
        // rclone leaves links out, paramiko cannot list names that are no UTF-8.
        !matches!(self.software, Software::Rclone | Software::RcloneCached | Software::Paramiko)
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.server.password().to_owned()]
    }
}
