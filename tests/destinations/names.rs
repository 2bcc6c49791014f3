//! Directories that are missing or closed, and names that have to be quoted somewhere.

use std::io::Cursor;

use anyhow::{Result, ensure};
use archive::destination::ErrorKind;
use archive::digest::Digest;
use sha2::{Digest as _, Sha256};

use crate::server::{Case, Feature, Place, Server, put_finally, read, refused, says};

pub const CASES: &[Case] = &[
    Case { name: "a_missing_directory_is_made_with_its_parents", feature: Feature::Directory, run: missing_directory },
    Case { name: "a_directory_below_a_file_cannot_be_made", feature: Feature::Directory, run: below_a_file },
    Case { name: "a_directory_below_a_read_only_one_cannot_be_made", feature: Feature::ReadOnly, run: not_creatable },
    Case { name: "a_read_only_directory_denies_permission", feature: Feature::ReadOnly, run: read_only },
    Case { name: "spaces_accents_and_quotes_in_names", feature: Feature::Any, run: odd_names },
    Case { name: "spaces_accents_and_quotes_in_the_path", feature: Feature::Directory, run: odd_path },
];

/// What a shell, a URL or a parser of listings would stumble over.
const ODD: &[&str] = &[
    "with two  spaces.tgz",
    "été à Noël.tgz",
    "l'apostrophe.tgz",
    "\"quoted\".tgz",
    "-rf",
    "$(touch pwned)`id`;x&y|z.tgz",
    "100% #1 a?b*c[d].tgz",
    " leading and trailing ",
    "~",
    "日本語.tgz",
];

fn missing_directory(server: &dyn Server) -> Result<()> {
    let place = Place::Below("archives/boutique/nightly");
    let mut destination = server.connect(place)?;
    destination.put("x", &mut Cursor::new(b"content"), 0)?;
    ensure!(server.disk(place).read("x") == Some(b"content".to_vec()));
    drop(destination);
    ensure!(server.connect(place)?.list()?.len() == 1, "the second night finds it");
    Ok(())
}

fn below_a_file(server: &dyn Server) -> Result<()> {
    server.disk(Place::Data).write("file", b"not a directory");
    if !server.has_directories() {
        // What begins with an object's key may be another's.
        ensure!(server.connect(Place::Below("file/deeper"))?.list()?.is_empty());
        return Ok(());
    }
    let told = refused(server, server.connect(Place::Below("file/deeper")), ErrorKind::Other)?;
    says(&told, &["file` is no directory"])
}

fn not_creatable(server: &dyn Server) -> Result<()> {
    let place = Place::BelowReadOnly("new/deeper");
    if !server.has_directories() {
        // Nothing is made before the first file is.
        let result = server.connect(place)?.put_new("x", &mut Cursor::new(b"x"));
        refused(server, result, ErrorKind::PermissionDenied)?;
        return Ok(());
    }
    let told = refused(server, server.connect(place), ErrorKind::PermissionDenied)?;
    says(&told, &["is missing", "new", "; hint: "])?;
    ensure!(server.disk(Place::ReadOnly).names().is_empty());
    Ok(())
}

fn read_only(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::ReadOnly)?;
    ensure!(destination.list()?.is_empty(), "reading is allowed");
    let told = refused(server, destination.put(".x.part", &mut Cursor::new(b"x"), 0), ErrorKind::PermissionDenied)?;
    says(&told, &[".x.part", "; hint: "])?;
    ensure!(destination.list()?.is_empty());
    Ok(())
}

fn odd_names(server: &dyn Server) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let disk = server.disk(Place::Data);
    let odd = ODD.iter().filter(|name| server.keeps_blanks() || !name.ends_with(' '));
    let (storable, refused_names): (Vec<&str>, Vec<&str>) = odd.partition(|name| server.can_store(name));
    for name in refused_names {
        let told = refused(server, destination.put(name, &mut Cursor::new(b"x"), 0), ErrorKind::Other)?;
        says(&told, &[name])?;
        ensure!(destination.stat(name).is_err() && destination.remove(name).is_err(), "`{name}`");
    }
    for (number, name) in storable.iter().enumerate() {
        let (sent, part) = (format!("content {number}").into_bytes(), format!(".{name}.part"));
        put_finally(&mut *destination, &part, name, &sent)?;
        ensure!(disk.read(name).as_ref() == Some(&sent), "`{name}`");
        ensure!(read(&mut *destination, name, 0)? == sent, "`{name}`");
        ensure!(destination.stat(name)?.is_some_and(|entry| entry.name == *name && entry.is_file), "`{name}`");
        let expected = server.capabilities().checksum_by_server.then(|| Digest(Sha256::digest(&sent).into()));
        ensure!(destination.checksum(name)? == expected, "`{name}`");
    }
    let mut listed: Vec<String> = destination.list()?.into_iter().map(|entry| entry.name).collect();
    listed.sort();
    let mut expected = storable.clone();
    expected.sort_unstable();
    ensure!(listed == expected && disk.names() == expected, "{listed:?}");
    for name in storable {
        destination.remove(name)?;
    }
    ensure!(disk.names().is_empty(), "{:?}", disk.names());
    Ok(())
}

fn odd_path(server: &dyn Server) -> Result<()> {
    let quoted = "\"2026\" $HOME `x` 100%";
    let place = match server.can_store(quoted) {
        true => Place::Below("sauvegardes d'été/\"2026\" $HOME `x` 100%"),
        false => Place::Below("sauvegardes d'été/2026 $HOME `x` 100%"),
    };
    let mut destination = server.connect(place)?;
    put_finally(&mut *destination, "x", "l'été.tgz", b"content")?;
    let expected = server.capabilities().checksum_by_server.then(|| Digest(Sha256::digest(b"content").into()));
    ensure!(destination.checksum("l'été.tgz")? == expected);
    ensure!(read(&mut *destination, "l'été.tgz", 3)? == b"tent");
    ensure!(destination.free_space()?.is_some() == server.capabilities().free_space);
    ensure!(server.disk(place).names() == ["l'été.tgz"]);
    Ok(())
}
