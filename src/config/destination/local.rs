//! `type = "local"`: a directory of this machine.

use std::path::PathBuf;

use super::super::reader::Table;

/// `type = "local"`
#[derive(Clone, Debug)]
pub struct LocalSettings {
    /// `path`: absolute.
    pub path: PathBuf,
    /// `require_mount`: `path` must lie on another file system than the root.
    pub require_mount: bool,
    /// `marker`: a file that must be there, so that an unmounted share is an error.
    pub marker: Option<String>,
}

impl LocalSettings {
    /// The directory, written one way only.
    pub(in crate::config) fn place(&self) -> String {
        self.path.components().collect::<PathBuf>().display().to_string()
    }
}

pub(super) fn read(table: &Table<'_>) -> Option<LocalSettings> {
    let path = table.required("path", "\"/mnt/archives/boutique\"").and_then(|item| item.path_value());
    let marker = table.item("marker").and_then(|item| {
        let name = item.string()?;
        if name.contains('/') || name == "." || name == ".." {
            item.problem("must be the name of a file inside `path`, without `/`", None);
            return None;
        }
        Some(name)
    });
    let require_mount = table.boolean("require_mount", false);
    Some(LocalSettings { path: path?, require_mount, marker })
}
