//! A second S3 server: `moto`, which keeps objects in memory and looks at no signature. So nobody is refused.

use std::sync::Arc;

use archive::config::secret::Secret;
use archive::config::settings::{Protocol as ProtocolSettings, S3Credentials, S3Settings};
use archive::destination::Capabilities;

use crate::server::{Disk, Feature, Place, Protocol, Server};
use crate::support::harness::Need;
use crate::support::moto::{BUCKET, Moto};

pub const PROTOCOL: Protocol = Protocol {
    name: "s3-moto",
    needs: &[Need::Python("moto")],
    features: &[Feature::Any, Feature::PutNew],
    start: || Box::new(AtMoto(Arc::new(Moto::start()))),
    refusals: &[],
    more_needs: |_| Vec::new(),
};

const SECRET: &str = "any-secret-at-all";

struct AtMoto(Arc<Moto>);

fn prefix(place: Place) -> String {
    match place {
        Place::Below(more) => format!("data/{more}"),
        _ => "data".to_owned(),
    }
}

/// Objects below a prefix, by plain requests.
struct Objects(Arc<Moto>, String);

impl Objects {
    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.1)
    }
}

impl Disk for Objects {
    fn write(&self, name: &str, content: &[u8]) {
        self.0.put(&self.key(name), content);
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.0.object(&self.key(name))
    }

    fn make_directory(&self, name: &str) {
        self.0.put(&self.key(&format!("{name}/object")), b"x");
    }

    fn names(&self) -> Vec<String> {
        self.0.names(&self.key(""))
    }
}

impl Server for AtMoto {
    fn has_directories(&self) -> bool {
        false
    }

    fn protocol(&self, place: Place) -> ProtocolSettings {
        ProtocolSettings::S3(S3Settings {
            bucket: BUCKET.to_owned(),
            prefix: prefix(place),
            endpoint: format!("http://127.0.0.1:{}", self.0.port()).parse().expect("a URL"),
            region: "us-east-1".to_owned(),
            credentials: S3Credentials {
                access_key_id: "any".to_owned(),
                secret_access_key: Secret::new(SECRET),
                session_token: None,
            },
            path_style: true,
            storage_class: None,
            encryption: None,
            ca_file: None,
        })
    }

    fn disk(&self, place: Place) -> Box<dyn Disk> {
        Box::new(Objects(Arc::clone(&self.0), prefix(place)))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { move_refuses_to_clobber: true, server_clock: true, atomic_put: true, ..Capabilities::NONE }
    }

    fn secrets(&self) -> Vec<String> {
        [SECRET, "X-Amz-Signature"].map(str::to_owned).into()
    }

    fn unfinished(&self) -> usize {
        self.0.unfinished()
    }
}
