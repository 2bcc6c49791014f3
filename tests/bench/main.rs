//! The benchmark behind `tests/bench/run.sh [size] [rounds] [table]`: this program beside what people use today.
//!
//! All contenders of a table take turns, round after round in one run, so that other work on the machine hits all of them
//! alike; the tables show medians and ratios. Nothing here fails because something is slow.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints; the crate goes through `output`")]

mod figures;
mod legs;
mod line;
mod machine;
#[path = "../support/mod.rs"]
mod support;
mod turns;
mod world;

use std::time::Instant;

use anyhow::Context;
use archive::units::parse_size;

use figures::Note;
use line::Line;
use turns::Table;
use world::{World, loopback};

fn main() -> anyhow::Result<()> {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let [mode, port] = &arguments[..]
        && mode == line::FAR_END
    {
        return line::far_end(port);
    }
    // `cargo test --benches` passes nothing: only that it builds counts there.
    let [size, rounds, wanted @ ..] = &arguments[..] else {
        println!("run it by tests/bench/run.sh [size] [rounds] [table]");
        return Ok(());
    };
    let size = parse_size(size).map_err(anyhow::Error::msg).with_context(|| format!("`{size}` is no size"))?;
    let rounds: usize = rounds.parse().with_context(|| format!("`{rounds}` is no number of rounds"))?;
    anyhow::ensure!(rounds > 0, "no rounds, no figures");

    let started = Instant::now();
    eprintln!("making a dump of {size} bytes, and its zip");
    let world = World::new(size)?;
    let mut note = Note::new(&world, rounds);
    let tables: [(&str, &dyn Fn() -> anyhow::Result<Table>); 7] = [
        ("packing", &|| legs::packing(&world, rounds)),
        ("whole", &|| legs::whole_run(&world, rounds)),
        ("near", &|| legs::upload(&world, rounds, "loopback", world.near(), None)),
        ("line", &|| match Line::start(&world) {
            Ok(line) => legs::upload(&world, rounds, line::TITLE, line.server, Some(line.sink)),
            Err(why) => Ok(Table::left_out(&format!("Upload alone, SFTP, {}", line::TITLE), &format!("{why:#}"))),
        }),
        ("far", &|| legs::upload(&world, rounds, "30 ms round trip", loopback(world.far.port()), None)),
        ("quick", &|| legs::quick_ones(&world, rounds)),
        ("memory", &|| legs::memory(&world, rounds)),
    ];
    for (name, table) in tables {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            note.table(table()?);
        }
    }
    // A part of the figures would leave those of another day beside it.
    if wanted.is_empty() { note.write(started.elapsed()) } else { Ok(()) }
}
