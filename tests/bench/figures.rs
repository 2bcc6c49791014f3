//! The figures as a page: printed, and put into `docs/benchmarks.md` between two marks. What people wrote around them stays.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::Context;
use archive::text::Language;
use archive::units::show_size;

use crate::machine;
use crate::support::harness::repository;
use crate::turns::Table;
use crate::world::World;

const BEGIN: &str = "<!-- figures: written by tests/bench/run.sh -->\n";
const END: &str = "<!-- end of figures -->\n";

pub struct Note {
    text: String,
}

impl Note {
    pub fn new(world: &World, rounds: usize) -> Self {
        let mut text = format!(
            "A generated dump of {} in a zip of {}; medians of {rounds}, all contenders of a table in turns in one run, on {}.\n\n\
             Machine: {}.\n\nPrograms: this one {}",
            show_size(world.dump_bytes, Language::En),
            show_size(world.zip_bytes, Language::En),
            chrono::Utc::now().format("%Y-%m-%d"),
            machine::machine(),
            env!("CARGO_PKG_VERSION"),
        );
        for version in machine::versions() {
            let _infallible = write!(text, "; {version}");
        }
        text.push_str(".\n");
        Self { text }
    }

    /// Adds a table and prints it.
    pub fn table(&mut self, table: Table) {
        let first = table.rows.first().and_then(|row| row.median.as_ref().ok()).map(|sample| sample.seconds);
        let mut text = format!(
            "\n### {}\n\n| | median | × the first | rate | peak memory | bytes moved |\n|---|---|---|---|---|---|\n",
            table.title
        );
        let dash = || "–".to_owned();
        for row in table.rows {
            // A pipe would end the cell, even in code.
            let name = row.name.replace('|', "\\|");
            let line = match row.median {
                Err(excuse) => format!("| {name} | {} | | | | |", excuse.replace(['|', '\n'], " ")),
                Ok(sample) => {
                    let ratio = first.map_or_else(dash, |first| format!("{:.2}", sample.seconds / first));
                    let rate = sample.moved_bytes.filter(|bytes| *bytes > 1_000_000);
                    let rate =
                        rate.map_or_else(dash, |bytes| format!("{:.0} MB/s", bytes as f64 / sample.seconds / 1e6));
                    let memory = sample.memory_bytes.map_or_else(dash, |bytes| format!("{:.1} MB", bytes as f64 / 1e6));
                    let moved = sample.moved_bytes.map_or_else(dash, |bytes| bytes.to_string());
                    format!("| {name} | {:.3} s | {ratio} | {rate} | {memory} | {moved} |", sample.seconds)
                }
            };
            let _infallible = writeln!(text, "{line}");
        }
        println!("{text}");
        self.text.push_str(&text);
    }

    /// Puts everything into the page.
    pub fn write(mut self, elapsed: Duration) -> anyhow::Result<()> {
        let _infallible = writeln!(self.text, "\nThe benchmark took {} s.", elapsed.as_secs());
        let path = repository().join("docs/benchmarks.md");
        let page = fs::read_to_string(&path).context("failed to read `docs/benchmarks.md`")?;
        let (before, rest) = page.split_once(BEGIN).context("`docs/benchmarks.md` has lost its mark")?;
        let (_, after) = rest.split_once(END).context("`docs/benchmarks.md` has lost its end mark")?;
        fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", self.text))?;
        println!("written into {}", path.display());
        Ok(())
    }
}
