//! The promises of `trait Destination`, one by one, on a server that is well.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use anyhow::{Result, ensure};
use archive::destination::dry_run::DryRun;
use archive::destination::{Destination as _, ErrorKind, Source};
use archive::digest::Digest;
use archive::interrupt::Interrupt;
use sha2::{Digest as _, Sha256};

use crate::server::{Case, Directory, Disk, Feature, Place, Server, content, put_finally, read, refused, says};

pub const CASES: &[Case] = &[
    Case { name: "round_trip", feature: Feature::Any, run: round_trip },
    Case { name: "an_empty_file", feature: Feature::Any, run: an_empty_file },
    Case { name: "a_file_larger_than_the_window", feature: Feature::Any, run: larger_than_the_window },
    Case { name: "put_replaces_a_temporary_file", feature: Feature::Any, run: put_replaces },
    Case { name: "put_resumes_at_an_offset", feature: Feature::Resume, run: put_resumes },
    Case {
        name: "put_does_not_resume_where_the_file_does_not_end",
        feature: Feature::Resume,
        run: put_resumes_wrongly,
    },
    Case { name: "put_does_not_replace_a_directory", feature: Feature::Any, run: put_on_a_directory },
    Case { name: "move_new_refuses_to_clobber", feature: Feature::Move, run: move_refuses_to_clobber },
    Case { name: "move_new_refuses_a_directory_s_name", feature: Feature::Move, run: move_refuses_a_directory },
    Case { name: "moving_what_is_missing_is_not_found", feature: Feature::Move, run: missing_move },
    Case { name: "put_new_shows_the_whole_file", feature: Feature::PutNew, run: put_new },
    Case { name: "put_new_refuses_to_clobber", feature: Feature::PutNew, run: put_new_refuses_to_clobber },
    Case {
        name: "put_new_spares_a_name_that_is_taken_meanwhile",
        feature: Feature::PutNew,
        run: put_new_taken_meanwhile,
    },
    Case { name: "what_is_missing_is_not_found", feature: Feature::Any, run: missing },
    Case { name: "list_shows_everything_and_touches_nothing", feature: Feature::Any, run: list },
    Case { name: "list_survives_odd_entries", feature: Feature::Directory, run: list_oddities },
    Case { name: "list_of_ten_thousand", feature: Feature::Many, run: list_ten_thousand },
    Case { name: "remove_and_remove_twice", feature: Feature::Any, run: remove_twice },
    Case { name: "the_checksum_is_that_of_the_file", feature: Feature::Any, run: checksum },
    Case { name: "it_can_do_what_it_says", feature: Feature::Any, run: capabilities },
    Case { name: "no_secret_in_the_location", feature: Feature::Any, run: location },
    Case { name: "a_bandwidth_limit_changes_nothing_else", feature: Feature::Directory, run: limited },
    Case { name: "a_dry_run_changes_nothing", feature: Feature::Any, run: dry_run },
    Case { name: "a_failing_sink_is_ours", feature: Feature::Any, run: failing_sink },
];

fn round_trip(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let disk = server.disk(Place::Data);
    let sent = content(3_000_017, 1);
    destination.put(".x.part", &mut Cursor::new(&sent), 0)?;
    ensure!(disk.read(".x.part").as_ref() == Some(&sent), "what lies there is not what was sent");
    let entry = destination.stat(".x.part")?.expect("just written");
    ensure!((entry.name.as_str(), entry.size, entry.is_file) == (".x.part", 3_000_017, true), "{entry:?}");
    ensure!(entry.modified.is_some());
    destination.remove(".x.part")?;
    put_finally(&mut *destination, ".x.part", "20261120.tgz", &sent)?;
    ensure!(disk.names() == ["20261120.tgz"], "{:?}", disk.names());
    ensure!(read(&mut *destination, "20261120.tgz", 0)? == sent);
    for offset in [1, 1_000_000, 3_000_016, 3_000_017] {
        ensure!(read(&mut *destination, "20261120.tgz", offset)? == sent[offset as usize..], "from {offset}");
    }
    Ok(())
}

fn an_empty_file(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    destination.put("empty", &mut Cursor::new(b""), 0)?;
    ensure!(server.disk(Place::Data).read("empty") == Some(b"".to_vec()));
    ensure!(destination.stat("empty")?.expect("just written").size == 0);
    ensure!(read(&mut *destination, "empty", 0)?.is_empty());
    Ok(())
}

fn larger_than_the_window(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let sent = content(20_000_003, 2);
    destination.put("large", &mut Cursor::new(&sent), 0)?;
    ensure!(server.disk(Place::Data).read("large").as_ref() == Some(&sent), "what lies there is not what was sent");
    ensure!(read(&mut *destination, "large", 0)? == sent, "what comes back is not what lies there");
    Ok(())
}

fn put_replaces(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let disk = server.disk(Place::Data);
    disk.write(".x.part", &content(50_000, 3));
    destination.put(".x.part", &mut Cursor::new(b"short"), 0)?;
    ensure!(disk.read(".x.part") == Some(b"short".to_vec()));
    Ok(())
}

fn put_resumes(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let disk = server.disk(Place::Data);
    let sent = content(6_000_000, 4);
    for offset in [1, 2_500_000, 6_000_000] {
        disk.write(".x.part", &sent[..offset]);
        destination.put(".x.part", &mut Cursor::new(&sent), offset as u64)?;
        ensure!(disk.read(".x.part").as_ref() == Some(&sent), "resumed at {offset}");
    }
    Ok(())
}

fn put_resumes_wrongly(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let disk = server.disk(Place::Data);
    let sent = content(100_000, 5);
    for held in [49_999, 50_001] {
        disk.write(".x.part", &sent[..held]);
        let result = destination.put(".x.part", &mut Cursor::new(&sent), 50_000);
        refused(server, result, ErrorKind::Other)?;
        ensure!(disk.read(".x.part").is_some_and(|found| found == sent[..held]), "it was changed");
    }
    let beyond = destination.put(".x.part", &mut Cursor::new(&sent), 100_001);
    ensure!(beyond.is_err(), "cannot begin behind the end");
    Ok(())
}

fn put_on_a_directory(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    server.disk(Place::Data).make_directory("taken");
    ensure!(destination.put("taken", &mut Cursor::new(b"x"), 0).is_err());
    ensure!(!destination.stat("taken")?.expect("it is there still").is_file);
    Ok(())
}

fn move_refuses_to_clobber(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let disk = server.disk(Place::Data);
    disk.write(".x.part", b"new");
    disk.write("20261120.tgz", b"old");
    let told = refused(server, destination.move_new(".x.part", "20261120.tgz"), ErrorKind::AlreadyExists)?;
    says(&told, &["20261120.tgz"])?;
    ensure!(disk.read("20261120.tgz") == Some(b"old".to_vec()), "the existing file is not intact");
    ensure!(disk.read(".x.part") == Some(b"new".to_vec()), "the new file is not intact");
    destination.move_new(".x.part", "20261120-2.tgz")?;
    ensure!(disk.names() == ["20261120-2.tgz", "20261120.tgz"], "{:?}", disk.names());
    Ok(())
}

fn move_refuses_a_directory(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let disk = server.disk(Place::Data);
    disk.write(".x.part", b"new");
    disk.make_directory("20261120.tgz");
    refused(server, destination.move_new(".x.part", "20261120.tgz"), ErrorKind::AlreadyExists)?;
    ensure!(disk.read(".x.part") == Some(b"new".to_vec()), "the new file is not intact");
    ensure!(!destination.stat("20261120.tgz")?.expect("it is there still").is_file);
    Ok(())
}

fn missing_move(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    says(&refused(server, destination.move_new("none", "other"), ErrorKind::NotFound)?, &["none"])?;
    ensure!(destination.list()?.is_empty());
    Ok(())
}

fn put_new(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let disk = server.disk(Place::Data);
    for (name, bytes) in [("empty", 0), ("small", 17), ("20261120.tgz", 20_000_003)] {
        let sent = content(bytes, 21);
        destination.put_new(name, &mut Cursor::new(&sent))?;
        ensure!(disk.read(name).as_ref() == Some(&sent), "`{name}` is not what was sent");
    }
    ensure!(disk.names() == ["20261120.tgz", "empty", "small"], "{:?}", disk.names());
    let moved = destination.move_new("small", "other");
    ensure!(moved.is_err() && disk.read("small").is_some(), "it says that it cannot rename");
    Ok(())
}

fn put_new_refuses_to_clobber(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let disk = server.disk(Place::Data);
    disk.write("20261120.tgz", b"old");
    let result = destination.put_new("20261120.tgz", &mut Cursor::new(b"new"));
    says(&refused(server, result, ErrorKind::AlreadyExists)?, &["20261120.tgz"])?;
    // Sent in several pieces, it must be refused all the same.
    let result = destination.put_new("20261120.tgz", &mut Cursor::new(content(20_000_003, 22)));
    refused(server, result, ErrorKind::AlreadyExists)?;
    ensure!(disk.read("20261120.tgz") == Some(b"old".to_vec()), "the existing file is not intact");
    ensure!(disk.names() == ["20261120.tgz"], "{:?}", disk.names());
    Ok(())
}

/// Takes the name when it is first read: after whoever sends it has looked.
struct Overtaken<'a>(Cursor<Vec<u8>>, &'a dyn Disk);

impl Read for Overtaken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.position() == 0 {
            self.1.write("20261120.tgz", b"somebody else's");
        }
        self.0.read(buffer)
    }
}

impl Seek for Overtaken<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Source for Overtaken<'_> {
    fn len_bytes(&self) -> u64 {
        self.0.len_bytes()
    }
}

fn put_new_taken_meanwhile(server: &dyn Server) -> Result<()> {
    if !server.capabilities().move_refuses_to_clobber {
        // It can only look first.
        return Ok(());
    }
    let disk = server.disk(Place::Data);
    for bytes in [100_000, 20_000_003] {
        let mut destination = server.connect(Place::Data)?;
        let mut source = Overtaken(Cursor::new(content(bytes, 23)), &*disk);
        refused(server, destination.put_new("20261120.tgz", &mut source), ErrorKind::AlreadyExists)?;
        ensure!(disk.read("20261120.tgz").is_some_and(|held| held == b"somebody else's"), "it was overwritten");
        ensure!(server.unfinished() == 0, "{} parts are left", server.unfinished());
        // A server may close a connection on which it did not read all that came.
        server.connect(Place::Data)?.remove("20261120.tgz")?;
    }
    Ok(())
}

fn missing(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    ensure!(destination.stat("none")?.is_none());
    says(&refused(server, read(&mut *destination, "none", 0), ErrorKind::NotFound)?, &["none"])?;
    says(&refused(server, destination.checksum("none"), ErrorKind::NotFound)?, &["none"])?;
    ensure!(destination.list()?.is_empty());
    for name in ["", ".", "..", "a/b", "../x"] {
        ensure!(destination.stat(name).is_err() && destination.remove(name).is_err(), "`{name}` is no file name");
        ensure!(destination.put(name, &mut Cursor::new(b"x"), 0).is_err(), "`{name}` is no file name");
    }
    Ok(())
}

fn list(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let disk = server.disk(Place::Data);
    disk.write("20261120.tgz", b"archive");
    disk.write(".hidden", b"");
    disk.write("notes d'été.txt", b"foreign");
    disk.make_directory("20261119.tgz");
    disk.make_directory("lost+found");
    let mut listed = destination.list()?;
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    let shown: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.is_file)).collect();
    let expected = [
        (".hidden", true),
        ("20261119.tgz", false),
        ("20261120.tgz", true),
        ("lost+found", false),
        ("notes d'été.txt", true),
    ];
    let expected = &expected[if server.shows_hidden() { 0 } else { 1 }..];
    ensure!(shown == expected, "{shown:?}");
    let size = |name: &str| if name == ".hidden" { 0 } else { 7 };
    let files: Vec<_> = listed.iter().filter(|entry| entry.is_file).collect();
    ensure!(files.iter().all(|entry| entry.size == size(&entry.name)), "{files:?}");
    for entry in listed.iter().filter(|entry| entry.is_file) {
        ensure!(destination.stat(&entry.name)?.as_ref() == Some(entry), "stat and list differ about {entry:?}");
    }
    Ok(())
}

fn list_oddities(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let disk = server.disk(Place::Data);
    disk.write("20261120.tgz", b"archive");
    if !server.has_directories() {
        // There are no links among objects.
        return Ok(());
    }
    Directory::make_oddities(&disk.path())?;
    let listed = destination.list();
    if !server.shows_oddities() {
        // It may fail, or leave them out; then nobody can ask it to spare them.
        ensure!(listed.is_err() || listed?.iter().any(|entry| entry.name == "20261120.tgz"));
        return Ok(());
    }
    let listed = listed?;
    ensure!(listed.len() == 3, "{listed:?}");
    let dangling = listed.iter().find(|entry| entry.name == "dangling").expect("links are listed");
    ensure!(!dangling.is_file, "a link is no file");
    ensure!(destination.stat("dangling")?.is_some_and(|entry| !entry.is_file), "a link to nowhere takes its name");
    refused(server, put_finally(&mut *destination, ".x.part", "dangling", b"new"), ErrorKind::AlreadyExists)?;
    Ok(())
}

fn list_ten_thousand(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let disk = server.disk(Place::Data);
    for number in 0..10_000 {
        disk.write(&format!("{number:05}.tgz"), b"");
    }
    let mut names: Vec<String> = destination.list()?.into_iter().map(|entry| entry.name).collect();
    names.sort();
    ensure!(names.len() == 10_000 && names == disk.names(), "{} were listed", names.len());
    Ok(())
}

fn remove_twice(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let disk = server.disk(Place::Data);
    disk.write("20261120.tgz", b"archive");
    disk.write("other", b"");
    destination.remove("20261120.tgz")?;
    destination.remove("20261120.tgz")?;
    ensure!(disk.names() == ["other"], "{:?}", disk.names());
    Ok(())
}

fn checksum(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let sent = content(1_234_567, 6);
    destination.put("x", &mut Cursor::new(&sent), 0)?;
    let expected = server.capabilities().checksum_by_server.then(|| Digest(Sha256::digest(&sent).into()));
    ensure!(destination.checksum("x")? == expected);
    server.disk(Place::Data).write("x", &sent[1..]);
    if expected.is_some() {
        ensure!(destination.checksum("x")? == Some(Digest(Sha256::digest(&sent[1..]).into())), "it is remembered");
    }
    Ok(())
}

fn capabilities(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let able = destination.explore();
    ensure!(able == server.capabilities(), "{able:?}");
    let free = destination.free_space()?;
    ensure!(free.is_some() == able.free_space, "{free:?}");
    let now = destination.server_time()?;
    ensure!(now.is_some() == able.server_clock, "{now:?}");
    ensure!(destination.list()?.is_empty(), "finding out leaves something behind");
    Ok(())
}

fn location(server: &dyn Server) -> Result<()> {
    let location = server.connect(Place::Data)?.location();
    ensure!(server.secrets().iter().all(|secret| !location.contains(secret)), "{location}");
    if server.secrets().is_empty() {
        return Ok(());
    }
    let settings = server.settings(Place::Data);
    ensure!(archive::destination::location(&settings) == location, "{location}");
    ensure!(server.secrets().iter().all(|secret| !format!("{settings:?}").contains(secret)));
    Ok(())
}

fn failing_sink(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    server.disk(Place::Data).write("x", &content(5_000_000, 7));
    let mut seen = 0;
    let result = destination.get("x", 0, &mut |bytes| {
        seen += bytes.len();
        if seen > 1_000_000 { Err(io::Error::other("the sink is full")) } else { Ok(()) }
    });
    says(&refused(server, result, ErrorKind::Local)?, &["the sink is full"])?;
    ensure!(destination.stat("x")?.is_some(), "it can be used no more");
    Ok(())
}

fn limited(server: &dyn Server) -> Result<()> {
    let mut settings = server.settings(Place::Data);
    settings.bandwidth_limit = Some(20_000_000);
    let mut destination = archive::destination::connect(&settings, &Interrupt::default())?;
    let sent = content(2_000_003, 20);
    put_finally(&mut *destination, ".x.part", "20261120.tgz", &sent)?;
    ensure!(read(&mut *destination, "20261120.tgz", 17)? == sent[17..]);
    ensure!(server.disk(Place::Data).read("20261120.tgz") == Some(sent));
    ensure!(destination.explore() == server.capabilities());
    Ok(())
}

fn dry_run(server: &dyn Server) -> Result<()> {
    let disk = server.disk(Place::Data);
    disk.write("20261119.tgz", b"yesterday");
    disk.write(".x.part", b"half");
    let mut destination = DryRun::new(server.connect(Place::Data)?);
    destination.put(".y.part", &mut Cursor::new(b"content"), 0)?;
    destination.put(".x.part", &mut Cursor::new(b"half of it"), 4)?;
    put_finally(&mut destination, ".x.part", "20261120.tgz", b"content")?;
    destination.remove("20261119.tgz")?;
    ensure!(disk.names() == [".x.part", "20261119.tgz"], "{:?}", disk.names());
    ensure!(disk.read(".x.part") == Some(b"half".to_vec()));
    ensure!(read(&mut destination, "20261119.tgz", 0)? == b"yesterday", "reading goes on");
    Ok(())
}
