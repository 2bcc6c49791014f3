//! Large files that go in parts: what an upload that failed has sent shows nowhere, and must not stay.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use anyhow::{Result, ensure};
use archive::config::settings::DestinationSettings;
use archive::destination::{self, ErrorKind, Source};
use archive::interrupt::Interrupt;

use crate::server::{Case, Feature, Place, Server, content, read, refused, says, told};
use crate::support::proxy::{Fault, Plan};

pub const CASES: &[Case] = &[
    Case { name: "a_large_file_in_several_parts_comes_back", feature: Feature::Parts, run: round_trip },
    Case { name: "a_failed_upload_leaves_no_parts", feature: Feature::Parts, run: failed },
    Case { name: "parts_of_a_killed_run_are_removed_by_the_next_upload", feature: Feature::Parts, run: leftovers },
    Case { name: "bytes_that_change_on_their_way_are_refused", feature: Feature::Parts, run: changed },
    Case { name: "a_part_that_is_cut_or_refused_is_sent_again_alone", feature: Feature::Parts, run: hiccups },
    Case { name: "what_takes_the_name_while_parts_are_sent_stays", feature: Feature::Parts, run: taken_meanwhile },
    Case { name: "it_is_known_whether_a_taken_name_is_refused", feature: Feature::Parts, run: conditions },
];

/// More than two parts, and the last one is short.
const LARGE: usize = 35_000_017;

fn round_trip(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let sent = content(LARGE, 31);
    destination.put("x", &mut Cursor::new(&content(LARGE, 30)), 0)?;
    destination.put("x", &mut Cursor::new(&sent), 0)?;
    ensure!(destination.stat("x")?.is_some_and(|entry| entry.size == LARGE as u64));
    ensure!(read(&mut *destination, "x", 16_777_215)? == sent[16_777_215..], "what comes back is not what was sent");
    ensure!(server.disk(Place::Data).read("x") == Some(sent), "what lies there is not what was sent");
    ensure!(server.unfinished() == 0, "{} parts are left", server.unfinished());
    Ok(())
}

/// Does something at a byte, each time that byte is read.
struct At<F> {
    inner: Cursor<Vec<u8>>,
    byte: u64,
    act: F,
}

impl<F: FnMut(&mut [u8]) -> io::Result<()>> Read for At<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let before = self.inner.position();
        let count = self.inner.read(buffer)?;
        if (before..before + count as u64).contains(&self.byte) {
            (self.act)(&mut buffer[..count])?;
        }
        Ok(count)
    }
}

impl<F> Seek for At<F> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

impl<F: FnMut(&mut [u8]) -> io::Result<()>> Source for At<F> {
    fn len_bytes(&self) -> u64 {
        self.inner.get_ref().len() as u64
    }
}

fn failed(server: &dyn Server) -> Result<()> {
    let sent = content(LARGE, 32);
    let broken = |byte| At {
        inner: Cursor::new(sent.clone()),
        byte,
        act: |_: &mut [u8]| Err(io::Error::other("the disk under the source broke")),
    };
    let mut destination = server.connect(Place::Data)?;
    let result = destination.put_new("20261120.tgz", &mut broken(LARGE as u64 - 1));
    says(&refused(server, result, ErrorKind::Local)?, &["the disk under the source broke"])?;
    ensure!(server.unfinished() == 0, "{} parts are left", server.unfinished());

    let interrupt = Interrupt::default();
    let mut destination = destination::connect(&server.settings(Place::Data), &interrupt)?;
    let signal = interrupt.clone();
    let mut reads = 0;
    let mut stopping = At {
        inner: Cursor::new(sent.clone()),
        byte: 20_000_000,
        act: move |_: &mut [u8]| {
            // Not while its checksum is made, but while it is sent.
            reads += 1;
            if reads == 2 {
                signal.stop();
            }
            signal.check()
        },
    };
    let told = refused(server, destination.put_new("20261120.tgz", &mut stopping), ErrorKind::Local)?;
    says(&told, &["stopped by a signal"])?;
    ensure!(server.unfinished() == 0, "{} parts are left after a signal", server.unfinished());
    ensure!(server.disk(Place::Data).names().is_empty(), "{:?}", server.disk(Place::Data).names());
    Ok(())
}

fn leftovers(server: &dyn Server) -> Result<()> {
    for name in ["20261120.tgz", "20261120.tgz", "20261120.tgz.sha256"] {
        server.leave_unfinished(name);
    }
    ensure!(server.unfinished() == 3);
    let mut destination = server.connect(Place::Data)?;
    ensure!(destination.list()?.is_empty(), "unfinished uploads show");
    destination.put_new("20261120.tgz", &mut Cursor::new(content(LARGE, 33)))?;
    ensure!(server.unfinished() == 1, "{} parts are left, one is another's", server.unfinished());
    Ok(())
}

fn changed(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let mut reads = 0;
    let mut changing = At {
        inner: Cursor::new(content(100_000, 34)),
        byte: 70_000,
        act: move |bytes: &mut [u8]| {
            reads += 1;
            bytes[0] ^= u8::from(reads > 1);
            Ok(())
        },
    };
    let told = refused(server, destination.put("x", &mut changing, 0), ErrorKind::Unreachable)?;
    says(&told, &["`x`", "BadDigest"])
}

fn hiccups(server: &dyn Server) -> Result<()> {
    let sent = content(LARGE, 35);
    let proxy = server.proxy();
    // The second part is cut twice, the second time after it has arrived; each attempt brings the upload forward.
    for bytes in [25_000_000, 17_500_000] {
        proxy.next(Plan::pass().up(Fault::ResetAfter(bytes)));
    }
    let settings = DestinationSettings { retries: 1, ..server.settings(Place::Data) };
    let settings = server.redirected(&settings, proxy.port());
    let mut destination = destination::connect(&settings, &Interrupt::default())?;
    destination
        .put_new("20261120.tgz", &mut Cursor::new(&sent))
        .map_err(|error| anyhow::anyhow!("{}", told(&error)))?;
    ensure!(server.disk(Place::Data).read("20261120.tgz").as_ref() == Some(&sent), "it is not intact");
    // Twice a part too much, and not the whole once more.
    ensure!(proxy.bytes_up() < LARGE as u64 + 22_000_000, "{} bytes were sent", proxy.bytes_up());

    let before = proxy.bytes_up();
    server.refuse_parts(1);
    destination
        .put_new("20261121.tgz", &mut Cursor::new(&sent))
        .map_err(|error| anyhow::anyhow!("{}", told(&error)))?;
    ensure!(server.disk(Place::Data).read("20261121.tgz") == Some(sent), "it is not intact");
    ensure!(proxy.bytes_up() - before < LARGE as u64 + 18_000_000, "{} bytes were sent", proxy.bytes_up() - before);
    ensure!(server.unfinished() == 0, "{} parts are left", server.unfinished());
    Ok(())
}

fn taken_meanwhile(server: &dyn Server) -> Result<()> {
    let disk = server.disk(Place::Data);
    let mut destination = server.connect(Place::Data)?;
    let mut source = At {
        inner: Cursor::new(content(LARGE, 36)),
        byte: LARGE as u64 - 1,
        act: |_: &mut [u8]| {
            disk.write("20261120.tgz", b"another's");
            Ok(())
        },
    };
    refused(server, destination.put_new("20261120.tgz", &mut source), ErrorKind::AlreadyExists)?;
    ensure!(disk.read("20261120.tgz").is_some_and(|held| held == b"another's"), "it was replaced");
    ensure!(server.unfinished() == 0, "{} parts are left", server.unfinished());
    Ok(())
}

fn conditions(server: &dyn Server) -> Result<()> {
    for _ in 0..2 {
        let able = server.connect(Place::Data)?.explore();
        ensure!(able == server.capabilities(), "{able:?}");
        ensure!(server.disk(Place::Data).names().is_empty(), "{:?}", server.disk(Place::Data).names());
        ensure!(server.unfinished() == 0, "{} parts are left", server.unfinished());
    }
    Ok(())
}
