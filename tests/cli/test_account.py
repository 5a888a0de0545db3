"""Who is behind a command: who logged in, under which account, on which machine and terminal."""

import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from minispine.audit.actor import Actor
from minispine.cli import account as module

ACCOUNTS = {
    0: SimpleNamespace(pw_name="root", pw_gecos="root"),
    1001: SimpleNamespace(pw_name="jo", pw_gecos=" Jo Smith ,Room 3,,"),
    1002: SimpleNamespace(pw_name="r\udce9mi", pw_gecos=",,,"),
}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without terminals, with the accounts above, where nobody logged in; gives the login uid's file."""
    login_uid = tmp_path / "loginuid"
    login_uid.write_text(str(2**32 - 1))
    monkeypatch.setattr(module, "_LOGIN_UID", login_uid)
    monkeypatch.setattr(pwd, "getpwuid", ACCOUNTS.__getitem__)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename="gateway-1"))
    monkeypatch.setattr(os, "ttyname", _no_terminal)
    return login_uid


def _no_terminal(_: int) -> str:
    raise OSError


def test_an_account_that_nobody_logged_in_to_is_the_one_who_acts(machine: Path) -> None:
    root = Actor(user_id="root", name="root", device="gateway-1", account="root", uid=0)
    assert module.account() == root
    machine.unlink()  # a system without login uids
    assert module.account() == root
    assert module.actor() == root.as_data()


def test_whoever_became_another_account_is_still_the_one_who_acts(machine: Path) -> None:
    machine.write_text("1001")
    assert module.account() == Actor(user_id="jo", name="Jo Smith", device="gateway-1", account="root", uid=0)


def test_the_terminal_is_named_with_the_machine(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "ttyname", lambda stream: "/dev/pts/3" if stream == 2 else _no_terminal(stream))
    assert module.account().device == "gateway-1 /dev/pts/3"


def test_an_account_without_an_entry_is_called_by_its_number(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    assert module.account() == Actor(user_id="4711", device="gateway-1", account=None, uid=4711)


def test_a_name_that_is_no_text_can_be_recorded_all_the_same(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1002)
    found = module.account()
    assert (found.user_id, found.name) == ("r?mi", None)
