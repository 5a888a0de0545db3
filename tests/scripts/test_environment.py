"""scripts/_environment on machines that lack something. That it makes an environment is shown by every clean run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = [*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for part in ("scripts", "requirements"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def prepare(checkout: Path, python3: str) -> subprocess.CompletedProcess[str]:
    """Run the script where `python3` is this shell script and there is no other Python."""
    tools = checkout / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "sha256sum", "cut", "cat", "flock", "rm", "env"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    (tools / "python3").write_text(f"#!/bin/sh\n{python3}\n")
    (tools / "python3").chmod(0o755)
    environment = {**os.environ, "PATH": str(tools)}
    command = [checkout / "scripts" / "_environment", "runtime"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_python_that_is_too_old_is_said_in_one_line(checkout: Path) -> None:
    done = prepare(checkout, "exit 1")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "minispine needs Python 3.11 or later, and there is none on the PATH.\n"


def test_a_python_without_venv_is_said_with_the_remedy(checkout: Path) -> None:
    done = prepare(checkout, f'case "$*" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"')
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("python3 cannot make environments; install its venv module")
    assert "apt-get install python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_every_script_can_be_run_and_is_sound_shell(script: Path) -> None:
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", script], check=True)


@pytest.mark.parametrize(("arguments", "written"), [([], "build/requirements.json"), (["-k", "one"], "")])
def test_only_a_run_of_all_tests_says_what_is_proved(checkout: Path, arguments: list[str], written: str) -> None:
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "${MINISPINE_REQUIREMENTS:-}"\n')
    (checkout / "scripts" / "_environment").write_text("#!/bin/sh\n")
    python.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "MINISPINE_REQUIREMENTS"}
    command = [checkout / "scripts" / "test", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == written
