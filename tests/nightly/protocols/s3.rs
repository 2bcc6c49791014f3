//! Over S3.

use std::path::PathBuf;

use tempfile::TempDir;

use super::{Remote, little_memory, whole_run};
use crate::support::harness::{Need, Suite};
use crate::support::s3::{BUCKET, OWNER, S3Server};

struct Bucket {
    root: TempDir,
    port: u16,
    server: Option<S3Server>,
}

impl Bucket {
    fn start() -> Self {
        let root = tempfile::tempdir().expect("a temp directory");
        let server = S3Server::start_timeless(root.path(), 0);
        Bucket { port: server.port(), server: Some(server), root }
    }
}

impl Remote for Bucket {
    fn keys(&self) -> String {
        format!(
            "type = \"s3\"\nendpoint = \"http://127.0.0.1:{}\"\nallow_http = true\nbucket = \"{BUCKET}\"\n\
             prefix = \"archives/boutique\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"",
            self.port, OWNER.0, OWNER.1
        )
    }

    fn directory(&self) -> PathBuf {
        self.root.path().join(BUCKET).join("archives/boutique")
    }

    fn stop(&mut self) {
        self.server = None;
    }

    fn restart(&mut self) {
        self.server = Some(S3Server::start_timeless(self.root.path(), self.port));
    }
}

pub fn cases(suite: &mut Suite) {
    suite.case("protocols::s3_over_five_nights", &[Need::Faketime], || whole_run(&mut Bucket::start()));
    suite.case("protocols::s3_needs_little_memory", &[Need::Faketime], || little_memory(&mut Bucket::start()));
}
