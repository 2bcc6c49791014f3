//! Over S3.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::{Cut, Remote, bad_week, little_memory, whole_run};
use crate::job::{ENTRY, Job};
use crate::support::dumps::{self, Dump};
use crate::support::harness::{Need, Suite};
use crate::support::moto::{self, Moto};
use crate::support::s3::{BUCKET, OWNER, Quirks, S3Server};
use crate::support::zips;

struct Bucket {
    root: TempDir,
    port: u16,
    server: Option<S3Server>,
}

impl Bucket {
    fn start() -> Self {
        Self::start_with(Quirks::default())
    }

    fn start_with(quirks: Quirks) -> Self {
        let root = tempfile::tempdir().expect("a temp directory");
        let server = S3Server::start_timeless_with(root.path(), 0, quirks);
        Bucket { port: server.port(), server: Some(server), root }
    }
}

/// An account that may add and nothing else.
fn append_only() -> Result<()> {
    let bucket = Bucket::start_with(Quirks { append_only: true, ..Quirks::default() });
    let mut job = Job::new();
    job.destinations = format!("[[destination]]\nname = \"nas\"\nretries = 0\n{}\n", bucket.keys());
    for (day, seed) in [("20", 1), ("21", 2)] {
        job.publish(&Dump::new(seed).size(300_000).text());
        let done = job.night(&format!("2026-11-{day} 01:00:00"));
        ensure!(done.code == 0, "{done}\n{}", job.log());
    }
    let names = Job::names(&bucket.directory());
    ensure!(names == ["20261120.tgz", "20261120.tgz.sha256", "20261121.tgz", "20261121.tgz.sha256"], "{names:?}");
    Ok(())
}

impl Remote for Bucket {
    fn keys(&self) -> String {
        keys_at(self.port)
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

/// The keys of the bucket by any port.
fn keys_at(port: u16) -> String {
    format!(
        "type = \"s3\"\nendpoint = \"http://127.0.0.1:{}\"\nallow_http = true\nbucket = \"{BUCKET}\"\n\
             prefix = \"archives/boutique\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"",
        port, OWNER.0, OWNER.1
    )
}

/// Another server, with an archive in two parts: published, found again the next night, and told what it keeps to.
fn at_moto() -> Result<()> {
    let moto = Moto::start();
    let mut job = Job::new();
    job.destinations = format!(
        "[[destination]]\nname = \"nas\"\nretries = 0\ntype = \"s3\"\nendpoint = \"http://127.0.0.1:{}\"\nallow_http = true\n\
         bucket = \"{}\"\nprefix = \"boutique\"\naccess_key_id = \"x\"\nsecret_access_key = \"y\"\nretention = {{ keep_days = 5 }}\n",
        moto.port(),
        moto::BUCKET
    );
    job.dump = "complete = \"off\"\n".into();
    let dump = dumps::noise(super::MIDDLING_BYTES);
    job.publish_bytes(zips::good(ENTRY, &dump));
    for day in ["20", "21"] {
        let done = job.night(&format!("2026-11-{day} 01:00:00"));
        ensure!(done.code == 0, "on the {day}: {done}\n{}", job.log());
    }
    let archive = job.path("archive-at-moto.tgz");
    fs::write(&archive, moto.object("boutique/20261120.tgz").context("it is not there")?)?;
    ensure!(Job::unpacked(&archive) == dump, "it is another one");
    ensure!(moto.object("boutique/20261121.tgz").is_none(), "unchanged, yet published again");
    let checked = job.command(&["check", "--config", "archive.toml"]).run();
    let lines = format!("{}{}", checked.stdout, checked.stderr);
    ensure!(lines.contains("a file shows once it is whole"), "{lines}");
    ensure!(moto.object("boutique/.archive-check-conditions").is_none(), "the probe is left");
    Ok(())
}

pub fn cases(suite: &mut Suite) {
    suite.case("protocols::s3_over_five_nights", &[Need::Faketime], || whole_run(&mut Bucket::start()));
    suite.case("protocols::s3_in_a_bad_week", &[Need::Faketime], || {
        let mut bucket = Bucket::start();
        let port = bucket.port;
        bad_week(&mut bucket, port, Cut::BeginsAgain, &|_, port| keys_at(port))
    });
    suite.case("protocols::s3_at_moto", &[Need::Faketime, Need::Python("moto")], at_moto);
    suite.case("protocols::s3_publishes_where_nothing_may_be_deleted", &[Need::Faketime], append_only);
    suite.case("protocols::s3_needs_little_memory", &[Need::Faketime], || little_memory(&mut Bucket::start()));
}
