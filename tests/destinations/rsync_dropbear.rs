//! rsync over SSH to Dropbear.

use archive::config::settings::{HostKey, Protocol as ProtocolSettings, RsyncSettings, RsyncWay};
use archive::destination::Capabilities;

use crate::server::{Directory, Disk, Feature, Place, Protocol, Server};
use crate::support::accounts;
use crate::support::harness::Need;
use crate::support::sftp_servers::{SftpServer, Software};

pub const PROTOCOL: Protocol = Protocol {
    name: "rsync-dropbear",
    needs: &[Need::program("rsync"), Need::Program("dropbear", "dropbear-bin"), Need::SshdAccounts],
    features: &[Feature::Any, Feature::Many, Feature::Directory, Feature::PutNew],
    start: || Box::new(OverDropbear(SftpServer::start(Software::Dropbear))),
    refusals: &[],
    more_needs: |_| Vec::new(),
};

struct OverDropbear(SftpServer);

impl Server for OverDropbear {
    fn protocol(&self, place: Place) -> ProtocolSettings {
        let path = match place {
            Place::Below(more) => format!("{}/{more}", self.0.remote()),
            _ => self.0.remote(),
        };
        let way = RsyncWay::Ssh {
            username: self.0.username().to_owned(),
            private_key: Some(accounts::key()),
            agent: false,
            host_key: HostKey::Fingerprints(vec![self.0.fingerprint()]),
        };
        ProtocolSettings::Rsync(RsyncSettings { host: "127.0.0.1".to_owned(), port: self.0.port(), path, way })
    }

    fn disk(&self, place: Place) -> Box<dyn Disk> {
        let path = match place {
            Place::Below(more) => self.0.data().join(more),
            _ => self.0.data(),
        };
        Box::new(Directory { path, owner: self.0.owner() })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { atomic_put: true, ..Capabilities::NONE }
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.0.password().to_owned()]
    }
}
