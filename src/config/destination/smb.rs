//! `type = "smb"`: a Windows share.

use super::super::job;
use super::super::reader::Table;
use super::super::secret::{self, Secret};

/// `type = "smb"`
#[derive(Clone, Debug)]
pub struct SmbSettings {
    /// `host`
    pub host: String,
    /// `port`
    pub port: u16,
    /// `share`: the first part of `\\host\share\path`.
    pub share: String,
    /// `path`: the directories below the share's root, in order; none is the root itself.
    pub path: Vec<String>,
    /// `username`
    pub username: String,
    /// `password`
    pub password: Secret,
    /// `domain`: the user's; without it the user is one of the server's own.
    pub domain: Option<String>,
    /// `encryption`
    pub encryption: SmbEncryption,
}

/// `destination.encryption` of a share. What is not encrypted is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmbEncryption {
    /// A server that does not encrypt is refused.
    Required,
    /// A server that does not encrypt is spoken to all the same.
    IfOffered,
}

impl SmbSettings {
    /// The directory on the server, written one way only: neither hosts nor shares nor paths know small from capital letters.
    pub(in crate::config) fn place(&self) -> String {
        format!("{}:{}/{}/{}", self.host, self.port, self.share, self.path.join("/")).to_lowercase()
    }

    /// `smb://archive@nas.example.org/backup/boutique`
    pub fn location(&self) -> String {
        let port = if self.port == 445 { String::new() } else { format!(":{}", self.port) };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let path: String = self.path.iter().map(|directory| format!("/{directory}")).collect();
        format!("smb://{}@{host}{port}/{}{path}", self.username, self.share)
    }

    /// The user as Windows writes it: `DOMAIN\user`, or the name alone.
    pub fn account(&self) -> String {
        match &self.domain {
            Some(domain) => format!("{domain}\\{}", self.username),
            None => self.username.clone(),
        }
    }

    /// Why a file or directory cannot have this name on a Windows share, if so
    /// ([Naming Files](https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file)).
    pub fn unusable_name(name: &str) -> Option<String> {
        const FORBIDDEN: &str = "\\/:*?\"<>|";
        let why = match name.chars().find(|one| FORBIDDEN.contains(*one)) {
            Some(found) => format!("`{name}` holds `{found}`"),
            None if name.chars().any(char::is_control) => format!("{name:?} holds a control character"),
            // These would be cut off without a word.
            None if name.ends_with(['.', ' ']) => format!("`{name}` ends with a dot or a space"),
            None => return None,
        };
        Some(format!("{why}, which a name on a Windows share must not"))
    }

    /// The password.
    pub(in crate::config) fn secrets(&self) -> Vec<&Secret> {
        vec![&self.password]
    }
}

pub(super) fn read(table: &Table<'_>) -> Option<SmbSettings> {
    let host = table.required("host", "\"nas.example.org\"").and_then(|item| job::host(&item));
    let port = table.integer("port", 1..=65535).unwrap_or(445) as u16;
    let share = table.required("share", "\"backup\"").and_then(|item| {
        let share = item.string()?;
        if share.is_empty() || share.contains(['/', '\\']) {
            let help = "write `share = \"backup\"` and `path = \"boutique\"` for `\\\\nas\\backup\\boutique`";
            item.problem("must be the share's name alone", Some(help.to_owned()));
            return None;
        }
        Some(share)
    });
    let path = table.required("path", "\"boutique\"").and_then(|item| item.parse(directories));
    let username = table.required("username", "\"archive\"").and_then(|item| item.string());
    let password = table.required("password", "{ file = \"/etc/archive/nas.password\" }");
    let password = password.and_then(|item| secret::read(&item));
    let domain = table.item("domain").and_then(|item| item.string()).filter(|domain| !domain.is_empty());
    if let (Some(username), Some(_), Some(item)) = (&username, &domain, table.item("username"))
        && username.contains(['\\', '@'])
    {
        item.problem("holds a domain already, and `domain` is there too", Some("keep one of the two".to_owned()));
        return None;
    }
    let encryption = table.choice(
        "encryption",
        &[("required", SmbEncryption::Required), ("if_offered", SmbEncryption::IfOffered)],
        SmbEncryption::Required,
    );
    Some(SmbSettings {
        host: host?,
        port,
        share: share?,
        path: path?,
        username: username?,
        password: password?,
        domain,
        encryption,
    })
}

/// The directories of a path, with slashes of either kind.
fn directories(text: &str) -> Result<Vec<String>, String> {
    let parts = text.split(['/', '\\']).filter(|part| !part.is_empty() && *part != ".");
    parts
        .map(|part| match SmbSettings::unusable_name(part) {
            _ if part == ".." => Err("must not hold `..`".to_owned()),
            Some(why) => Err(why),
            None => Ok(part.to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_have_slashes_of_either_kind_and_no_name_that_windows_refuses() {
        for text in ["boutique/nightly", "/boutique/nightly/", "boutique\\nightly", "./boutique//nightly"] {
            assert_eq!(directories(text).unwrap(), ["boutique", "nightly"], "{text}");
        }
        assert_eq!(directories("/").unwrap(), [""; 0]);
        for (text, words) in [("a/../b", "`..`"), ("a:b", "`:`"), ("a./b", "ends with a dot"), ("a\nb", "control")] {
            assert!(directories(text).unwrap_err().contains(words), "{text}");
        }
    }

    #[test]
    fn only_names_that_windows_takes_are_usable() {
        for name in ["20261120.tgz", ".20261120.tgz.boutique.part", "l'été à 100 % #1 [x].tgz", "~", "日本語", "-rf"]
        {
            assert_eq!(SmbSettings::unusable_name(name), None, "{name}");
        }
        for name in ["a\\b", "a/b", "a:b", "a*b", "a?b", "a\"b", "a<b", "a>b", "a|b", "a\u{7}b", "a.", "a "] {
            assert!(SmbSettings::unusable_name(name).is_some(), "{name}");
        }
    }
}
