//! Zips as the world writes them: what Info-ZIP, 7-Zip, Python and libarchive read is what the archive holds.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::packed::{decoded, pack};
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::support::zips::{Entry, Zip};

const ENTRY: &str = "exports/boutique.sql";

const READERS: &[Need] = &[
    Need::program("unzip"),
    Need::Program("7z", "p7zip-full"),
    Need::program("python3"),
    Need::Program("bsdtar", "libarchive-tools"),
];

/// The dump, in a zip made by this script of Python with `dump` and `Entry` at hand, and what is wrong with the result.
type Python = (&'static str, &'static str);

/// Written by Python, so that it is not our own idea of a zip; `out` is the file.
const SCRIPTS: &[Python] = &[
    ("a_plain_one", "write(dump)"),
    (
        "seventy_thousand_entries_without_zip64",
        // The one entry count that is a lie is the one that many writers write.
        "with zipfile.ZipFile(out, 'w') as z:\n\
         \x20   for n in range(70000): z.writestr(f'files/{n}', b'')\n\
         \x20   z.writestr(name, dump, zipfile.ZIP_DEFLATED)\n\
         b = open(out, 'rb').read()\n\
         at = b.rindex(b'PK\\5\\6')\n\
         start = b.index(b'PK\\1\\2')\n\
         size = b.rindex(b'PK\\6\\6') - start\n\
         end = struct.pack('<4sHHHHIIH', b'PK\\5\\6', 0, 0, 70001 % 65536, 70001 % 65536, size, start, 0)\n\
         open(out, 'wb').write(b[:start + size] + end)",
    ),
    ("three_line_feeds_before_it", "write(dump)\nb = open(out, 'rb').read()\nopen(out, 'wb').write(b'\\n\\n\\n' + b)"),
    (
        "a_script_before_it_that_its_offsets_count",
        "open(out, 'wb').write(b'#!/bin/sh\\nexit 0\\n' * 9000)\n\
         with zipfile.ZipFile(out, 'a', zipfile.ZIP_DEFLATED) as z: z.writestr(name, dump)",
    ),
    (
        "a_local_name_in_another_encoding",
        "with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as z: z.writestr(name, dump)\n\
         b = bytearray(open(out, 'rb').read())\n\
         b[30:37] = b'\\x82xports'\n\
         open(out, 'wb').write(b)",
    ),
    (
        "a_local_name_with_backslashes",
        "with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as z: z.writestr(name, dump)\n\
         b = bytearray(open(out, 'rb').read())\n\
         b[37:38] = b'\\\\'\n\
         open(out, 'wb').write(b)",
    ),
    (
        "a_marker_of_a_split_that_needed_one_segment",
        // Offsets count the marker (APPNOTE 8.5.4).
        "open(out, 'wb').write(b'PK00')\n\
         with zipfile.ZipFile(out, 'a', zipfile.ZIP_DEFLATED) as z: z.writestr(name, dump)",
    ),
    (
        "a_comment_that_holds_another_zip_s_entry",
        "with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as z:\n\
         \x20   z.writestr(name, dump)\n\
         \x20   z.comment = b'see PK\\3\\4 and PK\\1\\2 in APPNOTE'",
    ),
    (
        "a_stream_with_data_descriptors",
        "class Pipe(io.RawIOBase):\n\
         \x20   def __init__(self): self.f = open(out, 'wb')\n\
         \x20   def writable(self): return True\n\
         \x20   def write(self, b): return self.f.write(b)\n\
         \x20   def flush(self): self.f.flush()\n\
         with zipfile.ZipFile(Pipe(), 'w', zipfile.ZIP_DEFLATED) as z: z.writestr(name, dump)",
    ),
    ("lzma", "write(dump, zipfile.ZIP_LZMA)"),
    ("bzip2", "write(dump, zipfile.ZIP_BZIP2)"),
];

const PRELUDE: &str = "import io, struct, sys, zipfile\n\
    out, name = sys.argv[1:3]\n\
    dump = open(sys.argv[3], 'rb').read()\n\
    def write(content, method=zipfile.ZIP_DEFLATED):\n\
    \x20   with zipfile.ZipFile(out, 'w', method) as z: z.writestr(name, content)\n";

pub fn cases(suite: &mut Suite) {
    for (name, script) in SCRIPTS {
        suite.case(format!("what_everybody_reads_is_read::{name}"), READERS, move || {
            let dir = tempfile::tempdir()?;
            let dump = Dump::new(7).size(60_000).text();
            fs::write(dir.path().join("dump"), &dump)?;
            let zip = dir.path().join("odd.zip");
            let made = Command::new("python3")
                .args(["-c", &format!("{PRELUDE}{script}")])
                .arg(&zip)
                .arg(ENTRY)
                .arg(dir.path().join("dump"))
                .output()?;
            ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            agree(&zip, &dump)
        });
    }
    suite.case("what_everybody_reads_is_read::a_name_that_is_absolute", &[Need::program("unzip")], || {
        let dump = Dump::new(8).size(60_000).text();
        let zip = Zip::new().entry(Entry::deflated("/exports/boutique.sql", &dump)).build();
        ours(&zip, &dump)
    });
}

/// Most readers find the dump, and so do we.
fn agree(zip: &Path, dump: &[u8]) -> anyhow::Result<()> {
    const PYTHON: &str = "import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))";
    let path = zip.to_str().context("a UTF-8 path")?;
    let readers: [(&str, &[&str]); 4] = [
        ("unzip", &["-p", path, ENTRY]),
        ("7z", &["x", "-so", path, ENTRY]),
        ("python3", &["-c", PYTHON, path, ENTRY]),
        ("bsdtar", &["-xOf", path, ENTRY]),
    ];
    let mut readable = 0;
    for (program, args) in readers {
        let output = Command::new(program).args(args).stdin(Stdio::null()).output()?;
        readable += usize::from(output.stdout == dump);
    }
    // Python insists on equal names, and bsdtar knows an entry by its own header; a technician tries one tool.
    ensure!(readable >= 2, "only {readable} of 4 readers find the dump: the case is not what it says");
    ours(&fs::read(zip)?, dump)
}

fn ours(zip: &[u8], dump: &[u8]) -> anyhow::Result<()> {
    let (tgz, packed) = pack(zip, ENTRY)?;
    ensure!(packed.read.trailing_bytes == 0);
    ensure!(decoded(&tgz)? == dump, "the archive holds something else");
    Ok(())
}
