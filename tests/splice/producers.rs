//! Whoever has compressed the entry, and however: `tar xO` of the archive is the dump.
//!
//! A bounded number of random contents for each producer; each failure names the seed that repeats it.
#![allow(clippy::ptr_arg, reason = "all producers have one signature")]

use std::fs;
use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use fastrand::Rng;
use flate2::{Compress, Compression, FlushCompress, Status};

use crate::data;
use crate::packed::{decoded, filtered, output_of, read, spliced, untarred};
use crate::streams::Stream;
use crate::support::harness::{Need, Suite, find_program};
use crate::support::zips::{Entry, Zip};

const ENTRY: &str = "boutique.sql";
const DEFLATED: u16 = 8;

/// Makes a zip with [`ENTRY`] of this content, or of another that it leaves there; `None` when it would rather store it.
type Producer = fn(&mut Vec<u8>, &mut Rng) -> anyhow::Result<Option<Vec<u8>>>;

pub fn cases(suite: &mut Suite) {
    let all: [(&str, Option<Need>, usize, Producer); 14] = [
        ("zlib_rs_at_any_level_with_any_flushes", None, 60, zlib_rs),
        ("blocks_written_by_hand", None, 150, by_hand),
        ("a_java_style_writer_with_data_descriptors", None, 20, with_descriptor),
        ("a_writer_of_zip64_for_everything", None, 20, zip64),
        ("the_c_zlib_with_any_strategy_and_window", Some(Need::program("python3")), 12, c_zlib),
        ("python_zipfile", Some(Need::program("python3")), 6, python_zipfile),
        ("info_zip", Some(Need::program("zip")), 12, info_zip),
        ("seven_zip", Some(Need::Program("7z", "p7zip-full")), 8, seven_zip),
        ("bsdtar", Some(Need::Program("bsdtar", "libarchive-tools")), 8, bsdtar),
        ("zopfli", Some(Need::program("zopfli")), 4, zopfli),
        ("libdeflate", Some(Need::Program("libdeflate-gzip", "libdeflate-tools")), 12, libdeflate),
        ("gzip", Some(Need::program("gzip")), 12, gzip),
        ("busybox_gzip", Some(Need::program("busybox")), 6, busybox),
        ("pigz_in_pieces", Some(Need::program("pigz")), 10, pigz),
    ];
    for (number, (name, need, count, producer)) in (1..).zip(all) {
        let needs: Vec<Need> = need.into_iter().chain([Need::program("tar")]).collect();
        suite.case(format!("what_is_packed_is_what_was_zipped_by_{name}"), &needs, move || {
            let mut spliced_count = 0;
            // Some store what is empty or does not shrink: then more contents are tried, until a third of `count` was spliced.
            for index in 0..10 * count {
                if index >= count && spliced_count * 3 >= count {
                    break;
                }
                let mut rng = data::rng(number << 32 | index as u64);
                spliced_count += usize::from(round(producer, &mut rng).with_context(|| {
                    format!("content {index} of this case; `ARCHIVE_TEST_SEED={}` repeats it", data::seed())
                })?);
            }
            ensure!(spliced_count * 3 >= count, "only {spliced_count} of {count} were spliced");
            Ok(())
        });
    }
}

/// One content through one producer; whether it was spliced.
fn round(producer: Producer, rng: &mut Rng) -> anyhow::Result<bool> {
    let mut content = data::content(rng);
    let Some(zip) = producer(&mut content, rng)? else {
        return Ok(false);
    };
    let tgz = spliced(&zip, ENTRY)?;
    let (by_tar, by_library) = (untarred(&tgz)?, decoded(&tgz)?);
    ensure!(by_tar == content, "GNU tar finds {} other bytes instead of {}", by_tar.len(), content.len());
    ensure!(by_library == content, "flate2 finds {} other bytes instead of {}", by_library.len(), content.len());
    Ok(true)
}

fn zip_of(content: &[u8], stream: Vec<u8>) -> Option<Vec<u8>> {
    Some(Zip::new().entry(Entry::raw(ENTRY, content, DEFLATED, stream)).build())
}

fn by_hand(content: &mut Vec<u8>, rng: &mut Rng) -> anyhow::Result<Option<Vec<u8>>> {
    let stream = Stream::random(rng);
    content.clone_from(&stream.content);
    Ok(zip_of(content, stream.into_bytes()))
}

fn zlib_rs(content: &mut Vec<u8>, rng: &mut Rng) -> anyhow::Result<Option<Vec<u8>>> {
    use FlushCompress::{Finish, Full, None, Partial, Sync};
    let mut compress = Compress::new(Compression::new(rng.u32(0..=9)), false);
    let (mut stream, mut rest) = (Vec::new(), &content[..]);
    loop {
        let (piece, after) = rest.split_at(rng.usize(..=rest.len()));
        let (piece, after) = if rng.u8(..) < 32 { (rest, &rest[rest.len()..]) } else { (piece, after) };
        let flush = if after.is_empty() { Finish } else { [None, Partial, Sync, Full][rng.usize(..4)] };
        let (mut done, before) = (0, compress.total_in());
        loop {
            stream.reserve(64 * 1024);
            let status = compress.compress_vec(&piece[done..], &mut stream, flush)?;
            done = (compress.total_in() - before) as usize;
            if status == Status::StreamEnd {
                return Ok(zip_of(content, stream));
            }
            // With room left over, all of this piece and of its flush is out.
            if done == piece.len() && stream.len() < stream.capacity() {
                break;
            }
        }
        rest = after;
    }
}

fn with_descriptor(content: &mut Vec<u8>, rng: &mut Rng) -> anyhow::Result<Option<Vec<u8>>> {
    Ok(Some(Zip::new().entry(Entry::deflated(ENTRY, content).descriptor(rng.bool())).build()))
}

fn zip64(content: &mut Vec<u8>, rng: &mut Rng) -> anyhow::Result<Option<Vec<u8>>> {
    let entry = Entry::deflated(ENTRY, content);
    let entry = if rng.bool() { entry.descriptor(rng.bool()) } else { entry };
    Ok(Some(Zip::new().zip64().entry(Entry::deflated("first.txt", b"before")).entry(entry).build()))
}

/// Level, window, memory and strategy (filtered, Huffman only, RLE, fixed) by arguments; a flush of each kind in between.
const ZLIB: &str = "
import sys, zlib, random
level, window, memory, strategy, seed = map(int, sys.argv[1:])
pick, data = random.Random(seed), sys.stdin.buffer.read()
z, out, at = zlib.compressobj(level, zlib.DEFLATED, -window, memory, strategy), [], 0
while at < len(data):
    size = pick.randint(1, 100000)
    out += [z.compress(data[at:at + size]), z.flush(pick.choice([zlib.Z_NO_FLUSH, zlib.Z_PARTIAL_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_BLOCK]))]
    at += size
sys.stdout.buffer.write(b''.join(out) + z.flush())
";

fn c_zlib(content: &mut Vec<u8>, rng: &mut Rng) -> anyhow::Result<Option<Vec<u8>>> {
    // Windows of 8 bits have been refused for raw streams since zlib 1.2.9.
    let settings = [rng.i32(0..=9), rng.i32(9..=15), rng.i32(1..=9), rng.i32(0..=4), rng.i32(0..1 << 30)];
    let mut command = program("python3");
    command.args(["-c", ZLIB]).args(settings.map(|setting| setting.to_string()));
    Ok(zip_of(content, filtered(&mut command, content)?))
}

/// To a pipe, that is with data descriptors, or to a file.
const ZIPFILE: &str = "
import sys, io, zipfile
class Pipe(io.RawIOBase):
    def writable(self): return True
    def write(self, data): return sys.stdout.buffer.write(data)
out = Pipe() if sys.argv[2] == 'pipe' else io.BytesIO()
with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED, compresslevel=int(sys.argv[1])) as made:
    made.writestr('boutique.sql', sys.stdin.buffer.read())
if sys.argv[2] != 'pipe':
    sys.stdout.buffer.write(out.getvalue())
";

fn python_zipfile(content: &mut Vec<u8>, rng: &mut Rng) -> anyhow::Result<Option<Vec<u8>>> {
    let mut command = program("python3");
    command.args(["-c", ZIPFILE, &rng.u8(0..=9).to_string(), ["pipe", "file"][rng.usize(..2)]]);
    Ok(Some(filtered(&mut command, content)?))
}

fn info_zip(content: &mut Vec<u8>, rng: &mut Rng) -> anyhow::Result<Option<Vec<u8>>> {
    let level = format!("-{}", rng.u8(1..=9));
    let mut command = program("zip");
    // To a pipe, forced to zip64, or plainly.
    let how: &[&str] =
        [&["-q", "-", ENTRY][..], &["-q", "-fz", "made.zip", ENTRY], &["-q", "made.zip", ENTRY]][rng.usize(..3)];
    let (dir, _file) = with_file(content)?;
    let out = output_of(command.arg(level).args(how).current_dir(&dir))?;
    let zip = if out.is_empty() { read(dir.path(), "made.zip")? } else { out };
    only_deflated(zip)
}

fn seven_zip(content: &mut Vec<u8>, rng: &mut Rng) -> anyhow::Result<Option<Vec<u8>>> {
    let (dir, _file) = with_file(content)?;
    let settings = [format!("-mx={}", [1, 5, 7, 9][rng.usize(..4)]), format!("-mpass={}", rng.u8(1..=3))];
    output_of(
        program("7z")
            .args(["a", "-tzip", "-bd", "-mm=Deflate"])
            .args(settings)
            .args(["made.zip", ENTRY])
            .current_dir(&dir),
    )?;
    only_deflated(read(dir.path(), "made.zip")?)
}

fn bsdtar(content: &mut Vec<u8>, rng: &mut Rng) -> anyhow::Result<Option<Vec<u8>>> {
    let (dir, _file) = with_file(content)?;
    let options = format!("zip:compression=deflate,zip:compression-level={}", rng.u8(1..=9));
    let zip = output_of(
        program("bsdtar").args(["--format", "zip", "--options", &options, "-cf", "-", ENTRY]).current_dir(&dir),
    )?;
    only_deflated(zip)
}

fn zopfli(content: &mut Vec<u8>, rng: &mut Rng) -> anyhow::Result<Option<Vec<u8>>> {
    // About 100 KB/s.
    content.truncate(30_000);
    let (_dir, file) = with_file(content)?;
    let iterations = format!("--i{}", rng.u8(1..=5));
    let stream = output_of(program("zopfli").args(["--deflate", "-c", &iterations]).arg(file))?;
    Ok(zip_of(content, stream))
}

fn libdeflate(content: &mut Vec<u8>, rng: &mut Rng) -> anyhow::Result<Option<Vec<u8>>> {
    let level = format!("-{}", rng.u8(1..=12));
    stripped(content, filtered(program("libdeflate-gzip").args([&level, "-c"]), content)?)
}

fn gzip(content: &mut Vec<u8>, rng: &mut Rng) -> anyhow::Result<Option<Vec<u8>>> {
    let level = format!("-{}", rng.u8(1..=9));
    stripped(content, filtered(program("gzip").args([&level, "-nc"]), content)?)
}

fn busybox(content: &mut Vec<u8>, _: &mut Rng) -> anyhow::Result<Option<Vec<u8>>> {
    stripped(content, filtered(program("busybox").args(["gzip", "-c"]), content)?)
}

/// Pieces of 128 KiB or less, glued by sync markers; dependent on each other or not; zopfli's own code at level 11.
fn pigz(content: &mut Vec<u8>, rng: &mut Rng) -> anyhow::Result<Option<Vec<u8>>> {
    let level = [1, 6, 9, 0, 11][rng.usize(..5)];
    if level == 11 {
        content.truncate(20_000);
    }
    let how = [format!("-{level}"), format!("-b{}", [32, 48, 128][rng.usize(..3)])];
    let mut command = program("pigz");
    command.args(how).args(["-p2", "-nc"]);
    if rng.bool() {
        command.arg("--independent");
    }
    let gzip = filtered(&mut command, content)?;
    Ok(zip_of(content, gzip[10..gzip.len() - 8].to_vec()))
}

fn program(name: &'static str) -> Command {
    Command::new(find_program(name).expect("the case names it"))
}

/// The content as a file named [`ENTRY`].
fn with_file(content: &[u8]) -> anyhow::Result<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join(ENTRY);
    fs::File::create(&path)?.write_all(content)?;
    Ok((dir, path))
}

/// A gzip member without name or other optional fields, laid open.
fn stripped(content: &[u8], gzip: Vec<u8>) -> anyhow::Result<Option<Vec<u8>>> {
    ensure!(gzip.len() >= 18 && gzip[..4] == [0x1f, 0x8b, 8, 0], "not a plain gzip member");
    Ok(zip_of(content, gzip[10..gzip.len() - 8].to_vec()))
}

/// Unless it was stored.
fn only_deflated(zip: Vec<u8>) -> anyhow::Result<Option<Vec<u8>>> {
    let location = archive::zip_source::find_entry(&mut Cursor::new(&zip), ENTRY)?;
    Ok((location.method_name() == "Deflated").then_some(zip))
}
