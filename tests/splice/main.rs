//! What comes out of a zip is what anybody's `tar` finds in the archive: every reader, every producer, every bad input.
//!
//! The unit tests of `deflate`, `tgz` and `zip_source` prove the parts; here the parts work together as in a night (see
//! [`packed`]), on streams that other programs made, and other programs read the result.

mod bad_input;
mod data;
mod large;
mod odd;
mod packed;
mod producers;
mod readers;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod unsafe_code;

use support::harness::Suite;

fn main() -> std::process::ExitCode {
    let mut suite = Suite::new();
    readers::cases(&mut suite);
    producers::cases(&mut suite);
    bad_input::cases(&mut suite);
    large::cases(&mut suite);
    odd::cases(&mut suite);
    unsafe_code::cases(&mut suite);
    suite.run()
}
