//! A job under test: a source, destinations, a config file and the program, in a temporary directory of its own.
//!
//! ```ignore
//! let mut job = Job::new();
//! job.publish(&Dump::new(1).size(50_000).text());
//! let done = job.night("2026-11-20 01:00:00");
//! assert_eq!(done.code, 0, "{done}");
//! assert_eq!(job.held(), ["20261120.tgz", "20261120.tgz.sha256"]);
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::binary::{Archive, Done};
use crate::support::https::HttpsServer;
use crate::support::sshd::Place;
use crate::support::tls::Authority;
use crate::support::zips;

/// The entry of every job.
pub const ENTRY: &str = "boutique.sql";

/// The path of the zip at the source.
pub const ZIP: &str = "/exports/boutique.zip";

/// A job, its source, and its local destination `nas` unless others are set.
pub struct Job {
    dir: TempDir,
    /// Signs every certificate of this job; its certificate is `ca.pem` in the directory.
    pub ca: Authority,
    /// The source, over HTTPS.
    pub source: HttpsServer,
    /// Top-level keys beside `name`, `work_dir` and `timezone`.
    pub top: String,
    /// Keys of `[source]` beside `url`, `entry` and `ca_file`; `retries = 0` and short timeouts unless replaced.
    pub source_keys: String,
    /// `trust_directory`. Off, for most cases count requests and script the answer to each.
    pub trust_directory: bool,
    /// Where the source is reached, if not directly.
    pub url: Option<String>,
    /// The entry that the config names.
    pub entry: String,
    /// Keys of `[dump]`.
    pub dump: String,
    /// Keys of `[archive]`.
    pub archive: String,
    /// The `[[destination]]` tables.
    pub destinations: String,
    /// `[mail]` and whatever else stands at the end.
    pub rest: String,
}

impl Job {
    /// A job with an HTTPS source that holds nothing yet, and a local destination named `nas`.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ca = Authority::new("archive test authority");
        fs::write(dir.path().join("ca.pem"), ca.pem()).expect("the CA file");
        let source = HttpsServer::start(Some(ca.good().server_config()));
        let nas = dir.path().join("nas");
        fs::create_dir(&nas).expect("the destination");
        let destinations = format!("[[destination]]\nname = \"nas\"\ntype = \"local\"\npath = \"{}\"\n", nas.display());
        Job {
            dir,
            ca,
            source,
            top: String::new(),
            source_keys: "retries = 0\nconnect_timeout = \"5s\"\nstall_timeout = \"5s\"\n".to_owned(),
            trust_directory: false,
            url: None,
            entry: ENTRY.to_owned(),
            dump: "min_size = \"1 B\"\n".to_owned(),
            archive: String::new(),
            destinations,
            rest: String::new(),
        }
    }

    /// The job's directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the job's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a good zip with this dump at the source.
    pub fn publish(&self, dump: &[u8]) {
        self.source.put(ZIP, zips::good(ENTRY, dump));
    }

    /// Puts these bytes at the source, zip or not.
    pub fn publish_bytes(&self, bytes: Vec<u8>) {
        self.source.put(ZIP, bytes);
    }

    /// An SFTP destination with the key in the given file; `more` are further keys.
    pub fn sftp(name: &str, port: u16, place: &Place, key: &Path, host_key: &str, more: &str) -> String {
        format!(
            "[[destination]]\nname = \"{name}\"\ntype = \"sftp\"\nhost = \"127.0.0.1\"\nport = {port}\nusername = \"{}\"\n\
             private_key = \"{}\"\nhost_key = \"{host_key}\"\npath = \"{}\"\nretries = 0\nconnect_timeout = \"5s\"\nstall_timeout = \"5s\"\n{more}\n",
            place.user,
            key.display(),
            place.remote
        )
    }

    /// The config file as it stands now.
    pub fn config(&self) -> String {
        let url = self.url.clone().unwrap_or_else(|| self.source.url(ZIP));
        format!(
            "name = \"boutique\"\nwork_dir = \"work\"\ntimezone = \"Europe/Paris\"\n{}\n[source]\nurl = \"{url}\"\nentry = \"{}\"\n\
             ca_file = \"ca.pem\"\ntrust_directory = {}\n{}\n[dump]\n{}\n[archive]\n{}\n{}\n{}",
            self.top,
            self.entry,
            self.trust_directory,
            self.source_keys,
            self.dump,
            self.archive,
            self.destinations,
            self.rest
        )
    }

    /// The program with arguments and the config written; add `.at(…)` and run it.
    pub fn command(&self, args: &[&str]) -> Archive {
        fs::write(self.path("archive.toml"), self.config()).expect("the config");
        // It may hold secrets: readable by others, that would be a warning.
        fs::set_permissions(self.path("archive.toml"), fs::Permissions::from_mode(0o600)).expect("own file");
        Archive::new(self.dir()).args(args)
    }

    /// `archive run` at this local time of the test machine (UTC in CI; the job is in Paris, so stay clear of midnight).
    pub fn night(&self, at: &str) -> Done {
        self.command(&["run", "--config", "archive.toml"]).at(at).run()
    }

    /// `archive run` now.
    pub fn run(&self) -> Done {
        self.command(&["run", "--config", "archive.toml"]).run()
    }

    /// The names in a directory, sorted.
    pub fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a UTF-8 name"))
            .collect();
        names.sort();
        names
    }

    /// What the local destination `nas` holds.
    pub fn held(&self) -> Vec<String> {
        Self::names(&self.path("nas"))
    }

    /// `.tgz` files that wait in the outbox.
    pub fn waiting(&self) -> Vec<String> {
        let names = Self::names(&self.path("work/outbox"));
        names.into_iter().filter(|name| name.ends_with(".tgz")).collect()
    }

    /// The state.
    pub fn state(&self) -> Value {
        let text = fs::read(self.path("work/state.json")).expect("a state");
        serde_json::from_slice(&text).expect("a readable state")
    }

    /// Everything that was logged.
    pub fn log(&self) -> String {
        let dir = self.path("work/log");
        Self::names(&dir).iter().map(|name| fs::read_to_string(dir.join(name)).expect("a log")).collect()
    }

    /// The dump inside an archive, by plain `tar`.
    pub fn unpacked(archive: &Path) -> Vec<u8> {
        let output = std::process::Command::new("tar").arg("xzOf").arg(archive).output().expect("tar");
        assert!(output.status.success(), "tar: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}
