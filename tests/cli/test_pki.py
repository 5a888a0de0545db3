from pathlib import Path

from minispine.keys.certificates import RevocationLists, describe
from tests.cli.conftest import Command


def test_from_nothing_to_a_revoked_certificate(minispine: Command, tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    made = minispine("pki", "init", folder)
    assert made.code == 0
    assert f"{folder}/clients/ca.pem" in made.out.splitlines()
    issued = minispine("pki", "issue", folder, "ward", "--organisation", "Example Trust", "--days", "30")
    assert issued.out.splitlines() == [f"{folder}/issued/ward.pem", f"{folder}/issued/ward.key"]
    shown = minispine("pki", "show", folder / "issued" / "ward.pem", "--json").json()
    assert shown[0]["subject"] == "CN=ward,O=Example Trust"
    assert shown[0]["days_left"] in (29, 30)
    assert minispine("pki", "revoke", folder, "ward").out.splitlines() == [f"{folder}/clients/crl.pem"]
    lists = RevocationLists.load([folder / "clients" / "crl.pem"], folder / "clients" / "ca.pem")
    assert lists.revoked(describe((folder / "issued" / "ward.pem").read_bytes()))
    assert minispine("pki", "renew", folder).code == 0


def test_a_servers_hosts_are_those_asked_for(minispine: Command, tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    minispine("pki", "init", folder)
    named = ("--host", "smsp.example.org", "--host", "192.0.2.7")
    assert minispine("pki", "issue", folder, "smsp", "--kind", "server", *named).code == 0
    assert minispine("pki", "issue", folder, "bad", "--kind", "server", "--host", "a b").code == 2


def test_show_reads_as_a_list_and_tells_by_its_code_whether_it_is_valid(minispine: Command, keys: Path) -> None:
    ended = minispine("pki", "show", keys / "issued" / "ward.pem")
    assert ended.code == 0
    assert "CN=ward,O=Example Trust" in ended.out
    assert "days left" in ended.out


def test_mistakes_name_what_is_wrong(minispine: Command, keys: Path, tmp_path: Path) -> None:
    for arguments, said in (
        (("init", keys), "already holds a PKI"),
        (("issue", tmp_path, "x"), "minispine pki init"),
        (("issue", tmp_path / "a b", "x"), f"minispine pki init '{tmp_path}/a b'"),
        (("issue", keys, "x", "--host", "smsp.example.org"), "a client has no hosts in its certificate"),
        (("issue", keys, "x", "--kind", "spine-client", "--host", "a"), "a spine-client has no hosts"),
        (("issue", keys, "ward"), "exists"),
        (("revoke", keys, "nobody"), "left to revoke"),
        (("show", keys / "issued" / "ward.key"), "no certificate"),
        (("show", tmp_path / "absent.pem"), "no such file"),
    ):
        ended = minispine("pki", *arguments)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert said in ended.err
