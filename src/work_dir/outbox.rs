//! The outbox: archives that are built and verified but not yet at every destination, each under its own date.
//!
//! An archive is two files, `<date>-<SHA-256>.tgz` and the same with `.json`. The description is written first and the
//! archive takes its name last, so that an archive in the outbox is always whole and described.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::state::DumpRecord;
use super::{create_private, replace, sync_parent};
use crate::archive_name::ArchiveName;
use crate::digest::Digest;
use crate::interrupt::Interrupt;

/// An archive and what is known of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Packed {
    /// The name it asks for at a destination; its date is the night it was built.
    #[serde(with = "crate::archive_name::stored")]
    pub name: ArchiveName,
    /// Bytes of the `.tgz`.
    pub bytes: u64,
    /// SHA-256 of the `.tgz`.
    pub sha256: Digest,
    /// Whether the zip's own compression was reused.
    pub reused_compression: bool,
    /// The dump in it.
    pub dump: DumpRecord,
    /// Names of the destinations that still need it.
    pub pending: Vec<String>,
    /// Names of the destinations that have it, verified.
    pub delivered: Vec<String>,
    /// When it was built; of two archives of one day the later one is the newer.
    #[serde(default)]
    pub packed_at: DateTime<Utc>,
}

/// An archive in the outbox.
#[derive(Clone, Debug)]
pub struct Item {
    /// What is known of it.
    pub packed: Packed,
    /// The `.tgz`.
    pub path: PathBuf,
}

/// An archive that is no longer what was packed.
#[derive(Clone, Debug)]
pub struct Damaged {
    /// The name it asked for.
    pub archive: ArchiveName,
    /// Where it is now.
    pub aside: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// An archive whose description cannot be read, and why.
pub type Unreadable = (PathBuf, String);

/// The outbox of a job.
#[derive(Clone, Debug)]
pub struct Outbox {
    dir: PathBuf,
}

/// An archive that is being built; unless it is [committed](Outbox::commit) it vanishes.
#[derive(Debug)]
pub struct Draft {
    /// To write into.
    pub file: File,
    path: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // gone already after a commit
    }
}

impl Outbox {
    /// The outbox in this directory.
    pub fn new(dir: PathBuf) -> Self {
        Outbox { dir }
    }

    /// Removes what a run that died left half-built.
    ///
    /// # Errors
    /// When the directory cannot be read or a file not removed.
    pub fn sweep(&self) -> anyhow::Result<()> {
        for path in self.files()? {
            let orphan = match path.extension().and_then(OsStr::to_str) {
                Some("draft" | "new") => true,
                Some("json") => !path
                    .with_extension("tgz")
                    .try_exists()
                    .with_context(|| format!("failed to look for the archive of `{}`", path.display()))?,
                _ => false,
            };
            if orphan {
                fs::remove_file(&path)
                    .with_context(|| format!("failed to remove the leftover `{}`", path.display()))?;
            }
        }
        Ok(())
    }

    /// What waits, oldest first; see [`Self::unreadable`] for what cannot be sent.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn items(&self) -> anyhow::Result<Vec<Item>> {
        let (items, _) = self.read()?;
        Ok(items)
    }

    /// Archives whose description cannot be read, and why: somebody must be told, but they hold nothing else back.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn unreadable(&self) -> anyhow::Result<Vec<Unreadable>> {
        let (_, unreadable) = self.read()?;
        Ok(unreadable)
    }

    /// Sets aside, under a name that is not sent, what no longer has the bytes that it was packed with, or cannot be read: this
    /// machine's disk is trusted no more than a server's. Gives the archives, where they are now, and why.
    ///
    /// # Errors
    /// When the directory cannot be read or an archive not renamed; what `interrupt` says.
    pub fn set_damaged_aside(&self, interrupt: &Interrupt) -> anyhow::Result<Vec<Damaged>> {
        let mut damaged = Vec::new();
        for item in self.items()? {
            let why = match is_whole(&item, interrupt) {
                Ok(true) => continue,
                Ok(false) => "its bytes are not those that were packed".to_owned(),
                Err(error) => {
                    interrupt.check()?;
                    error.to_string()
                }
            };
            let aside = item.path.with_extension("tgz.damaged");
            fs::rename(&item.path, &aside)
                .with_context(|| format!("failed to set the damaged `{}` aside", item.path.display()))?;
            damaged.push(Damaged { archive: item.packed.name, aside, why });
        }
        Ok(damaged)
    }

    fn read(&self) -> anyhow::Result<(Vec<Item>, Vec<Unreadable>)> {
        let (mut items, mut unreadable) = (Vec::new(), Vec::new());
        for path in self.files()? {
            if path.extension() != Some(OsStr::new("tgz")) {
                continue;
            }
            let described = fs::read(path.with_extension("json"))
                .map_err(|error| error.to_string())
                .and_then(|text| serde_json::from_slice::<Packed>(&text).map_err(|error| error.to_string()));
            match described {
                Ok(packed) => items.push(Item { packed, path }),
                Err(why) => unreadable.push((path, why)),
            }
        }
        items.sort_by(|a, b| {
            let date = |item: &Item| (item.packed.name.date(), item.packed.packed_at);
            date(a).cmp(&date(b)).then_with(|| a.path.cmp(&b.path))
        });
        Ok((items, unreadable))
    }

    /// Begins an archive.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn draft(&self) -> anyhow::Result<Draft> {
        let path = self.dir.join("tonight.draft");
        let file = create_private(&path).with_context(|| format!("failed to create `{}`", path.display()))?;
        Ok(Draft { file, path })
    }

    /// Turns a draft into an archive that waits for its destinations.
    ///
    /// # Errors
    /// When it cannot be flushed or renamed; then there is no archive.
    pub fn commit(&self, draft: Draft, mut packed: Packed) -> anyhow::Result<Item> {
        let path = self.path_of(packed.name.date(), packed.sha256);
        // The same archive may wait already, for other destinations: they must not be forgotten.
        if let Some(known) = self.items()?.into_iter().find(|item| item.path == path) {
            let Packed { pending, delivered, .. } = known.packed;
            packed
                .pending
                .extend(pending.into_iter().filter(|name| !packed.pending.contains(name)).collect::<Vec<_>>());
            packed.delivered.extend(delivered);
        }
        let write = || -> io::Result<()> {
            draft.file.sync_all()?;
            replace(&path.with_extension("json"), &serde_json::to_vec_pretty(&packed)?)?;
            fs::rename(&draft.path, &path)?;
            sync_parent(&path)
        };
        write().with_context(|| format!("failed to put `{}` into the outbox", path.display()))?;
        Ok(Item { packed, path })
    }

    /// Notes that `destination` has a verified copy; the archive goes once nobody needs it.
    ///
    /// # Errors
    /// When the outbox cannot be written.
    pub fn delivered(&self, item: &mut Item, destination: &str) -> anyhow::Result<()> {
        item.packed.pending.retain(|name| name != destination);
        item.packed.delivered.push(destination.to_owned());
        self.save(item)
    }

    /// Notes that `destination` does not need it after all; the archive goes once no other does.
    ///
    /// # Errors
    /// When the outbox cannot be written.
    pub fn withdraw(&self, item: &mut Item, destination: &str) -> anyhow::Result<()> {
        item.packed.pending.retain(|name| name != destination);
        self.save(item)
    }

    /// Calls a destination by its new name, wherever it is waited for.
    ///
    /// # Errors
    /// When the outbox cannot be read or written.
    pub fn rename_destination(&self, old: &str, new: &str) -> anyhow::Result<()> {
        for mut item in self.items()? {
            let Packed { pending, delivered, .. } = &mut item.packed;
            let mut renamed = false;
            for name in pending.iter_mut().chain(delivered).filter(|name| name.as_str() == old) {
                new.clone_into(name);
                renamed = true;
            }
            if renamed {
                self.save(&item)?;
            }
        }
        Ok(())
    }

    /// Forgets destinations that the config no longer has. An archive that none of the others has yet is not lost for it: it
    /// then waits for all of them. Gives each archive with the destination that it will not reach.
    ///
    /// # Errors
    /// When the outbox cannot be read or written.
    pub fn keep_to(&self, destinations: &[&str]) -> anyhow::Result<Vec<(String, String)>> {
        let mut gone = Vec::new();
        for mut item in self.items()? {
            let before = item.packed.pending.len();
            let lost = item.packed.pending.iter().filter(|name| !destinations.contains(&name.as_str()));
            gone.extend(lost.map(|name| (item.packed.name.to_string(), name.clone())));
            item.packed.pending.retain(|name| destinations.contains(&name.as_str()));
            let held = item.packed.delivered.iter().any(|name| destinations.contains(&name.as_str()));
            if item.packed.pending.is_empty() && !held {
                item.packed.pending = destinations.iter().map(|name| (*name).to_owned()).collect();
            } else if item.packed.pending.len() == before {
                continue;
            }
            self.save(&item)?;
        }
        Ok(gone)
    }

    fn save(&self, item: &Item) -> anyhow::Result<()> {
        if item.packed.pending.is_empty() {
            return self.discard(item);
        }
        let description = item.path.with_extension("json");
        replace(&description, &serde_json::to_vec_pretty(&item.packed)?)
            .with_context(|| format!("failed to write `{}`", description.display()))
    }

    /// Removes an archive that nobody needs.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(&self, item: &Item) -> anyhow::Result<()> {
        // The archive first: a description without archive is swept, an archive without description would be an error.
        fs::remove_file(&item.path)
            .and_then(|()| fs::remove_file(item.path.with_extension("json")))
            .with_context(|| format!("failed to remove the delivered `{}`", item.path.display()))
    }

    fn path_of(&self, date: NaiveDate, sha256: Digest) -> PathBuf {
        self.dir.join(format!("{}-{}.tgz", date.format("%Y%m%d"), &sha256.to_string()[..12]))
    }

    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let read = || -> io::Result<Vec<PathBuf>> {
            let mut paths = Vec::new();
            for entry in fs::read_dir(&self.dir)? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    paths.push(entry.path());
                }
            }
            Ok(paths)
        };
        read().with_context(|| format!("failed to read the outbox `{}`", self.dir.display()))
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Whether an archive has the size and the SHA-256 that it was packed with.
fn is_whole(item: &Item, interrupt: &Interrupt) -> io::Result<bool> {
    let mut file = File::open(&item.path)?;
    if file.metadata()?.len() != item.packed.bytes {
        return Ok(false);
    }
    let mut hasher = Sha256::new();
    let mut block = vec![0; 256 * 1024];
    loop {
        interrupt.check()?;
        match file.read(&mut block)? {
            0 => return Ok(Digest(hasher.finalize().into()) == item.packed.sha256),
            count => hasher.update(&block[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::archive_name::NamePattern;
    use crate::text::Text;

    fn packed(day: u32, pending: &[&str]) -> Packed {
        let pattern = NamePattern::parse("%Y%m%d.tgz").unwrap();
        let digest = Digest([day as u8; 32]);
        Packed {
            name: pattern.name(NaiveDate::from_ymd_opt(2026, 11, day).unwrap(), 1),
            bytes: 3,
            sha256: digest,
            reused_compression: true,
            dump: DumpRecord {
                entry: "a.sql".into(),
                bytes: 9,
                sha256: digest,
                fingerprint: digest,
                fingerprint_method: "auto-1".into(),
                edges: None,
                crc32: 1,
                producer: "mysqldump".into(),
                completeness: Text::new("", ""),
            },
            pending: pending.iter().map(|s| (*s).to_owned()).collect(),
            delivered: Vec::new(),
            packed_at: DateTime::UNIX_EPOCH,
        }
    }

    fn add(outbox: &Outbox, day: u32, pending: &[&str]) -> Item {
        let mut draft = outbox.draft().unwrap();
        draft.file.write_all(b"tgz").unwrap();
        outbox.commit(draft, packed(day, pending)).unwrap()
    }

    #[test]
    fn archives_wait_in_order_until_every_destination_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(dir.path().to_owned());
        add(&outbox, 20, &["nas"]);
        let mut first = add(&outbox, 19, &["nas", "cloud"]);
        let days = |outbox: &Outbox| -> Vec<String> {
            outbox.items().unwrap().iter().map(|i| i.packed.name.to_string()).collect()
        };
        assert_eq!(days(&outbox), ["20261119.tgz", "20261120.tgz"]);
        outbox.delivered(&mut first, "nas").unwrap();
        assert_eq!(outbox.items().unwrap()[0].packed.pending, ["cloud"]);
        outbox.delivered(&mut first, "cloud").unwrap();
        assert_eq!(days(&outbox), ["20261120.tgz"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn the_same_archive_built_again_forgets_no_destination() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(dir.path().to_owned());
        let mut first = add(&outbox, 20, &["nas", "cloud"]);
        outbox.delivered(&mut first, "cloud").unwrap();
        add(&outbox, 20, &["usb"]);
        let items = outbox.items().unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].packed.pending, ["usb", "nas"]);
        assert_eq!(items[0].packed.delivered, ["cloud"]);
    }

    #[test]
    fn an_archive_without_description_holds_nothing_back() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(dir.path().to_owned());
        add(&outbox, 20, &["nas"]);
        fs::write(dir.path().join("20261119-abc.tgz"), "?").unwrap();
        fs::write(dir.path().join("20261119-abc.json"), "{").unwrap();
        outbox.sweep().unwrap();
        assert_eq!(outbox.items().unwrap().len(), 1);
        assert_eq!(outbox.unreadable().unwrap().len(), 1);
    }

    #[test]
    fn a_draft_that_is_dropped_or_left_by_a_dead_run_vanishes() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(dir.path().to_owned());
        drop(outbox.draft().unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        std::mem::forget(outbox.draft().unwrap());
        fs::write(dir.path().join("20261120-abc.json"), "{}").unwrap();
        outbox.sweep().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_destination_that_left_the_config_holds_nothing_back_and_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(dir.path().to_owned());
        add(&outbox, 18, &["old"]);
        let mut delivered = add(&outbox, 19, &["old", "nas"]);
        outbox.delivered(&mut delivered, "nas").unwrap();
        add(&outbox, 20, &["old", "nas"]);
        outbox.keep_to(&["nas", "cloud"]).unwrap();
        let waiting: Vec<_> =
            outbox.items().unwrap().into_iter().map(|i| (i.packed.name.to_string(), i.packed.pending)).collect();
        assert_eq!(
            waiting,
            [
                ("20261118.tgz".to_owned(), vec!["nas".to_owned(), "cloud".to_owned()]),
                ("20261120.tgz".to_owned(), vec!["nas".to_owned()])
            ]
        );
    }
}
