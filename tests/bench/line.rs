//! A line of 1 Gbit/s and 1 ms: a network namespace of its own with an `sshd` in it, behind two token buckets (tc-tbf(8)).
//!
//! The delay is made by the tests' proxy, in the namespace, in front of `sshd`: the kernels of many virtual machines have no
//! netem. Needs root. The namespace goes when this is dropped; `run.sh` removes it should the benchmark be killed.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::support::harness::{find_program, is_root};
use crate::support::proxy::Proxy;
use crate::support::wait;
use crate::world::World;

pub const TITLE: &str = "1 Gbit/s, 1 ms round trip";
/// The word on the command line that makes this program the far end, in the namespace.
pub const FAR_END: &str = "far-end-of-the-line";

/// `run.sh` knows it, too.
const NAMESPACE: &str = "archive-bench";
/// Addresses for benchmarks of networks (RFC 2544, appendix C.2.2).
const HERE: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 2);
const INTERFACES: [&str; 2] = ["archive-bench0", "archive-bench1"];
/// The bucket holds two of the largest packets that a virtual interface hands over.
const RATE: [&str; 7] = ["tbf", "rate", "1gbit", "burst", "128kb", "latency", "10ms"];
/// Half of the round trip.
const ONE_WAY: Duration = Duration::from_micros(500);

/// The line; gone when dropped.
pub struct Line {
    children: Vec<Child>,
    /// `sshd` at its end.
    pub server: SocketAddr,
    /// What takes bytes and says at their end that it has them.
    pub sink: SocketAddr,
}

impl Line {
    /// Makes it, to another `sshd` with the keys and files of the world's.
    pub fn start(world: &World) -> anyhow::Result<Self> {
        ensure!(is_root(), "a network namespace needs root");
        for program in ["ip", "tc"] {
            ensure!(find_program(program).is_some(), "not installed: `{program}` (package `iproute2`)");
        }
        let unset = SocketAddr::new(IpAddr::V4(THERE), 0);
        let mut line = Line { children: Vec::new(), server: unset, sink: unset };
        let [here, there] = INTERFACES;
        let address = |address: Ipv4Addr| format!("{address}/30");
        ip(&["netns", "add", NAMESPACE])?;
        ip(&["link", "add", here, "type", "veth", "peer", "name", there, "netns", NAMESPACE])?;
        ip(&["addr", "add", &address(HERE), "dev", here])?;
        ip(&["-n", NAMESPACE, "addr", "add", &address(THERE), "dev", there])?;
        ip(&["link", "set", here, "up"])?;
        for interface in [there, "lo"] {
            ip(&["-n", NAMESPACE, "link", "set", interface, "up"])?;
        }
        let tc = [&["qdisc", "add", "dev", here, "root"][..], &RATE].concat();
        command(&mut Command::new("tc"), &tc)?;
        let tc = [&["-n", NAMESPACE, "qdisc", "add", "dev", there, "root"][..], &RATE].concat();
        command(&mut Command::new("tc"), &tc)?;

        let config = world.sshd.key().with_file_name("config");
        let sshd = find_program("sshd").context("the world has one")?;
        let mut inside = inside(&sshd.display().to_string());
        line.children.push(inside.arg("-D").arg("-f").arg(config).arg("-q").stdin(Stdio::null()).spawn()?);
        let own = std::env::current_exe()?;
        let mut inside = self::inside(&own.display().to_string());
        inside.args([FAR_END, &world.sshd.port().to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut far_end = inside.spawn()?;
        let said = far_end.stdout.take().map(BufReader::new).context("piped")?;
        line.children.push(far_end);
        let mut ports = said.lines().map(|line| anyhow::Ok(line?.parse()?));
        let mut port = || ports.next().context("the far end of the line says nothing")?;
        line.server.set_port(port()?);
        line.sink.set_port(port()?);
        wait::some_within(Duration::from_secs(20), || greeting(line.server).ok())
            .context("no `sshd` answers at the end of the line")?;
        world.know(line.server)?;
        Ok(line)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _already_gone = child.kill();
            let _already_waited = child.wait();
        }
        let _gone = ip(&["netns", "del", NAMESPACE]);
    }
}

/// What runs in the namespace, until its input ends: the delay, and a sink. Says both ports.
pub fn far_end(sshd_port: &str) -> anyhow::Result<()> {
    let proxy = Proxy::start_at(THERE, sshd_port.parse()?, &[])?;
    proxy.set_delay(ONE_WAY);
    let listener = TcpListener::bind((THERE, 0))?;
    println!("{}\n{}", proxy.port(), listener.local_addr()?.port());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = vec![0; 1 << 20];
            while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
            let _gone = stream.write_all(b".");
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// Sends a file and nothing else: as fast as the line can be.
pub fn send(file: &std::path::Path, sink: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(sink)?;
    io::copy(&mut fs::File::open(file)?, &mut stream)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    Ok(stream.read_exact(&mut [0])?)
}

fn greeting(server: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.read_exact(&mut [0; 4])
}

fn inside(program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", NAMESPACE, program]);
    command
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    command(&mut Command::new("ip"), arguments)
}

fn command(command: &mut Command, arguments: &[&str]) -> anyhow::Result<()> {
    let output = command.args(arguments).output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}
