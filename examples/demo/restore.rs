//! The day the database burns: the newest archive, opened with what every machine has. None of our code touches it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use super::export::ENTRY;
use super::screen::{Look, Screen};

/// Opens the newest archive of a directory with plain `tar`, and compares what comes out with what went in.
pub fn restore(directory: &Path, exported: &[u8], screen: &Screen) -> anyhow::Result<()> {
    let names = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<std::io::Result<Vec<String>>>()?;
    let newest = names.into_iter().filter(|name| name.ends_with(".tgz")).max().context("there is no archive")?;

    screen.heading("Any day", "the newest archive, opened with plain tar")?;
    show(screen, &format!("tar tzvf {newest}"), &run(directory, &["tar", "tzvf", &newest], None)?)?;
    let tail = run(directory, &["tar", "xzOf", &newest], Some(&["tail", "-1"]))?;
    show(screen, &format!("tar xzOf {newest} | tail -1"), &tail)?;
    if Command::new("sha256sum").arg("--version").output().is_ok_and(|output| output.status.success()) {
        let sidecar = format!("{newest}.sha256");
        show(screen, &format!("sha256sum -c {sidecar}"), &run(directory, &["sha256sum", "-c", &sidecar], None)?)?;
    }
    let restored = run(directory, &["tar", "xzOf", &newest, ENTRY], None)?;
    ensure!(restored == exported, "what tar gave is not what the shop exported");
    screen.line(
        Look::Green,
        &format!("  What came out is byte for byte what the shop exported: {} bytes.", exported.len()),
    )?;
    Ok(())
}

fn show(screen: &Screen, command: &str, output: &[u8]) -> anyhow::Result<()> {
    screen.line(Look::Bold, &format!("  $ {command}"))?;
    for line in String::from_utf8_lossy(output).lines() {
        screen.line(Look::Plain, &format!("  {line}"))?;
    }
    Ok(())
}

/// What a command, or the one behind its pipe, writes to its standard output.
fn run(directory: &Path, command: &[&str], pipe: Option<&[&str]>) -> anyhow::Result<Vec<u8>> {
    let what = || format!("`{}` did not work", command.join(" "));
    let prepared = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(directory).stderr(Stdio::inherit());
        command
    };
    let Some(pipe) = pipe else {
        let output = prepared(command).stdin(Stdio::null()).output().with_context(what)?;
        ensure!(output.status.success(), "{}: {}", what(), output.status);
        return Ok(output.stdout);
    };
    let mut first = prepared(command).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(what)?;
    let from = first.stdout.take().map_or_else(Stdio::null, Stdio::from);
    let second = prepared(pipe).stdin(from).output();
    let status = first.wait()?;
    let output = second.with_context(|| format!("`{}` did not work", pipe.join(" ")))?;
    ensure!(status.success() && output.status.success(), "{}: {status}, {}", what(), output.status);
    Ok(output.stdout)
}
