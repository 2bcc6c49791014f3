//! The proxy, between plain sockets and between `curl` and the HTTPS server.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::support::harness::{Need, Suite};
use crate::support::https::HttpsServer;
use crate::support::proxy::{Fault, Plan, Proxy};
use crate::support::wait;

/// A server that sends back what it gets, and the proxy before it.
fn echo() -> Result<Proxy> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    // It ends with the test process.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    Ok(Proxy::start(port))
}

fn connect(proxy: &Proxy) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", proxy.port()))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub fn register(suite: &mut Suite) {
    suite.case("proxy::passes_counts_and_cuts_where_planned", &[], || {
        let proxy = echo()?;
        for (plan, arrives, end) in [
            (Plan::pass().down(Fault::ResetAfter(10)), 10, Err(ErrorKind::ConnectionReset)),
            (Plan::pass().up(Fault::ResetAfter(0)), 0, Err(ErrorKind::ConnectionReset)),
            (Plan::pass().down(Fault::CloseAfter(7)), 7, Ok(0)),
        ] {
            proxy.next(plan);
            let mut stream = connect(&proxy)?;
            stream.write_all(&[1; 100])?;
            let mut got = vec![0; arrives];
            stream.read_exact(&mut got)?;
            let ended = stream.read(&mut [0; 1]).map_err(|error| error.kind());
            ensure!(ended == end, "{plan:?}: {ended:?}");
        }
        let mut stream = connect(&proxy)?;
        stream.write_all(&[1; 100])?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut got = Vec::new();
        stream.read_to_end(&mut got)?;
        ensure!(got.len() == 100 && proxy.connections() == 4, "the plans are used up");
        ensure!(proxy.bytes_down() == 117, "{}", proxy.bytes_down());
        wait::until("all connections to end", || proxy.open_connections() == 0);
        Ok(())
    });

    suite.case("proxy::stalls_is_cut_and_refuses", &[], || {
        let proxy = echo()?;
        proxy.always(Plan::pass().up(Fault::StallAfter(3)));
        let mut stream = connect(&proxy)?;
        stream.write_all(&[1; 10])?;
        stream.read_exact(&mut [0; 3])?;
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        ensure!(stream.read(&mut [0; 1]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "silence");
        stream.set_read_timeout(None)?;
        proxy.cut_all();
        ensure!(stream.read(&mut [0; 1]).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset), "reset");
        proxy.refuse(true);
        let refused = connect(&proxy).map_err(|error| error.to_string());
        ensure!(refused.as_ref().is_err_and(|text| text.contains("refused")), "{refused:?}");
        proxy.refuse(false);
        proxy.always(Plan::pass());
        let mut stream = connect(&proxy)?;
        stream.write_all(b"again")?;
        stream.read_exact(&mut [0; 5])?;
        Ok(())
    });

    suite.case("proxy::delays_without_limiting_the_rate", &[Need::program("curl")], || {
        let proxy = echo()?;
        proxy.set_delay(Duration::from_millis(100));
        let mut stream = connect(&proxy)?;
        let started = Instant::now();
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0; 1])?;
        ensure!(started.elapsed() >= Duration::from_millis(200), "a round trip takes both delays");

        let server = HttpsServer::start(None);
        server.put("/large", vec![7; 64 << 20]);
        let proxy = Proxy::start(server.port());
        proxy.set_delay(Duration::from_millis(100));
        let output = Command::new("curl")
            .args(["-sS", "-o", "/dev/null", "-w", "%{size_download} %{speed_download}", "--noproxy", "*"])
            .arg(server.url_through(proxy.port(), "/large"))
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let (size, rate) = text.split_once(' ').unwrap_or_default();
        // 64 KiB per 100 ms, as a sleep per piece would give, is 0.6 MB/s.
        ensure!(size == "67108864" && rate.parse::<f64>()? > 5e6, "{text}");
        Ok(())
    });
}
