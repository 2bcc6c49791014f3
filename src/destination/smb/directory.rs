//! Directories on a share: found, made with all their parents, and listed to their end.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream as _;
use smb::{
    CreateDisposition, CreateOptions, Directory, FileAccessMask, FileAttributes, FileCreateArgs,
    FileDirectoryInformation, FileFullDirectoryInformation, QueryDirectoryInfoValue, Resource,
};

use super::errors::{NOT_A_DIRECTORY, Wire};
use super::link::Link;
use super::{entry_of, handle_of, is_link};
use crate::destination::limits::Listing;
use crate::destination::{DestinationError, Entry, ErrorKind};
use crate::text;

/// Makes sure that the directory exists; its path from the share's root.
pub(super) fn ensure(link: &Link, directories: &[String], location: &str) -> Result<String, DestinationError> {
    let _context = link.context();
    let what = || format!("failed to open the directory `{location}`");
    let ancestors: Vec<String> = (0..=directories.len()).map(|count| directories[..count].join("\\")).collect();
    // From the deepest upwards: those above need not be readable by this account.
    let mut missing = Vec::new();
    for ancestor in ancestors.iter().rev() {
        match open(link, ancestor, CreateDisposition::Open) {
            Ok(()) => break,
            Err(wire) if wire.status() == Some(NOT_A_DIRECTORY) => {
                // Some servers say so of what lies below a file, too.
                if is_there(link, ancestor) {
                    return Err(DestinationError::new(ErrorKind::Other, what())
                        .caused_by(format!("`{}` is no directory", shown(ancestor))));
                }
                missing.push(ancestor);
            }
            Err(wire) if wire.is_missing() => missing.push(ancestor),
            Err(wire) => {
                return Err(wire.during(format!("{}: failed to look at `{}`", what(), shown(ancestor))));
            }
        }
    }
    for ancestor in missing.iter().rev() {
        match open(link, ancestor, CreateDisposition::OpenIf) {
            Ok(()) => tracing::info!("created the directory `{}` at `{location}`", shown(ancestor)),
            Err(wire) => return Err(uncreatable(wire, &shown(ancestor), what())),
        }
    }
    Ok(directories.join("\\"))
}

fn uncreatable(wire: Wire, ancestor: &str, what: String) -> DestinationError {
    let error = wire.during(format!("{what}: `{ancestor}` is missing and could not be created"));
    match error.is_transient() {
        true => error,
        false => error.with_hint(text!(
            "create `{ancestor}` on the share and give it to this account, or correct `path`, which begins at the share's root"
                / "créez `{ancestor}` sur le partage et donnez-le à ce compte, ou corrigez `path`, qui part de la racine du partage"
        )),
    }
}

/// As the configuration has it.
fn shown(path: &str) -> String {
    path.replace('\\', "/")
}

fn args(disposition: CreateDisposition, access: FileAccessMask) -> FileCreateArgs {
    FileCreateArgs {
        disposition,
        attributes: FileAttributes::new().with_directory(true),
        options: CreateOptions::new().with_directory_file(true),
        desired_access: access,
    }
}

fn open(link: &Link, path: &str, disposition: CreateDisposition) -> Result<(), Wire> {
    let args = args(disposition, FileAccessMask::new().with_file_read_attributes(true));
    link.ask(async |tree| {
        let resource = tree.create(path, &args).await?;
        handle_of(&resource).close().await
    })
}

fn is_there(link: &Link, path: &str) -> bool {
    let access = FileAccessMask::new().with_file_read_attributes(true);
    let found = link.ask(async |tree| {
        let resource = tree.open_existing(path, access).await?;
        handle_of(&resource).close().await
    });
    found.is_ok()
}

/// Everything in a directory, or an error.
pub(super) fn list(link: &Link, path: &str) -> Result<Vec<Entry>, Wire> {
    // The bit that reads a file lists a directory.
    let args =
        args(CreateDisposition::Open, FileAccessMask::new().with_file_read_data(true).with_file_read_attributes(true));
    link.ask(async |tree| {
        let directory = match tree.create(path, &args).await? {
            Resource::Directory(directory) => Arc::new(directory),
            _ => return Err(smb::Error::InvalidState("it is no directory".to_owned())),
        };
        let entries = match entries_of(link, &directory, listed).await {
            // The library does not know the tag of one of them. Without tags, every reparse point may be a link.
            Err(Wire::Library(why)) => {
                tracing::debug!("`{path}`: listed again without tags: {why}");
                entries_of(link, &directory, listed_without_tag).await
            }
            entries => entries,
        };
        let closed = directory.close().await;
        match entries {
            Ok(entries) => closed.map(|()| Ok(entries)),
            Err(wire) => Ok(Err(wire)),
        }
    })?
}

async fn entries_of<T>(link: &Link, directory: &Arc<Directory>, entry_of: fn(T) -> Entry) -> Result<Vec<Entry>, Wire>
where
    T: QueryDirectoryInfoValue + Unpin,
{
    let mut found = Directory::query::<T>(directory, "*").await?;
    let mut listing = Listing::new();
    while let Some(next) = poll_fn(|context| Pin::new(&mut found).poll_next(context)).await {
        link.interrupt().check().map_err(Wire::Interrupted)?;
        take(&mut listing, entry_of(next?)).map_err(Wire::Endless)?;
    }
    Ok(listing.finish())
}

/// Takes in an entry; those that stand for directories, which every listing has, are not kept.
fn take(listing: &mut Listing, entry: Entry) -> Result<(), DestinationError> {
    match entry.name.as_str() {
        "." | ".." => listing.leave_out(entry.name.as_bytes()),
        _ => listing.push(entry),
    }
}

fn listed(found: FileFullDirectoryInformation) -> Entry {
    let is_link = found.reparse_tag.is_some_and(is_link);
    let written = found.last_write_time.since_epoch();
    entry_of(found.file_name.to_string(), found.end_of_file, &found.file_attributes, is_link, written)
}

fn listed_without_tag(found: FileDirectoryInformation) -> Entry {
    let is_link = found.file_attributes.reparse_point();
    let written = found.last_write_time.since_epoch();
    entry_of(found.file_name.to_string(), found.end_of_file, &found.file_attributes, is_link, written)
}

#[cfg(test)]
mod tests {
    use smb::ReparseTag;

    use super::*;

    #[test]
    fn a_listing_of_the_directory_itself_without_end_is_given_up() {
        let mut listing = Listing::new();
        let dot = || Entry { name: ".".to_owned(), size: 0, modified: None, is_file: false };
        let error = (0..1_000_000).find_map(|_| take(&mut listing, dot()).err()).unwrap();
        assert!(error.to_string().contains("64 MiB") && listing.is_empty(), "{error}");
    }

    #[test]
    fn only_what_stands_for_another_name_is_no_file() {
        // MS-FSCC 2.4.17: with the attribute, the place of `EaSize` holds the tag.
        let found = |tag: Option<ReparseTag>| FileFullDirectoryInformation {
            file_index: 0,
            creation_time: Default::default(),
            last_access_time: Default::default(),
            last_write_time: Default::default(),
            change_time: Default::default(),
            end_of_file: 7,
            allocation_size: 0,
            file_attributes: FileAttributes::new().with_archive(true).with_reparse_point(tag.is_some()),
            ea_size: tag.is_none().then_some(0),
            reparse_tag: tag,
            file_name: "20261120.tgz".into(),
        };
        for (tag, is_file) in [
            (None, true),
            // Deduplicated, compressed by the system, in the cloud, on a tape.
            (Some(ReparseTag::Dedup), true),
            (Some(ReparseTag::WOF), true),
            (Some(ReparseTag::Cloud6), true),
            (Some(ReparseTag::HSM), true),
            (Some(ReparseTag::Symlink), false),
            (Some(ReparseTag::MountPoint), false),
            (Some(ReparseTag::LxSymlink), false),
        ] {
            let shown = format!("{tag:?}");
            assert_eq!(listed(found(tag)).is_file, is_file, "{shown}");
        }
    }
}
