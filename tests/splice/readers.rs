//! Every reader that a technician may have on the day of the restore finds the same name and the same bytes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;

use crate::packed::{decoded, output_of, pack, read, spliced};
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite, find_program};
use crate::support::zips::{Entry, Zip};

/// Unpacks `archive` into the directory it lies in, or prints the content of its file.
enum Reader {
    /// Prints the file in the tar.
    Content(&'static [&'static str]),
    /// Prints the names in the tar.
    Names(&'static [&'static str]),
    /// Prints the tar itself.
    Tar(&'static [&'static str]),
    /// Only has to be satisfied.
    Test(&'static [&'static str]),
}

const SCRIPT: &str = "
import sys, tarfile
with tarfile.open(sys.argv[1], 'r:gz') as tar:
    [member] = tar.getmembers()
    assert member.isreg() and member.mode == 0o644, member
    sys.stdout.buffer.write(tar.extractfile(member).read())
";
const NAMES_SCRIPT: &str = "import sys, tarfile; print('\\n'.join(tarfile.open(sys.argv[1], 'r:gz').getnames()))";
const GZIP_SCRIPT: &str = "import gzip, sys; sys.stdout.buffer.write(gzip.open(sys.argv[1]).read())";

pub fn cases(suite: &mut Suite) {
    use Reader::{Content, Names, Tar, Test};
    let all: [(&str, Need, &[Reader]); 8] = [
        (
            "gnu_tar",
            Need::program("tar"),
            &[Content(&["tar", "-xzOf"]), Names(&["tar", "--quoting-style=literal", "-tzf"])],
        ),
        ("gzip", Need::program("gzip"), &[Test(&["gzip", "-t"]), Tar(&["gzip", "-dc"])]),
        (
            "bsdtar",
            Need::Program("bsdtar", "libarchive-tools"),
            &[Content(&["bsdtar", "-xOf"]), Names(&["bsdtar", "-tf"])],
        ),
        (
            "busybox_tar",
            Need::program("busybox"),
            &[Content(&["busybox", "tar", "-xzOf"]), Names(&["busybox", "tar", "-tzf"])],
        ),
        ("seven_zip", Need::Program("7z", "p7zip-full"), &[Test(&["7z", "t", "-bd"]), Tar(&["7z", "x", "-so"])]),
        (
            "python_tarfile",
            Need::program("python3"),
            &[Content(&["python3", "-c", SCRIPT]), Names(&["python3", "-c", NAMES_SCRIPT])],
        ),
        ("python_gzip", Need::program("python3"), &[Tar(&["python3", "-c", GZIP_SCRIPT])]),
        ("pigz", Need::program("pigz"), &[Test(&["pigz", "-t"]), Tar(&["pigz", "-dc"])]),
    ];
    for (name, need, readers) in all {
        suite.case(format!("an_archive_is_read_by_{name}"), &[need], move || {
            every_archive(|archive, names| readers.iter().try_for_each(|reader| check(reader, archive, names)))
        });
    }
    suite.case("an_archive_is_read_by_rust_s_single_member_decoder", &[], || {
        every_archive(|archive, expected| {
            ensure!(decoded(&fs::read(archive)?)? == expected.content);
            Ok(())
        })
    });
    // 7z sees a gzip and in it a tar: the way people use it.
    suite.case("an_archive_is_unpacked_by_seven_zip_in_two_steps", &[Need::Program("7z", "p7zip-full")], || {
        every_archive(|archive, expected| {
            let dir = tempfile::tempdir()?;
            let seven_zip = find_program("7z").expect("the case names it");
            output_of(Command::new(&seven_zip).args(["x", "-bd", "-oone"]).arg(archive).current_dir(&dir))?;
            output_of(Command::new(&seven_zip).args(["x", "-bd", "-otwo", "one/20261120.tar"]).current_dir(&dir))?;
            ensure!(read(&dir.path().join("two"), expected.name)? == expected.content);
            Ok(())
        })
    });
}

struct Expected<'a> {
    name: &'a str,
    content: &'a [u8],
    tar: &'a [u8],
}

/// Each name, spliced and compressed anew, with a content of several blocks that ends at an odd place.
fn every_archive(look: impl Fn(&Path, &Expected<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let exactly_100 = format!("{}.sql", "n".repeat(96));
    // Two hundred bytes; each part of the path stays below what file systems take.
    let long = format!("exports/{}/{}.sql", "boutique-".repeat(14), "d".repeat(70));
    let names = ["boutique.sql", &exactly_100, &long, "sauvegardes/données d'été ☀.sql"];
    let contents = [Dump::new(7).size(700_000).text(), Vec::new()];
    let dir = tempfile::tempdir()?;
    let archive = dir.path().join("20261120.tgz");
    for (name, content) in names.iter().flat_map(|name| contents.iter().map(move |content| (*name, content))) {
        let reused = spliced(&Zip::new().entry(Entry::deflated(name, content)).build(), name)?;
        let (anew, packed) = pack(&Zip::new().entry(Entry::stored(name, content)).build(), name)?;
        ensure!(packed.read.splice.is_none(), "a stored entry cannot be spliced");
        let tar = tar_of(&reused)?;
        ensure!(tar == tar_of(&anew)?, "both ways hold the same tar");
        for tgz in [&reused, &anew] {
            fs::write(&archive, tgz)?;
            look(&archive, &Expected { name, content, tar: &tar })
                .map_err(|error| error.context(format!("name `{name}`, {} bytes", content.len())))?;
        }
    }
    Ok(())
}

fn tar_of(tgz: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(tgz), &mut tar)?;
    Ok(tar)
}

fn check(reader: &Reader, archive: &Path, expected: &Expected<'_>) -> anyhow::Result<()> {
    let run = |line: &[&str]| {
        let program = find_program(line[0]).expect("the case names it");
        output_of(Command::new(program).args(&line[1..]).arg(archive))
    };
    match reader {
        Reader::Content(line) => ensure!(run(line)? == expected.content, "{line:?} finds another content"),
        Reader::Tar(line) => ensure!(run(line)? == expected.tar, "{line:?} finds another tar"),
        Reader::Names(line) => {
            let names = String::from_utf8(run(line)?)?;
            ensure!(names == format!("{}\n", expected.name), "{line:?} finds `{names}`");
        }
        Reader::Test(line) => drop(run(line)?),
    }
    Ok(())
}
