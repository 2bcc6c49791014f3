//! What the shop's database exports: a `mysqldump` in a zip. Orders only ever come in, so each night's dump is longer.

use std::io::{Cursor, Write};

use anyhow::Context as _;
use chrono::{DateTime, Datelike, Timelike};
use chrono_tz::Tz;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::dumps::Dump;

/// The entry in the zip.
pub const ENTRY: &str = "boutique.sql";
/// The dump's size on the first day of the month, and what each day adds, bytes.
const SIZE: (u64, u64) = (3_500_000, 48_000);

/// One night's export.
pub struct Export {
    /// The dump, if it is whole.
    pub dump: Vec<u8>,
    /// The zip that holds it.
    pub zip: Vec<u8>,
}

impl Export {
    /// Exports at `time`; an export that is not `whole` ends in the middle of a row, in a zip that is perfectly valid.
    pub fn at(time: DateTime<Tz>, whole: bool) -> anyhow::Result<Self> {
        let dump = Dump::new(2026).completed(&time.format("%Y-%m-%d %k:%M:%S").to_string());
        let dump = match whole {
            true => dump.size(SIZE.0 + SIZE.1 * u64::from(time.day())),
            // Not so short that its size alone would betray it.
            false => dump.size(SIZE.0 * 3 / 4).cut(),
        };
        let dump = dump.text();
        let zip = zip_of(&dump, time).context("failed to write the zip")?;
        Ok(Export { dump, zip })
    }
}

fn zip_of(dump: &[u8], time: DateTime<Tz>) -> anyhow::Result<Vec<u8>> {
    let [month, day, hour, minute, second] = [time.month(), time.day(), time.hour(), time.minute(), time.second()]
        .map(|number| u8::try_from(number).unwrap_or_default());
    let modified = zip::DateTime::from_date_and_time(u16::try_from(time.year())?, month, day, hour, minute, second)?;
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).last_modified_time(modified);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(ENTRY, options)?;
    zip.write_all(dump)?;
    Ok(zip.finish()?.into_inner())
}
