//! Zips that cannot be trusted or read, and the unusual ones that can.

use anyhow::ensure;
use zip::CompressionMethod;

use crate::bad_night::{self, Refused, TONIGHT, after_a_good_one, json, publishes, refuses};
use crate::job::{ENTRY, Job};
use crate::mail::mailed;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::support::smtp::{Security, SmtpServer};
use crate::support::zips::{self, Entry, Zip};

const CLOCK: &[Need] = &[Need::Faketime];
const MAILED: &[Need] = &[Need::Faketime, Need::Smtp];
const SEVEN_ZIP: &[Need] = &[Need::Faketime, Need::Program("7z", "p7zip-full")];
const PASSWORD: &str = "zip_password = \"open-sesame\"\n";

pub fn cases(suite: &mut Suite) {
    no_zip(suite);
    wrong_entry(suite);
    damaged(suite);
    bombs(suite);
    encrypted(suite);
    names(suite);
    unusual(suite);
    unsupported(suite);
    many_long_names(suite);
    archives(suite);
}

fn tonight() -> Vec<u8> {
    Dump::new(2).size(200_000).text()
}

/// A good night, then one with this zip at the source.
fn refused(suite: &mut Suite, name: &str, expected: Refused, make: impl FnOnce(&mut Job) -> Vec<u8> + Send + 'static) {
    suite.case(format!("zip::{name}"), CLOCK, move || {
        let mut job = after_a_good_one()?;
        let zip = make(&mut job);
        job.publish_bytes(zip);
        refuses(&job, &expected)?;
        Ok(())
    });
}

/// A zip that becomes an archive with exactly the dump in it.
fn accepted(
    suite: &mut Suite,
    name: &str,
    needs: &[Need],
    reused: bool,
    make: impl FnOnce(&mut Job, &[u8]) -> Vec<u8> + Send + 'static,
) {
    suite.case(format!("zip::{name}"), needs, move || {
        let mut job = after_a_good_one()?;
        let dump = tonight();
        let zip = make(&mut job, &dump);
        job.publish_bytes(zip);
        let (done, result) = json(&job, TONIGHT)?;
        ensure!(done.code == 0 && result["status"] == "ok", "{done}\n{}", job.log());
        ensure!(result["archive"]["reused_compression"] == reused, "{done}");
        bad_night::holds(&job, "20261120.tgz", &dump)
    });
}

fn no_zip(suite: &mut Suite) {
    refused(suite, "an_empty_file", Refused::download(&["sent an empty file"], "look at the export"), |_| Vec::new());
    refused(
        suite,
        "a_zip_without_entries",
        Refused::verify(&["the zip, which is empty"], "a name that is in the zip"),
        |_| Zip::new().build(),
    );
    let no_end = Refused::download(&["do not end like a zip: truncated?"], "still writing it at this hour");
    suite.case("zip::truncated_at_every_tenth_of_its_length", CLOCK, move || {
        let job = after_a_good_one()?;
        let zip = zips::good(ENTRY, &tonight());
        for length in (1..10).map(|tenth| zip.len() * tenth / 10).chain([zip.len() - 1]) {
            job.publish_bytes(zip[..length].to_vec());
            refuses(&job, &no_end).map_err(|error| error.context(format!("{length} of {} bytes", zip.len())))?;
        }
        // It was the length and nothing else.
        job.publish_bytes(zip);
        publishes(&job, &tonight())
    });
    refused(suite, "a_zip_without_a_central_directory", no_end, |_| {
        Zip::new().entry(Entry::deflated(ENTRY, &tonight())).without_central_directory().build()
    });
    let damaged = Refused::verify(&["the zip's directory is damaged"], "unzip -t");
    refused(suite, "a_zip_whose_middle_is_missing", damaged, |_| {
        let zip = zips::good(ENTRY, &tonight());
        [&zip[..zip.len() / 3], &zip[zip.len() * 2 / 3..]].concat()
    });
    let other = Refused::download(&["sent no zip but a gzip file"], "check that `source.url` leads to the zip itself");
    refused(suite, "a_gzip_instead_of_a_zip", other, |_| {
        let mut bytes = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
        bytes.extend(zips::deflate(&tonight()));
        bytes
    });
}

fn wrong_entry(suite: &mut Suite) {
    let missing = Refused::verify(
        &["`boutique.sql` is not in the zip, which holds", "`clients.sql` (12 bytes)", "`lisez-moi.txt` (5 bytes)"],
        "a name that is in the zip",
    );
    refused(suite, "the_entry_is_missing_and_the_message_lists_what_is_there", missing, |_| {
        let clients = Entry::deflated("clients.sql", b"-- clients;\n");
        Zip::new().entry(clients).entry(Entry::stored("lisez-moi.txt", b"hello")).build()
    });
    let similar = Refused::verify(&["`export/boutique.sql`"], "it is written `entry = \"export/boutique.sql\"`");
    refused(suite, "the_entry_is_missing_and_a_similar_one_is_suggested", similar, |_| {
        Zip::new().entry(Entry::deflated("export/boutique.sql", &tonight())).build()
    });
    let twice = Refused::verify(&["the zip holds `boutique.sql` 2 times"], "unzip -lv");
    refused(suite, "the_entry_is_there_twice", twice, |_| zips::twice(ENTRY, &tonight()));
    accepted(suite, "other_entries_beside_the_dump_do_not_matter", CLOCK, true, |_, dump| {
        let outside = Entry::deflated("../../etc/passwd", b"root::0:0");
        let other = Entry::deflated("clients.sql", b"-- clients\n").crc(7);
        Zip::new().entry(outside).entry(Entry::deflated(ENTRY, dump)).entry(other).build()
    });
}

fn damaged(suite: &mut Suite) {
    let crc = Refused::verify(&["`boutique.sql` in the zip is damaged: its CRC-32 is"], "the zip is damaged");
    refused(suite, "a_wrong_crc", crc, |_| zips::wrong_crc(ENTRY, &tonight()));
    refused(suite, "a_wrong_crc_of_a_stored_entry", crc, |_| {
        Zip::new().entry(Entry::stored(ENTRY, &tonight()).crc(7)).build()
    });
    let flipped = Refused::verify(&["`boutique.sql` in the zip"], "the zip is damaged");
    refused(suite, "a_damaged_deflate_stream", flipped, |_| {
        let mut data = zips::deflate(&tonight());
        let middle = data.len() / 2;
        data[middle..middle + 64].fill(0xff);
        Zip::new().entry(Entry::raw(ENTRY, &tonight(), 8, data)).build()
    });
    let shorter = Refused::verify(&["bytes, the zip says 500000"], "the zip is damaged");
    refused(suite, "an_entry_shorter_than_it_says", shorter, |_| {
        Zip::new().entry(Entry::deflated(ENTRY, &tonight()).size(500_000)).build()
    });
}

fn bombs(suite: &mut Suite) {
    // 500 KB of LZMA whose dictionary would take 4 GB.
    suite.case("zip::a_dictionary_of_gigabytes", CLOCK, || {
        let job = after_a_good_one()?;
        let data = [&[9, 20, 5, 0, 0x5d][..], &u32::MAX.to_le_bytes(), &[0; 500_000]].concat();
        let entry = Entry::raw(ENTRY, &tonight(), 14, data).size(3_500_000_000);
        job.publish_bytes(Zip::new().zip64().entry(entry).build());
        let expected = Refused::verify(&["(Lzma) needs a dictionary of 4095 MiB"], "a smaller dictionary");
        let done = refuses(&job, &expected)?;
        ensure!(done.peak_memory_bytes < 64 << 20, "{} bytes of memory", done.peak_memory_bytes);
        Ok(())
    });
    // 1 GiB of zeros in 1 MB of zip: stops at the first byte too many, and holds nothing of it.
    suite.case("zip::a_bomb_that_says_it_is_small", CLOCK, || {
        let job = after_a_good_one()?;
        job.publish_bytes(zips::bomb(ENTRY, 10_000, 1024));
        let done = refuses(&job, &Refused::verify(&["goes on after the 10000 bytes"], "the zip is damaged"))?;
        ensure!(done.peak_memory_bytes < 64 << 20, "{} bytes of memory", done.peak_memory_bytes);
        Ok(())
    });
    let large = Refused::verify(&["more than the limit of 1000000"], "raise `max_size` under `[dump]`");
    refused(suite, "a_bomb_that_says_how_large_it_is", large, |job| {
        job.dump.push_str("max_size = \"1 MB\"\n");
        zips::bomb(ENTRY, 1024 << 20, 1024)
    });
    let small = Refused::verify(&["goes on after the 900000 bytes"], "the zip is damaged");
    refused(suite, "a_bomb_that_says_it_is_just_below_max_size", small, |job| {
        job.dump.push_str("max_size = \"1 MB\"\n");
        zips::bomb(ENTRY, 900_000, 1024)
    });
}

fn encrypted(suite: &mut Suite) {
    type Make = fn(&str, &[u8], &str) -> Vec<u8>;
    for (method, make) in [("zip_crypto", zips::zip_crypto as Make), ("aes", zips::aes)] {
        accepted(suite, &format!("{method}_with_the_right_password"), CLOCK, false, move |job, dump| {
            job.source_keys.push_str(PASSWORD);
            make(ENTRY, dump, "open-sesame")
        });
        let wrong = Refused::verify(&["`boutique.sql` in the zip cannot be decrypted"], "check `zip_password`");
        refused(suite, &format!("{method}_with_a_wrong_password"), wrong, move |job| {
            job.source_keys.push_str(PASSWORD);
            make(ENTRY, &tonight(), "close-sesame")
        });
        let none = Refused::verify(&["`boutique.sql` in the zip is encrypted"], "set `zip_password` under `[source]`");
        refused(suite, &format!("{method}_without_a_password"), none, move |_| make(ENTRY, &tonight(), "open-sesame"));
    }
    accepted(suite, "a_password_that_is_not_needed", CLOCK, true, |job, dump| {
        job.source_keys.push_str(PASSWORD);
        zips::good(ENTRY, dump)
    });
}

fn names(suite: &mut Suite) {
    for (name, path) in
        [("an_entry_above_the_directory", "../boutique.sql"), ("an_entry_that_climbs_out", "export/../../boutique.sql")]
    {
        let unsafe_name = Refused::verify(&["leads out of its directory"], "look at how the zip is made");
        refused(suite, name, unsafe_name, move |job| {
            job.entry = path.into();
            zips::good(path, &tonight())
        });
    }
    for (name, path, configured) in [
        ("an_absolute_name_is_taken_without_its_slash", "/var/www/boutique.sql", "/var/www/boutique.sql"),
        ("a_name_that_macos_decomposed", "e\u{301}te\u{301}.sql", "été.sql"),
    ] {
        accepted(suite, name, CLOCK, true, move |job, dump| {
            job.entry = configured.into();
            zips::good(path, dump)
        });
    }
    let changes = Refused::verify(&["`boutique-2026-11-20.sql`"], "seems to change with the date");
    refused(suite, "a_name_that_changes_with_the_date", changes, |job| {
        job.entry = "boutique-2026-11-19.sql".into();
        zips::good("boutique-2026-11-20.sql", &tonight())
    });
    accepted(suite, "a_name_in_utf_8", CLOCK, true, |job, dump| {
        job.entry = "données/été.sql".into();
        zips::good("données/été.sql", dump)
    });
    accepted(suite, "a_name_in_cp437", CLOCK, true, |job, dump| {
        job.entry = "été.sql".into();
        Zip::new().entry(Entry::deflated("", dump).name_bytes(b"\x82t\x82.sql")).build()
    });
}

fn unusual(suite: &mut Suite) {
    accepted(suite, "a_data_descriptor", CLOCK, true, |_, dump| {
        Zip::new().entry(Entry::deflated(ENTRY, dump).descriptor(true)).build()
    });
    accepted(suite, "a_data_descriptor_without_signature", CLOCK, true, |_, dump| {
        Zip::new().entry(Entry::deflated(ENTRY, dump).descriptor(false)).build()
    });
    accepted(suite, "zip64", CLOCK, true, |_, dump| Zip::new().entry(Entry::deflated(ENTRY, dump)).zip64().build());
    accepted(suite, "zip64_with_a_data_descriptor", CLOCK, true, |_, dump| {
        Zip::new().entry(Entry::deflated(ENTRY, dump).descriptor(true)).zip64().build()
    });
    accepted(suite, "a_long_comment_at_the_end", CLOCK, true, |_, dump| {
        Zip::new().entry(Entry::deflated(ENTRY, dump)).comment(&[b'x'; 65_535]).build()
    });
    accepted(suite, "stored", CLOCK, false, |_, dump| Zip::new().entry(Entry::stored(ENTRY, dump)).build());
    accepted(suite, "stored_in_zip64", CLOCK, false, |_, dump| {
        Zip::new().entry(Entry::stored(ENTRY, dump)).zip64().build()
    });
    for (name, method) in
        [("bzip2", CompressionMethod::Bzip2), ("zstd", CompressionMethod::Zstd), ("xz", CompressionMethod::Xz)]
    {
        accepted(suite, name, CLOCK, false, move |_, dump| zips::with_method(ENTRY, dump, method));
    }
    for (name, method) in [("deflate64", "Deflate64"), ("lzma", "LZMA"), ("bzip2_by_7_zip", "BZip2")] {
        accepted(suite, name, SEVEN_ZIP, false, move |_, dump| zips::by_seven_zip(ENTRY, dump, method));
    }
    accepted(suite, "deflate_by_7_zip", SEVEN_ZIP, true, |_, dump| zips::by_seven_zip(ENTRY, dump, "Deflate"));
    accepted(suite, "compressed_anew_where_the_config_says_so", CLOCK, false, |job, dump| {
        job.archive = "compression = 9\n".into();
        zips::good(ENTRY, dump)
    });
}

fn unsupported(suite: &mut Suite) {
    suite.case("zip::ppmd_is_refused_by_its_name", SEVEN_ZIP, || {
        let job = after_a_good_one()?;
        job.publish_bytes(zips::by_seven_zip(ENTRY, &tonight(), "PPMd"));
        let expected =
            Refused::verify(&["uses the method `PPMd`, which is not supported"], "the usual method, Deflate");
        refuses(&job, &expected)?;
        Ok(())
    });
    let number =
        Refused::verify(&["uses the method `number 1234`, which is not supported"], "the usual method, Deflate");
    refused(suite, "an_unknown_method_is_refused_by_its_number", number, |_| {
        Zip::new().entry(Entry::raw(ENTRY, &tonight(), 1234, vec![1; 100])).build()
    });
}

/// What a mail tells of a zip is limited, whatever is in the zip.
fn many_long_names(suite: &mut Suite) {
    type Name = fn(usize) -> String;
    // Of 250 characters; the second kind is similar to what is wanted, and so suggested.
    let kinds: [(&str, Name); 2] = [
        ("unrelated", |number| format!("{number:05}{}", "é".repeat(245))),
        ("similar", |number| format!("{number:05}{}/{ENTRY}", "é".repeat(232))),
    ];
    for (kind, name) in kinds {
        suite.case(format!("zip::the_mail_about_20000_long_{kind}_names_is_short"), MAILED, move || {
            let mut job = after_a_good_one()?;
            let server = SmtpServer::start(Security::None, None);
            job.top = "[log]\nlevel = \"debug\"\n".into();
            job.rest = mailed(&server, "");
            let mut zip = Zip::new();
            for number in 0..20_000 {
                zip = zip.entry(Entry::stored(&name(number), b""));
            }
            job.publish_bytes(zip.build());
            let done = job.night(TONIGHT);
            ensure!(done.code == 4, "{done}");
            ensure!(done.stderr.len() < 64 << 10, "{} bytes on the terminal", done.stderr.len());
            ensure!(done.peak_memory_bytes < 64 << 20, "{} bytes of memory", done.peak_memory_bytes);

            let mail = server.wait_for_mails(1).remove(0);
            let (text, html) = (mail.text.unwrap_or_default(), mail.html.unwrap_or_default());
            ensure!(text.len() + html.len() <= 256 << 10, "{} + {} bytes of text and HTML", text.len(), html.len());
            // With the line that says how much was left out.
            let attached = mail.attachments.iter().map(|log| log.text.len()).max().unwrap_or_default();
            ensure!(attached > 0 && attached <= (1 << 20) + 200, "a log of {attached} bytes");
            ensure!(server.raw(1).len() < 2 << 20, "a mail of {} bytes", server.raw(1).len());
            for shown in [&done.stderr, &text, &html, &job.log()] {
                let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
                ensure!(shown.contains("is not in the zip, which holds"), "{shown}");
                let cut = format!("00000{}…", "é".repeat(195));
                ensure!(shown.contains(&cut), "`{cut}` is missing in: {shown}");
                ensure!(!shown.contains(&"é".repeat(201)), "a name is not cut: {shown}");
            }
            Ok(())
        });
    }
}

fn archives(suite: &mut Suite) {
    suite.case("zip::the_same_zip_gives_the_same_archive_on_every_machine_and_night", CLOCK, || {
        for compression in ["", "compression = 6\n"] {
            let archives = ["2026-11-20 01:00:00", "2026-11-20 05:00:00", "2026-12-24 01:00:00"].map(|at| {
                let mut job = Job::new();
                job.archive = compression.into();
                job.publish(&tonight());
                let done = job.night(at);
                assert_eq!(done.code, 0, "{done}");
                std::fs::read(job.path("nas").join(&job.held()[0])).expect("an archive")
            });
            ensure!(archives[0] == archives[1] && archives[0] == archives[2], "bytes differ with `{compression}`");
        }
        Ok(())
    });
    // Served from disk, spooled, read, packed, published, read back: never in memory, and not inflated to disk.
    suite.case("zip::a_gigabyte_passes_in_little_memory", CLOCK, || {
        let job = Job::new();
        let zip = job.path("large.zip");
        let dump = || Dump::new(1).size(1 << 30);
        zips::write_large(&zip, ENTRY, &mut dump().reader());
        job.source.put(crate::job::ZIP, zip.clone());
        let (done, result) = json(&job, TONIGHT)?;
        ensure!(done.code == 0, "{done}\n{}", job.log());
        ensure!(result["dump"]["bytes"].as_u64().is_some_and(|bytes| bytes >= 1 << 30), "{done}");
        ensure!(result["archive"]["reused_compression"] == true, "{done}");
        ensure!(done.peak_memory_bytes < 64 << 20, "{} bytes of memory", done.peak_memory_bytes);
        ensure!(done.peak_memory_bytes > 0);
        is_the_same(&job.path("nas/20261120.tgz"), &mut dump().reader())
    });
}

/// What `tar` unpacks is what the reader gives, piece by piece.
fn is_the_same(archive: &std::path::Path, expected: &mut dyn std::io::Read) -> anyhow::Result<()> {
    use std::io::Read as _;
    use std::process::{Command, Stdio};
    let mut tar = Command::new("tar").arg("xzOf").arg(archive).stdout(Stdio::piped()).spawn()?;
    let mut unpacked = tar.stdout.take().expect("stdout is piped");
    let (mut ours, mut theirs) = (vec![0; 1 << 20], Vec::with_capacity(1 << 20));
    loop {
        let got = expected.read(&mut ours)?;
        theirs.clear();
        (&mut unpacked).take(ours.len().min(got.max(1)) as u64).read_to_end(&mut theirs)?;
        ensure!(ours[..got] == theirs[..], "`tar` unpacks something else");
        if got == 0 {
            ensure!(tar.wait()?.success(), "`tar` failed");
            return Ok(());
        }
    }
}
