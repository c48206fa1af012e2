"""A real SMTP server for tests. Its argument is JSON:

  tls      "starttls", "tls" or "none"
  cert     PEM files, for TLS
  key
  hide     ways to log in that are not offered
  login    whether a login is needed: ann, password "right horse"

It prints its port, then each mail as a line of JSON. Mail to gone@ is refused
for good, to later@ for now.
"""

import asyncio
import base64
import json
import logging
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

conf = json.loads(sys.argv[1])
logging.disable()  # clients that give up are what tests are about


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone@"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("later@"):
            return "451 4.7.1 greylisted"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        print(json.dumps({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "user": (session.auth_data or b"").decode() if session.authenticated else "",
            "tls": session.ssl is not None or conf["tls"] == "tls",
            "helo": session.host_name,
            "data": base64.b64encode(envelope.content).decode(),
        }), flush=True)
        return "250 queued"


def login(server, session, envelope, mechanism, data):
    ok = data.login == b"ann" and data.password == b"right horse"
    return AuthResult(success=ok, handled=ok, auth_data=data.login)


async def main():
    context = None
    if conf["tls"] != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(conf["cert"], conf["key"])

    def session():
        return SMTP(
            Handler(), hostname="mail.test", decode_data=False,
            tls_context=context if conf["tls"] == "starttls" else None, require_starttls=conf["tls"] == "starttls",
            authenticator=login, auth_required=conf["login"], auth_require_tls=conf["tls"] == "starttls",
            auth_exclude_mechanism=conf["hide"], timeout=60)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=context if conf["tls"] == "tls" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # the test is over


asyncio.run(main())
