//! The reference config, the examples and the docs tell the truth.

use std::collections::BTreeSet;

use super::*;

/// The keys of a TOML text with comments, `# key = value` included, as (table, key).
fn keys_in(text: &str) -> BTreeSet<(String, String)> {
    let key = regex::Regex::new(r"^(?:# )?([a-z_]+) = ").unwrap();
    let header = regex::Regex::new(r"^(?:# )?\[+([a-z_.]+)\]+$").unwrap();
    let mut table = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        if let Some(found) = header.captures(line) {
            let path = &found[1];
            let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
            keys.insert((parent.to_owned(), name.to_owned()));
            table = name.to_owned();
        } else if let Some(found) = key.captures(line) {
            keys.insert((table.clone(), found[1].to_owned()));
        }
    }
    keys
}

/// Every key of the schema but those of a secret's table, which are explained once.
fn known_keys() -> BTreeSet<(String, String)> {
    let tables = schema::TABLES.iter().filter(|table| table.kind != "secret");
    tables.flat_map(|table| table.keys.iter().map(|key| (table.kind.to_owned(), (*key).to_owned()))).collect()
}

/// The reference config with its commented destinations, one for each further type, as if they were none.
fn with_every_destination(text: &str) -> String {
    let commented = regex::Regex::new(r"^# (\[\[destination\]\]|[a-z_]+ = )").unwrap();
    let mut within = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        within = (within || line == "# [[destination]]") && line != "[log]";
        lines.push(if within && commented.is_match(line) { &line[2..] } else { line });
    }
    lines.join("\n")
}

#[test]
fn the_reference_config_holds_every_key_and_no_other() {
    let (written, known) = (keys_in(TEMPLATE), known_keys());
    assert_eq!(written.difference(&known).collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "unknown");
    assert_eq!(known.difference(&written).collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "missing");
}

#[test]
fn the_reader_asks_for_every_key_of_the_schema() {
    let fixture = Fixture::with_placeholders();
    let dir = fixture.dir.path();
    let mut asked = BTreeSet::new();
    let sendmail = fs::read_to_string("examples/sendmail.toml").unwrap();
    for text in [with_every_destination(TEMPLATE), sendmail] {
        let text = text.replace("/etc/archive/", &format!("{}/", dir.display()));
        let (root, _) = DeTable::parse_recoverable(&text);
        let context = Context::new(Source::new(dir, &text, root.get_ref()), dir.to_owned(), &fixture.environment);
        interpret(&context, root.get_ref(), dir);
        asked.append(&mut context.asked.take());
    }
    let asked: BTreeSet<(String, String)> =
        asked.into_iter().map(|(table, key)| (table.to_owned(), key.to_owned())).collect();
    let never: Vec<_> = known_keys().into_iter().filter(|key| !asked.contains(key)).collect();
    assert_eq!(never, Vec::new());
}

#[test]
fn the_reference_config_loads_and_its_commented_values_are_the_defaults() {
    let fixture = Fixture::with_placeholders();
    let show = |text: &str| fixture.load(text).map(|loaded| format!("{:?}", loaded.settings));
    let plain = show(TEMPLATE).unwrap_or_else(|error| panic!("{error}"));
    let lines: Vec<&str> = TEMPLATE.lines().collect();
    let commented = regex::Regex::new(r"^# ([a-z_]+) = ").unwrap();
    let mut not_default = Vec::new();
    let mut refused = Vec::new();
    // The other destinations are commented as a whole; they are looked at below.
    let second = lines.iter().position(|line| *line == "# [[destination]]").unwrap();
    let end = lines.iter().position(|line| *line == "[log]").unwrap();
    for (index, line) in lines.iter().enumerate().filter(|(index, _)| !(second..end).contains(index)) {
        let Some(key) = commented.captures(line) else { continue };
        let mut changed = lines.clone();
        changed[index] = &line[2..];
        match show(&changed.join("\n")) {
            Ok(shown) if shown == plain => {}
            Ok(_) => not_default.push(key[1].to_owned()),
            Err(error) => refused.extend(messages(&error)),
        }
    }
    // Everything else behind a `#` is the default, to the letter.
    assert_eq!(
        not_default,
        [
            "work_dir",
            "bearer_token",
            "headers",
            "ca_file",
            "proxy",
            "zip_password",
            "passphrase",
            "password",
            "connections",
            "bandwidth_limit",
            "keep_weekly",
            "keep_yearly",
            "dir",
            "ca_file",
            "helo",
        ]
    );
    assert_eq!(
        refused,
        [
            "source.username: needs `password` beside it",
            "source.password: needs `username` beside it",
            "source.client_cert_file: needs `client_key_file` beside it",
            "source.client_key_file: needs `client_cert_file` beside it",
            "destination[nas].host_key: excludes `known_hosts`",
            "mail.command: `command` belongs to transport `sendmail`, `transport` is `smtp`",
        ]
    );
    let all = with_every_destination(TEMPLATE);
    let destinations = fixture.load(&all).unwrap_or_else(|error| panic!("{error}")).settings.destinations;
    assert_eq!(destinations.len(), all.matches("\n[[destination]]\n").count());
    assert!(destinations.len() > 2, "{}", destinations.len());
}

#[test]
fn every_example_loads() {
    let mut seen = 0;
    for entry in fs::read_dir("examples").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        seen += 1;
        let loaded = Fixture::with_placeholders().load(&fs::read_to_string(&path).unwrap());
        let loaded = loaded.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(loaded.warnings, Vec::new(), "{}", path.display());
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn the_docs_have_every_key_in_the_section_of_its_table() {
    let docs = include_str!("../../../docs/configuration.md");
    let mut section = String::new();
    let mut documented = BTreeSet::new();
    for line in docs.lines() {
        if line.starts_with("## ") {
            section = line.trim_start_matches("## ").trim_matches('`').trim_matches(['[', ']']).to_owned();
        } else if line == "### `retention`" {
            section = "retention".to_owned();
        } else if let Some(cell) = line.strip_prefix("| ").and_then(|row| row.split('|').next()) {
            let table = if section.starts_with("Top") { "" } else { &section };
            documented.extend(cell.split('`').skip(1).step_by(2).map(|key| (table.to_owned(), key.to_owned())));
        }
    }
    let tables: Vec<&str> = schema::TABLES.iter().map(|table| table.kind).collect();
    let is_table = |key: &(String, String)| key.0.is_empty() && tables.contains(&key.1.as_str());
    let missing: Vec<_> = known_keys().into_iter().filter(|key| !is_table(key) && !documented.contains(key)).collect();
    assert_eq!(missing, Vec::new());
    let known = known_keys();
    let wrong: Vec<_> = documented.iter().filter(|key| key.0 != "Secrets" && !known.contains(key)).collect();
    assert_eq!(wrong, Vec::<&(String, String)>::new());
}
