//! FTP (RFC 959) by a few lines: logs in anyone, lists one archive and takes whatever is sent.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::{Behaviour, Hostile, Twin};

pub const TWIN: Twin = Twin {
    name: "ftp",
    needs: &[],
    behaviours: &[
        Behaviour::EndlessFile,
        Behaviour::EndlessListing,
        Behaviour::RepeatingListing,
        Behaviour::Dripping,
        Behaviour::LyingLengths,
        Behaviour::Forging,
    ],
    start: |behaviour| Box::new(Ftp::start(behaviour)),
};

/// What is forged: a line that looks like one of the program's, and what moves a terminal's cursor.
const FORGED: &str = "\u{1b}[2J\r\n\u{2713} everything is fine\r\n\u{202e}";

struct Ftp {
    port: u16,
}

impl Ftp {
    fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let stored = Arc::default();
        thread::spawn(move || {
            for control in listener.incoming().flatten() {
                let stored = Arc::clone(&stored);
                thread::spawn(move || {
                    let _the_client_is_gone = Session { behaviour, stored, control, data: None }.serve();
                });
            }
        });
        Ftp { port }
    }
}

impl Hostile for Ftp {
    fn destination(&self) -> String {
        format!(
            "[[destination]]\nname = \"hostile\"\ntype = \"ftp\"\nhost = \"127.0.0.1\"\nport = {}\nusername = \"archive\"\n\
             password = \"secret\"\npath = \"/\"\nallow_plaintext = true\n",
            self.port
        )
    }
}

struct Session {
    behaviour: Behaviour,
    /// The size of the last upload.
    stored: Arc<Mutex<u64>>,
    control: TcpStream,
    /// The listener of the last EPSV.
    data: Option<TcpListener>,
}

impl Session {
    fn serve(mut self) -> std::io::Result<()> {
        self.say("220 ready")?;
        let mut commands = BufReader::new(self.control.try_clone()?);
        loop {
            let mut line = String::new();
            if commands.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let (command, argument) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
            self.answer(command, argument)?;
        }
    }

    /// An answer; a hostile one where it is not needed for what is to happen next.
    fn say(&mut self, answer: &str) -> std::io::Result<()> {
        let line = match self.behaviour {
            Behaviour::Forging => {
                let (code, words) = answer.split_at(3);
                format!("{code}-{}\r\n{code}{words}\u{1b}[2J\u{202e}\r\n", FORGED.repeat(2000))
            }
            _ => format!("{answer}\r\n"),
        };
        self.send(line.as_bytes())
    }

    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self.behaviour {
            Behaviour::Dripping => drip(&mut self.control, bytes),
            _ => self.control.write_all(bytes),
        }
    }

    fn answer(&mut self, command: &str, argument: &str) -> std::io::Result<()> {
        match command {
            "USER" => self.say("331 password"),
            "PASS" => self.say("230 in"),
            "FEAT" => self.control.write_all(b"211-Features:\r\n EPSV\r\n SIZE\r\n REST STREAM\r\n211 End\r\n"),
            "EPSV" => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let port = listener.local_addr()?.port();
                self.data = Some(listener);
                self.control.write_all(format!("229 (|||{port}|)\r\n").as_bytes())
            }
            "SIZE" if self.behaviour == Behaviour::LyingLengths => self.say("213 9223372036854775807"),
            "SIZE" if argument == "20261119.tgz" => self.say("213 100"),
            "SIZE" => {
                let size = *self.stored.lock().expect("no panic while held");
                self.say(&format!("213 {size}"))
            }
            "LIST" => self.transfer(Session::list),
            "RETR" => self.transfer(Session::retrieve),
            "STOR" => self.transfer(Session::store),
            // Forged where it is told to the user: in a refusal.
            "RNFR" if self.behaviour == Behaviour::Forging => self.say("550 no"),
            "RNFR" => self.say("350 go on"),
            "REST" => self.say("350 go on"),
            "TYPE" | "OPTS" | "NOOP" => self.say("200 done"),
            _ => self.say("250 done"),
        }
    }

    fn transfer(&mut self, what: fn(&mut Self, &mut TcpStream) -> std::io::Result<()>) -> std::io::Result<()> {
        let Some((mut data, _)) = self.data.take().map(|listener| listener.accept()).transpose()? else {
            return self.say("425 no");
        };
        self.control.write_all(b"150 here\r\n")?;
        let moved = what(self, &mut data);
        drop(data);
        match moved {
            Ok(()) => self.say("226 done"),
            Err(_) => self.say("426 cut"),
        }
    }

    fn list(&mut self, data: &mut TcpStream) -> std::io::Result<()> {
        let line = |size: &str, name: &str| format!("-rw-r--r-- 1 a a {size} Nov 19 01:00 {name}\r\n");
        match self.behaviour {
            Behaviour::EndlessListing => {
                for first in (0..).step_by(1000) {
                    let lines: String = (first..first + 1000).map(|n| line("1", &format!("{n:09}.tgz"))).collect();
                    data.write_all(lines.as_bytes())?;
                }
                Ok(())
            }
            Behaviour::RepeatingListing => {
                // Lines that are no entry belong to the name before: 2 MB, and an end.
                data.write_all(line("100", "20261119.tgz").as_bytes())?;
                data.write_all(&b"x\n".repeat(1 << 20))
            }
            Behaviour::Dripping => drip(data, line("100", "20261119.tgz").as_bytes()),
            Behaviour::LyingLengths => data.write_all(line("9223372036854775807", "20261119.tgz").as_bytes()),
            Behaviour::Forging => {
                data.write_all(line("100", &format!("{FORGED}20261119.tgz")).as_bytes())?;
                data.write_all(line("1", &FORGED.repeat(50_000)).as_bytes())
            }
            _ => data.write_all(line("100", "20261119.tgz").as_bytes()),
        }
    }

    fn retrieve(&mut self, data: &mut TcpStream) -> std::io::Result<()> {
        match self.behaviour {
            Behaviour::EndlessFile => loop {
                data.write_all(&[0; 65_536])?;
            },
            Behaviour::Dripping => drip(data, &[0; 100]),
            _ => data.write_all(&[0; 100]),
        }
    }

    fn store(&mut self, data: &mut TcpStream) -> std::io::Result<()> {
        let (mut buffer, mut size) = (vec![0; 65_536], 0);
        loop {
            match data.read(&mut buffer)? {
                0 => break,
                count => size += count as u64,
            }
        }
        *self.stored.lock().expect("no panic while held") = size;
        Ok(())
    }
}

/// One byte a second.
fn drip(to: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    for byte in bytes {
        to.write_all(&[*byte])?;
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
