"""The floor: the provider's own server, mutual TLS and both schemas, with one fixed reply and nothing else."""

import asyncio
import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from minispine import config
from minispine.domain.operations import Operation
from minispine.domain.request import Reply
from minispine.provider.http import tls
from minispine.provider.http.protocol import MachineProtocol
from minispine.provider.http.server import Server
from minispine.vocabulary.codes import shipped_vocabulary
from minispine.wire import itk, pds

ID = "00000001-0000-4000-8000-000000000000"


def fixed_reply() -> bytes:
    """An answer of verifyNHSNumber, made once."""
    reply = Reply(code="SMSP-0000", nhs_number="9449310467", verified=True)
    payload = pds.write_response(Operation.VERIFY_NHS_NUMBER, reply, id=ID, vocabulary=shipped_vocabulary("pds"))
    return itk.write_response(
        payload, operation=Operation.VERIFY_NHS_NUMBER, message_id=ID, tracking_id=ID, relates_to=None
    )


async def main(config_file: Path) -> None:
    """Serve until killed."""
    settings = config.load(config_file)
    policy = itk.EnvelopePolicy()
    body = fixed_reply()
    headers = [(b"content-type", b"text/xml; charset=utf-8"), (b"content-length", str(len(body)).encode())]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        content = b""
        more = True
        while more:
            message = await receive()
            content += message["body"]
            more = message["more_body"]
        import datetime

        now = datetime.datetime.fromtimestamp(time.time(), datetime.UTC)
        request = itk.read_request(content, soap_action=None, now=now, policy=policy)
        pds.read_request(request.operation, request.payload, partial_birth_dates=True)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    server = Server(app, sock, tls.reloadable(tls.server_context(settings.machines)), protocol=MachineProtocol)
    server.begin()
    print(json.dumps({"port": sock.getsockname()[1]}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
