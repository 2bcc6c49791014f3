//! NFS version 3 and MOUNT (RFC 1813) over RPC (RFC 5531), on one port: one directory with one file in it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::{Behaviour, Hostile, Twin};

pub const TWIN: Twin = Twin {
    name: "nfs",
    needs: &[],
    behaviours: &[
        Behaviour::EndlessFile,
        Behaviour::EndlessListing,
        Behaviour::RepeatingListing,
        Behaviour::Dripping,
        Behaviour::Silent,
        Behaviour::LyingLengths,
        Behaviour::Forging,
    ],
    start: |behaviour| Box::new(Nfs::start(behaviour)),
};

const MOUNT: u32 = 100_005;
const HUGE: u32 = 0xFFFF_FFF0;
/// Of the directory and of the file.
const DIRECTORY: &[u8] = b"directory-handle";
const FILE: &[u8] = b"file-handle-0000";

struct Nfs {
    port: u16,
}

impl Nfs {
    fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                thread::spawn(move || {
                    let _the_client_is_gone = serve(connection, behaviour);
                });
            }
        });
        Nfs { port }
    }
}

impl Hostile for Nfs {
    fn destination(&self) -> String {
        format!(
            "[[destination]]\nname = \"hostile\"\ntype = \"nfs\"\nhost = \"127.0.0.1\"\nexport = \"/export\"\npath = \"archives\"\n\
             port = {0}\nmount_port = {0}\nuid = 1000\ngid = 1000\nprivileged_port = false\n",
            self.port
        )
    }
}

fn serve(mut connection: TcpStream, behaviour: Behaviour) -> std::io::Result<()> {
    let mut seen = Seen::default();
    loop {
        let mut header = [0; 4];
        connection.read_exact(&mut header)?;
        let mut call = vec![0; (u32::from_be_bytes(header) & 0x7FFF_FFFF) as usize];
        connection.read_exact(&mut call)?;
        if behaviour == Behaviour::Silent {
            continue;
        }
        let mut answer = Xdr::default();
        // Accepted, no verifier, done.
        answer.numbers(&[number(&call, 0), 1, 0, 0, 0, 0]);
        match (number(&call, 12), number(&call, 20)) {
            (MOUNT, _) => mount(&mut answer, behaviour),
            (_, procedure) => nfs(&mut answer, procedure, &call, behaviour, &mut seen),
        }
        let header = 0x8000_0000 | answer.0.len() as u32;
        if behaviour == Behaviour::Dripping {
            for byte in header.to_be_bytes().into_iter().chain(answer.0) {
                connection.write_all(&[byte])?;
                thread::sleep(Duration::from_secs(1));
            }
        } else {
            connection.write_all(&[&header.to_be_bytes()[..], &answer.0].concat())?;
        }
    }
}

fn mount(answer: &mut Xdr, behaviour: Behaviour) {
    answer.numbers(&[0]);
    answer.opaque(DIRECTORY);
    match behaviour {
        // A list of that many flavours.
        Behaviour::LyingLengths => answer.numbers(&[HUGE]),
        _ => answer.numbers(&[1, 1]),
    }
}

fn nfs(answer: &mut Xdr, procedure: u32, call: &[u8], behaviour: Behaviour, seen: &mut Seen) {
    const GETATTR: u32 = 1;
    const LOOKUP: u32 = 3;
    const READ: u32 = 6;
    const WRITE: u32 = 7;
    const CREATE: u32 = 8;
    const REMOVE: u32 = 12;
    const READDIRPLUS: u32 = 17;
    const FSSTAT: u32 = 18;
    const FSINFO: u32 = 19;
    const COMMIT: u32 = 21;
    match procedure {
        FSINFO => {
            // OK, no attributes; reads and writes of up to 64 KiB, listings of 64 KiB, files of any size, links.
            answer.numbers(&[
                0,
                0,
                65_536,
                65_536,
                4096,
                65_536,
                65_536,
                4096,
                65_536,
                0x7FFF_FFFF,
                0xFFFF_FFFF,
                0,
                1,
                1,
            ]);
        }
        GETATTR => {
            answer.numbers(&[0]);
            match seen.written {
                Some(written) => answer.attributes(1, written),
                None => answer.attributes(2, 100),
            }
        }
        LOOKUP if asks_for(call, b"archives") => {
            answer.numbers(&[0]);
            answer.opaque(DIRECTORY);
            answer.numbers(&[1]);
            answer.attributes(2, 100);
            answer.numbers(&[0]);
        }
        LOOKUP if asks_for(call, b"20261119.tgz") || (asks_for(call, b".part") && seen.written.is_some()) => {
            answer.numbers(&[0]);
            answer.opaque(FILE);
            answer.numbers(&[1]);
            answer.attributes(1, seen.written.unwrap_or(100));
            answer.numbers(&[0]);
        }
        // No such file.
        LOOKUP => answer.numbers(&[2, 0]),
        CREATE => {
            answer.numbers(&[0, 1]);
            answer.opaque(FILE);
            answer.numbers(&[0, 0, 0]);
        }
        READ => {
            // Never the end.
            answer.numbers(&[0, 0, 65_536, 0]);
            answer.opaque(&[0; 65_536]);
        }
        WRITE => {
            // All of it: the count stands after the handle and the offset.
            let count = number(call, arguments(call) + 4 + FILE.len() + 8);
            *seen.written.get_or_insert(0) += count;
            answer.numbers(&[0, 0, 0, count, 0, 0, 0]);
        }
        COMMIT => answer.numbers(&[0, 0, 0, 0, 0]),
        REMOVE => answer.numbers(&[0, 0, 0]),
        READDIRPLUS => page(answer, behaviour, &mut seen.next_name),
        FSSTAT => answer.numbers(&[0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0]),
        // Input/output error.
        _ => answer.numbers(&[5, 0, 0]),
    }
}

fn asks_for(call: &[u8], name: &[u8]) -> bool {
    call.windows(name.len()).any(|window| window == name)
}

fn page(answer: &mut Xdr, behaviour: Behaviour, next_name: &mut u64) {
    // OK, no attributes, a verifier.
    answer.numbers(&[0, 0, 0, 0]);
    let mut entry = |name: &[u8], cookie: u64| {
        answer.numbers(&[1, 0, 9]);
        answer.opaque(name);
        answer.numbers(&[(cookie >> 32) as u32, cookie as u32, 1]);
        answer.attributes(1, 100);
        answer.numbers(&[0]);
    };
    match behaviour {
        Behaviour::EndlessListing => {
            for _ in 0..300 {
                *next_name += 1;
                entry(format!("{next_name:012}.tgz").as_bytes(), *next_name);
            }
            answer.numbers(&[0, 0]);
        }
        Behaviour::RepeatingListing => {
            entry(b"20261119.tgz", 7);
            answer.numbers(&[0, 0]);
        }
        Behaviour::Forging => {
            let forged = "\u{1b}[2J\r\n\u{2713} everything is fine\r\n\u{202e}";
            entry(forged.as_bytes(), 1);
            entry(forged.repeat(30_000).as_bytes(), 2);
            answer.numbers(&[0, 1]);
        }
        _ => {
            entry(b"20261119.tgz", 1);
            answer.numbers(&[0, 1]);
        }
    }
}

/// What one client has done.
#[derive(Default)]
struct Seen {
    next_name: u64,
    written: Option<u32>,
}

fn number(call: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(call[at..at + 4].try_into().expect("four bytes"))
}

/// Where they begin: after six numbers, the credential and the verifier.
fn arguments(call: &[u8]) -> usize {
    let verifier = 32 + (number(call, 28) as usize).next_multiple_of(4);
    verifier + 8 + (number(call, verifier + 4) as usize).next_multiple_of(4)
}

/// An answer in the making (RFC 4506).
#[derive(Default)]
struct Xdr(Vec<u8>);

impl Xdr {
    fn numbers(&mut self, numbers: &[u32]) {
        self.0.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    }

    fn opaque(&mut self, bytes: &[u8]) {
        self.numbers(&[bytes.len() as u32]);
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// Of a file (1) or directory (2): mode, links, owner, group, size, used, device, file system, number, three times.
    fn attributes(&mut self, kind: u32, size: u32) {
        self.numbers(&[kind, 0o640, 1, 1000, 1000, 0, size, 0, size, 0, 0, 0, 1, 0, kind, 0, 0, 0, 0, 0, 0]);
    }
}
