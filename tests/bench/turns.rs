//! Contenders that take turns, and what came of it.

use std::path::Path;

use crate::support::binary::{Archive, Done};
use crate::support::harness::find_program;

/// One measurement.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    pub seconds: f64,
    /// Largest resident memory; `None` where several processes share the work.
    pub memory_bytes: Option<u64>,
    /// Bytes that went over the network, of whatever the table is about.
    pub moved_bytes: Option<u64>,
}

/// Somebody who does the work of a table.
pub struct Contender<'a> {
    name: String,
    /// Programs that it is made of.
    programs: Vec<&'static str>,
    run: Box<dyn FnMut() -> anyhow::Result<Sample> + 'a>,
}

/// What came of one contender.
pub struct Row {
    pub name: String,
    /// The median of all its samples, or why there are none.
    pub median: Result<Sample, String>,
}

/// A finished comparison; everything in it is compared with the first row.
pub struct Table {
    pub title: String,
    pub rows: Vec<Row>,
}

impl Table {
    /// A table that cannot be measured here.
    pub fn left_out(title: &str, why: &str) -> Self {
        let row = Row { name: "nothing measured".to_owned(), median: Err(why.to_owned()) };
        Table { title: title.to_owned(), rows: vec![row] }
    }
}

impl<'a> Contender<'a> {
    pub fn new(name: &str, programs: &[&'static str], run: impl FnMut() -> anyhow::Result<Sample> + 'a) -> Self {
        Self { name: name.to_owned(), programs: programs.to_vec(), run: Box::new(run) }
    }
}

/// Lets everybody run once per round, in turns. One that is not installed or fails is left out and says so.
pub fn take_turns(title: &str, rounds: usize, contenders: Vec<Contender<'_>>) -> Table {
    eprintln!("{title}");
    let mut all: Vec<(Contender<'_>, Vec<Sample>, Option<String>)> = contenders
        .into_iter()
        .map(|contender| {
            let missing: Vec<_> = contender.programs.iter().filter(|name| find_program(name).is_none()).collect();
            let excuse = (!missing.is_empty()).then(|| format!("not installed: {missing:?}"));
            (contender, Vec::new(), excuse)
        })
        .collect();
    for round in 1..=rounds {
        for (contender, samples, excuse) in &mut all {
            if excuse.is_some() {
                continue;
            }
            match (contender.run)() {
                Ok(sample) => {
                    eprintln!("  {round}/{rounds} {}: {:.3} s", contender.name, sample.seconds);
                    samples.push(sample);
                }
                Err(error) => *excuse = Some(format!("failed: {error:#}")),
            }
        }
    }
    let rows = all.into_iter().map(|(contender, samples, excuse)| Row {
        name: contender.name,
        median: excuse.map_or_else(|| Ok(median(samples)), Err),
    });
    Table { title: title.to_owned(), rows: rows.collect() }
}

/// The middle one by time; the largest memory of all.
fn median(mut samples: Vec<Sample>) -> Sample {
    samples.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let memory_bytes = samples.iter().filter_map(|sample| sample.memory_bytes).max();
    Sample { memory_bytes, ..samples[samples.len() / 2] }
}

/// Runs a shell line in `directory`, which must succeed.
pub fn shell(directory: &Path, line: &str) -> anyhow::Result<Done> {
    let done = Archive::program(Path::new("/bin/bash"), directory)
        .args(["-c", &format!("set -euo pipefail; {line}")])
        .env("HOME", directory)
        .run();
    anyhow::ensure!(done.code == 0, "{line}: {done}");
    Ok(done)
}

/// Times a shell line.
pub fn timed(directory: &Path, line: &str) -> anyhow::Result<Sample> {
    Ok(Sample { seconds: shell(directory, line)?.elapsed.as_secs_f64(), ..Sample::default() })
}
