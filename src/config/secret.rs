//! Secrets: a type that never shows its value, and the five ways to give one: in clear, or by `env`, `file`, `command` and
//! `credential`. All are read while the config is, but for commands whose secret the command line does not need; one that
//! cannot be read is a problem of its key, never an empty string.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use toml::de::DeValue;

use super::reader::{Item, Table, plain};
use crate::text::{MAX_NAME_CHARS, quote};

/// More than this is no password but a wrong file.
const LONGEST_SECRET_BYTES: u64 = 64 << 10;

/// A value that must not appear in any error, log or mail; both [`fmt::Debug`] and [`fmt::Display`] redact it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    is_word: bool,
}

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Secret { value: value.into(), is_word: false }
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// Whether logs and mails use the value as a word themselves: it is masked only in what servers say, as masking it
    /// everywhere would make them unreadable and give it away.
    pub fn is_word(&self) -> bool {
        self.is_word
    }

    /// The same secret, known to be a word of our own or not.
    pub(crate) fn known_as_word(self, is_word: bool) -> Self {
        Secret { is_word, ..self }
    }
}

/// Keeps the memory of this process, which holds secrets, out of core dumps and away from debuggers of the same user.
///
/// Where the system refuses, the run goes on: it is no less safe than before.
pub fn keep_out_of_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Whether logs and mails may well use `value` themselves: a few small letters, a word of the reference config, which knows
/// our vocabulary, or a part of one of `names`.
pub(super) fn is_word(value: &str, names: &[String]) -> bool {
    let value = value.trim().to_lowercase();
    let is_short_word = value.len() < 8 && value.bytes().all(|byte| byte.is_ascii_lowercase());
    is_short_word
        || super::TEMPLATE.to_lowercase().contains(&value)
        || names.iter().any(|name| name.to_lowercase().contains(&value))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("**redacted**")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("**redacted**")
    }
}

/// Reads a secret from wherever its value says.
pub(super) fn read(item: &Item<'_>) -> Option<Secret> {
    let secret = read_value(item)?;
    item.context.secrets.borrow_mut().push((item.path.clone(), secret.clone()));
    Some(secret)
}

fn read_value(item: &Item<'_>) -> Option<Secret> {
    match item.value {
        DeValue::String(text) => {
            if text.is_empty() {
                item.problem("must not be empty", None);
                return None;
            }
            item.context.clear_secrets.borrow_mut().push(item.path.clone());
            Some(Secret::new(text.as_ref()))
        }
        DeValue::Table(_) => read_table(item, &item.table("secret")?),
        _ => {
            item.wrong_type("a string or a table such as `{ file = \"/path\" }`");
            None
        }
    }
}

fn read_table(item: &Item<'_>, table: &Table<'_>) -> Option<Secret> {
    table.finish();
    let ways = ["env", "file", "command", "credential"];
    let written: Vec<&'static str> = ways.into_iter().filter(|way| table.has(way)).collect();
    let [way] = written[..] else {
        item.problem(
            if written.is_empty() {
                "says nowhere to read the secret from"
            } else {
                "names more than one place to read from"
            },
            Some(
                "write one of `{ env = … }`, `{ file = … }`, `{ command = [ … ] }` and `{ credential = … }`".to_owned(),
            ),
        );
        return None;
    };
    for other in ways {
        // Asked for, so that the schema's test sees that all four are read.
        let _ = table.item(other);
    }
    let inner = table.item(way)?;
    let (value, what) = match way {
        "env" => (from_env(&inner)?, "the variable"),
        "file" => {
            let path = inner.path_value()?;
            (from_file(&inner, &path, "")?, "the file")
        }
        "command" if !item.context.commands.may_run(&item.path) => return Some(Secret::new("")),
        "command" => (from_command(&inner)?, "the output"),
        _ => (from_credential(&inner)?, "the credential"),
    };
    let value = value.trim_end_matches(['\n', '\r']);
    if value.is_empty() {
        inner.problem(format!("{what} is empty"), None);
        return None;
    }
    if value.contains(['\n', '\r', '\0']) {
        let lines = value.lines().count();
        inner.problem(
            format!("{what} has {lines} lines, a secret is a single one"),
            Some("leave only the secret itself in it".to_owned()),
        );
        return None;
    }
    Some(Secret::new(value))
}

fn from_env(item: &Item<'_>) -> Option<String> {
    let name = item.string()?;
    match item.context.environment.variables.get(&name) {
        Some(value) => {
            let value = value.to_str().map(str::to_owned);
            if value.is_none() {
                item.problem(format!("the variable `{name}` is not UTF-8"), None);
            }
            value
        }
        None => {
            let help = "cron starts jobs with few variables: set it in the crontab, or use `{ file = … }`";
            item.problem(format!("the variable `{name}` is not set"), Some(help.to_owned()));
            None
        }
    }
}

fn from_file(item: &Item<'_>, path: &Path, via: &str) -> Option<String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| {
        let found = file.metadata()?;
        file.take(LONGEST_SECRET_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(found)
    });
    let found = read.map(|found| item.keeps_a_secret(path, &found));
    if let Err(error) = found {
        item.problem(format!("cannot read `{shown}`{via}: {}", plain(&error)), None);
        return None;
    }
    text_of(item, bytes, &format!("`{shown}`"))
}

fn text_of(item: &Item<'_>, bytes: Vec<u8>, what: &str) -> Option<String> {
    if bytes.len() as u64 > LONGEST_SECRET_BYTES {
        item.problem(format!("{what} is too long for a secret"), None);
        return None;
    }
    // The error of `from_utf8` holds the bytes: it must not be shown.
    let text = String::from_utf8(bytes).ok();
    if text.is_none() {
        item.problem(format!("{what} is not UTF-8"), None);
    }
    text
}

fn from_credential(item: &Item<'_>) -> Option<String> {
    let name = item.string()?;
    if name.contains('/') || name.starts_with('.') {
        item.problem(
            format!("`{name}` is no name of a credential"),
            Some("write the name that the unit gives it".to_owned()),
        );
        return None;
    }
    let Some(directory) = item.context.environment.variable("CREDENTIALS_DIRECTORY") else {
        let help =
            format!("systemd sets it for units with `LoadCredential={name}:/path`; elsewhere use `{{ file = … }}`");
        item.problem("`$CREDENTIALS_DIRECTORY` is not set", Some(help));
        return None;
    };
    from_file(item, &Path::new(directory).join(name), " (from `$CREDENTIALS_DIRECTORY`)")
}

fn from_command(item: &Item<'_>) -> Option<String> {
    let DeValue::Array(_) = item.value else {
        item.wrong_type("a list: the program and its arguments");
        return None;
    };
    let items = item.list();
    let words: Vec<String> = items
        .iter()
        .filter_map(|word| match word.text() {
            Some(text) => Some(text.to_owned()),
            None => {
                word.wrong_type("a string");
                None
            }
        })
        .collect();
    if words.len() < items.len() {
        return None;
    }
    let Some((program, arguments)) = words.split_first().filter(|(program, _)| !program.is_empty()) else {
        item.problem("names no program", Some("for example `[\"pass\", \"show\", \"nas\"]`".to_owned()));
        return None;
    };
    // A bare name is looked up in `$PATH`; a relative path starts at the config file, as all of them do.
    let mut command = match program.contains('/') {
        true => Command::new(item.context.resolve(program)),
        false => Command::new(program),
    };
    // A password manager needs its session's variables; the other secrets of this config it needs not.
    for name in &item.context.secret_variables {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(&item.context.base);
    match run(command, item.context.environment.command_timeout) {
        Ok(output) => text_of(item, output, &format!("the output of `{program}`")),
        Err(message) => {
            item.problem(format!("`{program}` {message}"), None);
            None
        }
    }
}

/// Runs a program to its end and gives what it wrote to stdout.
fn run(mut command: Command, timeout: Duration) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + timeout;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("could not be started: {}", plain(&error)))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status: ExitStatus = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("did not end within {} s", timeout.as_secs_f32()));
            }
            Err(error) => return Err(format!("was lost: {}", plain(&error))),
        }
    };
    // A program that it left behind may hold the pipes open (an agent, for example): do not wait for that one's end.
    let patience = Duration::from_secs(1);
    if status.success() {
        return stdout.recv_timeout(patience).map_err(|_| "left its output open".to_owned());
    }
    let stderr = stderr.recv_timeout(patience).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&stderr);
    let last = stderr.lines().map(str::trim).rfind(|line| !line.is_empty());
    let status = status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}"));
    Err(match last {
        Some(line) => format!("failed with {status}: {}", quote(line, MAX_NAME_CHARS)),
        None => format!("failed with {status}"),
    })
}

/// Reads a pipe to its end on a thread of its own, so that a full one cannot block the program; keeps what a secret may hold.
fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.by_ref().take(LONGEST_SECRET_BYTES + 1).read_to_end(&mut bytes);
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        let _ = sender.send(bytes);
    });
    receiver
}
