"""SFTP servers that are not OpenSSH's: paramiko's and asyncssh's.

python sftp_server.py SOFTWARE DIRECTORY USER PASSWORD [QUIRK...] serves DIRECTORY/root with the host key DIRECTORY/host_key, writes its
port to DIRECTORY/port, and ends with its standard input.

Quirks, of paramiko only: `hangs-up-on-exec` ends the connection of whoever asks for a command; `no-remove` lets nothing be deleted.
"""

import asyncio
import os
import socket
import sys
import threading

software, directory, user, password, *quirks = sys.argv[1:]
root = os.path.join(directory, "root")
host_key = os.path.join(directory, "host_key")


def tell_port(port):
    with open(os.path.join(directory, "port.new"), "w") as file:
        file.write(str(port))
    os.rename(os.path.join(directory, "port.new"), os.path.join(directory, "port"))


def serve_paramiko():
    import paramiko

    class Login(paramiko.ServerInterface):
        def __init__(self, transport):
            self.transport = transport

        def get_allowed_auths(self, username):
            return "password"

        def check_auth_password(self, username, given):
            right = (username, given) == (user, password)
            return paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED

        def check_channel_request(self, kind, channel):
            return paramiko.OPEN_SUCCEEDED

        def check_channel_exec_request(self, channel, command):
            if "hangs-up-on-exec" in quirks:
                self.transport.close()
            return False

    class Handle(paramiko.SFTPHandle):
        def stat(self):
            return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))

    def answered(call):
        try:
            return call()
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    class Files(paramiko.SFTPServerInterface):
        def at(self, path):
            return root + self.canonicalize(path)

        def list_folder(self, path):
            def listed():
                found = []
                for name in os.listdir(self.at(path)):
                    attributes = paramiko.SFTPAttributes.from_stat(os.lstat(os.path.join(self.at(path), name)))
                    attributes.filename = name
                    found.append(attributes)
                return found

            return answered(listed)

        def stat(self, path):
            return answered(lambda: paramiko.SFTPAttributes.from_stat(os.stat(self.at(path))))

        def lstat(self, path):
            return answered(lambda: paramiko.SFTPAttributes.from_stat(os.lstat(self.at(path))))

        def open(self, path, flags, attributes):
            def opened():
                number = os.open(self.at(path), flags | os.O_CLOEXEC, 0o640)
                mode = {os.O_RDONLY: "rb", os.O_WRONLY: "wb", os.O_RDWR: "r+b"}[flags & os.O_ACCMODE]
                handle = Handle(flags)
                handle.filename = self.at(path)
                handle.readfile = handle.writefile = os.fdopen(number, mode)
                return handle

            return answered(opened)

        def remove(self, path):
            if "no-remove" in quirks:
                return paramiko.SFTP_PERMISSION_DENIED
            return answered(lambda: os.remove(self.at(path)) or paramiko.SFTP_OK)

        def rename(self, old, new):
            if os.path.lexists(self.at(new)):
                return paramiko.SFTP_FAILURE
            return answered(lambda: os.rename(self.at(old), self.at(new)) or paramiko.SFTP_OK)

        def mkdir(self, path, attributes):
            return answered(lambda: os.mkdir(self.at(path)) or paramiko.SFTP_OK)

        def chattr(self, path, attributes):
            return answered(lambda: paramiko.SFTPServer.set_file_attr(self.at(path), attributes) or paramiko.SFTP_OK)

    key = paramiko.PKey.from_path(host_key)
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    tell_port(listener.getsockname()[1])

    def serve(connection):
        transport = paramiko.Transport(connection)
        transport.add_server_key(key)
        transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
        try:
            transport.start_server(server=Login(transport))
        except Exception:
            transport.close()

    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


async def serve_asyncssh():
    import asyncssh

    class Login(asyncssh.SSHServer):
        def begin_auth(self, username):
            return True

        def password_auth_supported(self):
            return True

        def validate_password(self, username, given):
            return (username, given) == (user, password)

    class Files(asyncssh.SFTPServer):
        def __init__(self, channel):
            super().__init__(channel, chroot=root)

    server = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Login, server_host_keys=[host_key], sftp_factory=Files
    )
    tell_port(server.get_port())
    await asyncio.Event().wait()


threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
if software == "paramiko":
    serve_paramiko()
else:
    asyncio.run(serve_asyncssh())
