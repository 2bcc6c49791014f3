//! What a case knows of the server it runs against, and the checks that all cases share.

use std::error::Error as _;
use std::fs;
use std::io::{self, Cursor};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use archive::config::settings::{DestinationSettings, Protocol as ProtocolSettings, Verify};
use archive::destination::{self, Capabilities, Destination, DestinationError, ErrorKind};
use archive::error::Hinted as _;
use archive::interrupt::Interrupt;
use archive::text::Language;

use crate::support::accounts;
use crate::support::harness::Need;
use crate::support::proxy::Proxy;

/// One line of the register.
pub struct Protocol {
    /// The first half of the cases' names.
    pub name: &'static str,
    /// Without these, nothing of it runs.
    pub needs: &'static [Need],
    /// What it has; cases that ask for anything else do not exist for it.
    pub features: &'static [Feature],
    /// Starts a server of its own for one case.
    pub start: fn() -> Box<dyn Server>,
    /// Ways not to get in, each a case: see [`Server::refusal`].
    pub refusals: &'static [&'static str],
    /// What single features need beside the rest.
    pub more_needs: fn(Feature) -> Vec<Need>,
}

impl Protocol {
    /// What a case needs.
    pub fn needs_for(&self, feature: Feature) -> Vec<Need> {
        self.needs.iter().copied().chain((self.more_needs)(feature)).collect()
    }

    /// Whether it cannot run here at all.
    pub fn is_missing(&self) -> bool {
        self.needs.iter().any(|need| need.missing().is_some())
    }
}

/// What a case asks of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Being a destination.
    Any,
    /// Ten thousand files are made within seconds; not where each is a request to a slow server.
    Many,
    /// A directory on a disk of this machine that tests can look into.
    Directory,
    /// [`Place::ReadOnly`]
    ReadOnly,
    /// [`Place::Small`]
    Small,
    /// A TCP connection that can be cut, and a server that can be frozen.
    Network,
    /// Renaming: [`Capabilities::atomic_put`] is false.
    Move,
    /// Renaming over a connection that can be cut.
    NetworkMove,
    /// [`Destination::put_new`]: [`Capabilities::atomic_put`] is true.
    PutNew,
    /// [`Destination::put_new`] over a connection that can be cut.
    NetworkPutNew,
    /// Every operation is a connection of its own, which can be cut, and the server can be frozen.
    Calls,
    /// No connection of ours, and yet a server that can be frozen: a mount.
    Mounted,
    /// Large files go in parts, which the server joins at the end.
    Parts,
    /// [`Capabilities::resume`]
    Resume,
}

/// One case.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub feature: Feature,
    pub run: fn(&dyn Server) -> Result<()>,
}

/// A directory at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Empty and writable.
    Data,
    /// A path below [`Place::Data`] that is not there yet.
    Below(&'static str),
    /// Must not be written to.
    ReadOnly,
    /// A path below [`Place::ReadOnly`].
    BelowReadOnly(&'static str),
    /// Writable, of about a megabyte.
    Small,
}

/// Somebody who must not get in.
pub struct Refusal {
    pub settings: DestinationSettings,
    pub kind: ErrorKind,
    /// How many connections finding it out may take.
    pub connections: u64,
    /// Words that the message must hold.
    pub words: &'static [&'static str],
    /// Words that the hint must hold.
    pub hint: &'static str,
}

/// A server that runs for one case.
pub trait Server {
    /// The protocol and its keys, for a place.
    fn protocol(&self, place: Place) -> ProtocolSettings;

    /// A place as its disk has it.
    fn disk(&self, place: Place) -> Box<dyn Disk>;

    /// What it must be able to do.
    fn capabilities(&self) -> Capabilities;

    /// Whether it takes a file of this name; otherwise it must be refused before anything is sent.
    fn can_store(&self, _name: &str) -> bool {
        true
    }

    /// Whether a blank at the end of a name arrives there.
    fn keeps_blanks(&self) -> bool {
        true
    }

    /// Whether it knows directories, and not just names with a `/` in them.
    fn has_directories(&self) -> bool {
        true
    }

    /// Whether its listings hold what [`Directory::make_oddities`] makes.
    fn shows_oddities(&self) -> bool {
        true
    }

    /// Whether its listings hold names that begin with a dot.
    fn shows_hidden(&self) -> bool {
        true
    }

    /// What must never be seen in an error.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// A connection, as the program makes it.
    fn connect(&self, place: Place) -> Result<Box<dyn Destination>, DestinationError> {
        destination::connect(&self.settings(place), &Interrupt::default())
    }

    /// Settings without patience: no retries.
    fn settings(&self, place: Place) -> DestinationSettings {
        DestinationSettings {
            name: "nas".to_owned(),
            protocol: self.protocol(place),
            verify: Verify::Checksum,
            bandwidth_limit: None,
            connect_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(20),
            time_limit: Duration::from_secs(3600),
            retries: 0,
            retention: None,
        }
    }

    /// One of the ways of [`Protocol::refusals`].
    fn refusal(&self, what: &str) -> Refusal {
        unreachable!("this protocol names no refusal, `{what}` neither")
    }

    /// Parts of files that show nowhere and take room all the same ([`Feature::Parts`]).
    fn unfinished(&self) -> usize {
        0
    }

    /// Leaves such a part of `name`, as a run that was killed does ([`Feature::Parts`]).
    fn leave_unfinished(&self, _name: &str) {
        unreachable!("only with `Feature::Parts`")
    }

    /// Answers so many of the next parts with a refusal that passes ([`Feature::Parts`]).
    fn refuse_parts(&self, _count: usize) {
        unreachable!("only with `Feature::Parts`")
    }

    /// Where it listens ([`Feature::Network`]).
    fn port(&self) -> u16 {
        unreachable!("only with `Feature::Network`")
    }

    /// A proxy to it ([`Feature::Network`]).
    fn proxy(&self) -> Proxy {
        Proxy::start(self.port())
    }

    /// The same server by another port, that of a proxy ([`Feature::Network`]).
    fn redirected(&self, _settings: &DestinationSettings, _port: u16) -> DestinationSettings {
        unreachable!("only with `Feature::Network`")
    }

    /// Stops everything in its tracks; connections stay ([`Feature::Network`]).
    fn freeze(&self) {
        unreachable!("only with `Feature::Network`")
    }
}

/// A directory, without going through the destination under test.
pub trait Disk {
    /// Puts a file there that the account may change.
    fn write(&self, name: &str, content: &[u8]);
    /// A file's content.
    fn read(&self, name: &str) -> Option<Vec<u8>>;
    /// Makes a directory.
    fn make_directory(&self, name: &str);
    /// Everything in it, sorted.
    fn names(&self) -> Vec<String>;
    /// The directory itself ([`Feature::Directory`]).
    fn path(&self) -> PathBuf {
        unreachable!("only with `Feature::Directory`")
    }
}

/// A directory of this machine.
pub struct Directory {
    pub path: PathBuf,
    /// Who must own what is in it, if not the user of the tests.
    pub owner: Option<String>,
}

impl Directory {
    fn give(&self, path: &Path) {
        if let Some(owner) = &self.owner {
            accounts::give_to(path, owner);
        }
    }

    /// A link to nowhere and a name that is no UTF-8: listings must survive both.
    pub fn make_oddities(path: &Path) -> io::Result<()> {
        symlink("nowhere", path.join("dangling"))?;
        let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"latin-\xe9.tgz");
        fs::write(path.join(name), "x")
    }
}

impl Disk for Directory {
    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path.join(name);
        fs::write(&path, content).expect("the tests may write everywhere");
        self.give(&path);
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path.join(name)).ok()
    }

    fn make_directory(&self, name: &str) {
        let path = self.path.join(name);
        fs::create_dir(&path).expect("the tests may write everywhere");
        self.give(&path);
    }

    fn names(&self) -> Vec<String> {
        let listing = fs::read_dir(&self.path).unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
        let mut names: Vec<String> =
            listing.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        // FUSE hears of the end of a file a moment after `close`; what is deleted before that hides behind such a name.
        names.retain(|name| !name.starts_with(".fuse_hidden"));
        names.sort();
        names
    }

    fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

/// A directory whose files are given to whoever must own them.
pub struct Given(pub Directory, pub fn(&Path));

impl Disk for Given {
    fn write(&self, name: &str, content: &[u8]) {
        self.0.write(name, content);
        self.1(&self.0.path.join(name));
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.0.read(name)
    }

    fn make_directory(&self, name: &str) {
        self.0.make_directory(name);
        self.1(&self.0.path.join(name));
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    fn path(&self) -> PathBuf {
        self.0.path()
    }
}

/// Bytes that do not compress and differ by seed.
pub fn content(bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut content = vec![0; bytes];
    random.fill(&mut content);
    content
}

/// Gives a file its final name in the way of this server: by a rename, or at once.
pub fn put_finally(
    destination: &mut dyn Destination,
    part: &str,
    name: &str,
    content: &[u8],
) -> Result<(), DestinationError> {
    let mut source = Cursor::new(content);
    if destination.capabilities().atomic_put {
        return destination.put_new(name, &mut source);
    }
    destination.put(part, &mut source, 0)?;
    destination.move_new(part, name)
}

/// All of a file, from an offset.
pub fn read(destination: &mut dyn Destination, name: &str, offset: u64) -> Result<Vec<u8>, DestinationError> {
    let mut content = Vec::new();
    destination.get(name, offset, &mut |bytes| {
        content.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(content)
}

/// Fails unless `result` is an error of this kind that gives nothing away; returns all that it says, hint included.
pub fn refused<T>(server: &dyn Server, result: Result<T, DestinationError>, kind: ErrorKind) -> Result<String> {
    let error = result.err().with_context(|| format!("it succeeded where {kind:?} was expected"))?;
    let told = told(&error);
    ensure!(error.kind == kind, "{:?} instead of {kind:?}: {told}", error.kind);
    for secret in server.secrets() {
        ensure!(!told.contains(&secret) && !format!("{error:?}").contains(&secret), "a secret shows: {told}");
    }
    Ok(told)
}

/// An error with its chain and hint.
pub fn told(error: &DestinationError) -> String {
    let mut told = error.to_string();
    let mut layer = error.source();
    while let Some(cause) = layer {
        told.push_str(&format!(": {cause}"));
        layer = cause.source();
    }
    if let Some(hint) = error.hint() {
        told.push_str(&format!("; hint: {}", hint.get(Language::En)));
    }
    told
}

/// Fails unless `text` holds all of these words.
pub fn says(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "`{word}` is missing in: {text}");
    }
    Ok(())
}
