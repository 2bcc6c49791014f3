//! Proves the servers of `tests/support/` with the ordinary clients: a support server that is wrong makes every test
//! on it worthless.

#[path = "../support/mod.rs"]
mod support;

mod http;
mod input;
mod line;
mod mail;
mod program;
mod ssh;

use std::process::ExitCode;

use support::harness::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    program::register(&mut suite);
    http::register(&mut suite);
    input::register(&mut suite);
    line::register(&mut suite);
    mail::register(&mut suite);
    ssh::register(&mut suite);
    suite.run()
}
