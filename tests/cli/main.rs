//! Every command but a plain `archive run` (that is `tests/nightly/`), as a person meets it: help, questions, checklists.

#[allow(dead_code)]
#[path = "../nightly/job.rs"]
mod job;
#[path = "../support/mod.rs"]
mod support;

mod check;
mod help;
mod init;
mod list;
mod prune;
mod run;
mod shipped;
mod terminal;
mod trust;

use support::harness::Suite;

fn main() -> std::process::ExitCode {
    let mut suite = Suite::new();
    help::cases(&mut suite);
    init::cases(&mut suite);
    check::cases(&mut suite);
    list::cases(&mut suite);
    prune::cases(&mut suite);
    trust::cases(&mut suite);
    run::cases(&mut suite);
    shipped::cases(&mut suite);
    suite.case("demo::the_week_ends_as_it_should", &[], || {
        // Examples are built beside the program whenever tests are.
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_archive")).with_file_name("examples").join("demo");
        let dir = tempfile::tempdir()?;
        let done = support::binary::Archive::program(&program, dir.path()).run();
        anyhow::ensure!(done.code == 0, "{done}");
        says(&done.stdout, &["[FAILED] boutique: upload to nas", "20261122.tgz: OK", "byte for byte"])
    });
    suite.run()
}

/// Fails unless all of these stand in the text.
fn says(text: &str, words: &[&str]) -> anyhow::Result<()> {
    for word in words {
        anyhow::ensure!(text.contains(word), "`{word}` is missing in:\n{text}");
    }
    Ok(())
}
