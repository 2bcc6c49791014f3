//! The plainest honest destination: files in memory, behind a handle that tests can look through and script faults with.
//!
//! It keeps every promise of [`Destination`] and no other; nothing in the program itself uses it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::feed::Feed;
use super::{Capabilities, Destination, DestinationError, Entry, ErrorKind, Sink, Source, check_name};
use crate::digest::Digest;

/// An operation, as faults and the record of calls name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`MemoryServer::connect`]
    Connect,
    /// [`Destination::list`]
    List,
    /// [`Destination::stat`]
    Stat,
    /// [`Destination::put`]
    Put,
    /// [`Destination::get`]
    Get,
    /// [`Destination::move_new`]
    MoveNew,
    /// [`Destination::put_new`]
    PutNew,
    /// [`Destination::remove`]
    Remove,
    /// [`Destination::checksum`]
    Checksum,
}

/// One scripted failure.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The operation that fails.
    pub at: Operation,
    /// How it fails.
    pub kind: ErrorKind,
    /// For `put` and `get`: after so many bytes of this call.
    pub after_bytes: u64,
    /// The operation is carried out, only its answer is lost.
    pub done_all_the_same: bool,
}

impl Fault {
    /// A failure before anything happened.
    pub fn new(at: Operation, kind: ErrorKind) -> Self {
        Fault { at, kind, after_bytes: 0, done_all_the_same: false }
    }

    /// The same after so many bytes of this call.
    pub fn after_bytes(mut self, bytes: u64) -> Self {
        self.after_bytes = bytes;
        self
    }

    /// The same once the operation is done: only the answer is lost.
    pub fn done_all_the_same(mut self) -> Self {
        self.done_all_the_same = true;
        self
    }
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, (Vec<u8>, DateTime<Utc>)>,
    directories: Vec<String>,
    faults: VecDeque<Fault>,
    calls: Vec<(Operation, String)>,
    capacity: Option<u64>,
    capabilities: Option<Capabilities>,
    unsettled_bytes: u64,
    put_offsets: Vec<u64>,
}

/// The server: what is stored, what is about to go wrong, what was asked; clones are handles on the same one.
#[derive(Clone, Default)]
pub struct MemoryServer {
    state: Arc<Mutex<State>>,
}

impl MemoryServer {
    /// An empty server that can do everything.
    pub fn new() -> Self {
        MemoryServer::default()
    }

    /// Another connection.
    ///
    /// # Errors
    /// What a [`Fault`] at [`Operation::Connect`] says.
    pub fn connect(&self) -> Result<MemoryDestination, DestinationError> {
        self.enter(Operation::Connect, "")?;
        Ok(MemoryDestination { server: self.clone() })
    }

    /// Lets the next operation of that sort fail; several faults of one sort fail one call each, in this order.
    pub fn script(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    /// Limits what fits.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Pretends to be another sort of server.
    pub fn set_capabilities(&self, capabilities: Capabilities) {
        self.state().capabilities = Some(capabilities);
    }

    /// Pretends to be one whose files may have gaps so near to their end.
    pub fn set_unsettled_bytes(&self, bytes: u64) {
        self.state().unsettled_bytes = bytes;
    }

    /// Where each [`Destination::put`] began.
    pub fn put_offsets(&self) -> Vec<u64> {
        self.state().put_offsets.clone()
    }

    /// Stores a file behind everybody's back.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        self.state().files.insert(name.to_owned(), (bytes.to_vec(), Utc::now()));
    }

    /// Makes a directory behind everybody's back.
    pub fn make_directory(&self, name: &str) {
        self.state().directories.push(name.to_owned());
    }

    /// A file's bytes.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.state().files.get(name).map(|(bytes, _)| bytes.clone())
    }

    /// The files' names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.state().files.keys().cloned().collect()
    }

    /// Every call since the beginning, with the name it was about.
    pub fn calls(&self) -> Vec<(Operation, String)> {
        self.state().calls.clone()
    }

    /// How often an operation was asked for.
    pub fn count(&self, operation: Operation) -> usize {
        self.state().calls.iter().filter(|(called, _)| *called == operation).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a call and takes the fault that waits for it; a fault without further conditions strikes at once.
    fn enter(&self, operation: Operation, name: &str) -> Result<Option<Fault>, DestinationError> {
        let mut state = self.state();
        state.calls.push((operation, name.to_owned()));
        let Some(place) = state.faults.iter().position(|fault| fault.at == operation) else { return Ok(None) };
        let fault = state.faults.remove(place);
        match fault {
            Some(fault) if fault.after_bytes == 0 && !fault.done_all_the_same => Err(struck(&fault)),
            later => Ok(later),
        }
    }
}

fn struck(fault: &Fault) -> DestinationError {
    DestinationError::new(fault.kind, format!("scripted fault in {:?}", fault.at))
}

fn answer<T>(value: T, fault: Option<Fault>) -> Result<T, DestinationError> {
    match fault {
        Some(fault) => Err(struck(&fault)),
        None => Ok(value),
    }
}

fn missing(name: &str) -> DestinationError {
    DestinationError::new(ErrorKind::NotFound, format!("`{name}` does not exist"))
}

/// A connection to a [`MemoryServer`].
pub struct MemoryDestination {
    server: MemoryServer,
}

impl Destination for MemoryDestination {
    fn location(&self) -> String {
        "memory:".to_owned()
    }

    fn capabilities(&mut self) -> Capabilities {
        let everything = Capabilities {
            move_refuses_to_clobber: true,
            move_in_one_step: true,
            checksum_by_server: true,
            resume: true,
            free_space: true,
            server_clock: true,
            atomic_put: false,
        };
        self.server.state().capabilities.unwrap_or(everything)
    }

    fn list(&mut self) -> Result<Vec<Entry>, DestinationError> {
        let fault = self.server.enter(Operation::List, "")?;
        let state = self.server.state();
        let mut entries: Vec<Entry> =
            state.files.iter().map(|(name, (bytes, modified))| file_entry(name, bytes, *modified)).collect();
        entries.extend(state.directories.iter().map(|name| directory_entry(name)));
        answer(entries, fault)
    }

    fn stat(&mut self, name: &str) -> Result<Option<Entry>, DestinationError> {
        check_name(name)?;
        let fault = self.server.enter(Operation::Stat, name)?;
        let state = self.server.state();
        let entry = match state.files.get(name) {
            Some((bytes, modified)) => Some(file_entry(name, bytes, *modified)),
            None => state.directories.iter().find(|taken| *taken == name).map(|name| directory_entry(name)),
        };
        answer(entry, fault)
    }

    fn put(&mut self, name: &str, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError> {
        check_name(name)?;
        let fault = self.server.enter(Operation::Put, name)?;
        if self.server.state().directories.iter().any(|taken| taken == name) {
            return Err(DestinationError::new(ErrorKind::Other, format!("`{name}` is a directory")));
        }
        let held = self.server.read(name).map_or(0, |bytes| bytes.len() as u64);
        if offset > 0 && (held != offset || !self.capabilities().resume) {
            let message = format!("cannot go on with `{name}` at byte {offset}: it has {held}");
            return Err(DestinationError::new(ErrorKind::Other, message));
        }
        let mut feed = Feed::start(source, offset)?;
        self.server.state().put_offsets.push(offset);
        if offset == 0 {
            self.server.write(name, b"");
        }
        let (mut buffer, mut sent) = ([0; 4096], 0);
        loop {
            let most = match fault {
                Some(fault) if !fault.done_all_the_same => fault.after_bytes.saturating_sub(sent).min(4096) as usize,
                _ => 4096,
            };
            if let (0, Some(fault)) = (most, fault) {
                return Err(struck(&fault));
            }
            let count = feed.read(&mut buffer[..most])?;
            if count == 0 {
                break;
            }
            sent += count as u64;
            let mut state = self.server.state();
            let used: usize = state.files.values().map(|(bytes, _)| bytes.len()).sum();
            if state.capacity.is_some_and(|capacity| (used + count) as u64 > capacity) {
                return Err(DestinationError::new(ErrorKind::NoSpace, "the memory is full"));
            }
            let file = state.files.get_mut(name).ok_or_else(|| missing(name))?;
            file.0.extend_from_slice(&buffer[..count]);
        }
        feed.finish()?;
        answer((), fault)
    }

    fn keep_beginning(&mut self, name: &str, bytes: u64) -> Result<u64, DestinationError> {
        let mut state = self.server.state();
        let file = state.files.get_mut(name).ok_or_else(|| missing(name))?;
        file.0.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    fn unsettled_bytes(&self) -> u64 {
        self.server.state().unsettled_bytes
    }

    fn get(&mut self, name: &str, offset: u64, sink: &mut Sink<'_>) -> Result<(), DestinationError> {
        check_name(name)?;
        let fault = self.server.enter(Operation::Get, name)?;
        let bytes = self.server.read(name).ok_or_else(|| missing(name))?;
        let bytes = bytes.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
        let cut = match fault {
            Some(fault) if !fault.done_all_the_same => bytes.len().min(fault.after_bytes as usize),
            _ => bytes.len(),
        };
        for piece in bytes[..cut].chunks(4096) {
            sink(piece).map_err(|error| {
                DestinationError::new(ErrorKind::Local, format!("failed to take in `{name}`")).caused_by(error)
            })?;
        }
        answer((), fault)
    }

    fn move_new(&mut self, from: &str, to: &str) -> Result<(), DestinationError> {
        check_name(from)?;
        check_name(to)?;
        let fault = self.server.enter(Operation::MoveNew, from)?;
        if self.capabilities().atomic_put {
            return Err(DestinationError::new(ErrorKind::Other, "this server cannot rename"));
        }
        let mut state = self.server.state();
        if state.files.contains_key(to) || state.directories.iter().any(|taken| taken == to) {
            return Err(DestinationError::new(ErrorKind::AlreadyExists, format!("`{to}` exists already")));
        }
        let file = state.files.remove(from).ok_or_else(|| missing(from))?;
        state.files.insert(to.to_owned(), file);
        answer((), fault)
    }

    fn put_new(&mut self, name: &str, source: &mut dyn Source) -> Result<(), DestinationError> {
        check_name(name)?;
        let fault = self.server.enter(Operation::PutNew, name)?;
        let mut bytes = Vec::new();
        let mut feed = Feed::start(source, 0)?;
        let mut buffer = [0; 4096];
        loop {
            match feed.read(&mut buffer)? {
                0 => break,
                count => bytes.extend_from_slice(&buffer[..count]),
            }
        }
        feed.finish()?;
        if self.stat(name)?.is_some() {
            return Err(DestinationError::new(ErrorKind::AlreadyExists, format!("`{name}` exists already")));
        }
        self.server.write(name, &bytes);
        answer((), fault)
    }

    fn remove(&mut self, name: &str) -> Result<(), DestinationError> {
        check_name(name)?;
        let fault = self.server.enter(Operation::Remove, name)?;
        let mut state = self.server.state();
        if state.directories.iter().any(|taken| taken == name) {
            return Err(DestinationError::new(ErrorKind::Other, format!("`{name}` is a directory")));
        }
        state.files.remove(name);
        answer((), fault)
    }

    fn checksum(&mut self, name: &str) -> Result<Option<Digest>, DestinationError> {
        check_name(name)?;
        let fault = self.server.enter(Operation::Checksum, name)?;
        if !self.capabilities().checksum_by_server {
            return Ok(None);
        }
        let bytes = self.server.read(name).ok_or_else(|| missing(name))?;
        answer(Some(Digest(Sha256::digest(&bytes).into())), fault)
    }

    fn free_space(&mut self) -> Result<Option<u64>, DestinationError> {
        let state = self.server.state();
        let used: usize = state.files.values().map(|(bytes, _)| bytes.len()).sum();
        Ok(state.capacity.map(|capacity| capacity.saturating_sub(used as u64)))
    }

    fn server_time(&mut self) -> Result<Option<DateTime<Utc>>, DestinationError> {
        Ok(self.capabilities().server_clock.then(Utc::now))
    }
}

fn file_entry(name: &str, bytes: &[u8], modified: DateTime<Utc>) -> Entry {
    Entry { name: name.to_owned(), size: bytes.len() as u64, modified: Some(modified), is_file: true }
}

fn directory_entry(name: &str) -> Entry {
    Entry { name: name.to_owned(), size: 0, modified: None, is_file: false }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn move_new_refuses_to_clobber_and_leaves_both_files_alone() {
        let server = MemoryServer::new();
        let mut memory = server.connect().unwrap();
        memory.put("a", &mut Cursor::new(b"a"), 0).unwrap();
        memory.put("b", &mut Cursor::new(b"b"), 0).unwrap();
        assert_eq!(memory.move_new("a", "b").unwrap_err().kind, ErrorKind::AlreadyExists);
        assert_eq!(memory.move_new("c", "d").unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!((server.read("a").unwrap(), server.read("b").unwrap()), (b"a".to_vec(), b"b".to_vec()));
    }

    #[test]
    fn a_scripted_fault_strikes_after_its_bytes_and_only_once() {
        let server = MemoryServer::new();
        let mut memory = server.connect().unwrap();
        server.script(Fault::new(Operation::Put, ErrorKind::Unreachable).after_bytes(5000));
        assert!(memory.put("a", &mut Cursor::new(vec![1; 9000]), 0).unwrap_err().is_transient());
        assert_eq!(server.read("a").unwrap().len(), 5000);
        memory.put("a", &mut Cursor::new(vec![1; 9000]), 5000).unwrap();
        assert_eq!(server.read("a").unwrap().len(), 9000);
    }

    #[test]
    fn what_does_not_fit_is_no_space() {
        let server = MemoryServer::new();
        server.set_capacity(Some(10));
        let error = server.connect().unwrap().put("a", &mut Cursor::new(vec![1; 11]), 0).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoSpace);
    }
}
