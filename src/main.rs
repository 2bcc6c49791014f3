//! The binary: parse the command line, run, return the code.

use std::process::ExitCode;

use archive::cli::Cli;
use clap::Parser;

fn main() -> ExitCode {
    archive::commands::execute(&Cli::parse()).into()
}
