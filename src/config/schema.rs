//! Every key that a config file may hold, by table. The reader refuses all others, suggestions come from here, and tests
//! hold `config/archive.toml` and `docs/configuration.md` against it.

/// A table, and the keys it may hold.
pub(super) struct TableKeys {
    /// The table's kind, which is its name in the file; `""` is the top of the file.
    pub(super) kind: &'static str,
    /// The variant (`type`, `transport`) that these keys belong to; `None`: all of them.
    pub(super) variant: Option<&'static str>,
    /// The keys.
    pub(super) keys: &'static [&'static str],
}

const fn keys(kind: &'static str, variant: Option<&'static str>, keys: &'static [&'static str]) -> TableKeys {
    TableKeys { kind, variant, keys }
}

/// The keys this version knows.
pub(super) const TABLES: &[TableKeys] = &[
    keys(
        "",
        None,
        &[
            "name",
            "timezone",
            "work_dir",
            "parallel_uploads",
            "source",
            "dump",
            "archive",
            "destination",
            "log",
            "mail",
        ],
    ),
    keys(
        "source",
        None,
        &[
            "url",
            "entry",
            "username",
            "password",
            "bearer_token",
            "headers",
            "ca_file",
            "client_cert_file",
            "client_key_file",
            "proxy",
            "allow_http",
            "max_redirects",
            "connect_timeout",
            "stall_timeout",
            "time_limit",
            "retries",
            "max_download",
            "trust_directory",
            "zip_password",
        ],
    ),
    keys(
        "dump",
        None,
        &["complete", "min_size", "max_size", "max_shrink", "volatile_lines", "on_unchanged", "frozen_after"],
    ),
    keys("archive", None, &["name", "compression", "sidecar"]),
    keys(
        "destination",
        None,
        &[
            "name",
            "type",
            "verify",
            "bandwidth_limit",
            "connect_timeout",
            "stall_timeout",
            "time_limit",
            "retries",
            "retention",
        ],
    ),
    keys("destination", Some("ftp"), &["host", "port", "username", "password", "path", "allow_plaintext"]),
    keys("destination", Some("ftps"), &["host", "port", "username", "password", "path", "implicit", "ca_file"]),
    keys("destination", Some("local"), &["path", "require_mount", "marker"]),
    keys(
        "destination",
        Some("nfs"),
        &["host", "export", "path", "uid", "gid", "port", "mount_port", "privileged_port"],
    ),
    keys(
        "destination",
        Some("rsync"),
        &["host", "port", "username", "private_key", "agent", "password", "host_key", "known_hosts", "module", "path"],
    ),
    keys(
        "destination",
        Some("s3"),
        &[
            "bucket",
            "prefix",
            "endpoint",
            "region",
            "access_key_id",
            "secret_access_key",
            "path_style",
            "storage_class",
            "server_side_encryption",
            "kms_key_id",
            "ca_file",
            "allow_http",
        ],
    ),
    keys(
        "destination",
        Some("sftp"),
        &[
            "host",
            "port",
            "username",
            "private_key",
            "passphrase",
            "agent",
            "password",
            "host_key",
            "known_hosts",
            "path",
            "connections",
            "server_checksum",
        ],
    ),
    keys(
        "destination",
        Some("smb"),
        &["host", "port", "share", "path", "username", "password", "domain", "encryption"],
    ),
    keys(
        "destination",
        Some("webdav"),
        &["url", "username", "password", "bearer_token", "auth", "ca_file", "allow_http"],
    ),
    keys("retention", None, &["keep_days", "keep_last", "keep_weekly", "keep_monthly", "keep_yearly", "max_purge"]),
    keys("log", None, &["dir", "level", "format", "keep"]),
    keys("mail", None, &["transport", "from", "to", "when", "subject", "attach_log", "language"]),
    keys(
        "mail",
        Some("smtp"),
        &["host", "port", "security", "username", "password", "ca_file", "timeout", "allow_plaintext", "helo"],
    ),
    keys("mail", Some("sendmail"), &["command"]),
    keys("secret", None, &["env", "file", "command", "credential"]),
];

/// What people write out of habit, and our word for it.
const SYNONYMS: &[(&str, &str)] = &[
    ("user", "username"),
    ("login", "username"),
    ("server", "host"),
    ("hostname", "host"),
    ("address", "host"),
    ("key_file", "private_key"),
    ("identity_file", "private_key"),
    ("fingerprint", "host_key"),
    ("directory", "path"),
    ("folder", "path"),
    ("recipients", "to"),
    ("sender", "from"),
    ("tls", "security"),
    ("encryption", "security"),
    ("protocol", "type"),
    ("tz", "timezone"),
    ("lang", "language"),
    ("file", "entry"),
];

/// Whether a table knows a key; with a variant, only that variant's keys and the common ones count.
pub(super) fn knows(kind: &str, variant: Option<&str>, key: &str) -> bool {
    TABLES
        .iter()
        .filter(|table| table.kind == kind)
        .filter(|table| variant.is_none() || table.variant.is_none() || table.variant == variant)
        .any(|table| table.keys.contains(&key))
}

/// The keys of a table, common ones first.
pub(super) fn keys_of(kind: &str, variant: Option<&str>) -> Vec<&'static str> {
    let tables = TABLES.iter().filter(|table| table.kind == kind);
    tables.filter(|table| table.variant.is_none() || table.variant == variant).flat_map(|t| t.keys).copied().collect()
}

/// The other variants of a table that have a key.
pub(super) fn variants_with(kind: &str, key: &str) -> Vec<&'static str> {
    let tables = TABLES.iter().filter(|table| table.kind == kind && table.keys.contains(&key));
    tables.filter_map(|table| table.variant).collect()
}

/// A table as it is written: `[mail]`, `[[destination]]`.
pub(super) fn header_of(kind: &str) -> &'static str {
    match kind {
        "source" => "[source]",
        "dump" => "[dump]",
        "archive" => "[archive]",
        "destination" => "[[destination]]",
        "retention" => "retention = { … }",
        "log" => "[log]",
        "mail" => "[mail]",
        "secret" => "a secret",
        _ => "the top of the file, before the first `[table]`",
    }
}

/// What to do about a key that a table does not know.
pub(super) fn advice(kind: &str, variant: Option<&str>, key: &str) -> String {
    let here = keys_of(kind, variant);
    if let Some((_, ours)) = SYNONYMS.iter().find(|(theirs, ours)| *theirs == key && here.contains(ours)) {
        return format!("did you mean `{ours}`?");
    }
    if let Some(near) = closest(key, here.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    let elsewhere =
        || TABLES.iter().filter(|table| table.kind != kind && !["secret", "retention"].contains(&table.kind));
    let mut homes: Vec<String> = Vec::new();
    for table in elsewhere().filter(|table| table.keys.contains(&key)) {
        let home =
            if table.kind.is_empty() { header_of("").to_owned() } else { format!("`{}`", header_of(table.kind)) };
        if !homes.contains(&home) {
            homes.push(home);
        }
    }
    if !homes.is_empty() {
        let under = if homes.iter().any(|home| home == header_of("")) { "belongs at" } else { "belongs under" };
        return format!("`{key}` {under} {}", homes.join(" or "));
    }
    if let Some(near) = closest(key, elsewhere().flat_map(|table| table.keys.iter().copied())) {
        return format!("did you mean `{near}`? {}", advice(kind, variant, near));
    }
    let list: Vec<String> = here.iter().map(|key| format!("`{key}`")).collect();
    format!("it may hold {}", list.join(", "))
}

/// The candidate that a misspelt word most likely stands for.
pub(super) fn closest<'k>(word: &str, candidates: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let word = plain(word);
    let tolerance = if word.len() < 3 { 0 } else { (word.len() / 3).max(1) };
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let other = plain(candidate);
        let distance = match strsim::damerau_levenshtein(&word, &other) {
            distance if distance <= tolerance => distance,
            _ if word.len() >= 4 && (other.starts_with(&word) || word.starts_with(&other)) && other.len() >= 4 => {
                tolerance + 1
            }
            _ => continue,
        };
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_finds_the_key_here_then_elsewhere_then_lists_what_there_is() {
        insta::assert_snapshot!(
            [
                advice("mail", Some("smtp"), "hots"),
                advice("mail", Some("smtp"), "user"),
                advice("log", None, "host"),
                advice("source", None, "work-dir"),
                advice("source", None, "timezone"),
                advice("log", None, "subjct"),
                advice("archive", None, "banana"),
                advice("", None, "sorce"),
            ]
            .join("\n"),
            @r"
        did you mean `host`?
        did you mean `username`?
        `host` belongs under `[[destination]]` or `[mail]`
        did you mean `work_dir`? `work_dir` belongs at the top of the file, before the first `[table]`
        `timezone` belongs at the top of the file, before the first `[table]`
        did you mean `subject`? `subject` belongs under `[mail]`
        it may hold `name`, `compression`, `sidecar`
        did you mean `source`?
        ");
    }
}
