//! Configuration: the only place that reads the config file and the environment.
//!
//! [`load`] finds the file, reads all of it and either gives [`Settings`], or every problem at once in a [`ConfigError`].
//! It checks what is written and that the files it names are there; it never connects to anything.
//!
//! [`settings`] is what the rest of the program sees; [`secret`] keeps passwords out of sight. One file per table reads it
//! (`job` for the top of the file), by way of `reader`; `schema` knows every key, `problem` draws what is wrong.

mod destination;
mod dump;
mod environment;
mod job;
mod log;
mod mail;
pub(crate) mod owner;
mod problem;
mod reader;
mod schema;
pub mod secret;
pub mod settings;
mod source;
#[cfg(test)]
mod tests;
mod timezone;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use chrono_tz::Tz;
use toml::de::{DeTable, DeValue};

use self::environment::Environment;
pub(crate) use self::environment::bare_command;
use self::owner::Fault;
use self::problem::Source;
pub use self::problem::{Place, Problem};
use self::reader::{Context, Table, plain};
use self::secret::Secret;
use self::settings::{DestinationSettings, LogSettings, MailSettings, Settings};
use crate::error::Hinted;
use crate::text;
use crate::text::Text;

/// The commented reference config, which `archive init` writes.
pub const TEMPLATE: &str = include_str!("../../config/archive.toml");

/// A config that may be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// What it could do better; for the report and for `archive check`.
    pub warnings: Vec<Text>,
    /// What is good to know once; for `archive check` alone.
    pub remarks: Vec<Text>,
}

/// A config that cannot be used: every problem of it, and what is usable all the same.
#[derive(Clone, Debug)]
pub struct ConfigError {
    /// The file, if one was found.
    pub path: Option<PathBuf>,
    /// What is wrong, in the order of the file; at least one.
    pub problems: Vec<Problem>,
    /// What to do, where it is one thing.
    pub hint: Option<Text>,
    /// What could be read in spite of the problems, so that the run can still log and report.
    pub salvaged: Box<Salvaged>,
}

/// The parts of a bad config that are needed to report about it.
#[derive(Clone, Debug, Default)]
pub struct Salvaged {
    /// `name`
    pub job: Option<String>,
    /// `timezone`, or the machine's.
    pub timezone: Option<Tz>,
    /// `work_dir`, or its default.
    pub work_dir: Option<PathBuf>,
    /// `[log]`
    pub log: Option<LogSettings>,
    /// `[mail]`
    pub mail: Option<MailSettings>,
    /// Every secret that could be read.
    pub secrets: Vec<Secret>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(path), [first, ..]) = (&self.path, &self.problems[..]) else {
            return match self.problems.first() {
                Some(problem) => problem.fmt(f),
                None => f.write_str("no usable config"),
            };
        };
        if self.problems.len() == 1 && first.place.is_none() && first.key.is_empty() {
            return first.fmt(f);
        }
        let count = self.problems.len();
        write!(f, "{count} problem{} in `{}`", if count == 1 { "" } else { "s" }, path.display())?;
        for problem in &self.problems {
            write!(f, "\n\n{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Hinted for ConfigError {
    fn hint(&self) -> Option<Text> {
        if self.hint.is_some() {
            return self.hint.clone();
        }
        // The file as a whole: not there, not readable, no text.
        let whole = matches!(&self.problems[..], [only] if only.place.is_none() && only.key.is_empty());
        Some(match &self.path {
            Some(path) if whole => {
                let path = path.display();
                text!(
                    "is it the right path, and may this user read it? `archive init {path}` writes a new one"
                        / "est-ce le bon chemin, et cet utilisateur peut-il le lire ? `archive init {path}` en écrit un nouveau"
                )
            }
            None => text!(
                "write one with `archive init`, or name yours with `--config`"
                    / "créez-en une avec `archive init`, ou indiquez la vôtre avec `--config`"
            ),
            Some(path) => {
                let path = path.display();
                text!(
                    "correct the file, then try it with `archive check --offline --config {path}`"
                        / "corrigez le fichier, puis essayez-le avec `archive check --offline --config {path}`"
                )
            }
        })
    }
}

/// What a config is read for: decides which `{ command = … }` of a secret runs, and what may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum For {
    /// A night, or a check of everything.
    Run,
    /// A check that connects to nothing: no command runs.
    Offline,
    /// Commands that use destinations only: all of them, or the one of that name.
    Destinations(Option<String>),
    /// `archive trust`, which is called before a host key is known: an SFTP destination may lack `host_key` and `known_hosts`
    /// (it then accepts an empty list of fingerprints, that is, no server), and `known_hosts` need not exist yet. Nobody logs
    /// in, so no command runs.
    Trust,
}

/// Which commands behind secrets may run.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Commands {
    All,
    OfDestinations(Option<String>),
    None,
}

impl Commands {
    /// Whether the command behind the key of this path may run; destinations are called by their names in it.
    fn may_run(&self, key: &str) -> bool {
        match self {
            Commands::All => true,
            Commands::OfDestinations(None) => key.starts_with("destination"),
            Commands::OfDestinations(Some(name)) => key.starts_with(&format!("destination[{name}].")),
            Commands::None => false,
        }
    }
}

/// Finds, reads and checks the config: `path`, else `$ARCHIVE_CONFIG`, else `./archive.toml` (not for root), else
/// `/etc/archive/archive.toml`.
///
/// Reads secrets, so it may run the commands that the file names, see [`For`].
///
/// # Errors
/// Every problem at once, with what is usable all the same.
pub fn load(path: Option<&Path>, purpose: &For) -> Result<Loaded, ConfigError> {
    load_in(&Environment::of_process(), path, purpose)
}

fn load_in(environment: &Environment, path: Option<&Path>, purpose: &For) -> Result<Loaded, ConfigError> {
    let (path, named_by) = find(environment, path)?;
    let text = read(environment, &path, named_by)?;
    let (repaired, errors) = parse_to_the_end(&text);
    let (root, _) = DeTable::parse_recoverable(&repaired);
    let source = match errors.is_empty() {
        true => Source::new(&path, &text, root.get_ref()),
        false => Source::broken(&path, &text),
    };
    let base = path.parent().map(Path::to_owned).unwrap_or_default();
    let mut context = Context::new(source, base, environment);
    context.host_key_optional = *purpose == For::Trust;
    context.commands = match purpose {
        // A file that is half understood starts no program.
        _ if !errors.is_empty() => Commands::None,
        For::Run => Commands::All,
        For::Destinations(name) => Commands::OfDestinations(name.clone()),
        For::Offline | For::Trust => Commands::None,
    };
    secret_variables(root.get_ref(), &mut context.secret_variables);
    let (settings, warnings, salvaged) = interpret(&context, root.get_ref(), &path);
    if !errors.is_empty() {
        // What else is wrong may only follow from these: half a file was read.
        context.problems.borrow_mut().clear();
        for error in errors {
            report_syntax_error(&context, &error);
        }
    }
    let mut problems = context.problems.take();
    problems.sort_by_key(|(order, _)| *order);
    match settings {
        Some(settings) if problems.is_empty() => {
            let remarks = weak_secrets(&context, &settings);
            Ok(Loaded { settings, warnings, remarks })
        }
        _ => {
            let mut problems: Vec<Problem> = problems.into_iter().map(|(_, problem)| problem).collect();
            problems.dedup();
            Err(ConfigError { path: Some(path), problems, hint: None, salvaged: Box::new(salvaged) })
        }
    }
}

/// The names in every `{ env = … }`.
fn secret_variables(table: &DeTable<'_>, names: &mut BTreeSet<String>) {
    for (key, value) in table.iter() {
        match value.get_ref() {
            DeValue::String(name) if key.get_ref() == "env" => drop(names.insert(name.to_string())),
            DeValue::Table(inner) => secret_variables(inner, names),
            DeValue::Array(items) => items.iter().for_each(|item| {
                if let DeValue::Table(inner) = item.get_ref() {
                    secret_variables(inner, names);
                }
            }),
            _ => {}
        }
    }
}

fn file_error(path: Option<PathBuf>, message: String) -> ConfigError {
    let problem = Problem { place: None, key: String::new(), message, help: None };
    ConfigError { path, problems: vec![problem], hint: None, salvaged: Box::default() }
}

/// The file, absolute, and who named it.
fn find(environment: &Environment, path: Option<&Path>) -> Result<(PathBuf, &'static str), ConfigError> {
    if let Some(path) = path {
        return Ok((environment.current_dir.join(path), " (named by `--config`)"));
    }
    if let Some(path) = environment.variable("ARCHIVE_CONFIG") {
        return Ok((environment.current_dir.join(path), " (named by `$ARCHIVE_CONFIG`)"));
    }
    let here = environment.current_dir.join("archive.toml");
    // Whoever can write in the directory that root happens to be in must not become root by it.
    let places = if environment.is_root { vec![] } else { vec![here] };
    let places: Vec<PathBuf> = places.into_iter().chain([environment.system_config.clone()]).collect();
    // A place that cannot be looked at is no reason to take the next one without a word.
    match places.iter().find(|place| !matches!(place.try_exists(), Ok(false))) {
        Some(path) => Ok((path.clone(), "")),
        None => {
            let shown: Vec<String> = places.iter().map(|place| format!("`{}`", place.display())).collect();
            let missing = match &shown[..] {
                [only] => format!("{only} does not exist (root does not look into the current directory)"),
                places => format!("neither {} exists", places.join(" nor ")),
            };
            Err(file_error(
                None,
                format!("no config file: `--config` was not given, `$ARCHIVE_CONFIG` is not set, and {missing}"),
            ))
        }
    }
}

fn read(environment: &Environment, path: &Path, named_by: &str) -> Result<String, ConfigError> {
    let error = |reason: &str| {
        file_error(Some(path.to_owned()), format!("cannot read `{}`{named_by}: {reason}", path.display()))
    };
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|mut file| {
        let found = file.metadata()?;
        file.read_to_end(&mut bytes)?;
        Ok(found)
    });
    let found = opened.map_err(|e| error(&plain(&e)))?;
    // The file that is meant, and what can put another in its place.
    let directory = path.parent().map(|directory| (directory.to_owned(), std::fs::metadata(directory)));
    let faults =
        std::iter::once((path.to_owned(), found)).chain(directory.and_then(|(path, found)| Some((path, found.ok()?))));
    for (path, found) in faults {
        if let Some(Fault { message, help }) = owner::fault(&path, &found, environment.user, environment.group, 0o022) {
            let message = format!("the config is not to be relied on: {message}");
            let error = file_error(Some(path), message);
            return Err(ConfigError { hint: Some(help), ..error });
        }
    }
    String::from_utf8(bytes).map_err(|e| {
        let valid = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        error(&format!("line {line} is not UTF-8; save the file as UTF-8"))
    })
}

/// All syntax errors, and a text of the same length without the lines that stop the parser. It recovers from most errors
/// by itself, but a line without `=` ends it, and a header without `]` costs it the whole table.
fn parse_to_the_end(text: &str) -> (String, Vec<toml::de::Error>) {
    let mut text = text.to_owned();
    let mut all: Vec<toml::de::Error> = Vec::new();
    loop {
        let (_, errors) = DeTable::parse_recoverable(&text);
        let stop = errors.iter().find(|error| stops_the_parser(error.message())).and_then(|error| error.span());
        // Without its header, a table's keys land in the one before: what is there twice then is there once in truth.
        let news = errors.into_iter().filter(|error| all.is_empty() || error.message() != "duplicate key");
        let news: Vec<_> = news.filter(|error| all.iter().all(|known| known.span() != error.span())).collect();
        let progress = all.is_empty() || !news.is_empty();
        all.extend(news);
        let Some(line) = stop.map(|span| problem::line_at(&text, span.start)).filter(|_| progress) else {
            return (text, all);
        };
        let spaces = " ".repeat(line.len());
        text.replace_range(line, &spaces);
    }
}

fn stops_the_parser(message: &str) -> bool {
    message.starts_with("key with no value") || message.starts_with("unclosed table")
}

/// A syntax error in our words; those of the parser are for people who know TOML's grammar.
fn report_syntax_error(context: &Context<'_>, error: &toml::de::Error) {
    let span = error.span().unwrap_or(0..0);
    let (message, help) = match error.message() {
        "duplicate key" => ("this key is there twice", Some("keep one of the two")),
        message if message.starts_with("string values must be quoted") && span.is_empty() => {
            ("the value is missing", None)
        }
        message if message.starts_with("string values must be quoted") => {
            ("this value is not understood", Some("put text in quotes: `key = \"text\"`"))
        }
        message if message.starts_with("key with no value") => {
            ("a key without `=` and a value", Some("write `key = value`, or `#` before a remark"))
        }
        message if message.starts_with("unclosed table") => ("the header of this table lacks its `]`", None),
        message if message.starts_with("invalid basic string, expected `\"`") => {
            ("this text lacks its closing quote", Some("a text begins and ends with `\"` on the same line"))
        }
        message => (message, None),
    };
    context.report(Some(span), String::new(), message, help.map(str::to_owned));
}

/// Reads everything; problems go to the context.
fn interpret(context: &Context<'_>, entries: &DeTable<'_>, path: &Path) -> (Option<Settings>, Vec<Text>, Salvaged) {
    let root = Table::root(context, entries);
    root.finish();
    let name = root.required("name", "\"boutique\"").and_then(|item| job::name(&item));
    let (timezone, zone_doubt) = job::timezone(&root);
    let work_dir = job::work_dir(&root, name.as_deref());
    let parallel_uploads = root.boolean("parallel_uploads", true);
    let finished = |table: &Table<'_>| table.finish();

    let source = root.table("source");
    source.iter().for_each(finished);
    if !root.has("source") {
        root.problem("source", "missing table `[source]`", Some("it needs at least `url` and `entry`".to_owned()));
    }
    let source = source.and_then(|table| source::read(&table));
    let dump = root.table("dump");
    dump.iter().for_each(finished);
    let dump = dump::read(dump.as_ref());
    let archive = root.table("archive");
    archive.iter().for_each(finished);
    let archive = dump::read_archive(archive.as_ref());
    let destinations = destinations(&root);
    let log = root.table("log");
    log.iter().for_each(finished);
    let log = log::read(log.as_ref(), work_dir.as_deref(), context.environment);
    let mail = root.table("mail").and_then(|table| {
        let mail = mail::read(&table);
        table.finish();
        mail
    });

    let salvaged = Salvaged {
        job: name.clone(),
        timezone: Some(timezone),
        work_dir: work_dir.clone(),
        log: log.clone(),
        mail: mail.clone(),
        secrets: context.secrets.borrow().iter().map(|(_, secret)| secret.clone()).collect(),
    };
    let mut warnings: Vec<Text> = readable_by_others(context, path).into_iter().collect();
    warnings.extend(zone_doubt);
    warnings.append(&mut context.warnings.borrow_mut());
    let settings = || {
        Some(Settings {
            config_path: path.to_owned(),
            name: name?,
            timezone,
            work_dir: work_dir?,
            parallel_uploads,
            source: source?,
            dump,
            archive: archive?,
            destinations,
            log: log?,
            mail,
        })
    };
    (settings(), warnings, salvaged)
}

fn destinations(root: &Table<'_>) -> Vec<DestinationSettings> {
    let missing = |message: &str| {
        let help =
            "an archive needs a place to go: add a `[[destination]]` with `name`, `type` and the keys of that type";
        root.problem("destination", message, Some(help.to_owned()));
    };
    let Some(item) = root.item("destination") else {
        missing("missing table `[[destination]]`");
        return Vec::new();
    };
    if let DeValue::Table(_) = item.value {
        item.problem(
            "there may be several destinations",
            Some("write `[[destination]]`, with two brackets".to_owned()),
        );
    }
    let items = item.list();
    if items.is_empty() {
        missing("there is no destination");
    }
    let mut names: Vec<String> = Vec::new();
    let mut destinations: Vec<DestinationSettings> = Vec::new();
    for item in &items {
        let Some(table) = item.table("destination") else { continue };
        let destination = destination::read(&table);
        table.finish();
        if let Some(name) = table.item("name")
            && let Some(text) = name.text()
        {
            if names.iter().any(|taken| taken.eq_ignore_ascii_case(text)) {
                name.problem(format!("another destination is called `{text}` already"), None);
            }
            names.push(text.to_owned());
        }
        if let Some(destination) = &destination
            && let Some(other) =
                destinations.iter().find(|other| other.protocol.place() == destination.protocol.place())
        {
            let message = format!("this is the same place as `{}`", other.name);
            let help = "two destinations in one directory would purge each other's archives: give each its own";
            table.item("path").as_ref().unwrap_or(item).problem(message, Some(help.to_owned()));
        }
        destinations.extend(destination);
    }
    destinations
}

/// The secrets that logs and mails cannot do without.
fn weak_secrets(context: &Context<'_>, settings: &Settings) -> Vec<Text> {
    let names = settings.names();
    let secrets = context.secrets.borrow();
    let weak =
        secrets.iter().filter(|(_, secret)| !secret.expose().is_empty() && secret::is_word(secret.expose(), &names));
    weak.map(|(key, _)| {
        text!(
            "the secret of `{key}` is a common word: in logs and mails it is masked only where a server repeats it; choose a longer one" /
            "le secret de `{key}` est un mot courant : dans les journaux et les courriels, il n'est masqué que là où un serveur le répète ; choisissez-en un plus long"
        )
    })
    .collect()
}

/// The warning about secrets in clear in a file that the group or everybody can read.
fn readable_by_others(context: &Context<'_>, path: &Path) -> Option<Text> {
    let keys = context.clear_secrets.borrow();
    let key = keys.first()?;
    let mode = std::fs::metadata(path).ok()?.mode() & 0o777;
    let path = path.display();
    (mode & 0o044 != 0).then(|| {
        text!(
            "`{path}` holds a secret in clear (`{key}`) and other users can read it (mode {mode:04o}): run `chmod 600 {path}`, or move the secret to a file of its own" /
            "`{path}` contient un secret en clair (`{key}`) et d'autres utilisateurs peuvent le lire (mode {mode:04o}) : lancez `chmod 600 {path}`, ou mettez le secret dans un fichier à part"
        )
    })
}
