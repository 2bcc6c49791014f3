//! A disk that is full.

use std::io::Cursor;

use anyhow::{Result, ensure};
use archive::destination::ErrorKind;

use crate::server::{Case, Feature, Place, Server, content, refused, says};
use crate::support::wait;

pub const CASES: &[Case] = &[Case { name: "a_full_disk_is_called_full", feature: Feature::Small, run: full }];

fn full(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Small)?;
    let disk = server.disk(Place::Small);
    let sent = content(3 << 20, 10);
    let told = refused(server, destination.put(".x.part", &mut Cursor::new(&sent), 0), ErrorKind::NoSpace)?;
    ensure!(
        ["disk is full", "No space left on device", "memory is full"].iter().any(|words| told.contains(words)),
        "it does not say that the disk is full: {told}"
    );
    let names = disk.names();
    ensure!(names.is_empty() || names == [".x.part"], "{names:?}");
    destination.remove(".x.part")?;
    // A file system may count freed blocks a moment later, on a busy machine.
    wait::some("room for a small file", || destination.put(".x.part", &mut Cursor::new(&sent[..100_000]), 0).ok());
    ensure!(disk.read(".x.part").is_some_and(|found| found == sent[..100_000]), "a small file fits afterwards");
    if server.capabilities().free_space && !server.secrets().is_empty() {
        says(&told, &["; hint: make room"])?;
    }
    Ok(())
}
