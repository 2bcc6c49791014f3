//! A real SMTP server (aiosmtpd, in `target/test-venv`) that keeps mails decoded, and a `sendmail` that does the same.
//!
//! ```ignore
//! let server = SmtpServer::start(Security::StartTls, Some(&ca.good()));   // Need::Smtp; user and password below
//! server.change(|options| options.refused_recipients = vec!["gone@example.org".into()]);
//! let mail = server.wait_for_mails(1).remove(0);
//! assert!(mail.subject.starts_with("[OK]") && mail.envelope.unwrap().tls);
//! let sendmail = Sendmail::new(dir.path());                               // `command` of the configuration
//! assert_eq!(sendmail.calls()[0].args, ["-i", "-f", "archive@example.org", "--", "exploitation@example.org"]);
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::harness::{repository, run};
use super::python::python;
use super::tls::Leaf;
use super::wait;

/// The user name that the server accepts unless told otherwise.
pub const USERNAME: &str = "archive@example.org";
/// The password that the server accepts unless told otherwise.
pub const PASSWORD: &str = "smtp pässword";

/// How the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Never TLS; offers no STARTTLS.
    None,
    /// Demands STARTTLS before anything else.
    StartTls,
    /// TLS from the first byte.
    Tls,
}

/// Where the server stops answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stall {
    Never,
    /// Before its greeting.
    Connect,
    /// After `MAIL FROM`.
    Mail,
    /// After the end of the message.
    Data,
}

/// What the server does; see [`SmtpServer::change`].
#[derive(Debug, Clone, Serialize)]
pub struct Options {
    security: Security,
    certificate: PathBuf,
    key: PathBuf,
    port: u16,
    /// Whether mail is refused without log-in (530).
    pub auth_required: bool,
    pub username: String,
    pub password: String,
    /// Of `PLAIN` and `LOGIN`.
    pub mechanisms: Vec<String>,
    /// 550 for these.
    pub refused_recipients: Vec<String>,
    /// 451 for so many `MAIL FROM`, counted from the server's start.
    pub temporary_failures: u32,
    pub stall: Stall,
}

/// A mail as a reader sees it: headers and texts are decoded.
#[derive(Debug, Clone, Deserialize)]
pub struct Mail {
    pub subject: String,
    pub from: String,
    pub to: String,
    /// All headers, in their order.
    pub headers: Vec<(String, String)>,
    pub text: Option<String>,
    pub html: Option<String>,
    pub attachments: Vec<Attachment>,
    /// By SMTP only.
    pub envelope: Option<Envelope>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Attachment {
    pub filename: Option<String>,
    #[serde(rename = "type")]
    pub content_type: String,
    pub text: String,
}

/// What was said around the message.
#[derive(Debug, Clone, Deserialize)]
pub struct Envelope {
    pub from: String,
    pub to: Vec<String>,
    /// Who logged in, if anyone.
    pub user: Option<String>,
    pub tls: bool,
    pub helo: String,
}

/// The server; ends when dropped.
pub struct SmtpServer {
    directory: TempDir,
    options: Mutex<Options>,
    child: Option<Child>,
    port: u16,
}

impl SmtpServer {
    /// Starts on a free port of 127.0.0.1. A certificate is needed for TLS. Log-in is possible, not required.
    pub fn start(security: Security, leaf: Option<&Leaf>) -> Self {
        let directory = tempfile::tempdir().expect("a temp directory");
        let files = leaf.map(|leaf| leaf.write_to(directory.path()));
        let (certificate, key) = files.map(|files| (files.certificate, files.key)).unwrap_or_default();
        assert!(leaf.is_some() || security == Security::None, "TLS needs a certificate");
        let options = Options {
            security,
            certificate,
            key,
            port: 0,
            auth_required: false,
            username: USERNAME.to_owned(),
            password: PASSWORD.to_owned(),
            mechanisms: vec!["PLAIN".into(), "LOGIN".into()],
            refused_recipients: Vec::new(),
            temporary_failures: 0,
            stall: Stall::Never,
        };
        let mut server = Self { directory, options: Mutex::new(options), child: None, port: 0 };
        server.restart();
        server
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what the server does; holds for connections from now on.
    pub fn change(&self, change: impl FnOnce(&mut Options)) {
        let mut options = self.options.lock().unwrap();
        change(&mut options);
        let text = serde_json::to_string(&*options).expect("plain data");
        let new = self.directory.path().join("options.new");
        fs::write(&new, text).expect("own directory");
        fs::rename(new, self.directory.path().join("options.json")).expect("own directory");
    }

    /// Stops the server: the port refuses. Mails that came stay.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _already_gone = child.kill();
            let _already_waited = child.wait();
        }
    }

    /// Starts it again on the same port.
    pub fn restart(&mut self) {
        self.stop();
        let port = self.port;
        self.change(|options| options.port = port);
        let port_file = self.directory.path().join("port");
        let _none = fs::remove_file(&port_file);
        let log = fs::File::create(self.directory.path().join("log")).expect("own directory");
        // Our end of its standard input tells it when we are gone, even if we are killed.
        let mut child = Command::new(python().expect("the case names Need::Smtp"))
            .arg(script())
            .arg(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Python starts");
        self.port = wait::some("the mail server's port", || {
            let ended = child.try_wait().expect("ours").is_some();
            assert!(!ended, "{}", fs::read_to_string(self.directory.path().join("log")).unwrap_or_default());
            fs::read_to_string(&port_file).ok()?.parse().ok()
        });
        self.child = Some(child);
    }

    /// The mails that came so far, in their order.
    pub fn mails(&self) -> Vec<Mail> {
        (1..)
            .map(|number| self.directory.path().join(format!("{number:03}.json")))
            .map_while(|path| fs::read_to_string(path).ok())
            .map(|text| serde_json::from_str(&text).expect("written by our script"))
            .collect()
    }

    /// Waits until at least so many mails have come, and returns all of them.
    pub fn wait_for_mails(&self, count: usize) -> Vec<Mail> {
        wait::some("mail", || Some(self.mails()).filter(|mails| mails.len() >= count))
    }

    /// The bytes of the mail of this number, from 1, as they came.
    pub fn raw(&self, number: usize) -> Vec<u8> {
        fs::read(self.directory.path().join(format!("{number:03}.eml"))).expect("a mail that came")
    }

    /// Every log-in: mechanism, and `accepted` or `refused`.
    pub fn logins(&self) -> Vec<String> {
        let text = fs::read_to_string(self.directory.path().join("logins")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A `sendmail` as the contract has it: the message on standard input, sender and recipients as arguments.
pub struct Sendmail {
    directory: PathBuf,
}

/// One call of it.
pub struct Call {
    pub args: Vec<String>,
    pub mail: Mail,
}

impl Sendmail {
    /// Puts the program into `directory`, which must exist.
    pub fn new(directory: &Path) -> Self {
        let sendmail = Self { directory: directory.join("sendmail-calls") };
        fs::create_dir(&sendmail.directory).expect("own directory");
        sendmail.write_script("exit 0");
        sendmail
    }

    /// From now on it fails with this text on its standard error.
    pub fn fail(&self, text: &str) {
        self.write_script(&format!("echo '{text}' >&2; rm \"$here/$call\".*; exit 75"));
    }

    /// From now on it accepts mails.
    pub fn accept(&self) {
        self.write_script("exit 0");
    }

    /// The program's path.
    pub fn command(&self) -> PathBuf {
        self.directory.join("sendmail")
    }

    /// The calls that succeeded, in their order. The mails are decoded if [`Need::Smtp`](super::harness::Need::Smtp).
    pub fn calls(&self) -> Vec<Call> {
        (1..)
            .map(|number| (self.directory.join(format!("{number}.args")), self.directory.join(format!("{number}.eml"))))
            .map_while(|(args, mail)| Some((fs::read_to_string(args).ok()?, mail)))
            .map(|(args, mail)| Call { args: args.lines().map(str::to_owned).collect(), mail: decode(&mail) })
            .collect()
    }

    fn write_script(&self, end: &str) {
        let script = format!(
            "#!/bin/sh\nhere='{}'\ncall=1\nwhile [ -e \"$here/$call.args\" ]; do call=$((call + 1)); done\n\
             printf '%s\\n' \"$@\" > \"$here/$call.args\"\ncat > \"$here/$call.eml\"\n{end}\n",
            self.directory.display()
        );
        // A new file each time: one that is running cannot be written to.
        let new = self.directory.join("sendmail.new");
        fs::write(&new, script).expect("own directory");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("own file");
        fs::rename(new, self.command()).expect("own directory");
    }
}

/// Decodes a message by the server's script.
fn decode(path: &Path) -> Mail {
    let python = python().expect("the case names Need::Smtp");
    let text = run(Command::new(python).arg(script()).arg("--decode").arg(path));
    serde_json::from_str(&text).expect("written by our script")
}

fn script() -> PathBuf {
    repository().join("tests/support/smtp_server.py")
}
