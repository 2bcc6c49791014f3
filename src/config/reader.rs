//! Reads tables key by key and keeps going: whatever is wrong becomes a [`Problem`], so that a technician sees all of it at
//! once. Getters give `None` or the default for what is wrong; nobody sees those, for a config with problems is refused.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::problem::{Problem, Source};
use super::schema;
use super::secret::{self, Secret};
use super::{Commands, owner};
use crate::text;
use crate::text::Text;
use crate::units;

/// What all tables of one file share.
pub(super) struct Context<'a> {
    pub(super) source: Source<'a>,
    /// The directory of the file; relative paths start there.
    pub(super) base: PathBuf,
    pub(super) environment: &'a Environment,
    /// `archive trust` reads a config that has no host key yet.
    pub(super) host_key_optional: bool,
    /// With where they begin, to show them in the order of the file.
    pub(super) problems: RefCell<Vec<(usize, Problem)>>,
    /// The keys that hold a secret in clear.
    pub(super) clear_secrets: RefCell<Vec<String>>,
    /// Every secret that was read, and its key.
    pub(super) secrets: RefCell<Vec<(String, Secret)>>,
    /// What could be better, and is no problem.
    pub(super) warnings: RefCell<Vec<Text>>,
    /// Which commands behind secrets may run.
    pub(super) commands: Commands,
    /// The variables that hold a secret of this config.
    pub(super) secret_variables: BTreeSet<String>,
    /// Every key that was asked for, so that a test can compare with the schema.
    pub(super) asked: RefCell<BTreeSet<(&'static str, &'static str)>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(source: Source<'a>, base: PathBuf, environment: &'a Environment) -> Self {
        Context {
            source,
            base,
            environment,
            host_key_optional: false,
            problems: RefCell::default(),
            clear_secrets: RefCell::default(),
            secrets: RefCell::default(),
            warnings: RefCell::default(),
            commands: Commands::All,
            secret_variables: BTreeSet::new(),
            asked: RefCell::default(),
        }
    }

    pub(super) fn report(
        &self,
        span: Option<Range<usize>>,
        key: String,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let order = span.as_ref().map_or(usize::MAX, |span| span.start);
        let place = span.map(|span| self.source.place(span));
        self.problems.borrow_mut().push((order, Problem { place, key, message: message.into(), help }));
    }

    /// A path from the file: relative ones start at the file's directory.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }
}

/// A table of the file while it is being read.
pub(super) struct Table<'a> {
    pub(super) context: &'a Context<'a>,
    entries: &'a DeTable<'a>,
    /// The header, or the braces; `None` at the top of the file.
    span: Option<Range<usize>>,
    /// How messages call it, for example `destination[nas]`.
    path: RefCell<String>,
    kind: &'static str,
    variant: Cell<Option<&'static str>>,
}

/// A key and its value.
pub(super) struct Item<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) path: String,
    pub(super) value: &'a DeValue<'a>,
    key_span: Range<usize>,
    span: Range<usize>,
}

impl<'a> Table<'a> {
    /// The top of the file.
    pub(super) fn root(context: &'a Context<'a>, entries: &'a DeTable<'a>) -> Self {
        Table { context, entries, span: None, path: RefCell::default(), kind: "", variant: Cell::new(None) }
    }

    /// Calls the table by another name in messages.
    pub(super) fn rename(&self, path: String) {
        *self.path.borrow_mut() = path;
    }

    /// Says which variant this table is, once its `type` or `transport` is known.
    pub(super) fn set_variant(&self, variant: &'static str) {
        self.variant.set(Some(variant));
    }

    fn key_path(&self, key: &str) -> String {
        let path = self.path.borrow();
        if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
    }

    /// Whether the key is written, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// A key that may be missing.
    pub(super) fn item(&self, key: &'static str) -> Option<Item<'a>> {
        debug_assert!(schema::knows(self.kind, None, key), "`{key}` is missing in the schema of `{}`", self.kind);
        self.context.asked.borrow_mut().insert((self.kind, key));
        let (name, value) = self.entries.get_key_value(key)?;
        Some(Item {
            context: self.context,
            path: self.key_path(key),
            value: value.get_ref(),
            key_span: name.span(),
            span: value.span(),
        })
    }

    /// A key that must be there; `example` is its value in the help.
    pub(super) fn required(&self, key: &'static str, example: &str) -> Option<Item<'a>> {
        let item = self.item(key);
        // A misspelt one is an unknown key with a suggestion, and need not be missing as well.
        let misspelt = || {
            let unknown =
                self.entries.keys().map(|key| key.get_ref()).filter(|key| !schema::knows(self.kind, None, key));
            unknown
                .map(|unknown| schema::closest(unknown, schema::keys_of(self.kind, self.variant.get())))
                .any(|near| near == Some(key))
        };
        if item.is_none() && !misspelt() {
            self.problem(key, format!("missing key `{key}`"), Some(format!("add for example `{key} = {example}`")));
        }
        item
    }

    /// A problem of the table as a whole, about a key that is not there (or about none, if empty).
    pub(super) fn problem(&self, key: &str, message: impl Into<String>, help: Option<String>) {
        let path = if key.is_empty() { self.path.borrow().clone() } else { self.key_path(key) };
        self.context.report(self.span.clone(), path, message, help);
    }

    pub(super) fn string(&self, key: &'static str) -> Option<String> {
        self.item(key)?.string()
    }

    pub(super) fn boolean(&self, key: &'static str, default: bool) -> bool {
        let Some(item) = self.item(key) else { return default };
        match item.value {
            DeValue::Boolean(value) => *value,
            _ => {
                item.wrong_type("`true` or `false`");
                default
            }
        }
    }

    pub(super) fn integer(&self, key: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        self.item(key)?.integer(range)
    }

    /// A duration of at least a second.
    pub(super) fn duration(&self, key: &'static str, default: Duration) -> Duration {
        self.item(key).and_then(|item| item.duration()).unwrap_or(default)
    }

    /// A size: `"10 MB"`, or a number of bytes.
    pub(super) fn size(&self, key: &'static str, default: u64) -> u64 {
        let Some(item) = self.item(key) else { return default };
        let size = match item.value {
            DeValue::Integer(number) => {
                units::parse_size(number.as_str()).map_err(|message| item.problem(message, None)).ok()
            }
            _ => item.parse(units::parse_size),
        };
        size.unwrap_or(default)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, choices: &[(&'static str, T)], default: T) -> T {
        self.item(key).and_then(|item| item.choice(choices)).unwrap_or(default)
    }

    /// A file that must be there and readable; its content is not looked at.
    pub(super) fn file(&self, key: &'static str) -> Option<PathBuf> {
        let item = self.item(key)?;
        let path = item.path_value()?;
        if let Ok(found) = std::fs::metadata(&path) {
            match key {
                "private_key" | "client_key_file" => item.keeps_a_secret(&path, &found),
                _ => {
                    item.is_trustworthy(&path, &found, 0o002);
                }
            }
        }
        item.readable(&path).then_some(path)
    }

    pub(super) fn secret(&self, key: &'static str) -> Option<Secret> {
        secret::read(&self.item(key)?)
    }

    /// A table under this one; a missing one is `None`.
    pub(super) fn table(&self, key: &'static str) -> Option<Table<'a>> {
        self.item(key)?.table(key)
    }

    /// Every key that nobody can have asked for is a problem.
    pub(super) fn finish(&self) {
        for (key, _) in self.entries.iter() {
            let name: &str = key.get_ref();
            let variant = self.variant.get();
            if schema::knows(self.kind, variant, name) {
                continue;
            }
            let owners = schema::variants_with(self.kind, name);
            let (message, help) = match variant {
                None if !owners.is_empty() => continue,
                Some(variant) if !owners.is_empty() => {
                    let (word, this) = if self.kind == "mail" {
                        ("transport", format!("`transport` is `{variant}`"))
                    } else {
                        ("type", format!("this destination is `{variant}`"))
                    };
                    let owners: Vec<String> = owners.iter().map(|owner| format!("`{owner}`")).collect();
                    let similar = schema::advice(self.kind, Some(variant), name);
                    let help = if similar.starts_with("did you mean") { similar } else { "remove it".to_owned() };
                    (format!("`{name}` belongs to {word} {}, {this}", owners.join(", ")), help)
                }
                _ => (format!("unknown key `{name}`"), schema::advice(self.kind, variant, name)),
            };
            self.context.report(Some(key.span()), self.key_path(name), message, Some(help));
        }
    }

    /// All keys and values, for tables whose keys are free.
    pub(super) fn free_items(&self) -> Vec<(String, Item<'a>)> {
        let item = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>), name: String| Item {
            context: self.context,
            path: self.key_path(&name),
            value: value.get_ref(),
            key_span: key.span(),
            span: value.span(),
        };
        self.entries
            .iter()
            .map(|(key, value)| (key.get_ref().to_string(), item((key, value), key.get_ref().to_string())))
            .collect()
    }
}

impl<'a> Item<'a> {
    /// A problem with the value.
    pub(super) fn problem(&self, message: impl Into<String>, help: Option<String>) {
        self.context.report(Some(self.span.clone()), self.path.clone(), message, help);
    }

    /// A problem with the key being there at all.
    pub(super) fn key_problem(&self, message: impl Into<String>, help: Option<String>) {
        self.context.report(Some(self.key_span.clone()), self.path.clone(), message, help);
    }

    /// The value is of another type than `expected`.
    pub(super) fn wrong_type(&self, expected: &str) {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a decimal number",
            DeValue::Boolean(_) => "`true` or `false`",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let help = match self.value {
            DeValue::String(text) if expected.contains("number") && text.parse::<i64>().is_ok() => "remove the quotes",
            DeValue::String(text) if expected.contains("true") && text.parse::<bool>().is_ok() => "remove the quotes",
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) if expected.contains("string") => {
                "put it in quotes"
            }
            _ => return self.problem(format!("must be {expected}, found {found}"), None),
        };
        self.problem(format!("must be {expected}, found {found}"), Some(help.to_owned()));
    }

    /// The text, if it is any.
    pub(super) fn text(&self) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// A string that is not empty.
    pub(super) fn string(&self) -> Option<String> {
        match self.value {
            DeValue::String(text) if text.trim().is_empty() => {
                self.problem("must not be empty", None);
                None
            }
            DeValue::String(text) => Some(text.to_string()),
            _ => {
                self.wrong_type("a string");
                None
            }
        }
    }

    /// A string that another function understands.
    pub(super) fn parse<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        parse(&self.string()?).map_err(|message| self.problem(message, None)).ok()
    }

    pub(super) fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let DeValue::Integer(number) = self.value else {
            self.wrong_type("a whole number");
            return None;
        };
        let value =
            i128::from_str_radix(number.as_str(), number.radix()).ok().and_then(|value| u32::try_from(value).ok());
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            self.problem(format!("must be from {} to {}, not `{number}`", range.start(), range.end()), None);
        }
        value
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        if let DeValue::Integer(number) = self.value {
            let help = format!("with its unit, for example `\"{number}s\"`");
            self.problem("must be a duration such as `\"30s\"`, found a whole number", Some(help));
            return None;
        }
        let duration = self.parse(units::parse_duration)?;
        if duration.is_zero() {
            self.problem("must be longer than zero", None);
            return None;
        }
        Some(duration)
    }

    pub(super) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.string()?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<String> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
            let near = schema::closest(&text, choices.iter().map(|(word, _)| *word));
            let help = near.map(|near| format!("did you mean `{near}`?"));
            self.problem(format!("`{text}` is not one of {}", words.join(", ")), help);
        }
        found
    }

    /// A path, resolved against the file's directory.
    pub(super) fn path_value(&self) -> Option<PathBuf> {
        let text = self.string()?;
        if text == "~" || text.starts_with("~/") || text.starts_with('$') {
            self.problem("`~` and variables are not expanded in paths", Some("write the whole path".to_owned()));
            return None;
        }
        Some(self.context.resolve(&text))
    }

    /// Whether the file that this value names can be read; if not, it is a problem.
    pub(super) fn readable(&self, path: &Path) -> bool {
        let result = File::open(path).and_then(|mut file| {
            if file.metadata()?.is_dir() {
                return Err(std::io::Error::other("it is a directory"));
            }
            file.read(&mut [0]).map(drop)
        });
        result
            .map_err(|error| self.problem(format!("cannot read `{}`: {}", path.display(), plain(&error)), None))
            .is_ok()
    }

    /// A file that holds a secret: a problem if others may write it, a warning if they may read it.
    pub(super) fn keeps_a_secret(&self, path: &Path, found: &Metadata) {
        let mode = found.mode() & 0o777;
        if self.is_trustworthy(path, found, 0o022) && mode & 0o004 != 0 {
            let (key, path) = (&self.path, path.display());
            self.context.warnings.borrow_mut().push(text!(
                "every user of this machine can read `{path}` (mode {mode:04o}), the secret of `{key}`: run `chmod 600 {path}`" /
                "tous les utilisateurs de cette machine peuvent lire `{path}` (mode {mode:04o}), le secret de `{key}` : lancez `chmod 600 {path}`"
            ));
        }
    }

    /// A file that we rely on: a problem if it belongs to somebody else, or if one of the rights `forbidden` is there.
    fn is_trustworthy(&self, path: &Path, found: &Metadata, forbidden: u32) -> bool {
        let environment = self.context.environment;
        let fault = owner::fault(path, found, environment.user, environment.group, forbidden);
        let is_trustworthy = fault.is_none();
        if let Some(fault) = fault {
            self.problem(fault.message, Some(fault.help.en));
        }
        is_trustworthy
    }

    /// The value as a table of that kind.
    pub(super) fn table(&self, kind: &'static str) -> Option<Table<'a>> {
        match self.value {
            DeValue::Table(entries) => Some(Table {
                context: self.context,
                entries,
                span: Some(self.span.clone()),
                path: RefCell::new(self.path.clone()),
                kind,
                variant: Cell::new(None),
            }),
            DeValue::Array(items) if items.iter().all(|item| item.get_ref().is_table()) && !items.is_empty() => {
                let help = format!("write `{}`", schema::header_of(kind));
                self.problem(format!("there is one `{kind}`, not a list of them"), Some(help));
                None
            }
            _ => {
                self.wrong_type("a table");
                None
            }
        }
    }

    /// The items of a list; a single value counts as a list of one.
    pub(super) fn list(&self) -> Vec<Item<'a>> {
        let DeValue::Array(items) = self.value else {
            return vec![Item {
                path: self.path.clone(),
                key_span: self.key_span.clone(),
                span: self.span.clone(),
                ..*self
            }];
        };
        let item = |(index, value): (usize, &'a Spanned<DeValue<'a>>)| Item {
            context: self.context,
            path: format!("{}[{}]", self.path, index + 1),
            value: value.get_ref(),
            key_span: self.key_span.clone(),
            span: value.span(),
        };
        items.iter().enumerate().map(item).collect()
    }
}

/// An operating system's error without its number, which helps nobody at night.
pub(super) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}
