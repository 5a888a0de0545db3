"""What is said against the witnesses and the disk of a configuration before it is served with."""

import datetime
from pathlib import Path

import msgspec
import pytest

from minispine.config import Settings
from minispine.config.settings import (
    Audit,
    DirectoryWitness,
    HttpsWitness,
    Machines,
    Spine,
    SpinePds,
    Storage,
    SyslogWitness,
)
from minispine.config.settings import Witness as AnyWitness
from minispine.keys import pki
from minispine.provider.checking import problems

NOW = datetime.datetime(2026, 9, 21, tzinfo=datetime.UTC)
VKEY = "witness.example.nhs.uk/w1+3d6e1fc5+BBPlRzvbLQyee9QIG2zbiliWYVl5pQhow7/bj+zT5SEq"


_FILES = {name: Path("none") for name in ("certificate", "key")}
_SETTINGS = Settings(
    system_id="S",
    machines=Machines(client_ca=Path("none"), **_FILES),
    spine=Spine(pds=SpinePds(url="https://spine.example/", to_asid="928942012545", ca=Path("none"), **_FILES)),
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "pki"
    pki.create(folder, now=NOW)
    pki.issue(folder, "ours", pki.Kind.CLIENT, now=NOW)
    pki.issue(folder, "other", pki.Kind.CLIENT, now=NOW)
    return folder


def said(audit: Audit) -> list[tuple[str, str, str]]:
    """The problems of [audit], where nothing else is in order."""
    found = problems(msgspec.structs.replace(_SETTINGS, audit=audit), now=NOW)
    return [(each.key, each.reason, each.severity) for each in found if each.key.startswith("audit.")]


def of(*witnesses: AnyWitness) -> list[tuple[str, str, str]]:
    return said(Audit(witnesses=witnesses))


def test_what_is_in_order_is_let_pass(keys: Path, tmp_path: Path) -> None:
    ca, issued = keys / "provider/ca.pem", keys / "issued"
    own = {"certificate": issued / "ours.pem", "key": issued / "ours.key"}
    assert (
        of(
            DirectoryWitness(name="disk", directory=tmp_path),
            SyslogWitness(name="siem", host="syslog.example", ca=ca, **own),
            HttpsWitness(name="region", url="https://witness.example", vkey=VKEY, ca=ca),
        )
        == []
    )


def test_a_directory_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    ((key, reason, severity),) = of(DirectoryWitness(name="disk", directory=gone))
    assert (key, severity) == ("audit.witnesses[0].directory", "warning")
    assert reason == f"{gone}: is not there; make it, or mount its disk"


@pytest.mark.parametrize(
    ("changed", "key", "reason"),
    [
        ({"ca": "issued/none.pem"}, "ca", "cannot be used"),
        ({"certificate": "issued/ours.pem", "key": "issued/other.key"}, "key", "is not the key of"),
        ({"certificate": "issued/ours.pem", "key": "issued/none.key"}, "key", "cannot be used"),
    ],
)
def test_files_that_cannot_be_used_are_errors_of_their_witness(
    keys: Path, changed: dict[str, str], key: str, reason: str
) -> None:
    files = {name: keys / file for name, file in ({"ca": "provider/ca.pem"} | changed).items()}
    good = SyslogWitness(name="siem", host="syslog.example", ca=keys / "provider/ca.pem")
    bad = msgspec.structs.replace(good, name="other", **files)
    ((where, why, severity),) = of(good, bad)
    assert (where, severity) == (f"audit.witnesses[1].{key}", "error")
    assert reason in why


@pytest.mark.parametrize("vkey", ["w", "w+00000000+AAAA", VKEY.replace("3d6e", "3d6f")])
def test_a_key_of_a_witness_that_is_none_is_an_error(keys: Path, vkey: str) -> None:
    ((where, _, severity),) = of(
        HttpsWitness(name="region", url="https://witness.example", vkey=vkey, ca=keys / "provider/ca.pem")
    )
    assert (where, severity) == ("audit.witnesses[0].vkey", "error")


def test_the_published_log_needs_a_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    witness = DirectoryWitness(name="disk", directory=tmp_path)
    assert said(Audit(directory=file, witnesses=(witness,))) == [
        ("audit.directory", f"{file}: is not a directory", "error")
    ]
    assert said(Audit(directory=tmp_path / "to-be-made", witnesses=(witness,))) == []


def test_a_disk_that_nobody_watches_is_a_warning(tmp_path: Path) -> None:
    def warned(storage: Storage) -> list[tuple[str, str]]:
        found = problems(msgspec.structs.replace(_SETTINGS, storage=storage), now=NOW)
        return [(each.severity, each.reason) for each in found if each.key == "storage.volume"]

    away = "nobody is told when the disk of the database fills up"
    assert warned(Storage(url="sqlite:data")) == []
    assert warned(Storage(url="postgresql://me@/db", volume=tmp_path)) == []
    [(severity, reason)] = warned(Storage(url="postgresql://me@/db"))
    assert (severity, reason) == ("warning", f"is not set: {away}; name a path on it, if it is here")
    gone = tmp_path / "gone"
    assert warned(Storage(url="postgresql://me@/db", volume=gone)) == [("warning", f"{gone}: is not there: {away}")]
