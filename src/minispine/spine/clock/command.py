"""Running a command of this machine and taking what it prints, without holding up the event loop."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path


class CommandFailed(Exception):
    """A command that gave nothing to read: it is not there, ended with a failure, or did not end in time."""


async def output(command: Sequence[str], *, timeout_s: float) -> str:
    """Run a command, in the C locale and without standard input, and give its standard output.

    Raises:
        CommandFailed: naming the command and what became of it, never quoting it.
    """
    name = Path(command[0]).name
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=os.environ | {"LC_ALL": "C"},
        )
    except OSError as error:
        raise CommandFailed(f"cannot run {name}: {os.strerror(error.errno or 0).lower()}") from None
    try:
        async with asyncio.timeout(timeout_s):
            printed, _ = await process.communicate()
    except TimeoutError:
        raise CommandFailed(f"{name} did not end within {timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise CommandFailed(f"{name} ended with exit code {process.returncode}")
    return printed.decode("ascii", "replace")
