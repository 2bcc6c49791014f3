//! A server that accepts and never says a word: the same for every protocol.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::{Behaviour, Hostile, Twin};

/// FTP, where the server speaks first.
pub const FTP: Twin = Twin {
    name: "silent-ftp",
    needs: &[],
    behaviours: &[Behaviour::Silent],
    start: |_| {
        let keys =
            "type = \"ftp\"\nusername = \"archive\"\npassword = \"secret\"\npath = \"/data\"\nallow_plaintext = true";
        Box::new(SilentServer::start(keys))
    },
};

/// The server.
pub struct SilentServer {
    port: u16,
    keys: &'static str,
    /// Held open.
    _connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl SilentServer {
    /// Listens on loopback; `keys` are those of the destination but `host` and `port`.
    pub fn start(keys: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let held = Arc::clone(&connections);
        // Ends with the test process: it waits for connections until then.
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                held.lock().expect("no panic while held").push(connection);
            }
        });
        SilentServer { port, keys, _connections: connections }
    }
}

impl Hostile for SilentServer {
    fn destination(&self) -> String {
        format!("[[destination]]\nname = \"hostile\"\nhost = \"127.0.0.1\"\nport = {}\n{}\n", self.port, self.keys)
    }
}
