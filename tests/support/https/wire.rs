//! HTTP's small parts: ranges, dates, heads, Basic's base64; and the socket as it must be held to be cut.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

/// First byte and end of a single range within `total` bytes; `None`: 416.
pub fn satisfiable(range: &str, total: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, end) = match (first.parse::<u64>().ok(), last.parse::<u64>().ok()) {
        (Some(first), Some(last)) => (first, total.min(last.saturating_add(1))),
        (Some(first), None) => (first, total),
        (None, Some(suffix)) => (total.saturating_sub(suffix), total),
        (None, None) => return None,
    };
    (first < end).then_some((first, end))
}

pub fn head(status: u16, headers: &[(String, String)]) -> String {
    let reason = match status {
        200 => "OK",
        206 => "Partial Content",
        302 => "Found",
        304 => "Not Modified",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    };
    let mut text = format!("HTTP/1.1 {status} {reason}\r\nDate: {}\r\n", http_date(SystemTime::now()));
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text
}

/// IMF-fixdate (RFC 9110 §5.6.7).
pub fn http_date(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil from days, by Howard Hinnant: years begin in March, eras have 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(days % 7) as usize],
        months[month as usize - 1],
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let value = chunk.iter().fold(0_u32, |value, &byte| value << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let letter = ALPHABET[(value >> (18 - 6 * index) & 63) as usize] as char;
            text.push(if index <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

/// Waits until the peer's kernel has acknowledged everything, by the send queue in `/proc/net/tcp`; five seconds at most.
pub fn wait_until_delivered(stream: &TcpStream) {
    let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return };
    let ports = (format!(":{:04X}", local.port()), format!(":{:04X}", peer.port()));
    for _ in 0..2500 {
        let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let queued = table.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (Some(from), Some(to), _, Some(queues)) = (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                return false;
            };
            from.ends_with(&ports.0) && to.ends_with(&ports.1) && !queues.starts_with("00000000:")
        });
        if !queued {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A shared socket as a stream, so that the server can end connections that others read.
pub struct ArcStream(pub Arc<TcpStream>);

impl Read for ArcStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Write for ArcStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}
