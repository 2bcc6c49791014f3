//! The config as a whole: the fixture that its tests share.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

mod shared;
mod shipped;
mod texts;
mod values;

/// The smallest config, without its destination.
const SOURCE: &str = "name = \"boutique\"\n[source]\nurl = \"https://host.example/a.zip\"\nentry = \"a.sql\"\n";

/// A destination that needs nothing.
const LOCAL: &str = "[[destination]]\nname = \"share\"\ntype = \"local\"\npath = \"/mnt/a\"\n";

/// A directory with a config in it, and an environment that knows nothing else.
struct Fixture {
    dir: TempDir,
    environment: Environment,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let environment = Environment {
            variables: BTreeMap::from([("HOME".to_owned(), OsString::from("/home/me"))]),
            current_dir: dir.path().to_owned(),
            system_config: dir.path().join("etc/archive.toml"),
            is_root: false,
            user: rustix::process::geteuid().as_raw(),
            // A shared group; see `shared` for that of one user.
            group: u32::MAX,
            account_home: None,
            machine_zone: Some("Europe/Paris".to_owned()),
            command_timeout: std::time::Duration::from_secs(30),
            missing_types: Vec::new(),
        };
        Fixture { dir, environment }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.variables.insert(name.to_owned(), value.into());
        self
    }

    /// Writes a file that only its owner can read.
    fn file(self, name: &str, content: &str) -> Self {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        self
    }

    /// Everything that the reference config and the examples name under `/etc/archive/`; [`Fixture::load`] puts the
    /// directory in its place.
    fn with_placeholders() -> Self {
        let mut fixture = Fixture::new().variable("CREDENTIALS_DIRECTORY", "");
        for name in [
            "id_ed25519",
            "known_hosts",
            "ca.pem",
            "client.pem",
            "client.key",
            "source.password",
            "source.token",
            "source.api-key",
            "zip.password",
            "id_ed25519.passphrase",
            "nas.password",
            "vault.secret",
            "s3.secret",
            "offsite.password",
            "smtp.password",
            "ftp.password",
            "cloud.password",
            "files.token",
            "nas-key-passphrase",
            "smtp-password",
        ] {
            fixture = fixture.file(name, "placeholder\n");
        }
        let dir = fixture.dir.path().to_str().unwrap().to_owned();
        fixture.variable("CREDENTIALS_DIRECTORY", &dir)
    }

    fn load(&self, text: &str) -> Result<Loaded, ConfigError> {
        let dir = self.dir.path().to_str().unwrap();
        let path = self.dir.path().join("archive.toml");
        fs::write(&path, text.replace("/etc/archive/", &format!("{dir}/"))).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        load_in(&self.environment, None, &For::Run)
    }

    /// What a technician reads about a bad config; the directory is shown as `/etc/archive`.
    fn bad(&self, text: &str) -> String {
        let error = self.load(text).expect_err("this config should be refused");
        error.to_string().replace(self.dir.path().to_str().unwrap(), "/etc/archive")
    }
}

fn load(text: &str) -> Settings {
    match Fixture::new().load(text) {
        Ok(loaded) => loaded.settings,
        Err(error) => panic!("{error}"),
    }
}

fn bad(text: &str) -> String {
    Fixture::new().bad(text)
}

/// The messages alone, one line each.
fn messages(error: &ConfigError) -> Vec<String> {
    error.problems.iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect()
}
