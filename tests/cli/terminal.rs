//! A person at a terminal: the program on a pseudo-terminal of util-linux' `script`, which exists wherever Debian does.

use std::path::Path;

use crate::job::Job;
use crate::support::binary::{Archive, Done};
use crate::support::harness::Need;

/// What these cases need.
pub const TERMINAL: Need = Need::Program("script", "bsdutils");

/// The program on a terminal; `typed` is what the person answers. Both streams arrive on stdout, with CR LF.
pub fn at_a_terminal(job: &Job, args: &str, typed: &str) -> Archive {
    // Writes the config.
    let _ready = job.command(&[]);
    let line = format!("{} {args} --config archive.toml", env!("CARGO_BIN_EXE_archive"));
    Archive::program(Path::new("/usr/bin/script"), job.dir())
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .stdin(typed)
}

/// What was shown, line ends and colours apart.
pub fn shown(done: &Done) -> String {
    let colours = regex::Regex::new("\u{1b}\\[[0-9;?]*[a-zA-Z]").expect("constant");
    colours.replace_all(&done.stdout.replace("\r\n", "\n"), "").into_owned()
}
