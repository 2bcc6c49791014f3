//! Zips and dumps, read by Info-ZIP's `unzip`, 7-Zip and Python.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use zip::CompressionMethod;

use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite, run};
use crate::support::zips::{self, Entry, Zip};

const UNZIP: &[Need] = &[Need::program("unzip")];
const SEVEN_ZIP: &[Need] = &[Need::Program("7z", "p7zip-full")];
const NAME: &str = "boutique.sql";

/// What a program says of a zip: whether it is good, and its words.
fn judge(zip: &[u8], program: &str, args: &[&str]) -> Result<(bool, Vec<u8>, String)> {
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("a.zip"), zip)?;
    let output = Command::new(program).args(args).arg("a.zip").arg(NAME).current_dir(directory.path()).output()?;
    let words = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), output.stdout, words))
}

pub fn register(suite: &mut Suite) {
    suite.case("zips::good_ones_hold_the_dump", UNZIP, || {
        let dump = Dump::new(1).size(300_000).text();
        let entry = || Entry::deflated(NAME, &dump);
        for (what, zip) in [
            ("good", zips::good(NAME, &dump)),
            ("stored", Zip::new().entry(Entry::stored(NAME, &dump)).build()),
            ("signed descriptor", Zip::new().entry(entry().descriptor(true)).build()),
            ("bare descriptor", Zip::new().entry(entry().descriptor(false)).build()),
            ("zip64", Zip::new().entry(entry()).zip64().build()),
            ("zip64 and descriptor", Zip::new().entry(entry().descriptor(true)).zip64().build()),
            ("comment", Zip::new().entry(entry()).comment(b"made at night").build()),
            ("others before", Zip::new().entry(Entry::stored("a", b"b")).entry(entry()).build()),
            ("bzip2", zips::with_method(NAME, &dump, CompressionMethod::Bzip2)),
        ] {
            let (good, content, words) = judge(&zip, "unzip", &["-qqp"])?;
            ensure!(good && content == dump, "{what}: {}", &words[words.len().saturating_sub(300)..]);
        }
        Ok(())
    });

    suite.case("zips::bad_ones_are_bad_in_their_way", UNZIP, || {
        let dump = Dump::new(1).text();
        let good = zips::good(NAME, &dump);
        for (what, zip, complaint) in [
            ("cut", good[..good.len() / 2].to_vec(), "End-of-central-directory signature not found"),
            (
                "no directory",
                Zip::new().entry(Entry::deflated(NAME, &dump)).without_central_directory().build(),
                "End-of-central-directory signature not found",
            ),
            ("no entries", Zip::new().build(), "zipfile is empty"),
            ("missing", zips::good("other.sql", &dump), "filename not matched"),
            ("crc", zips::wrong_crc(NAME, &dump), "bad CRC"),
            ("bomb", zips::bomb(NAME, 1000, 10), "bad CRC"),
        ] {
            let (good, _, words) = judge(&zip, "unzip", &["-t"])?;
            ensure!(!good && words.contains(complaint), "{what}: {words}");
        }
        let listing = judge(&zips::twice(NAME, &dump), "unzip", &["-l"])?.2;
        ensure!(listing.matches(NAME).count() == 2, "{listing}");
        Ok(())
    });

    suite.case("zips::the_bomb_inflates_as_far_as_it_says_it_does_not", &[], || {
        let bomb = zips::bomb(NAME, 1000, 300);
        ensure!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
        let data = &bomb[30 + NAME.len()..];
        let inflated = io::copy(&mut flate2::bufread::DeflateDecoder::new(data), &mut io::sink())?;
        ensure!(inflated == 300 << 20, "{inflated}");
        Ok(())
    });

    suite.case("zips::encrypted_ones_open_with_the_password", SEVEN_ZIP, || {
        let dump = Dump::new(1).text();
        for (method, zip) in
            [("ZipCrypto", zips::zip_crypto(NAME, &dump, "secret")), ("AES-256", zips::aes(NAME, &dump, "secret"))]
        {
            let (good, content, words) = judge(&zip, "7z", &["e", "-so", "-psecret"])?;
            ensure!(good && content == dump, "{method}: {words}");
            ensure!(!judge(&zip, "7z", &["t", "-pwrong"])?.0, "{method}: a wrong password");
            ensure!(judge(&zip, "7z", &["l", "-slt"])?.2.contains(method), "{method}");
        }
        Ok(())
    });

    suite.case("zips::other_methods_are_what_they_say", SEVEN_ZIP, || {
        let dump = Dump::new(1).text();
        for (method, zip) in [
            ("Deflate64", zips::by_seven_zip(NAME, &dump, "Deflate64")),
            ("LZMA", zips::by_seven_zip(NAME, &dump, "LZMA")),
            ("Deflate", zips::good(NAME, &dump)),
            ("zstd", zips::with_method(NAME, &dump, CompressionMethod::Zstd)),
        ] {
            let listing = judge(&zip, "7z", &["l", "-slt"])?.2;
            ensure!(listing.lines().any(|line| line.starts_with(&format!("Method = {method}"))), "{method}: {listing}");
        }
        Ok(())
    });

    suite.case("zips::names_are_as_given", &[Need::program("python3")], || {
        let directory = tempfile::tempdir()?;
        let entries = [
            Entry::stored("été.sql", b"1"),
            Entry::stored("", b"2").name_bytes(b"caf\x82.sql"),
            Entry::stored("../boutique.sql", b"3"),
        ];
        let zip = entries.into_iter().fold(Zip::new(), Zip::entry).build();
        let path = directory.path().join("a.zip");
        fs::write(&path, zip)?;
        ensure!(names(&path) == "['été.sql', 'café.sql', '../boutique.sql']\n", "{}", names(&path));
        Ok(())
    });

    suite.case("zips::a_large_one_is_written_from_a_stream", UNZIP, || {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("a.zip");
        let dump = Dump::new(3).size(20_000_000);
        zips::write_large(&path, NAME, &mut dump.clone().reader());
        let (good, content, _) = judge(&fs::read(&path)?, "unzip", &["-qqp"])?;
        ensure!(good && content == dump.text(), "content");
        let ratio = fs::metadata(&path)?.len() as f64 / content.len() as f64;
        ensure!((0.2..0.4).contains(&ratio), "compresses as dumps do: {ratio}");
        Ok(())
    });

    suite.case("dumps::are_the_same_for_the_same_seed_and_end_as_told", &[], || {
        let dump = Dump::new(7).size(1_000_000).completed("2026-11-21  2:03:04");
        let (one, two) = (dump.clone().text(), dump.clone().text());
        ensure!(one == two && one != Dump::new(8).size(1_000_000).completed("2026-11-21  2:03:04").text(), "seed");
        ensure!((1_000_000..1_001_000).contains(&one.len()), "{}", one.len());
        let text = String::from_utf8(one).context("UTF-8")?;
        ensure!(text.ends_with("\n-- Dump completed on 2026-11-21  2:03:04\n"), "the last line");
        let mut reader = dump.clone().reader();
        let mut bytewise = Vec::new();
        while let Ok(1) = reader.read(&mut [0; 1]).inspect(|_| bytewise.push(0)) {}
        ensure!(bytewise.len() == text.len() + 1, "reads of one byte");
        let cut = String::from_utf8(dump.cut().text()).context("UTF-8")?;
        ensure!(cut.ends_with("cut in the mid"), "cut");
        Ok(())
    });
}

/// What Python calls the entries.
fn names(zip: &Path) -> String {
    let code = "import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).namelist())";
    run(Command::new("python3").args(["-X", "utf8", "-c", code]).arg(zip))
}
