"""A real SMTP server (aiosmtpd) that keeps what it receives, decoded, and refuses what it is told to refuse.

    smtp_server.py DIRECTORY      serves; options are read from DIRECTORY/options.json at every new connection,
                                  the port is written to DIRECTORY/port; ends when its standard input does
    smtp_server.py --decode FILE  prints a message as the JSON that the server would have stored

Each message becomes NNN.eml and NNN.json: envelope, subject, from, to, text, html, attachments. See smtp.rs.
"""

import asyncio
import email
import email.policy
import json
import os
import ssl
import sys
import threading

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


def decode(content):
    message = email.message_from_bytes(content, policy=email.policy.default)

    def body(kind):
        part = message.get_body(preferencelist=(kind,))
        return part.get_content() if part is not None else None

    attachments = []
    for part in message.iter_attachments():
        payload = part.get_payload(decode=True) or b""
        attachments.append({"filename": part.get_filename(), "type": part.get_content_type(),
                            "text": payload.decode("utf-8", "replace")})
    return {"subject": str(message["subject"] or ""), "from": str(message["from"] or ""), "to": str(message["to"] or ""),
            "headers": [[name, str(value)] for name, value in message.items()],
            "text": body("plain"), "html": body("html"), "attachments": attachments}


class Handler:
    def __init__(self, directory):
        self.directory = directory
        self.count = 0
        self.refused = 0

    def options(self):
        with open(os.path.join(self.directory, "options.json"), encoding="utf-8") as file:
            return json.load(file)

    async def stall(self, where):
        if self.options()["stall"] == where:
            await asyncio.Event().wait()

    async def handle_MAIL(self, server, session, envelope, address, mail_options):
        await self.stall("mail")
        if self.refused < self.options()["temporary_failures"]:
            self.refused += 1
            return "451 4.3.0 try again later"
        envelope.mail_from = address
        envelope.mail_options.extend(mail_options)
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address in self.options()["refused_recipients"]:
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(rcpt_options)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        await self.stall("data")
        self.count += 1
        name = os.path.join(self.directory, "%03d" % self.count)
        with open(name + ".eml", "wb") as file:
            file.write(envelope.original_content)
        record = decode(envelope.original_content)
        user = session.auth_data.login.decode() if session.auth_data else None
        record["envelope"] = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "user": user,
                              "tls": server.transport.get_extra_info("ssl_object") is not None,
                              "helo": session.host_name}
        with open(name + ".tmp", "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.rename(name + ".tmp", name + ".json")
        return "250 2.0.0 stored"

    def authenticate(self, server, session, envelope, mechanism, data):
        options = self.options()
        good = (isinstance(data, LoginPassword) and data.login.decode() == options["username"]
                and data.password.decode() == options["password"])
        with open(os.path.join(self.directory, "logins"), "a", encoding="utf-8") as file:
            file.write("%s %s\n" % (mechanism, "accepted" if good else "refused"))
        return AuthResult(success=good, handled=False, auth_data=data if good else None)


class Server(SMTP):
    async def _handle_client(self):
        await self.event_handler.stall("connect")
        await super()._handle_client()


async def serve(directory):
    handler = Handler(directory)
    start = handler.options()
    context = None
    if start["security"] != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(start["certificate"], start["key"])

    def connection():
        options = handler.options()
        starttls = options["security"] == "starttls"
        every = {"PLAIN", "LOGIN"}
        return Server(handler, hostname="mail.test", enable_SMTPUTF8=True,
                      tls_context=context if starttls else None, require_starttls=starttls,
                      authenticator=handler.authenticate, auth_required=options["auth_required"],
                      auth_require_tls=starttls,
                      auth_exclude_mechanism=list(every - set(options["mechanisms"])))

    server = await asyncio.get_running_loop().create_server(
        connection, "127.0.0.1", start["port"], ssl=context if start["security"] == "tls" else None)
    port = server.sockets[0].getsockname()[1]
    with open(os.path.join(directory, "port.tmp"), "w", encoding="ascii") as file:
        file.write(str(port))
    os.rename(os.path.join(directory, "port.tmp"), os.path.join(directory, "port"))
    await server.serve_forever()


def end_with_parent():
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "--decode":
        with open(sys.argv[2], "rb") as message_file:
            print(json.dumps(decode(message_file.read())))
    else:
        threading.Thread(target=end_with_parent, daemon=True).start()
        asyncio.run(serve(sys.argv[1]))
