"""An FTP server that differs from vsftpd wherever it can: TLS 1.3 only, MLSD and MLST, no EPSV, and answers to PASV with an
address that nobody can reach.

python ftp_server.py DIRECTORY USER PASSWORD serves DIRECTORY/root with DIRECTORY/{cert,key}.pem, writes its port to
DIRECTORY/port, and ends with its standard input.
"""

import os
import sys
import threading

from OpenSSL import SSL
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import TLS_FTPHandler
from pyftpdlib.servers import ThreadedFTPServer

directory, user, password = sys.argv[1:]


def at(name):
    return os.path.join(directory, name)


class Handler(TLS_FTPHandler):
    certfile = at("cert.pem")
    keyfile = at("key.pem")
    tls_control_required = True
    tls_data_required = True
    proto_cmds = {name: what for name, what in TLS_FTPHandler.proto_cmds.items() if name not in ("EPSV", "EPRT")}
    masquerade_address = "192.0.2.1"
    banner = "ready"
    authorizer = DummyAuthorizer()


Handler.authorizer.add_user(user, password, at("root"), perm="elradfmwMT")
Handler.get_ssl_context().set_min_proto_version(SSL.TLS1_3_VERSION)
server = ThreadedFTPServer(("127.0.0.1", 0), Handler)
with open(at("port.new"), "w") as file:
    file.write(str(server.address[1]))
os.rename(at("port.new"), at("port"))
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
server.serve_forever()
