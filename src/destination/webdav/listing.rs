//! What lies in the collection, of an answer that tells of the collection itself, too.

use super::directory::is_missing;
use super::multistatus::Resource;
use crate::destination::limits::Listing;
use crate::destination::{DestinationError, Entry, ErrorKind};
use crate::error::Hinted as _;
use crate::text::{MAX_NAME_CHARS, quote};

/// A listing that is being received.
pub(super) struct Lister<'a> {
    /// The path of the collection, as [`Resource::path`] has it.
    own: &'a str,
    what: &'a dyn Fn() -> String,
    entries: Listing,
    own_seen: bool,
    /// The first path that came.
    first: Option<String>,
}

impl<'a> Lister<'a> {
    pub(super) fn new(own: &'a str, what: &'a dyn Fn() -> String) -> Self {
        Lister { own, what, entries: Listing::new(), own_seen: false, first: None }
    }

    /// Takes in a resource.
    ///
    /// # Errors
    /// `Other`: the listing is not complete, is not of this collection, or does not end.
    pub(super) fn take(&mut self, resource: Resource) -> Result<(), DestinationError> {
        if resource.path == self.own {
            self.own_seen = true;
            return Ok(());
        }
        if self.first.is_none() {
            self.first = Some(quote(&resource.path, MAX_NAME_CHARS));
        }
        let name = resource.path.strip_prefix(self.own.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            // Told at the end if the collection itself does not come, which says more.
            return match self.own_seen {
                true => Err(self.broken(format!(
                    "the server lists `{}`, which is not in `{}`",
                    quote(&resource.path, MAX_NAME_CHARS),
                    self.own
                ))),
                false => Ok(()),
            };
        };
        if name.contains('/') {
            // A server that knows no depth tells of what lies below, too.
            return Ok(());
        }
        match resource.status {
            Some(status) if is_missing(&resource) => {
                tracing::debug!(
                    "`{}` was listed with the status {status}: it has just gone",
                    quote(name, MAX_NAME_CHARS)
                );
                Ok(())
            }
            Some(status) if status >= 300 => Err(self.broken(format!(
                "the listing is not complete: `{}` has the status {status}",
                quote(name, MAX_NAME_CHARS)
            ))),
            _ => {
                let pushed = self.entries.push(entry_of(name.to_owned(), &resource));
                pushed.map_err(|error| match error.hint() {
                    Some(hint) => DestinationError::new(error.kind, (self.what)()).caused_by(error).with_hint(hint),
                    None => error,
                })
            }
        }
    }

    /// All that came.
    ///
    /// # Errors
    /// `Other` if the collection itself was not told of.
    pub(super) fn finish(self) -> Result<Vec<Entry>, DestinationError> {
        if self.own_seen {
            return Ok(self.entries.finish());
        }
        let other = self.first.as_ref().map_or("nothing".to_owned(), |path| format!("`{path}`"));
        Err(self.broken(format!(
            "the server was asked for `{}` and tells of {other}: does a gateway change the paths?",
            self.own
        )))
    }

    fn broken(&self, why: String) -> DestinationError {
        DestinationError::new(ErrorKind::Other, (self.what)()).caused_by(why)
    }
}

/// What has no length is nothing that was uploaded.
pub(super) fn entry_of(name: String, resource: &Resource) -> Entry {
    Entry {
        name,
        size: resource.size.filter(|_| !resource.is_collection).unwrap_or(0),
        modified: resource.modified,
        is_file: !resource.is_collection && resource.size.is_some(),
    }
}
