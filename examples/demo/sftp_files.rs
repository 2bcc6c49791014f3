//! The file system behind the SFTP server: version 3 of the protocol (draft-ietf-secsh-filexfer-02) on a real directory,
//! with OpenSSH's manners where they matter: a rename never overwrites, `fsync` and `statvfs` are there.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use russh_sftp::protocol::{
    Attrs, Data, ExtendedReply, File as Listed, FileAttributes, Handle, Name, OpenFlags, Packet, Status, StatusCode,
    Version,
};
use russh_sftp::server::{Handler, StatusReply};

/// The largest answer to a read, as OpenSSH has it, bytes.
const MOST_BYTES: u32 = 256 * 1024 - 1024;

/// One client's view of a directory.
pub struct Files {
    root: PathBuf,
    open: HashMap<String, Open>,
    next: u64,
}

enum Open {
    File(File),
    /// What is left to be listed.
    Directory(Vec<Listed>),
}

impl Files {
    /// Clients see `root` as `/`, and nothing outside of it.
    pub fn new(root: &Path) -> Self {
        Files { root: root.to_owned(), open: HashMap::new(), next: 0 }
    }

    /// The path as the client knows it: absolute, without `.` and `..`.
    fn clean(path: &str) -> PathBuf {
        let mut clean = PathBuf::from("/");
        for part in Path::new(path).components() {
            match part {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => {
                    clean.pop();
                }
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
        }
        clean
    }

    fn real(&self, path: &str) -> PathBuf {
        Files::clean(path).components().skip(1).fold(self.root.clone(), |real, part| real.join(part))
    }

    fn keep(&mut self, id: u32, open: Open) -> Handle {
        self.next += 1;
        let handle = self.next.to_string();
        self.open.insert(handle.clone(), open);
        Handle { id, handle }
    }

    fn file(&self, handle: &str) -> Result<&File, StatusReply> {
        match self.open.get(handle) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(StatusCode::Failure.with_message("not an open file")),
        }
    }
}

fn refused(error: io::Error) -> StatusReply {
    let code = match error.kind() {
        io::ErrorKind::NotFound => StatusCode::NoSuchFile,
        io::ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
        _ => StatusCode::Failure,
    };
    code.with_message(error.to_string())
}

fn done(id: u32) -> Status {
    Status { id, status_code: StatusCode::Ok, error_message: "ok".to_owned(), language_tag: "en".to_owned() }
}

fn attributes(metadata: &fs::Metadata) -> FileAttributes {
    FileAttributes {
        size: Some(metadata.len()),
        permissions: Some(metadata.mode()),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        atime: u32::try_from(metadata.atime()).ok(),
        mtime: u32::try_from(metadata.mtime()).ok(),
        ..FileAttributes::default()
    }
}

/// The first string of an extended request: 32 bits of length, then the bytes.
fn first_string(data: &[u8]) -> Option<String> {
    let (length, rest) = data.split_first_chunk()?;
    let bytes = rest.get(..u32::from_be_bytes(*length) as usize)?;
    String::from_utf8(bytes.to_vec()).ok()
}

impl Handler for Files {
    type Error = StatusReply;

    fn unimplemented(&self) -> StatusReply {
        StatusCode::OpUnsupported.into()
    }

    async fn init(&mut self, _: u32, _: HashMap<String, String>) -> Result<Version, StatusReply> {
        let mut version = Version::new();
        for (extension, revision) in [("fsync@openssh.com", "1"), ("statvfs@openssh.com", "2")] {
            version.extensions.insert(extension.to_owned(), revision.to_owned());
        }
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        path: String,
        flags: OpenFlags,
        _: FileAttributes,
    ) -> Result<Handle, StatusReply> {
        let file = OpenOptions::from(flags).open(self.real(&path)).map_err(refused)?;
        Ok(self.keep(id, Open::File(file)))
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, StatusReply> {
        self.open.remove(&handle);
        Ok(done(id))
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, len: u32) -> Result<Data, StatusReply> {
        let mut data = vec![0; len.min(MOST_BYTES) as usize];
        let count = self.file(&handle)?.read_at(&mut data, offset).map_err(refused)?;
        if count == 0 {
            return Err(StatusCode::Eof.into());
        }
        data.truncate(count);
        Ok(Data { id, data })
    }

    async fn write(&mut self, id: u32, handle: String, offset: u64, data: Vec<u8>) -> Result<Status, StatusReply> {
        self.file(&handle)?.write_all_at(&data, offset).map_err(refused)?;
        Ok(done(id))
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, StatusReply> {
        let metadata = fs::metadata(self.real(&path)).map_err(refused)?;
        Ok(Attrs { id, attrs: attributes(&metadata) })
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, StatusReply> {
        let metadata = fs::symlink_metadata(self.real(&path)).map_err(refused)?;
        Ok(Attrs { id, attrs: attributes(&metadata) })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, StatusReply> {
        let metadata = self.file(&handle)?.metadata().map_err(refused)?;
        Ok(Attrs { id, attrs: attributes(&metadata) })
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, StatusReply> {
        let list = || -> io::Result<Vec<Listed>> {
            let entries = fs::read_dir(self.real(&path))?;
            entries
                .map(|entry| {
                    let entry = entry?;
                    Ok(Listed::new(entry.file_name().to_string_lossy(), attributes(&entry.metadata()?)))
                })
                .collect()
        };
        let listed = list().map_err(refused)?;
        Ok(self.keep(id, Open::Directory(listed)))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, StatusReply> {
        let Some(Open::Directory(left)) = self.open.get_mut(&handle) else {
            return Err(StatusCode::Failure.with_message("not an open directory"));
        };
        let count = left.len().min(100);
        match count {
            0 => Err(StatusCode::Eof.into()),
            _ => Ok(Name { id, files: left.drain(..count).collect() }),
        }
    }

    async fn mkdir(&mut self, id: u32, path: String, _: FileAttributes) -> Result<Status, StatusReply> {
        fs::create_dir(self.real(&path)).map(|()| done(id)).map_err(refused)
    }

    async fn remove(&mut self, id: u32, path: String) -> Result<Status, StatusReply> {
        fs::remove_file(self.real(&path)).map(|()| done(id)).map_err(refused)
    }

    async fn rename(&mut self, id: u32, from: String, to: String) -> Result<Status, StatusReply> {
        // Link, then unlink, as OpenSSH does (sftp-server.c, process_rename): a name that is taken stays as it is.
        let from = self.real(&from);
        fs::hard_link(&from, self.real(&to)).map_err(refused)?;
        fs::remove_file(from).map(|()| done(id)).map_err(refused)
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, StatusReply> {
        let clean = Files::clean(&path);
        Ok(Name { id, files: vec![Listed::dummy(clean.to_string_lossy())] })
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Result<Packet, StatusReply> {
        let argument = first_string(&data).ok_or(StatusCode::BadMessage)?;
        match request.as_str() {
            "fsync@openssh.com" => {
                self.file(&argument)?.sync_all().map_err(refused)?;
                Ok(Packet::Status(done(id)))
            }
            "statvfs@openssh.com" => {
                let told = rustix::fs::statvfs(self.real(&argument)).map_err(|error| refused(error.into()))?;
                // OpenSSH's PROTOCOL, 4.4: eleven numbers of 64 bits.
                let numbers = [
                    told.f_bsize,
                    told.f_frsize,
                    told.f_blocks,
                    told.f_bfree,
                    told.f_bavail,
                    told.f_files,
                    told.f_ffree,
                    told.f_favail,
                    told.f_fsid,
                    0,
                    told.f_namemax,
                ];
                Ok(Packet::ExtendedReply(ExtendedReply { id, data: numbers.map(u64::to_be_bytes).concat() }))
            }
            _ => Err(StatusCode::OpUnsupported.into()),
        }
    }
}
