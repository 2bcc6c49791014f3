//! What we ship is true: every command line in the examples is one that the program takes.

use anyhow::{Context, Result, ensure};
use archive::cli::{Cli, Command};
use clap::Parser;

use crate::support::harness::{Need, Suite, repository};

/// The command lines of a crontab, those in comments too: what follows five fields of time.
fn of_crontab(text: &str) -> Vec<&str> {
    let line = regex::Regex::new(r"^(?:# )?(?:[0-9*/,-]+ ){5}(archive .*)$").expect("constant");
    text.lines().filter_map(|text| Some(line.captures(text)?.get(1)?.as_str())).collect()
}

/// Everything in a page that looks like a call of the program.
fn of_page(text: &str) -> Vec<&str> {
    let call = regex::Regex::new(
        r"(?:ExecStart=/usr/local/bin/|`|^|\$ )(archive (?:run|check|list|prune|trust|init)\b[^`|…#\[]*)",
    )
    .expect("constant");
    text.lines().filter_map(|line| Some(call.captures(line)?.get(1)?.as_str().trim())).collect()
}

fn parses(line: &str) -> Result<Cli> {
    Cli::try_parse_from(line.split_whitespace()).with_context(|| format!("`{line}`"))
}

pub fn cases(suite: &mut Suite) {
    suite.case("shipped::the_lines_of_crontab_example_are_understood", &[], || {
        let text = std::fs::read_to_string(repository().join("crontab.example"))?;
        let lines = of_crontab(&text);
        ensure!(lines.len() >= 4, "{lines:?}");
        for line in &lines {
            let cli = parses(line)?;
            ensure!(matches!(cli.command, Command::Run(_) | Command::Check(_)), "{line}");
        }
        ensure!(lines[0] == "archive run --config /etc/archive/archive.toml", "{}", lines[0]);
        // Whatever is no comment is a variable or a job: cron refuses a whole file for one bad line.
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let variable = line.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase()));
            ensure!(variable || !of_crontab(line).is_empty(), "{line}");
        }
        Ok(())
    });

    suite.case("shipped::the_command_lines_in_the_docs_are_understood", &[], || {
        let mut count = 0;
        let mut pages: Vec<_> = std::fs::read_dir(repository().join("docs"))?
            .map(|page| page.map(|page| page.path()))
            .collect::<Result<_, _>>()?;
        pages.push(repository().join("README.md"));
        for page in pages.into_iter().filter(|page| page.is_file()) {
            let text = std::fs::read_to_string(&page)?;
            for line in of_page(&text) {
                count += 1;
                parses(line).with_context(|| format!("{}", page.display()))?;
            }
        }
        ensure!(count >= 5, "only {count} found");
        Ok(())
    });

    suite.case("shipped::systemd_accepts_the_units", &[Need::program("systemd-analyze")], || {
        let dir = tempfile::tempdir()?;
        for name in ["archive.service", "archive.timer"] {
            let text = std::fs::read_to_string(repository().join("examples").join(name))?;
            // It looks whether the program is there.
            std::fs::write(
                dir.path().join(name),
                text.replace("/usr/local/bin/archive", env!("CARGO_BIN_EXE_archive")),
            )?;
        }
        let verify = |name: &str| {
            std::process::Command::new("systemd-analyze")
                .args(["verify", "--man=no"])
                .arg(dir.path().join(name))
                .output()
        };
        for name in ["archive.service", "archive.timer"] {
            let done = verify(name)?;
            ensure!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    });

    suite.case("shipped::the_examples_are_known_by_their_protocol_or_use", &[], || {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(repository().join("examples"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                // The configs themselves are loaded by the unit tests of `config`, with the files that they name.
                let table: toml::Table =
                    std::fs::read_to_string(&path)?.parse().with_context(|| format!("{}", path.display()))?;
                ensure!(table.contains_key("source") && table.contains_key("destination"), "{}", path.display());
                names.push(path);
            }
        }
        ensure!(names.len() >= 5, "{names:?}");
        Ok(())
    });
}
