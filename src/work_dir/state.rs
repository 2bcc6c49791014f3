//! `state.json`: what the last run left. It moves only after a destination has verified its copy.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::replace;
use crate::archive_name::ArchiveName;
use crate::digest::Digest;
use crate::dump::Edges;
use crate::error::{Explain, explained};
use crate::source::Validators;
use crate::text;
use crate::text::Text;

/// The version that this program writes; an older one would be brought up to it in [`State::load`].
const VERSION: u32 = 1;

/// Everything that is remembered from run to run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// The last run that got as far as the lock.
    pub last_run: Option<LastRun>,
    /// The zip as it was last downloaded and verified; makes a `304 Not Modified` worth something.
    pub source: Option<SourceState>,
    /// The last civil day that was believed: a purge compares today with it. After a leap of the clock it stays, until
    /// `archive prune` has confirmed the new day by hand.
    pub trusted_day: Option<NaiveDate>,
    /// By the destination's name.
    pub destinations: BTreeMap<String, DestinationState>,
}

/// The last run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastRun {
    /// Its id.
    pub run_id: String,
    /// When it began; a clock before this is behind.
    pub started: DateTime<Utc>,
    /// How it ended.
    pub exit_code: u8,
}

/// The source as last verified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceState {
    /// SHA-256 of the URL, whose query may hold a token; validators of another one are worth nothing.
    pub url_sha256: Digest,
    /// What the dump had to be, see [`crate::pipeline::download::judged`].
    #[serde(default)]
    pub judged: String,
    /// What a conditional request asks with.
    pub validators: Validators,
    /// Size of the zip, bytes.
    pub zip_bytes: u64,
    /// The dump that was in it.
    pub dump: DumpRecord,
}

/// What is known of a verified dump.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DumpRecord {
    /// The entry's name.
    pub entry: String,
    /// Uncompressed bytes.
    pub bytes: u64,
    /// SHA-256 of all bytes.
    pub sha256: Digest,
    /// SHA-256 without the volatile lines.
    pub fingerprint: Digest,
    /// How the fingerprint was made; another way makes fingerprints that cannot be compared.
    pub fingerprint_method: String,
    /// CRC-32, as in the zip's directory.
    pub crc32: u32,
    /// Who wrote it.
    pub producer: String,
    /// On what grounds it counts as complete.
    pub completeness: Text,
    /// Its first and last lines: do they alone differ the next night?
    #[serde(default)]
    pub edges: Option<Edges>,
}

impl DumpRecord {
    /// Whether a fingerprint that was made by `method` is of this dump but for its volatile lines.
    ///
    /// Before version 2 of the method fewer volatile lines were known: a fingerprint of then is equal to today's, or, where
    /// no line was known, to the SHA-256 of all bytes.
    pub fn has_fingerprint(&self, fingerprint: Digest, method: &str) -> bool {
        if method == self.fingerprint_method {
            return fingerprint == self.fingerprint;
        }
        (method, self.fingerprint_method.as_str()) == ("auto-1", "auto-2")
            && (fingerprint == self.fingerprint || fingerprint == self.sha256)
    }

    /// What the report should say where this dump differs from the one before in nothing but a few dated comments; once.
    pub fn advice(&mut self, before: &DumpRecord) -> Option<Text> {
        let (edges, known) = (self.edges.as_mut()?, before.edges.as_ref()?);
        if self.fingerprint == before.fingerprint || self.fingerprint_method != before.fingerprint_method {
            edges.remember(known);
            return None;
        }
        edges.advice(known)
    }
}

/// What a destination holds, as far as we put it there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DestinationState {
    /// Where it was; a name that points elsewhere now is a new destination.
    pub location: String,
    /// The archive that was published or found last.
    pub published: Option<PublishedArchive>,
    /// How many archives were there at the end of the last run.
    pub archives: usize,
}

/// An archive that a destination holds and that was verified there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedArchive {
    /// Its final name.
    #[serde(with = "crate::archive_name::stored")]
    pub name: ArchiveName,
    /// Bytes of the `.tgz`.
    pub bytes: u64,
    /// SHA-256 of the `.tgz`.
    pub sha256: Digest,
    /// When the server says it was written, right after it was verified: as long as this and the size stay, so did the content.
    pub modified: Option<DateTime<Utc>>,
    /// Fingerprint of the dump in it.
    pub fingerprint: Digest,
    /// See [`DumpRecord::fingerprint_method`].
    pub fingerprint_method: String,
    /// Uncompressed bytes of the dump in it.
    pub dump_bytes: u64,
    /// The date since which the dump has had this fingerprint.
    pub since: NaiveDate,
    /// When it was verified there.
    pub published_at: DateTime<Utc>,
}

/// Where the state came from.
#[derive(Debug, PartialEq, Eq)]
pub enum Origin {
    /// Read from the file.
    File,
    /// There was no file: the first run here.
    New,
    /// The file was unreadable; it was kept aside under this name, and the destinations must be looked at.
    Rebuilt {
        /// Where the unreadable file is now.
        aside: PathBuf,
        /// What was wrong with it.
        why: String,
    },
}

/// What to do about a state that may not be read.
pub fn whose_state() -> Text {
    text!(
        "was `archive run` once started by another user, root for example? Then give the work dir back: `chown -R`"
            / "`archive run` a-t-il été lancé une fois par un autre utilisateur, root par exemple ? Alors rendez-lui le répertoire de travail : `chown -R`"
    )
}

impl State {
    /// Reads the state; an unreadable one is replaced by an empty one, and moved aside if `may_move`.
    ///
    /// # Errors
    /// When the file cannot be read or moved, or was written by a newer version of this program.
    pub fn load(path: &Path, now: DateTime<Utc>, may_move: bool) -> anyhow::Result<(State, Origin)> {
        let fresh = || State { version: VERSION, ..State::default() };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((fresh(), Origin::New)),
            Err(error) => return Err(error).explain(format!("failed to read `{}`", path.display()), whose_state()),
        };
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let parsed = serde_json::from_slice::<Version>(&text).and_then(|found| {
            if found.version > VERSION { Ok(Err(found.version)) } else { serde_json::from_slice(&text).map(Ok) }
        });
        match parsed {
            Ok(Ok(state)) => Ok((state, Origin::File)),
            Ok(Err(version)) => Err(explained(
                format!("the state `{}` has version {version}, this program knows up to {VERSION}", path.display()),
                text!(
                    "a newer `archive` ran here: run that one, or move the file away to start anew"
                        / "une version plus récente d'`archive` a tourné ici : utilisez-la, ou déplacez ce fichier pour repartir de zéro"
                ),
            )),
            Err(error) if !may_move => {
                Ok((fresh(), Origin::Rebuilt { aside: path.to_owned(), why: error.to_string() }))
            }
            Err(error) => {
                let aside = path.with_extension(format!("json.unreadable-{}", now.format("%Y%m%dT%H%M%SZ")));
                fs::rename(path, &aside)
                    .with_context(|| format!("failed to move the unreadable `{}` aside", path.display()))?;
                Ok((fresh(), Origin::Rebuilt { aside, why: error.to_string() }))
            }
        }
    }

    /// Writes the state, in one step.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(self).context("failed to write the state as JSON")?;
        replace(path, &text).with_context(|| format!("failed to save the state `{}`", path.display()))
    }

    /// What is known of a destination, if its name still means the same place.
    pub fn destination(&self, name: &str, location: &str) -> Option<&DestinationState> {
        self.destinations.get(name).filter(|state| state.location == location)
    }

    /// The archive that any destination verified last: what tonight's dump is measured against.
    pub fn last_published(&self) -> Option<&PublishedArchive> {
        self.destinations.values().filter_map(|state| state.published.as_ref()).max_by_key(|p| p.published_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::parse_from_rfc3339("2026-11-20T00:00:00Z").unwrap().to_utc()
    }

    #[test]
    fn a_state_is_read_back_as_it_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let (mut state, origin) = State::load(&path, now(), true).unwrap();
        assert_eq!(origin, Origin::New);
        state.last_run = Some(LastRun { run_id: "r".into(), started: now(), exit_code: 0 });
        state.save(&path).unwrap();
        assert_eq!(State::load(&path, now(), true).unwrap(), (state, Origin::File));
    }

    fn record(method: &str, fingerprint: &str, edges: Option<Edges>) -> DumpRecord {
        DumpRecord {
            entry: "a.sql".into(),
            bytes: 9,
            sha256: Digest::of("all of it"),
            fingerprint: Digest::of(fingerprint),
            fingerprint_method: method.into(),
            crc32: 1,
            producer: "x".into(),
            completeness: Text::new("", ""),
            edges,
        }
    }

    #[test]
    fn an_archive_of_the_older_method_may_hold_the_same_dump() {
        let held = |method: &str, of: &str, archive_method: &str| {
            record(method, "without dates", None).has_fingerprint(Digest::of(of), archive_method)
        };
        assert!(held("auto-2", "without dates", "auto-2") && held("auto-2", "without dates", "auto-1"));
        // No line was known to be dated, and all bytes are the same.
        assert!(held("auto-2", "all of it", "auto-1"));
        assert!(!held("auto-2", "all of it", "auto-2") && !held("auto-2", "other", "auto-1"));
        assert!(!held("none", "all of it", "auto-1") && !held("auto-2", "without dates", "none"));
    }

    #[test]
    fn advice_is_given_once_and_only_where_the_fingerprint_differs() {
        let night = |day: u32, rows: &str| {
            let text = format!("-- made on day {day}\nCREATE TABLE t (a int);\n{rows}");
            let mut scanner = crate::dump::DumpScanner::new(
                crate::config::settings::Complete::Auto,
                crate::config::settings::VolatileLines::Auto,
            );
            scanner.update(text.as_bytes());
            let edges = scanner.finish().edges.map(|edges| edges.of_dump(crc32fast::hash(text.as_bytes())));
            record("auto-2", &text, edges)
        };
        let (first, mut same, mut second, mut third) = (night(1, ""), night(1, ""), night(2, ""), night(3, ""));
        assert_eq!(same.advice(&first), None);
        assert!(second.advice(&same).is_some_and(|text| text.en.contains(r"['^\-\- made on day ']")));
        assert_eq!(third.advice(&second), None);
        // It stays said when the dump has changed in between.
        let (mut changed, mut last) =
            (night(4, "INSERT INTO t VALUES (1);\n"), night(5, "INSERT INTO t VALUES (1);\n"));
        assert_eq!(changed.advice(&third), None);
        assert_eq!(last.advice(&changed), None);
        let old: DumpRecord = serde_json::from_value({
            let mut value = serde_json::to_value(&first).unwrap();
            value.as_object_mut().unwrap().remove("edges");
            value
        })
        .unwrap();
        assert_eq!(old.edges, None);
    }

    #[test]
    fn an_unreadable_state_is_kept_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        for bad in ["", "{", "{\"version\":1,\"destinations\":3}", "\u{0}\u{0}"] {
            fs::write(&path, bad).unwrap();
            let (_, origin) = State::load(&path, now(), true).unwrap();
            let Origin::Rebuilt { aside, .. } = origin else { panic!("{bad}") };
            assert_eq!(fs::read_to_string(aside).unwrap(), bad);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_state_of_a_newer_version_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        fs::write(&path, "{\"version\":99}").unwrap();
        assert!(State::load(&path, now(), true).is_err());
        assert!(path.exists());
    }
}
