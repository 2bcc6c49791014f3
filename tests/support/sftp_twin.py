"""An SFTP server that means harm, on asyncssh.

python sftp_twin.py BEHAVIOUR DIRECTORY USER PASSWORD uses the host key DIRECTORY/host_key, writes its port to DIRECTORY/port, and ends
with its standard input. See tests/hostile/main.rs for what each behaviour is.
"""

import asyncio
import os
import stat
import sys
import threading

import asyncssh
from asyncssh.sftp import SFTPAttrs, SFTPName

behaviour, directory, user, password = sys.argv[1:]
FORGED = "\x1b[2J\r\n✓ nas published 20261120.tgz\x07"


class Login(asyncssh.SSHServer):
    def begin_auth(self, username):
        return True

    def password_auth_supported(self):
        return True

    def validate_password(self, username, given):
        return (username, given) == (user, password)


def attributes(size, kind=stat.S_IFREG):
    return SFTPAttrs(size=size, permissions=kind | 0o755, uid=0, gid=0, atime=1700000000, mtime=1700000000)


class Files(asyncssh.SFTPServer):
    written = {}

    def size_of(self, path):
        name = os.path.basename(path)
        if name == b"20261119.tgz":
            return 2**63 - 1 if behaviour == "LyingLengths" else 100
        return self.written.get(name)

    def realpath(self, path):
        return FORGED.encode() if behaviour == "Forging" else path

    def stat(self, path):
        size = self.size_of(path)
        if size is not None:
            return attributes(size)
        if b"tgz" in path or b"sha256" in path:
            raise asyncssh.SFTPNoSuchFile(FORGED * 1000 if behaviour == "Forging" else "no such file")
        return attributes(4096, stat.S_IFDIR)

    lstat = stat

    async def scandir(self, path):
        number = 0
        yield SFTPName(b"20261119.tgz", attrs=attributes(self.size_of(b"20261119.tgz")))
        while behaviour in ("EndlessListing", "RepeatingListing"):
            number += behaviour == "EndlessListing"
            # Long, for Python is slow.
            yield SFTPName(b"%012d" % number * 250, attrs=attributes(1))
        while behaviour == "EndlessNonsense":
            # Names that are none.
            yield SFTPName(b"../" + b"x" * 3000, attrs=attributes(1))
        if behaviour == "Forging":
            yield SFTPName(FORGED.encode(), attrs=attributes(1))
            yield SFTPName(b"20261118.tgz/" + FORGED.encode() * 5000, attrs=attributes(1))
            yield SFTPName(b"../../etc/passwd", attrs=attributes(1))
            yield SFTPName(b"x" * 100_000, attrs=attributes(1))
        if behaviour == "LyingLengths":
            for number in range(1000):
                yield SFTPName(b"202601%02d-%d.tgz" % (number % 28 + 1, number), attrs=attributes(2**64 - 1))

    def open(self, path, flags, attrs):
        name = os.path.basename(path)
        if self.size_of(path) is None:
            self.written[name] = 0
        return name

    open56 = open

    def fstat(self, name):
        return attributes(self.size_of(name) or 0)

    def read(self, name, offset, size):
        if behaviour in ("EndlessFile", "LyingLengths"):
            return b"x" * size
        if offset >= (self.size_of(name) or 0):
            return b""
        return b"x" * min(size, self.size_of(name) - offset)

    def write(self, name, offset, data):
        self.written[name] = max(self.written.get(name, 0), offset + len(data))
        return len(data)

    def close(self, name):
        pass

    def fsync(self, name):
        pass

    def remove(self, path):
        if self.written.pop(os.path.basename(path), None) is None:
            raise asyncssh.SFTPNoSuchFile("no such file")

    def rename(self, old, new):
        if behaviour == "Forging":
            raise asyncssh.SFTPFailure(FORGED * 1000)
        self.written[os.path.basename(new)] = self.written.pop(os.path.basename(old))

    def mkdir(self, path, attrs):
        pass

    def statvfs(self, path):
        raise asyncssh.SFTPOpUnsupported("no")

    def fstatvfs(self, name):
        raise asyncssh.SFTPOpUnsupported("no")


async def serve():
    host_key = os.path.join(directory, "host_key")
    server = await asyncssh.listen("127.0.0.1", 0, server_factory=Login, server_host_keys=[host_key], sftp_factory=Files)
    with open(os.path.join(directory, "port.new"), "w") as file:
        file.write(str(server.get_port()))
    os.rename(os.path.join(directory, "port.new"), os.path.join(directory, "port"))
    await asyncio.Event().wait()


threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
asyncio.run(serve())
