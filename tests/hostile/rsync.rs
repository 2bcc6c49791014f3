//! An rsync daemon that greets, and means harm after it. What follows the greeting is a protocol of its own, which the real
//! client speaks; so this is about its lines before.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::harness::Need;
use crate::{Behaviour, Hostile, Twin};

pub const TWIN: Twin = Twin {
    name: "rsync-daemon",
    needs: &[Need::program("rsync")],
    behaviours: &[
        Behaviour::Silent,
        Behaviour::Dripping,
        Behaviour::EndlessListing,
        Behaviour::LyingLengths,
        Behaviour::Forging,
    ],
    start: |behaviour| Box::new(Daemon::start(behaviour)),
};

struct Daemon {
    port: u16,
}

impl Daemon {
    /// Ends with the test process.
    fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                thread::spawn(move || serve(connection, behaviour));
            }
        });
        Daemon { port }
    }
}

impl Hostile for Daemon {
    fn destination(&self) -> String {
        format!(
            "[[destination]]\nname = \"hostile\"\ntype = \"rsync\"\nhost = \"127.0.0.1\"\nport = {}\nmodule = \"archives\"\n",
            self.port
        )
    }
}

/// Until the client has gone.
fn serve(mut connection: TcpStream, behaviour: Behaviour) -> Option<()> {
    let mut lines = BufReader::new(connection.try_clone().ok()?).lines();
    if behaviour == Behaviour::Silent {
        lines.next();
        lines.next();
        return None;
    }
    connection.write_all(b"@RSYNCD: 31.0 sha512 md5\n").ok()?;
    // Its own greeting, and the module.
    lines.next()?.ok()?;
    lines.next()?.ok()?;
    match behaviour {
        Behaviour::Dripping => loop {
            connection.write_all(b"x").ok()?;
            thread::sleep(Duration::from_secs(1));
        },
        Behaviour::EndlessListing => {
            // The lines of a message of the day, which has no end.
            let lines = b"20261119.tgz\n".repeat(5000);
            loop {
                connection.write_all(&lines).ok()?;
            }
        }
        Behaviour::LyingLengths => {
            connection.write_all(b"@RSYNCD: OK\n").ok()?;
            // Compatibility flags and checksum names are expected, then lengths and data: all of them as large as can be.
            loop {
                connection.write_all(&[0xff; 4096]).ok()?;
            }
        }
        _ => {
            let forged = "\u{1b}[2J\r✓ published 20261119.tgz\u{202e} ".repeat(20_000);
            write!(connection, "{forged}\n@ERROR: {forged}\n@RSYNCD: EXIT\n").ok()
        }
    }
}
