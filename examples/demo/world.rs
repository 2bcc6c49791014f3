//! The world around `archive`: a source, an archive server and a mail server on loopback, a config file, and the pipeline
//! run for real at a time that we choose. Everything lives in one temp directory, which goes with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use archive::config::settings::Settings;
use archive::interrupt::Interrupt;
use archive::logging::Logging;
use archive::pipeline::Run;
use archive::pipeline::context::Context;
use archive::pipeline::report::Reporting;
use archive::progress::Unwatched;
use archive::report::RunReport;
use archive::work_dir::WorkDir;
use chrono::DateTime;
use chrono_tz::Tz;
use tempfile::TempDir;

use super::export::ENTRY;
use super::https::{Access, HttpsServer, Request};
use super::mail::Mail;
use super::mail_sink::MailSink;
use super::sftp_server::{SftpServer, USERNAME};
use super::tls::Authority;

/// Where the source has the zip.
const ZIP_PATH: &str = "/exports/boutique.zip";
/// Where the archive server has the archives.
const ARCHIVES: &str = "archives/boutique";

/// The world.
pub struct World {
    source: HttpsServer,
    nas: SftpServer,
    mail: MailSink,
    config: String,
    settings: Settings,
    logging: Logging,
    interrupt: Interrupt,
    // The last to go: the servers above still use it.
    directory: TempDir,
}

/// A file: its name and its size in bytes.
pub type Listed = (String, u64);

/// What a night left behind: everything as the servers and the disk have it.
pub struct Morning {
    /// What the pipeline says.
    pub report: RunReport,
    /// What the source was asked, and answered.
    pub requests: Vec<Request>,
    /// The mails that people got.
    pub mails: Vec<Mail>,
    /// The files on the archive server.
    pub held: Vec<Listed>,
    /// The archives that wait in the outbox.
    pub waiting: Vec<Listed>,
}

impl World {
    /// Starts the servers and writes the config.
    pub fn start(language: &str, logging: Logging, interrupt: Interrupt) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("archive-demo-").tempdir().context("no temp directory")?;
        let path = directory.path();
        let authority = Authority::new("demo authority");
        let source = HttpsServer::start(Some(authority.good().server_config()));
        source.protect(ZIP_PATH, Access::Basic("archive".to_owned(), "export password".to_owned()));
        fs::create_dir(path.join("nas"))?;
        let nas = SftpServer::start(&path.join("nas")).context("the SFTP server did not start")?;
        let mail = MailSink::start().context("the mail server did not start")?;

        fs::write(path.join("ca.pem"), authority.pem())?;
        secret(&path.join("source.password"), "export password\n")?;
        secret(&path.join("id_ed25519"), &nas.user_key()?)?;
        let config = config(&source, &nas, &mail, language);
        let file = path.join("archive.toml");
        secret(&file, &config)?;
        let loaded = archive::config::load(Some(&file), &archive::config::For::Run)
            .context("the demo's own config is not accepted")?;
        anyhow::ensure!(loaded.warnings.is_empty(), "the demo's own config gets warnings: {:?}", loaded.warnings);
        let settings = loaded.settings;
        Ok(World { source, nas, mail, config, settings, logging, interrupt, directory })
    }

    /// The config file's text.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// The source has this zip from now on.
    pub fn publish(&self, zip: Vec<u8>, modified: SystemTime) {
        self.source.put(ZIP_PATH, zip);
        self.source.set_modified(ZIP_PATH, modified);
    }

    /// Switches the archive server on or off.
    pub fn set_nas_up(&mut self, up: bool) -> anyhow::Result<()> {
        if up {
            return self.nas.switch_on().context("the SFTP server did not come back");
        }
        self.nas.switch_off();
        Ok(())
    }

    /// Runs the pipeline as `archive run` does, as if it were `now`. An interrupted night is an error.
    pub fn night(&self, now: DateTime<Tz>) -> anyhow::Result<Morning> {
        self.source.forget_requests();
        let run_id = format!("{:06x}", fastrand::u32(..1 << 24));
        let settings = &self.settings;
        self.logging.open(&settings.log, settings.timezone, &settings.name, &run_id, &settings.secrets());
        let run = Run {
            cx: Context { settings, now, dry_run: false, interrupt: &self.interrupt, progress: &Unwatched },
            run_id: &run_id,
            host: "demo",
        };
        let ended = run.run(Vec::new());
        let work_dir = WorkDir::at(&settings.work_dir);
        let reporting = Reporting { mail: settings.mail.as_ref(), logging: &self.logging, work_dir: &work_dir };
        let report = reporting.report(ended);
        self.interrupt.check()?;
        let mut waiting = list(&settings.work_dir.join("outbox"))?;
        waiting.retain(|(name, _)| name.ends_with(".tgz"));
        Ok(Morning {
            report,
            requests: self.source.requests(),
            mails: self.mail.take(),
            held: list(&self.archives())?,
            waiting,
        })
    }

    /// Where the archives are, as this machine sees it.
    pub fn archives(&self) -> PathBuf {
        self.directory.path().join("nas").join(ARCHIVES)
    }

    /// The last lines of the log.
    pub fn log_end(&self) -> String {
        let lines = self.logging.run_lines();
        let lines: Vec<&str> = lines.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

/// The files of a directory and of those below, by name; none if there is no such directory.
fn list(directory: &Path) -> anyhow::Result<Vec<Listed>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("failed to list `{}`", directory.display()))?,
    };
    let mut listed = Vec::new();
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        match metadata.is_dir() {
            true => listed.extend(list(&entry.path())?),
            false => listed.push((entry.file_name().to_string_lossy().into_owned(), metadata.len())),
        }
    }
    listed.sort();
    Ok(listed)
}

fn secret(path: &Path, text: &str) -> std::io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

fn config(source: &HttpsServer, nas: &SftpServer, mail: &MailSink, language: &str) -> String {
    let (url, nas_port, fingerprint, mail_port) = (source.url(ZIP_PATH), nas.port(), nas.fingerprint(), mail.port());
    format!(
        r#"name     = "boutique"
timezone = "Europe/Paris"
work_dir = "work"

[source]
url      = "{url}"
entry    = "{ENTRY}"
ca_file  = "ca.pem"
username = "archive"
password = {{ file = "source.password" }}

[[destination]]
name        = "nas"
type        = "sftp"
host        = "127.0.0.1"
port        = {nas_port}
username    = "{USERNAME}"
private_key = "id_ed25519"
host_key    = "{fingerprint}"
path        = "/{ARCHIVES}"
retries     = 0
retention   = {{ keep_days = 6, keep_last = 2 }}

[mail]
host     = "127.0.0.1"
port     = {mail_port}
security = "none"
from     = "archive@example.org"
to       = ["exploitation@example.org"]
language = "{language}"
"#
    )
}
