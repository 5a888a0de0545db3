"""A witness over HTTPS: one that checks and signs (C2SP tlog-witness), or a server that takes what is posted to it.

Redirects are not followed and no proxy is used. No message of ours holds the address or the server's words. Each
request with its answer has the time-out for all of it, so that a server that says a little at a time ends no later.
"""

import base64
import http.client
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from minispine.audit.note import CosignatureVerifier, NoteMalformed, NoteUnverified, open_note
from minispine.audit.witnesses.recipient import Conflict, NotTaken, Offer, Refused, Unreachable
from minispine.audit.witnesses.tls import Punctual, context_for, in_our_words
from minispine.config.settings import HttpsWitness

_MOST_ANSWER_BYTES: Final = 64 * 1024
_MOST_TRIES: Final = 3
"""A witness says what it has seen when that is not what it was thought to have; meanwhile it may see more."""
_REFUSALS: Final = {
    400: "it could not read what it was sent",
    403: "it does not accept the signature of this log: it has another key for it",
    404: "it does not know this log: give it the log's name and public key",
}


class HttpsRecipient:
    """A server that is posted every checkpoint. `monotonic` gives seconds since whenever."""

    def __init__(self, settings: HttpsWitness, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.name: Final = settings.name
        self.called: Final = f"witness {settings.name}"
        self._settings = settings
        self._monotonic = monotonic
        parts = urlsplit(settings.url)
        self._host = parts.hostname or ""
        self._port = parts.port or 443
        path = parts.path.rstrip("/")
        self._target = (f"{path}/add-checkpoint" if settings.protocol == "tlog-witness" else parts.path) or "/"

    def take(self, offer: Offer) -> str:
        """See `Recipient.take`."""
        if self._settings.protocol == "post":
            status, _ = self._post(offer.stored.note.encode())
            if not 200 <= status < 300:
                raise _declined(status)
            return offer.stored.note
        return self._witnessed(offer)

    def _witnessed(self, offer: Offer) -> str:
        seen = offer.before.size if offer.before.epoch == offer.stored.epoch else 0
        for _ in range(_MOST_TRIES):
            offer.check_size(seen)
            proof = "".join(f"{base64.b64encode(each).decode()}\n" for each in offer.proof_since(seen))
            status, answer = self._post(f"old {seen}\n{proof}\n{offer.stored.note}".encode())
            if status == 200:
                return self._cosigned(offer, answer)
            if status == 422:
                raise Conflict(f"it does not accept that the first {seen} records are those that it has seen")
            if status != 409:
                raise _declined(status)
            seen = _size(answer)
        raise Unreachable("it names another size at each try")

    def _cosigned(self, offer: Offer, answer: bytes) -> str:
        """The note with the witness's own signature, if the answer holds it; other signatures are left out."""
        verifier = CosignatureVerifier.parse(self._settings.vkey or "")
        try:
            signatures = open_note(offer.stored.note.encode() + answer, [verifier]).verified
        except (NoteMalformed, NoteUnverified):
            raise Refused("its answer does not hold a signature with the key that it should have") from None
        return offer.stored.note + "".join(map(str, signatures))

    def _post(self, body: bytes) -> tuple[int, bytes]:
        settings = self._settings
        context = context_for(settings.ca, settings.certificate, settings.key, settings.key_password_file)
        context.sslsocket_class = Punctual
        ends_at = self._monotonic() + settings.timeout_s
        line = http.client.HTTPSConnection(self._host, self._port, timeout=settings.timeout_s, context=context)
        try:
            line.connect()  # its steps have the time-out each, and there are few of them
            assert isinstance(line.sock, Punctual)
            line.sock.end_at(ends_at, self._monotonic)
            line.request("POST", self._target, body, {"Content-Type": "text/plain; charset=utf-8"})
            response = line.getresponse()
            return response.status, response.read(_MOST_ANSWER_BYTES)
        except (OSError, UnicodeError) as error:
            raise in_our_words(error) from None
        except http.client.HTTPException:
            raise Unreachable("what it answers is not HTTP") from None
        finally:
            line.close()


def _size(answer: bytes) -> int:
    """The size that a witness has seen, as it says it with status 409."""
    text = answer.removesuffix(b"\n")
    if not text.isdigit() or len(text) > 19 or text != b"%d" % int(text):
        raise Refused("it does not say what it has seen")
    return int(text)


def _declined(status: int) -> NotTaken:
    if status in _REFUSALS:
        return Refused(_REFUSALS[status])
    family = Unreachable if status >= 500 or status in (408, 429) else Refused
    return family(f"it answered with status {status}")
