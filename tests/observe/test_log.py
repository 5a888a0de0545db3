"""Only what the table declares can be logged, and libraries lose their words."""

import errno
import io
import json
import logging
from collections.abc import Iterator

import pytest

from minispine.observe.log import LogEvent, configure, log, where


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handlers = logging.root.handlers[:]
    configure("info", stream)
    yield stream
    configure("info")
    logging.root.handlers[:] = handlers


def read(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_its_fixed_text_and_declared_values(lines: io.StringIO) -> None:
    log(LogEvent.WORKER_STARTED, worker=1, pid=42)
    (line,) = read(lines)
    assert (line["ref"], line["event"], line["worker"], line["pid"]) == ("MS0010", "worker started", 1, 42)
    assert str(line["time"]).endswith("Z")


def test_a_value_that_is_not_declared_cannot_be_logged(lines: io.StringIO) -> None:
    with pytest.raises(ValueError, match="nhs_number"):
        log(LogEvent.WORKER_STARTED, worker=1, nhs_number="9449310467")
    assert read(lines) == []


def test_every_reference_is_used_once() -> None:
    assert len({event.reference for event in LogEvent}) == len(LogEvent)


def test_lines_below_the_level_are_not_written(lines: io.StringIO) -> None:
    configure("error", lines)
    log(LogEvent.WORKER_STARTED, worker=1, pid=42)
    assert lines.getvalue() == ""


def test_a_library_is_named_but_not_quoted(lines: io.StringIO) -> None:
    try:
        raise ValueError("patient 9449310467")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("could not serve %s", "LANGAN")
    (line,) = read(lines)
    assert (line["logger"], line["exception"]) == ("uvicorn.error", "ValueError")
    assert "9449310467" not in lines.getvalue()
    assert "LANGAN" not in lines.getvalue()


def test_where_names_our_code_and_no_message() -> None:
    from minispine.domain.nhs_number import check_digit

    with pytest.raises(ValueError) as caught:  # what it says is not the point
        check_digit("LANGAN")
    assert where(caught.value).startswith("domain/nhs_number.py:")
    assert "LANGAN" not in where(caught.value)


def test_a_line_that_cannot_be_written_is_lost_and_nothing_else() -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(errno.ENOSPC, "no space left")

    closed = io.StringIO()
    closed.close()
    try:
        for stream in (Full(), closed):
            configure("info", stream)
            log(LogEvent.PROVIDER_STOPPED, unfinished=0)
    finally:
        configure("info")
