//! A week of nights on your own machine: `cargo run --release --example demo`.
//!
//! Starts an HTTPS server, an SFTP server and a mail server on loopback, lets the real pipeline run seven nights against
//! them, and shows what came in, what the archive server holds and which mail people got. The calendar is the only thing
//! that is played: each run is told its date. Leaves nothing behind.

// An example prints; the rest of the crate goes through `output`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod export;
mod mail;
mod mail_sink;
mod restore;
mod screen;
mod sftp_files;
mod sftp_server;
mod week;
mod world;

// The servers and dumps of the tests can do more than the demo needs.
#[allow(dead_code, missing_docs, clippy::expect_used)]
#[path = "../../tests/support/dumps.rs"]
mod dumps;
#[allow(dead_code, unused_imports, missing_docs, clippy::expect_used)]
#[path = "../../tests/support/https/mod.rs"]
mod https;
#[allow(dead_code, missing_docs, clippy::expect_used)]
#[path = "../../tests/support/tls.rs"]
mod tls;

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use archive::interrupt::Interrupt;
use archive::logging::{self, Verbosity};

use self::screen::{Look, Screen};
use self::world::World;

const USAGE: &str = "\
Lives through a week of nights, on this machine alone, and leaves nothing behind.

Usage: cargo run --release --example demo [-- OPTIONS]

  --lang en|fr   language of the mails (default: en)
  --full         show the mails to their last line
  --help         this text
";

/// What the command line asked for.
struct Options {
    language: &'static str,
    full: bool,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("error: {problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = without_proxy() {
        eprintln!("warning: failed to leave out this machine's HTTP proxy: {error}");
    }
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            eprintln!("error: failed to listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    match play(&options, &interrupt) {
        Ok(()) => ExitCode::SUCCESS,
        // `demo | head`: nobody reads on.
        Err(error) if reader_is_gone(&error) => ExitCode::SUCCESS,
        Err(error) => match interrupt.exit_code() {
            Some(code) => {
                eprintln!("\nstopped; nothing is left behind");
                code.into()
            }
            None => {
                eprintln!("\nerror: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn options(arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options { language: "en", full: false };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let language = match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--full" => {
                options.full = true;
                continue;
            }
            "--lang" => arguments.next(),
            other => other.strip_prefix("--lang=").map(str::to_owned),
        };
        options.language = match language.as_deref() {
            Some("en") => "en",
            Some("fr") => "fr",
            Some(other) => return Err(format!("there are mails in `en` and `fr`, not in `{other}`")),
            None => return Err(format!("`{argument}` is not understood")),
        };
    }
    Ok(Some(options))
}

/// A machine whose environment names a proxy would ask it for a URL on loopback: starts anew without.
fn without_proxy() -> io::Result<()> {
    let names = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    if names.iter().all(|name| std::env::var_os(name).is_none()) {
        return Ok(());
    }
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1));
    for name in names {
        again.env_remove(name);
    }
    Err(again.exec())
}

fn reader_is_gone(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.into_iter().any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn play(options: &Options, interrupt: &Interrupt) -> anyhow::Result<()> {
    // One TLS implementation for everybody, as in the program; an error only says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let logging = logging::init_console(Verbosity::Quiet);
    let screen = Screen::new();
    let mut world = World::start(options.language, logging, interrupt.clone())?;

    screen.line(
        Look::Bold,
        "A week of nights with archive: an HTTPS source, an SFTP archive server and a mail server on",
    )?;
    screen.line(
        Look::Bold,
        "127.0.0.1, and the real pipeline between them. Only the dates are played. The whole config:",
    )?;
    screen.line(Look::Plain, "")?;
    for line in world.config().lines() {
        screen.line(Look::Dim, format!("  {line}").trim_end())?;
    }
    let dump = week::live(&mut world, &screen, options.full)?;
    restore::restore(&world.archives(), &dump, &screen)?;

    screen.heading("And now", "with your own export")?;
    for (command, what) in [
        ("cargo install --path .", "puts `archive` into ~/.cargo/bin"),
        ("archive init", "writes a commented archive.toml to fill in"),
        ("archive trust", "shows the archive server's host key and stores it"),
        ("archive check", "tries everything, changes nothing that lasts"),
        ("archive run", "tonight's archive; then the line in crontab.example does it every night"),
    ] {
        screen.line(Look::Plain, &format!("  $ {command:<24}{what}"))?;
    }
    Ok(())
}
