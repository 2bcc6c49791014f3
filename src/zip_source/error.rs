//! Why a zip was refused, in words for the person who has to do something about it.

use std::fmt;
use std::io;

use super::names;
use crate::deflate::InflateError;
use crate::error::Hinted;
use crate::text;
use crate::text::Text;

/// Why a zip, or the entry in it, cannot be trusted or read. [`Hinted::hint`] says what to do.
#[derive(Debug)]
pub enum ZipError {
    /// Not a zip, or not all of it.
    NotAZip(NotAZipReason),
    /// More entries than anyone needs, or a directory that is too large to be searched.
    DirectoryTooLarge {
        /// What there is, with its unit.
        found: String,
        /// What is accepted, with its unit.
        limit: String,
    },
    /// No entry has that name.
    Missing {
        /// The name looked for.
        wanted: String,
        /// Name and declared size in bytes of the first entries.
        present: Vec<(String, u64)>,
        /// How many more there are.
        not_shown: u64,
        /// The entry whose name looks most like it, if any does.
        closest: Option<String>,
    },
    /// More than one entry has that name; readers disagree on which of them counts.
    Twice {
        /// The name.
        entry: String,
        /// How many have it.
        count: u64,
    },
    /// The entry is a directory or a symbolic link.
    NotAFile {
        /// The name.
        entry: String,
        /// What it is.
        kind: &'static str,
    },
    /// The name is absolute or leads out of the directory that the archive is unpacked in.
    UnsafeName {
        /// The name.
        entry: String,
    },
    /// The entry's own header says something else than the directory.
    HeadersDisagree {
        /// The name in the directory.
        entry: String,
        /// What differs: `name`, `method` or `encryption`.
        what: &'static str,
    },
    /// The entry is encrypted and no password was given.
    Encrypted {
        /// The name.
        entry: String,
    },
    /// The password is wrong. Zip's old encryption cannot tell that from damage in every case.
    WrongPassword {
        /// The name.
        entry: String,
    },
    /// A compression or encryption method that is not supported.
    UnsupportedMethod {
        /// The name.
        entry: String,
        /// The method's name, or its number in the zip specification (APPNOTE 4.4.5).
        method: String,
    },
    /// What was read is not what was put in.
    WrongCrc {
        /// The name.
        entry: String,
        /// As the directory says.
        expected: u32,
        /// As computed.
        got: u32,
    },
    /// The entry is shorter or longer than declared. Reading stops at the first byte too many.
    WrongSize {
        /// The name.
        entry: String,
        /// As the directory says, in bytes.
        declared: u64,
        /// As counted, in bytes; `None`: more than declared.
        got: Option<u64>,
    },
    /// The entry is larger than the limit.
    TooLarge {
        /// The name.
        entry: String,
        /// As the directory says, in bytes.
        declared: u64,
        /// In bytes.
        limit: u64,
    },
    /// The entry's compressed data cannot be decoded.
    Inflate {
        /// The name.
        entry: String,
        /// Why.
        source: InflateError,
    },
    /// The same for methods other than DEFLATE.
    Decode {
        /// The name.
        entry: String,
        /// Why.
        source: io::Error,
    },
    /// To be unpacked it needs more memory than we give.
    WindowTooLarge {
        /// The name.
        entry: String,
        /// The compression method.
        method: String,
        /// What it asks for, in bytes, if that is known.
        window: Option<u64>,
        /// In bytes.
        limit: u64,
    },
    /// The file, or the entry's compressed data, ends too early.
    Truncated {
        /// The name.
        entry: String,
    },
    /// The zip could not be read.
    Io(io::Error),
    /// Whoever received the content did not want any more of it.
    Receiver(io::Error),
}

/// Why it is not a zip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAZipReason {
    /// Zero bytes.
    Empty,
    /// Readable text, most likely a web page.
    Text {
        /// Its first characters.
        starts_with: String,
    },
    /// Neither text nor anything that begins or ends as a zip does.
    OtherFormat {
        /// Its first bytes in hexadecimal.
        starts_with: String,
    },
    /// Begins as a zip, but has no end record: as a rule the end is missing.
    NoEndRecord {
        /// What there is.
        size_bytes: u64,
    },
    /// Has an end record, but the directory is not where and what it says.
    Directory {
        /// What the zip library found.
        detail: String,
    },
}

impl ZipError {
    /// The cause in a few words, as the subject of a mail has it: without the names of what is there instead.
    pub fn summary(&self) -> String {
        match self {
            Self::Missing { wanted, .. } => format!("`{}` is not in the zip", names::shown(wanted)),
            other => other.to_string(),
        }
    }
}

impl Hinted for ZipError {
    fn hint(&self) -> Option<Text> {
        Some(match self {
            Self::NotAZip(NotAZipReason::Empty) => text!(
                "the export may have failed: ask those who produce it"
                    / "l'export a peut-être échoué : demandez à ceux qui le produisent"
            ),
            Self::NotAZip(NotAZipReason::Text { .. }) => text!(
                "the server may have answered with a login or error page: open the URL in a browser, check the credentials"
                    / "le serveur a peut-être répondu par une page de connexion ou d'erreur : ouvrez l'URL dans un navigateur, vérifiez les identifiants"
            ),
            Self::NotAZip(NotAZipReason::OtherFormat { .. }) => {
                text!("check that the URL leads to a `.zip`" / "vérifiez que l'URL mène bien à un `.zip`")
            }
            Self::NotAZip(_) | Self::Truncated { .. } => text!(
                "the download was cut, or the file was still being written: check it with `unzip -t`"
                    / "le téléchargement a été coupé, ou le fichier était en cours d'écriture : vérifiez-le avec `unzip -t`"
            ),
            Self::Missing { wanted, closest: Some(name), .. } if names::differ_in_digits(wanted, name) => {
                let name = names::shown(name);
                text!(
                    "the entry's name seems to change with the date (`{name}` tonight): have the export write the same name every night, for example without the date"
                        / "le nom de l'entrée semble changer avec la date (`{name}` cette nuit) : faites écrire à l'export le même nom chaque nuit, par exemple sans la date"
                )
            }
            Self::Missing { closest: Some(name), .. } if names::is_long(name) => {
                let name = names::shown(name);
                text!(
                    "did you mean `{name}`? it is cut here: set `entry` under `[source]` to all of it, as `unzip -Z1` shows it"
                        / "vouliez-vous dire `{name}` ? il est coupé ici : indiquez-le en entier dans `entry`, sous `[source]`, tel que `unzip -Z1` l'affiche"
                )
            }
            Self::Missing { closest: Some(name), .. } => {
                let name = names::toml_string(name);
                text!(
                    "did you mean this one? under `[source]` it is written `entry = {name}`"
                        / "vouliez-vous dire celui-ci ? dans `[source]`, il s'écrit `entry = {name}`"
                )
            }
            Self::Missing { .. } => text!(
                "set `entry` under `[source]` to a name that is in the zip"
                    / "indiquez dans `entry`, sous `[source]`, un nom présent dans le zip"
            ),
            Self::Encrypted { .. } => {
                text!("set `zip_password` under `[source]`" / "indiquez `zip_password` dans `[source]`")
            }
            Self::WrongPassword { .. } => {
                text!("check `zip_password` under `[source]`" / "vérifiez `zip_password` dans `[source]`")
            }
            Self::TooLarge { .. } => text!(
                "if this size is right, raise `max_size` under `[dump]`"
                    / "si cette taille est normale, augmentez `max_size` dans `[dump]`"
            ),
            Self::WindowTooLarge { .. } => text!(
                "have the zip made with a smaller dictionary (7-Zip: `-md=64m`), or with the usual method, Deflate"
                    / "faites produire le zip avec un dictionnaire plus petit (7-Zip : `-md=64m`), ou avec la méthode habituelle, Deflate"
            ),
            Self::UnsupportedMethod { .. } => text!(
                "have the zip made with the usual method, Deflate"
                    / "faites produire le zip avec la méthode habituelle, Deflate"
            ),
            Self::WrongCrc { .. } | Self::WrongSize { .. } | Self::Inflate { .. } | Self::Decode { .. } => text!(
                "the zip is damaged: check it with `unzip -t` where it is made"
                    / "le zip est endommagé : vérifiez-le avec `unzip -t` là où il est produit"
            ),
            Self::Twice { .. } | Self::HeadersDisagree { .. } | Self::NotAFile { .. } | Self::UnsafeName { .. } => {
                text!(
                    "look at how the zip is made: `unzip -lv` shows what is in it"
                        / "regardez comment le zip est produit : `unzip -lv` montre ce qu'il contient"
                )
            }
            Self::DirectoryTooLarge { .. } | Self::Io(_) | Self::Receiver(_) => return None,
        })
    }
}

impl fmt::Display for ZipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAZip(reason) => reason.fmt(f),
            Self::DirectoryTooLarge { found, limit } => {
                write!(f, "the zip holds {found}, more than the {limit} accepted")
            }
            Self::Missing { wanted, present, not_shown, .. } => write_missing(f, wanted, present, *not_shown),
            Self::Twice { entry, count } => write!(f, "the zip holds `{entry}` {count} times"),
            Self::NotAFile { entry, kind } => {
                write!(f, "`{entry}` in the zip is a {kind}, not a file")
            }
            Self::UnsafeName { entry } => {
                write!(f, "the entry's name `{}` leads out of its directory, or is absolute", names::shown(entry))
            }
            Self::HeadersDisagree { entry, what } => {
                write!(f, "the zip contradicts itself: the {what} of `{entry}` differs between directory and entry")
            }
            Self::Encrypted { entry } => write!(f, "`{entry}` in the zip is encrypted"),
            Self::WrongPassword { entry } => {
                write!(f, "`{entry}` in the zip cannot be decrypted: the password is wrong, or the data is damaged")
            }
            Self::UnsupportedMethod { entry, method } => {
                write!(f, "`{entry}` in the zip uses the method `{method}`, which is not supported")
            }
            Self::WrongCrc { entry, expected, got } => {
                write!(f, "`{entry}` in the zip is damaged: its CRC-32 is `{got:08x}`, the zip says `{expected:08x}`")
            }
            Self::WrongSize { entry, declared, got: Some(got) } => {
                write!(f, "`{entry}` in the zip is damaged: it has {got} bytes, the zip says {declared}")
            }
            Self::WrongSize { entry, declared, got: None } => {
                write!(f, "`{entry}` in the zip is damaged: it goes on after the {declared} bytes that the zip says")
            }
            Self::TooLarge { entry, declared, limit } => {
                write!(f, "`{entry}` in the zip has {declared} bytes, more than the limit of {limit}")
            }
            Self::Inflate { entry, .. } | Self::Decode { entry, .. } => {
                write!(f, "`{entry}` in the zip cannot be unpacked")
            }
            Self::WindowTooLarge { entry, method, window, limit } => {
                let window = window.map(|bytes| format!(" of {} MiB", bytes >> 20)).unwrap_or_default();
                write!(
                    f,
                    "`{entry}` in the zip ({method}) needs a dictionary{window} in memory, more than the {} MiB allowed",
                    limit >> 20
                )
            }
            Self::Truncated { entry } => write!(f, "the compressed data of `{entry}` in the zip ends too early"),
            Self::Io(_) => f.write_str("failed to read the zip"),
            Self::Receiver(_) => f.write_str("reading the zip was stopped"),
        }
    }
}

fn write_missing(f: &mut fmt::Formatter<'_>, wanted: &str, present: &[(String, u64)], not_shown: u64) -> fmt::Result {
    if present.is_empty() {
        return write!(f, "`{wanted}` is not in the zip, which is empty");
    }
    write!(f, "`{wanted}` is not in the zip, which holds ")?;
    for (index, (name, size)) in present.iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        // Names come from outside: no control characters into terminals and mails.
        write!(f, "{comma}`{}` ({size} bytes)", names::shown(name))?;
    }
    if not_shown > 0 {
        write!(f, " and {not_shown} more")?;
    }
    Ok(())
}

impl fmt::Display for NotAZipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the file is empty, not a zip"),
            Self::Text { starts_with } => {
                write!(f, "this is text, not a zip: it starts with `{starts_with}`")
            }
            Self::OtherFormat { starts_with } => {
                write!(f, "this is not a zip: it starts with the bytes `{starts_with}`")
            }
            Self::NoEndRecord { size_bytes } => {
                write!(f, "the zip has no end record in its {size_bytes} bytes: its end is missing")
            }
            Self::Directory { detail } => write!(f, "the zip's directory is damaged: {detail}"),
        }
    }
}

impl std::error::Error for ZipError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Inflate { source, .. } => Some(source),
            Self::Decode { source, .. } | Self::Io(source) | Self::Receiver(source) => Some(source),
            _ => None,
        }
    }
}

impl From<io::Error> for ZipError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
