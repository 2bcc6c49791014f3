//! The configuration as it is meant: checked, with defaults filled in and secrets read. The rest of the program sees this only.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono_tz::Tz;
use regex::bytes::Regex;
use url::Url;

pub use super::destination::ftp::{FtpSecurity, FtpSettings};
pub use super::destination::local::LocalSettings;
pub use super::destination::nfs::NfsSettings;
pub use super::destination::rsync::{RsyncSettings, RsyncWay};
pub use super::destination::s3::{S3Credentials, S3Encryption, S3Settings};
pub use super::destination::sftp::{HostKey, SftpSettings, SshAuth, SshServer};
pub use super::destination::smb::{SmbEncryption, SmbSettings};
pub use super::destination::webdav::{HttpScheme, WebdavLogin, WebdavSettings};
use super::secret::Secret;
use crate::retention::RetentionPolicy;
use crate::text::Language;

/// One job: everything `archive.toml` says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file it was read from.
    pub config_path: PathBuf,
    /// `name`: the job; letters, digits, `-`, `_` and `.`, for it is part of file names.
    pub name: String,
    /// `timezone`: decides the date in the archive's name and the times in log and mail.
    pub timezone: Tz,
    /// `work_dir`: state, spool, outbox and lock.
    pub work_dir: PathBuf,
    /// `parallel_uploads`: to all destinations at the same time, not one after the other.
    pub parallel_uploads: bool,
    /// `[source]`
    pub source: SourceSettings,
    /// `[dump]`
    pub dump: DumpSettings,
    /// `[archive]`
    pub archive: ArchiveSettings,
    /// `[[destination]]`, in the order of the file; at least one; names are unique.
    pub destinations: Vec<DestinationSettings>,
    /// `[log]`
    pub log: LogSettings,
    /// `[mail]`; without the table no mail is sent.
    pub mail: Option<MailSettings>,
}

impl Settings {
    /// Every secret, and what is derived from it on its way to a server, so that the log can make sure that none is in it.
    /// Those that are words of our own are marked.
    pub fn secrets(&self) -> Vec<Secret> {
        let mut secrets: Vec<Secret> = Vec::new();
        // What HTTP Basic (RFC 7617) and AUTH PLAIN and LOGIN (RFC 4954) make of a password: a server may repeat it.
        let login = |username: &str, password: &Secret| {
            let password = password.expose();
            let forms = [format!("{username}:{password}"), format!("\0{username}\0{password}"), password.to_owned()];
            forms.map(|form| Secret::new(BASE64_STANDARD.encode(form)))
        };
        match &self.source.auth {
            Some(HttpAuth::Basic { username, password }) => {
                secrets.push(password.clone());
                secrets.extend(login(username, password));
            }
            Some(HttpAuth::Bearer(token)) => secrets.push(token.clone()),
            None => {}
        }
        secrets.extend(self.source.headers.iter().map(|(_, value)| value.clone()));
        // Signed URLs carry their token in the query.
        let tokens = self.source.url.query_pairs().map(|(_, value)| value.into_owned());
        secrets.extend(tokens.filter(|token| token.chars().count() >= 8).map(Secret::new));
        secrets.extend(self.source.proxy.clone());
        if let Some(proxy) = self.source.proxy.as_ref().and_then(|proxy| Url::parse(proxy.expose()).ok())
            && let Some(password) = proxy.password()
        {
            let decoded = percent_encoding::percent_decode_str(password).decode_utf8_lossy().into_owned();
            secrets.push(Secret::new(password));
            secrets.extend(login(proxy.username(), &Secret::new(decoded.as_str())));
            secrets.push(Secret::new(decoded));
        }
        secrets.extend(self.source.zip_password.clone());
        for destination in &self.destinations {
            secrets.extend(destination.protocol.secrets().into_iter().cloned());
            if let Protocol::Webdav(WebdavSettings {
                login: WebdavLogin::Password { username, password, .. }, ..
            }) = &destination.protocol
            {
                secrets.extend(login(username, password));
            }
        }
        if let Some(MailSettings { transport: MailTransport::Smtp(smtp), .. }) = &self.mail
            && let Some((username, password)) = &smtp.credentials
        {
            secrets.push(password.clone());
            secrets.extend(login(username, password));
        }
        let names = self.names();
        let marked = |secret: Secret| {
            let is_word = super::secret::is_word(secret.expose(), &names);
            secret.known_as_word(is_word)
        };
        secrets.into_iter().filter(|secret| !secret.expose().is_empty()).map(marked).collect()
    }

    /// The names that logs and mails are full of.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = vec![
            self.name.clone(),
            self.config_path.display().to_string(),
            self.work_dir.display().to_string(),
            self.log.dir.display().to_string(),
            self.source.entry.clone(),
            crate::http::shown(&self.source.url),
        ];
        for destination in &self.destinations {
            names.extend([destination.name.clone(), destination.protocol.location()]);
        }
        if let Some(mail) = &self.mail {
            names.extend(mail.to.iter().chain([&mail.from]).map(ToString::to_string));
        }
        names
    }
}

/// `time_limit` where the config does not say.
pub const TIME_LIMIT: Duration = Duration::from_secs(12 * 3600);

/// `[source]`: where the zip comes from, and what may go wrong on the way.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// `url`: `https`, or `http` with `allow_http`; never holds credentials.
    pub url: Url,
    /// `entry`: the exact name of the file inside the zip.
    pub entry: String,
    /// `username` and `password`, or `bearer_token`.
    pub auth: Option<HttpAuth>,
    /// `headers`: sent to the source's host only.
    pub headers: Vec<(String, Secret)>,
    /// `ca_file`: PEM authorities trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// `client_cert_file` and `client_key_file`: PEM.
    pub client_cert: Option<ClientCert>,
    /// `proxy`: `http://…`, `https://…` or `socks5://…`; without it `https_proxy` and friends count.
    pub proxy: Option<Secret>,
    /// `max_redirects`
    pub max_redirects: u32,
    /// `allow_http`: also accept plain `http` (for the URL and for redirects).
    pub allow_http: bool,
    /// `connect_timeout`
    pub connect_timeout: Duration,
    /// `stall_timeout`: within this time at least 4 KiB must arrive, or all that is left.
    pub stall_timeout: Duration,
    /// `time_limit`: for the download as a whole, every attempt included.
    pub time_limit: Duration,
    /// `retries`: further attempts after the first.
    pub retries: u32,
    /// `max_download`, bytes.
    pub max_download: u64,
    /// `trust_directory`: an entry with the name, size and CRC-32 of the last run need not be downloaded.
    pub trust_directory: bool,
    /// `zip_password`
    pub zip_password: Option<Secret>,
}

/// How we show the source who we are.
#[derive(Clone, Debug)]
pub enum HttpAuth {
    /// HTTP Basic (RFC 7617).
    Basic {
        /// `username`
        username: String,
        /// `password`
        password: Secret,
    },
    /// A bearer token (RFC 6750).
    Bearer(Secret),
}

/// A client certificate, PEM.
#[derive(Clone, Debug)]
pub struct ClientCert {
    /// The certificate and its chain.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// `[dump]`: what a trustworthy dump looks like.
#[derive(Clone, Debug)]
pub struct DumpSettings {
    /// `complete`
    pub complete: Complete,
    /// `min_size`, bytes.
    pub min_size: u64,
    /// `max_size`, bytes; counted, not declared.
    pub max_size: u64,
    /// `max_shrink`: by how much a dump may be smaller than the last published one, in percent; 100 turns it off.
    pub max_shrink_percent: u8,
    /// `volatile_lines`
    pub volatile_lines: VolatileLines,
    /// `on_unchanged`
    pub on_unchanged: OnUnchanged,
    /// `frozen_after`: a standstill of this length is a warning, whatever `on_unchanged` says; `None` turns it off.
    pub frozen_after: Option<Duration>,
}

/// `dump.complete`: how we know that the dump was written to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complete {
    /// By what the producer is known to write last.
    Auto,
    /// The dump must end with this text, white space aside.
    Literal(String),
    /// Not checked.
    Off,
}

/// `dump.volatile_lines`: the lines that the producer changes each time.
#[derive(Clone, Debug)]
pub enum VolatileLines {
    /// By what the producer is known to write.
    Auto,
    /// The lines that match one of these, and no others.
    Patterns(Vec<Regex>),
    /// None: every byte counts.
    None,
}

/// `dump.on_unchanged`: what to do when tonight's dump is the published one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnchanged {
    /// Publish nothing, say so.
    Skip,
    /// Publish nothing, warn.
    Warn,
    /// Publish nothing, fail with exit code 9.
    Fail,
    /// Publish it again, under tonight's date.
    Archive,
}

/// `[archive]`
#[derive(Clone, Debug)]
pub struct ArchiveSettings {
    /// `name`: the pattern, for example `%Y%m%d.tgz`.
    pub name: crate::archive_name::NamePattern,
    /// `compression`
    pub compression: Compression,
    /// `sidecar`: write `….tgz.sha256` beside the archive.
    pub sidecar: bool,
}

/// `archive.compression`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Reuse the zip's own compression where it is DEFLATE, else level 6.
    Reuse,
    /// Compress anew at this level, 1 to 9.
    Level(u32),
}

/// One `[[destination]]`.
#[derive(Clone, Debug)]
pub struct DestinationSettings {
    /// `name`: how state, logs and reports call it.
    pub name: String,
    /// `type` and the keys of that type.
    pub protocol: Protocol,
    /// `verify`
    pub verify: Verify,
    /// `bandwidth_limit`, bytes per second.
    pub bandwidth_limit: Option<u64>,
    /// `connect_timeout`
    pub connect_timeout: Duration,
    /// `stall_timeout`: within this time at least 4 KiB must move, or all that is left, in any phase.
    pub stall_timeout: Duration,
    /// `time_limit`: for everything that one run does at this destination.
    pub time_limit: Duration,
    /// `retries`: further attempts after the first.
    pub retries: u32,
    /// `retention`; without it nothing is ever purged.
    pub retention: Option<RetentionPolicy>,
}

/// `destination.verify`: what proves that the copy is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// SHA-256, by the server where it can, else by reading back.
    Checksum,
    /// The size only.
    Size,
}

/// `destination.type`
#[derive(Clone, Debug)]
pub enum Protocol {
    /// File transfer over TLS (`ftps`), or in clear (`ftp`).
    Ftp(FtpSettings),
    /// A directory of this machine, a mounted share as a rule.
    Local(LocalSettings),
    /// NFS without mounting.
    Nfs(NfsSettings),
    /// The program `rsync`.
    Rsync(RsyncSettings),
    /// A prefix of an S3 bucket.
    S3(S3Settings),
    /// SSH file transfer.
    Sftp(SftpSettings),
    /// A Windows share.
    Smb(SmbSettings),
    /// A collection on a WebDAV server.
    Webdav(WebdavSettings),
}

impl Protocol {
    /// Where it is, for people; never holds a secret.
    pub fn location(&self) -> String {
        match self {
            Protocol::Ftp(ftp) => ftp.location(),
            Protocol::Local(local) => local.path.display().to_string(),
            Protocol::Nfs(nfs) => nfs.location(),
            Protocol::Rsync(rsync) => rsync.location(),
            Protocol::S3(s3) => s3.location(),
            Protocol::Sftp(sftp) => sftp.location(),
            Protocol::Smb(smb) => smb.location(),
            Protocol::Webdav(webdav) => webdav.location(),
        }
    }

    /// The SSH server behind it, whose host key can be trusted.
    pub fn ssh_server(&self) -> Option<SshServer> {
        match self {
            Protocol::Sftp(sftp) => Some(sftp.server()),
            Protocol::Rsync(rsync) => rsync.server(),
            _ => None,
        }
    }

    /// Whether it never encrypts, by its nature: what goes by FTP was allowed in its own settings.
    pub fn is_unencrypted(&self) -> bool {
        match self {
            Protocol::Nfs(_) => true,
            Protocol::Rsync(rsync) => matches!(rsync.way, RsyncWay::Daemon { .. }),
            _ => false,
        }
    }

    /// Whether it keeps to `bandwidth_limit` by itself.
    pub fn limits_bandwidth(&self) -> bool {
        matches!(self, Protocol::Rsync(_))
    }

    /// Its secrets.
    pub(super) fn secrets(&self) -> Vec<&Secret> {
        match self {
            Protocol::Ftp(ftp) => vec![&ftp.password],
            Protocol::Local(_) | Protocol::Nfs(_) => Vec::new(),
            Protocol::Rsync(rsync) => rsync.secrets(),
            Protocol::S3(s3) => s3.secrets(),
            Protocol::Sftp(sftp) => sftp.secrets(),
            Protocol::Smb(smb) => smb.secrets(),
            Protocol::Webdav(webdav) => webdav.secrets(),
        }
    }

    /// Two destinations with the same type and place are one directory, as far as their settings tell.
    pub(super) fn place(&self) -> (&'static str, String) {
        match self {
            Protocol::Ftp(ftp) => ("ftp", ftp.place()),
            Protocol::Local(local) => ("local", local.place()),
            Protocol::Nfs(nfs) => ("nfs", nfs.place()),
            Protocol::Rsync(rsync) => ("rsync", rsync.place()),
            Protocol::S3(s3) => ("s3", s3.place()),
            Protocol::Sftp(sftp) => ("sftp", sftp.place()),
            Protocol::Smb(smb) => ("smb", smb.place()),
            Protocol::Webdav(webdav) => ("webdav", webdav.place()),
        }
    }
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// `dir`
    pub dir: PathBuf,
    /// `level`
    pub level: tracing::Level,
    /// `format`
    pub format: LogFormat,
    /// `keep`: older log files are removed.
    pub keep: Duration,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// `[mail]`
#[derive(Clone, Debug)]
pub struct MailSettings {
    /// `transport` and its keys.
    pub transport: MailTransport,
    /// `from`
    pub from: lettre::message::Mailbox,
    /// `to`; at least one.
    pub to: Vec<lettre::message::Mailbox>,
    /// `when`
    pub when: When,
    /// `subject`: a template with `{status}`, `{job}`, `{summary}`, `{host}` and `{date}`.
    pub subject: String,
    /// `attach_log`
    pub attach_log: AttachLog,
    /// `language`
    pub language: Language,
}

/// `mail.transport`
#[derive(Clone, Debug)]
pub enum MailTransport {
    /// A mail server.
    Smtp(SmtpSettings),
    /// The machine's own mailer, called as `command -i -f FROM -- TO…`.
    Sendmail {
        /// `command`: absolute, for cron's `PATH` may lack `/usr/sbin`.
        command: PathBuf,
    },
}

/// The keys of `transport = "smtp"`.
#[derive(Clone, Debug)]
pub struct SmtpSettings {
    /// `host`
    pub host: String,
    /// `port`; 587, 465 or 25 after `security`.
    pub port: u16,
    /// `security`
    pub security: SmtpSecurity,
    /// `username` and `password`.
    pub credentials: Option<(String, Secret)>,
    /// `ca_file`: PEM authorities trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// `timeout`: for connecting and for every answer.
    pub timeout: Duration,
    /// `helo`: what we call ourselves; by default the machine's full name, or its address as a literal.
    pub helo: Option<String>,
}

/// `mail.security`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// STARTTLS, required (RFC 3207).
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// Plain; with a password only if `allow_plaintext = true`.
    None,
}

/// `mail.when`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// After every run.
    Always,
    /// After a run with a warning or a failure.
    Warning,
    /// After a failed run.
    Failure,
    /// Never.
    Never,
}

/// `mail.attach_log`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachLog {
    /// To every mail.
    Always,
    /// To the mail of a failed run.
    Failure,
    /// Never.
    Never,
}
