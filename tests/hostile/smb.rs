//! The frames below SMB (MS-SMB2 2.1): what can be done to a client before it has logged in.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::{Behaviour, Hostile, Twin};

pub const TWIN: Twin = Twin {
    name: "smb",
    needs: &[],
    behaviours: &[Behaviour::Dripping, Behaviour::Silent, Behaviour::LyingLengths, Behaviour::Forging],
    start: |behaviour| Box::new(Smb::start(behaviour)),
};

struct Smb {
    port: u16,
}

impl Smb {
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
        Smb { port }
    }
}

impl Hostile for Smb {
    fn destination(&self) -> String {
        format!(
            "[[destination]]\nname = \"hostile\"\ntype = \"smb\"\nhost = \"127.0.0.1\"\nport = {}\nshare = \"archives\"\n\
             path = \"data\"\nusername = \"archive\"\npassword = \"secret\"\n",
            self.port
        )
    }
}

fn serve(mut connection: TcpStream, behaviour: Behaviour) -> std::io::Result<()> {
    let mut header = [0; 4];
    connection.read_exact(&mut header)?;
    connection.read_exact(&mut vec![0; u32::from_be_bytes(header) as usize])?;
    match behaviour {
        // The longest frame that there is, a byte at a time.
        Behaviour::Dripping => {
            connection.write_all(&[0, 0x0F, 0xFF, 0xFF])?;
            loop {
                connection.write_all(b"\xfe")?;
                thread::sleep(Duration::from_secs(1));
            }
        }
        Behaviour::LyingLengths => {
            connection.write_all(&[0, 0xFF, 0xFF, 0xFF])?;
            loop {
                connection.write_all(&[0xFE; 65_536])?;
            }
        }
        Behaviour::Forging => {
            let forged = "\u{1b}[2J\r\n\u{2713} everything is fine\r\n\u{202e}".repeat(20_000);
            connection.write_all(&(forged.len() as u32).to_be_bytes())?;
            connection.write_all(forged.as_bytes())
        }
        _ => {
            thread::sleep(Duration::from_secs(600));
            Ok(())
        }
    }
}
