"""Signed texts, and the public keys of those who sign them, as commands take them from files."""

from pathlib import Path

from minispine.audit.note import MAX_NOTE_BYTES, Verifier
from minispine.cli.errors import Mistaken
from minispine.keys.files import KeyFileRefused, read_public


def read_note(file: Path) -> str:
    """The text of a file, with the signatures that it has by now. Raises `KeyFileRefused`, `Mistaken`."""
    content = read_public(file)
    if len(content) > MAX_NOTE_BYTES:
        raise Mistaken(f"{file}: it is too long")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Mistaken(f"{file}: it is not text in UTF-8") from None


def authority_key(file: Path) -> Verifier:
    """The public key of a redaction authority. Raises `KeyFileRefused`."""
    try:
        return Verifier.parse(read_public(file).decode().strip())
    except ValueError:
        raise KeyFileRefused(file, "is not a public key as `minispine audit authority` writes it") from None
