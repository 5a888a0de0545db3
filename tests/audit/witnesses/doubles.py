"""Witnesses to test against: a syslog server, and a witness that really checks, both over TLS on loopback."""

import base64
import datetime
import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minispine.audit.checkpoint import Checkpoint, open_checkpoint
from minispine.audit.merkle import ProofInvalid, check_consistency
from minispine.audit.note import Cosigner, NoteMalformed, NoteUnverified, Verifier
from minispine.keys import pki

SECOND_S = 1_790_000_123


class Authority:
    """Authorities for servers and for their clients, and what they issue, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        pki.create(folder, now=datetime.datetime.now(datetime.UTC))
        self.ca = folder / "provider" / "ca.pem"

    def client(self) -> tuple[Path, Path]:
        """A certificate for a client, with its key."""
        issued = pki.issue(self._folder, "client", pki.Kind.CLIENT, now=datetime.datetime.now(datetime.UTC))
        return issued.certificate, issued.key

    def server(self, *, name: str = "localhost", asks_for_certificate: bool = False) -> ssl.SSLContext:
        """What a server of a name serves with."""
        now = datetime.datetime.now(datetime.UTC)
        issued = pki.issue(self._folder, f"server-{name}", pki.Kind.SERVER, now=now, hosts=(name,), replace=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        if asks_for_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self._folder / "clients" / "ca.pem")
        return context


class SyslogServer:
    """Reads frames of RFC 5425 until each connection ends."""

    def __init__(self, context: ssl.SSLContext, *, rude: bool = False) -> None:
        self.messages: list[bytes] = []
        self.clients: list[Any] = []
        self._context = context
        self._rude = rude
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                line = self._listening.accept()[0]
            except OSError:
                return
            with suppress(OSError), line, self._context.wrap_socket(line, server_side=True) as secured:
                self.clients.append(secured.getpeercert())
                self._read(secured)
                if not self._rude:
                    secured.unwrap()

    def _read(self, line: ssl.SSLSocket) -> None:
        content = b""
        while received := line.recv(65536):
            content += received
        while content:
            length, _, rest = content.partition(b" ")
            self.messages.append(rest[: int(length)])
            content = rest[int(length) :]

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


class WitnessServer:
    """A witness after C2SP tlog-witness, for one log, which checks what it signs. With `says`, it says that instead."""

    def __init__(self, context: ssl.SSLContext, log: Verifier) -> None:
        self.cosigner = Cosigner("witness.example/w1", Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x09"))
        self.log = log
        self.seen: Checkpoint | None = None
        self.requests: list[tuple[str, bytes]] = []
        self.statuses: list[int] = []
        self.says: tuple[int, bytes] | None = None
        self.paused = threading.Event()
        self.paused.set()
        double = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                double.requests.append((self.path, body))
                double.paused.wait()
                status, answer = double.says or double.answer(self.path, body)
                double.statuses.append(status)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                return

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                return

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        if path != "/smsp/add-checkpoint":
            return 405, b""
        head, _, note = body.partition(b"\n\n")
        old, *proof = head.decode().split("\n")
        word, _, digits = old.partition(" ")
        if word != "old" or not digits.isdigit():
            return 400, b""
        size = int(digits)
        try:
            checkpoint = open_checkpoint(note, self.log)
        except NoteMalformed:
            return 400, b""
        except NoteUnverified:
            return 403, b""
        seen = self.seen.size if self.seen else 0
        if size > checkpoint.size:
            return 400, b""
        if size != seen:
            return 409, b"%d\n" % seen
        root = self.seen.root if self.seen else None
        try:
            hashes = [base64.b64decode(line, validate=True) for line in proof]
            if size == 0 and hashes:
                raise ProofInvalid
            if root is not None:
                check_consistency(hashes, size, root, checkpoint.size, checkpoint.root)
        except ProofInvalid:
            return 422, b""
        self.seen = checkpoint
        return 200, str(self.cosigner.cosign(checkpoint.encode().encode(), SECOND_S)).encode()

    def close(self) -> None:
        self.paused.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def deaf_server() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@contextmanager
def babbling_server(context: ssl.SSLContext, says: bytes) -> Iterator[int]:
    """The port of a server that says the same a thousand times, whatever it is asked."""

    def babble(line: socket.socket) -> None:
        with context.wrap_socket(line, server_side=True) as secured:
            for _ in range(1000):
                secured.sendall(says)
            while secured.recv(65536):
                pass  # whoever closes with something unread resets the connection

    with _serving_one(babble) as port:
        yield port


@contextmanager
def dripping_server() -> Iterator[int]:
    """The port of a server whose part of a TLS handshake comes byte by byte, and takes some seconds."""
    never = threading.Event()

    def drip(line: socket.socket) -> None:
        line.sendall(b"\x16\x03\x03\x40\x00")  # a handshake record of 16 KiB
        for _ in range(200):
            line.sendall(b"\x02")
            never.wait(0.02)

    with _serving_one(drip) as port:
        yield port


@contextmanager
def _serving_one(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with suppress(OSError), listening.accept()[0] as line:
                serve(line)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()
