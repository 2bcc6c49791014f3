//! The table of capabilities in `docs/destinations.md`, printed from what the suite demands of each server.
//!
//! `ARCHIVE_UPDATE_DOCS=1 cargo test --test destinations docs` writes it anew.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use archive::destination::Capabilities;

use crate::server::Protocol;
use crate::support::harness::repository;

const BEGIN: &str = "<!-- capabilities: begin, printed by the tests -->\n";
const END: &str = "<!-- capabilities: end -->\n";

/// What a capability is called, and whether a server has it.
type Column = (&'static str, fn(&Capabilities) -> bool);

const COLUMNS: &[Column] = &[
    ("final name never overwrites", |able| able.move_refuses_to_clobber),
    ("no temporary name needed", |able| able.atomic_put),
    ("rename in one step", |able| able.move_in_one_step),
    ("checksum by the server", |able| able.checksum_by_server),
    ("cut upload resumed", |able| able.resume),
    ("free space", |able| able.free_space),
    ("clock", |able| able.server_clock),
];

/// The table of all but the servers in memory, which nobody can configure.
pub fn is_current(protocols: &[Protocol]) -> Result<()> {
    let mut table = String::from("| server of the suite |");
    COLUMNS.iter().for_each(|(title, _)| table.push_str(&format!(" {title} |")));
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(COLUMNS.len()));
    table.push('\n');
    for protocol in protocols.iter().filter(|protocol| !protocol.name.starts_with("memory")) {
        let able = (protocol.start)().capabilities();
        table.push_str(&format!("| `{}` |", protocol.name));
        COLUMNS.iter().for_each(|(_, has)| table.push_str(if has(&able) { " yes |" } else { " – |" }));
        table.push('\n');
    }
    let path = repository().join("docs/destinations.md");
    let text = fs::read_to_string(&path)?;
    let begin = text.find(BEGIN).context("no mark where the table begins")? + BEGIN.len();
    let end = text.find(END).context("no mark where the table ends")?;
    if std::env::var_os("ARCHIVE_UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{}{table}{}", &text[..begin], &text[end..]))?;
        return Ok(());
    }
    ensure!(text[begin..end] == table, "docs/destinations.md holds another table; this is the right one:\n{table}");
    Ok(())
}
