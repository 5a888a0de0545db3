import asyncio
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minispine.domain.patient import Address, Name, Patient, Practice, Telecom
from minispine.domain.request import LocalIdentifier, Reply
from minispine.vocabulary.codes import shipped_vocabulary
from minispine.wire.soap import Fault, write_fault
from tests.cli.conftest import Command, Ended
from tests.client.conftest import Double, Handler, answering, provider, sending

NUMBER = "9449310467"
LOCAL = LocalIdentifier("2.16.840.1.113883.2.1.3.2.4.18.24", "RXX:00001")
PATIENT = Patient(
    nhs_number=NUMBER,
    name=Name(prefix="MR", given=("LAURENCE", "WISDOM"), family="LANGAN"),
    gender="1",
    birth_date="20090310",
    addresses=(Address(use="H", lines=("", "10 MOLE VALLEY PLACE", "", "ASHTEAD", "SURREY"), postcode="KT21 2PN"),),
    telecoms=(Telecom(use="MC", value="tel:07700900123"), Telecom(use="H", value="mailto:l@example.org")),
    practice=Practice(ods_code="H81109", name="CAPELFIELD SURGERY", telephone="tel:01372462501"),
)
FAULT = write_fault(
    Fault(kind="client", code="3000", diagnostic="Not for you"),
    message_id="A0000001-AAAA-4BBB-8CCC-000000000001",
    relates_to=None,
    error_id="A0000002-AAAA-4BBB-8CCC-000000000002",
)


@contextmanager
def running(keys: Path, handler: Handler) -> Iterator[Double]:
    """Run a provider's double in a thread of its own, because a command blocks this one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    serving = provider(keys, handler)
    try:
        yield asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def call(minispine: Command, keys: Path, tmp_path: Path) -> Callable[..., tuple[Ended, Double]]:
    def run(handler: Handler, operation: str, *more: object) -> tuple[Ended, Double]:
        with running(keys, handler) as double:
            facts = {
                "itk_url": double.url,
                "client_cert": f"{keys}/issued/ward.pem",
                "client_key": f"{keys}/issued/ward.key",
                "ca": f"{keys}/provider/ca.pem",
                "identity": "urn:nhs-uk:identity:ods:RXX:jsmith",
                "pids": {},
            }
            (tmp_path / "demo.json").write_text(json.dumps(facts))
            return minispine("call", operation, "--demo", tmp_path, *more), double

    return run


def test_a_question_and_its_answer_are_printed_to_be_read(call: Callable[..., tuple[Ended, Double]]) -> None:
    reply = Reply(code="SMSP-0000", nhs_number=NUMBER, patient=PATIENT, local_identifier=LOCAL)
    asked = ("--family", "Langan", "--gender", "1", "--birth-date", "2009-03-10", "--local-identifier", "RXX:00001")
    ended, double = call(answering(reply), "getpatientdetailsbysearch", *asked)
    assert (ended.code, ended.err) == (0, "")
    words = " ".join(ended.out.split())
    for part in (
        "getPatientDetailsBySearch",
        "birth date 20090310",
        "family LANGAN",
        "answer SMSP-0000 Success",
        "NHS number 944 931 0467",
        "local identifier RXX:00001",
        "name MR LAURENCE WISDOM LANGAN",
        "gender male",
        "address 10 MOLE VALLEY PLACE, ASHTEAD, SURREY, KT21 2PN",
        "mobile 07700900123",
        "e-mail l@example.org",
        "GP practice H81109, CAPELFIELD SURGERY",
    ):
        assert part in words
    sent = double.read(double.requests[0][1])
    assert f"message id {sent.message_id}" in words
    assert sent.audit_identity is not None
    assert sent.audit_identity[0].uri == "urn:nhs-uk:identity:ods:RXX:jsmith"


def test_another_response_code_ends_with_one_and_is_explained(call: Callable[..., tuple[Ended, Double]]) -> None:
    number = ("--nhs-number", "944 931 0467", "--birth-date", "20090310")
    ended, double = call(answering(Reply(code="DEMOG-0040")), "verifyNHSNumber", *number)
    assert ended.code == 1
    assert "DEMOG-0040 NHS number not verified" in ended.out
    assert "for a person with other details" in ended.out
    assert NUMBER.encode() in double.requests[0][1]
    ended, _ = call(answering(Reply(code="DEMOG-0017", nhs_number="9449310416")), "getPatientDetails", *number)
    assert "944 931 0416" in ended.out


@pytest.mark.parametrize("code", [code for code in shipped_vocabulary("pds").texts if code != "SMSP-0000"])
def test_every_code_but_success_has_a_meaning(code: str) -> None:
    from minispine.cli.call import MEANINGS

    assert code in MEANINGS


def test_json_has_the_answer_and_its_ids(call: Callable[..., tuple[Ended, Double]]) -> None:
    reply = Reply(code="SMSP-0000", nhs_number=NUMBER)
    asked = ("--family", "Langan", "--gender", "1", "--birth-date", "20090310", "--json")
    ended, double = call(answering(reply), "getNHSNumber", *asked)
    said = ended.json()
    assert (said["code"], said["text"], said["nhs_number"]) == ("SMSP-0000", "Success", NUMBER)
    assert said["message_id"] == double.read(double.requests[0][1]).message_id


def test_xml_has_both_messages(call: Callable[..., tuple[Ended, Double]]) -> None:
    asked = ("--nhs-number", NUMBER, "--birth-date", "20090310", "--xml")
    ended, _ = call(answering(Reply(code="SMSP-0000", nhs_number=NUMBER, verified=True)), "verifyNHSNumber", *asked)
    assert "verifyNHSNumberRequest-v1-0" in ended.out
    assert "verifyNHSNumberResponse-v1-0" in ended.out


def test_parameters_come_from_a_file_or_standard_input_so_that_nobody_else_reads_them(
    call: Callable[..., tuple[Ended, Double]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = {"nhs_number": NUMBER, "birth_date": "20090310"}
    file = tmp_path / "question.json"
    file.write_text(json.dumps(parameters))
    handler = answering(Reply(code="SMSP-0000", nhs_number=NUMBER, verified=True))
    assert call(handler, "verifyNHSNumber", "--from", file)[0].code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(parameters)))
    assert call(handler, "verifyNHSNumber", "--from", "-")[0].code == 0


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (sending(FAULT, status=500), "fault 3000: Not for you"),
        (sending(b"", status=503, headers={"Retry-After": "2"}), "busy; ask again in 2 seconds"),
        (sending(b"<html/>", status=404), "there is no service at that address"),
    ],
)
def test_no_answer_ends_with_three_and_says_why(
    call: Callable[..., tuple[Ended, Double]], handler: Handler, said: str
) -> None:
    ended, double = call(handler, "verifyNHSNumber", "--nhs-number", NUMBER, "--birth-date", "20090310")
    assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
    assert said in ended.err
    assert double.url in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nhs-number", NUMBER], "--birth-date YYYYMMDD"),
        (["--birth-date", "20090310"], "verifyNHSNumber needs --nhs-number"),
        (
            ["--birth-date", "20090310", "--nhs-number", NUMBER, "--postcode", "LS1"],
            "verifyNHSNumber takes no --postcode",
        ),
        (["--birth-date", "20090310", "--nhs-number", NUMBER, "--gender", "1"], "verifyNHSNumber takes no --gender"),
        (["--birth-date", "20090310", "--nhs-number", "12\x07"], "--nhs-number is ten digits"),
        (["--birth-date", "09-0310", "--nhs-number", NUMBER], "--birth-date is YYYYMMDD"),
        (["--birth-date", "10/03/2009", "--nhs-number", NUMBER], "--birth-date is YYYYMMDD"),
        (["--birth-date", "20090310", "--timeout", "-1"], "--timeout must be more than 0"),
        (["--birth-date", "20090310", "--timeout", "nan"], "--timeout must be more than 0"),
        (["--birth-date", "20090310", "--json", "--xml"], "--json and --xml exclude each other"),
        (["--birth-date", "20090310", "--from", "question.json"], "--birth-date and --from exclude each other"),
        (["--birth-date", "20090310", "--identity", "jsmith"], "urn:nhs-uk:identity:ods:ORG:user"),
        (["--birth-date", "20090310", "--identity", "x", "--asid", "y"], "exclude each other"),
        (["--birth-date", "20090310", "--asid", "12"], "12 digits"),
        (["--birth-date", "20090310", "--url", "http://localhost/"], "https://"),
        (["--birth-date", "20090310", "--key", "none.key"], "none.key"),
    ],
)
def test_a_mistake_ends_with_two_and_nothing_is_sent(
    call: Callable[..., tuple[Ended, Double]], arguments: list[str], said: str
) -> None:
    ended, double = call(sending(b""), "verifyNHSNumber", *arguments)
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended
    assert said in ended.err
    assert double.requests == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gender", "1"], "getNHSNumber needs --family"),
        (["--family", "LANGAN"], "getNHSNumber needs --gender"),
        (["--family", "LANGAN", "--gender", "male"], "--gender is 0, 1, 2 or 9"),
        (["--family", "LAN\x07GAN", "--gender", "1"], "--family and --given are plain text"),
        (["--family", "X", "--gender", "1", "--postcode", "L\x07"], "--postcode is plain text"),
        (["--family", "X", "--gender", "1", "--local-identifier", "1", "--local-identifier-root", "x"], "identifier"),
        (["--family", "X", "--gender", "1", "--nhs-number", NUMBER], "getNHSNumber takes no --nhs-number"),
    ],
)
def test_a_mistake_in_a_search_is_said_by_option_and_rule(
    call: Callable[..., tuple[Ended, Double]], arguments: list[str], said: str
) -> None:
    ended, double = call(sending(b""), "getNHSNumber", "--birth-date", "20090310", *arguments)
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended
    assert said in ended.err
    assert "Person." not in ended.err
    assert double.requests == []


def test_every_parameter_of_the_interface_is_given_by_an_option() -> None:
    from minispine.cli.call import PARAMETERS
    from minispine.wire.pds import MESSAGES

    assert PARAMETERS.keys() == {name for message in MESSAGES.values() for name in message.parameters}


@pytest.mark.parametrize("content", ['{"family": 3}', '{"birth_date": "2009", "local_identifier": {"root": 1}}'])
def test_parameters_of_the_wrong_kind_are_said_in_our_words(
    call: Callable[..., tuple[Ended, Double]], tmp_path: Path, content: str
) -> None:
    file = tmp_path / "question.json"
    file.write_text(content)
    ended, _ = call(sending(b""), "getNHSNumber", "--from", file)
    assert ended.code == 2
    assert "must be" in ended.err
    assert "`" not in ended.err


def test_who_asks_must_be_said(call: Callable[..., tuple[Ended, Double]], keys: Path, minispine: Command) -> None:
    issued = keys / "issued"
    ended = minispine(
        *(
            "call",
            "verifyNHSNumber",
            "--nhs-number",
            NUMBER,
            "--birth-date",
            "20090310",
            "--url",
            "https://localhost:1/",
        ),
        *("--certificate", issued / "ward.pem", "--key", issued / "ward.key", "--ca", keys / "provider" / "ca.pem"),
    )
    assert (ended.code, ended.err) == (2, "minispine: say who asks: --identity or --asid\n")


def test_a_refused_question_says_where_its_reason_can_be_seen(call: Callable[..., tuple[Ended, Double]]) -> None:
    asked = ("--nhs-number", NUMBER, "--birth-date", "20090310")
    ended, double = call(answering(Reply(code="SMSP-0001")), "verifyNHSNumber", *asked)
    assert f"minispine audit events --id {double.read(double.requests[0][1]).message_id}" in ended.out


def test_a_provider_and_its_files_must_be_named(minispine: Command, tmp_path: Path) -> None:
    asked: tuple[Any, ...] = ("call", "verifyNHSNumber", "--birth-date", "20090310")
    assert "--demo DIR, or --url" in minispine(*asked).err
    assert "--certificate is needed" in minispine(*asked, "--url", "https://localhost/").err
    assert "demo.json: not there" in minispine(*asked, "--demo", tmp_path).err
    assert f"minispine demo --data '{tmp_path}/a b'" in minispine(*asked, "--demo", tmp_path / "a b").err
    (tmp_path / "demo.json").write_text("{}")
    assert "not what minispine demo writes" in minispine(*asked, "--demo", tmp_path).err
