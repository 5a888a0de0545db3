import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from minispine.config import ConfigurationInvalid, Settings, check, example, load, load_with_digest
from minispine.config.loading import RULES
from minispine.config.settings import DirectoryWitness, HttpsWitness, SyslogWitness

MINIMAL = """
system_id = "RXX-SMSP-1"
{top}
[machines]
certificate = "keys/smsp.pem"
key = "/etc/smsp.key"
client_ca = "clients.pem"
{machines}
[clock]
servers = ["time-1.example.org", "time-2.example.org:1123"]
{clock}
[[audit.witnesses]]
kind = "directory"
name = "other-disk"
directory = "witness"
[spine.pds]
url = "https://spine.example.org/sync-service"
to_asid = "928942012545"
certificate = "a"
key = "b"
ca = "c"
{rest}
"""


WITNESS = '[[audit.witnesses]]\nname = "two"\n'


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(*, top: str = "", machines: str = "", clock: str = "", rest: str = "") -> Path:
        file = tmp_path / "minispine.toml"
        file.write_text(MINIMAL.format(top=top, machines=machines, clock=clock, rest=rest))
        return file

    return write


def test_paths_are_absolute_from_the_folder_of_the_file(
    written: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = written(machines='crl = ["one.crl", "/two.crl"]')
    settings = load(Path(file.name))
    assert settings.machines.certificate == tmp_path / "keys" / "smsp.pem"
    assert settings.machines.key == Path("/etc/smsp.key")
    assert settings.machines.crl == (tmp_path / "one.crl", Path("/two.crl"))
    assert settings.storage.url == f"sqlite:{tmp_path}/data"
    assert settings.audit.keys == load(written(rest="[audit]")).audit.keys == tmp_path / "audit-keys"


def test_the_digest_is_of_the_bytes_that_were_read(written: Callable[..., Path]) -> None:
    file = written()
    settings, digest = load_with_digest(file)
    assert settings == load(file)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_what_is_left_out_has_its_default(written: Callable[..., Path]) -> None:
    settings = load(written())
    assert (settings.workers, settings.machines.port, settings.storage.password_file) == (1, 8443, None)
    assert check(settings) == []


@pytest.mark.parametrize(
    ("parts", "key", "reason"),
    [
        ({"machines": "prot = 1"}, "machines.prot", "is not a known key; did you mean machines.port?"),
        ({"top": "workrs = 1"}, "workrs", "did you mean workers?"),
        ({"machines": "zzz = 1"}, "machines.zzz", "known here: host, port"),
        ({"rest": "[spine.sds]\nurl = 1"}, "spine.sds", "did you mean spine.pds?"),
        ({"machines": 'port = "x"'}, "machines.port", "must be a whole number, not a string"),
        ({"machines": "port = 1.5"}, "machines.port", "must be a whole number, not a number"),
        ({"machines": "crl = 3"}, "machines.crl", "must be a list, not a whole number"),
        ({"machines": "crl = ['a', 3]"}, "machines.crl[1]", "must be a string"),
        ({"machines": "key_password_file = true"}, "machines.key_password_file", "must be a string"),
        ({"machines": "key_password_file = ''"}, "machines.key_password_file", "is empty"),
        ({"machines": "public_url = 3"}, "machines.public_url", "must be a string, not a whole number"),
        ({"top": "management = 3"}, "management", "must be a table, not a whole number"),
        ({"top": 'log_level = "loud"'}, "log_level", "must be one of debug, info, warning, error"),
        ({"top": 'profile = "trial"'}, "profile", "must be one of production, demonstration"),
        ({"rest": WITNESS}, "audit.witnesses[1].kind", "is missing"),
        ({"rest": WITNESS + 'kind = "disk"'}, "audit.witnesses[1].kind", "must be one of directory, syslog, https"),
        ({"rest": WITNESS + 'kind = "directory"'}, "audit.witnesses[1].directory", "is missing"),
        ({"rest": WITNESS + 'kind = "syslog"\nport = "x"'}, "audit.witnesses[1].port", "must be a whole number"),
        (
            {"rest": WITNESS + 'kind = "directory"\ndirectory = "x"\noff = true'},
            "audit.witnesses[1].off",
            "is not a known key",
        ),
        ({"rest": WITNESS + 'kind = "directory"\ndirectory = ""'}, "audit.witnesses[1].directory", "is empty"),
    ],
)
def test_a_mistake_names_file_key_and_reason(
    written: Callable[..., Path], parts: dict[str, str], key: str, reason: str
) -> None:
    file = written(**parts)
    with pytest.raises(ConfigurationInvalid) as refused:
        load(file)
    assert (refused.value.file, refused.value.key) == (file, key)
    assert reason in refused.value.reason
    assert str(refused.value).startswith(f"{file}: {key}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.requirement("IG-3.9.7", "b")
@pytest.mark.parametrize(
    ("parts", "key"),
    [
        ({"top": "audit_enabled = false"}, "audit_enabled"),
        ({"rest": "[audit]\nenabled = false"}, "audit.enabled"),
        ({"rest": '[audit]\nlevel = "none"'}, "audit.level"),
        ({"rest": '[audit]\nexclude = ["exchange.received"]'}, "audit.exclude"),
        ({"rest": "[audit.events]\nlogin = false"}, "audit.events"),
        ({"rest": "[exchange]\naudit = false"}, "exchange.audit"),
        ({"rest": "[storage]\naudit = false"}, "storage.audit"),
    ],
)
def test_no_key_switches_the_audit_trail_off(written: Callable[..., Path], parts: dict[str, str], key: str) -> None:
    file = written(**parts)
    with pytest.raises(ConfigurationInvalid) as refused:
        load(file)
    assert refused.value.key == key
    assert "is not a known key" in refused.value.reason


@pytest.mark.parametrize("missing", ["system_id", "machines.certificate", "spine.pds.url"])
def test_a_missing_key_is_named_in_full(written: Callable[..., Path], missing: str) -> None:
    file = written()
    file.write_text(re.sub(rf"(?m)^{missing.rpartition('.')[2]} = .*\n", "", file.read_text(), count=1))
    with pytest.raises(ConfigurationInvalid, match=rf": {missing}: is missing"):
        load(file)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"a = \n", "is not TOML: .*line 1"), (b'a = "\xff"', "UTF-8"), (None, "no such file")]
)
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "minispine.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationInvalid, match=reason):
        load(file)


DIRECTORY = DirectoryWitness(name="disk", directory=Path("/mnt"))
SYSLOG = SyslogWitness(name="syslog", host="syslog.example.org", ca=Path("ca.pem"))
HTTPS = HttpsWitness(name="https", url="https://witness.example.org/smsp", vkey="w+00+x", ca=Path("ca.pem"))
REPLACE = msgspec.structs.replace

BROKEN: list[tuple[str, Any]] = [
    ("system_id", "two words"),
    ("profile", "demonstration"),
    ("machines.port", 65536),
    ("machines.trusted_proxies", ("proxy.example.org",)),
    ("machines.proxy_header", "X-Cert"),
    ("machines.public_url", "http://smsp.example.org"),
    ("machines.max_body_bytes", 0),
    ("machines.body_timeout_s", float("inf")),
    ("machines.idle_timeout_s", float("nan")),
    ("machines.backlog", 0),
    ("management.host", "0.0.0.0"),
    ("management.port", -1),
    ("management.port", 8443),
    ("storage.url", "mysql://x/y"),
    ("storage.url", "postgresql://user:secret@localhost/x"),
    ("storage.warn_free", 1.0),
    ("storage.refuse_free", 0.001),
    ("storage.refuse_free", 0.2),
    ("audit.keep_days", 30),
    ("audit.checkpoint_interval_s", 0.5),
    ("audit.no_witness_reason", " "),
    ("audit.no_witness_reason", "a trial"),
    ("audit.witnesses", ()),
    ("audit.witnesses", (REPLACE(DIRECTORY, name="two words"),)),
    ("audit.witnesses", (DIRECTORY, REPLACE(SYSLOG, name="disk"))),
    ("audit.witnesses", (REPLACE(SYSLOG, port=0),)),
    ("audit.witnesses", (REPLACE(HTTPS, url="https://user@witness.example.org/"),)),
    ("audit.witnesses", (REPLACE(HTTPS, vkey=None),)),
    ("audit.witnesses", (REPLACE(SYSLOG, certificate=Path("own.pem")),)),
    ("audit.witnesses", (REPLACE(HTTPS, timeout_s=61.0),)),
    ("spine.pds.url", "https://user@spine.example.org/"),
    ("spine.pds.to_asid", "1"),
    ("spine.pds.proxy", "socks://x"),
    ("spine.pds.connect_timeout_s", 0),
    ("spine.pds.read_timeout_s", 0),
    ("spine.pds.timeout_s", 0),
    ("spine.pds.retries", -1),
    ("spine.pds.max_connections", 0),
    ("spine.pds.breaker_failures", 0),
    ("spine.pds.breaker_open_s", 0),
    ("clock.policy", "observe"),
    ("clock.servers", ("time.example.org/x", "10.0.0.1")),
    ("clock.servers", ("time.example.org",)),
    ("clock.max_stratum", 4),
    ("clock.max_offset_ms", 251),
    ("clock.interval_s", 0),
    ("clock.timeout_s", 0),
    ("clock.interval_s", 14.9),
    ("exchange.clock_skew_s", -1),
    ("exchange.max_in_flight", 0),
    ("exchange.max_waiting", -1),
    ("workers", 0),
    ("workers", 2),
    ("drain_s", -1),
    ("exchange.clock_skew_s", 901),
    ("exchange.not_verified_falls_back_to_search", True),
]


def changed(settings: Any, key: str, value: Any) -> Any:
    name, _, rest = key.partition(".")
    inner = changed(getattr(settings, name), rest, value) if rest else value
    return msgspec.structs.replace(settings, **{name: inner})


@pytest.mark.parametrize(("key", "value"), BROKEN, ids=[f"{key}={value}" for key, value in BROKEN])
def test_each_rule_finds_its_breach_and_nothing_else(written: Callable[..., Path], key: str, value: Any) -> None:
    (problem,) = check(changed(load(written()), key, value))
    assert problem.key == key
    assert str(value) not in problem.reason or len(str(value)) == 1


@pytest.mark.parametrize("key", [rule.key for rule in RULES if rule.key.endswith("_s") and rule.severity == "error"])
def test_a_time_longer_than_a_day_is_a_slip(written: Callable[..., Path], key: str) -> None:
    for value in (86_401.0, 1e300, float("inf"), float("nan")):
        (problem,) = check(changed(load(written()), key, value))
        assert (problem.key, problem.severity) == (key, "error")


def test_every_rule_has_a_breach_above() -> None:
    assert [rule.key for rule in RULES] == [key for key, _ in BROKEN]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("management.host", "::1"),
        ("management.host", "127.8.8.8"),
        ("management.host", "localhost"),
        ("management.port", 0),
        ("storage.url", "postgresql://user@localhost:5432/minispine"),
        ("clock.servers", ("10.0.0.1", "10.0.0.1:1123", "[2001:db8::1]", "[2001:db8::1]:1123")),
        ("audit.witnesses", (DIRECTORY, SYSLOG, HTTPS)),
        ("audit.witnesses", (REPLACE(SYSLOG, certificate=Path("own.pem"), key=Path("own.key")),)),
        ("audit.witnesses", (REPLACE(HTTPS, protocol="post", vkey=None),)),
    ],
)
def test_what_is_right_is_let_pass(written: Callable[..., Path], key: str, value: Any) -> None:
    assert check(changed(load(written()), key, value)) == []


def test_several_workers_are_for_postgresql(written: Callable[..., Path]) -> None:
    """Law 9."""
    settings: Settings = load(written(top="workers = 4"))
    assert [problem.key for problem in check(settings)] == ["workers"]
    assert check(changed(settings, "storage.url", "postgresql://localhost/minispine")) == []


@pytest.mark.parametrize("server", ["", " ", ":123", "a:", "a:0", "a:65536", "a:x", "2001:db8::1", "u@a", "a/b", "a?b"])
def test_what_is_no_time_server_is_refused(written: Callable[..., Path], server: str) -> None:
    (problem,) = check(changed(load(written()), "clock.servers", (server, "10.0.0.1", "10.0.0.2")))
    assert "HOST or HOST:PORT" in problem.reason


def test_a_time_server_named_twice_is_not_two(written: Callable[..., Path]) -> None:
    (problem,) = check(changed(load(written()), "clock.servers", ("time.example.org", "TIME.example.org:123")))
    assert "each but once" in problem.reason


def test_without_time_servers_a_clock_can_only_be_observed(written: Callable[..., Path]) -> None:
    settings = changed(load(written(clock='policy = "observe"')), "clock.servers", ())
    assert [(problem.key, problem.severity) for problem in check(settings)] == [("clock.policy", "warning")]


def test_the_example_loads_without_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "minispine.toml"
    file.write_text(example())
    assert check(load(file)) == []
