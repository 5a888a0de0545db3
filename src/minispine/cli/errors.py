"""How a command ends: exit codes, and one line on stderr for everything that can go wrong.

No traceback reaches a user unless MINISPINE_DEBUG=1 asks for it. An exception that nobody foresaw is named by its type
and place only, because its text may hold what was being worked on (Law 8).
"""

import os
import sys
import traceback
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from minispine.cli.stdout import OutputFailed, give_up


class Exit(IntEnum):
    """What the exit codes mean."""

    DONE = 0
    FAILED = 1
    """The thing asked for was tried and the answer is no: another response code, a check that failed."""
    MISTAKE = 2
    """The command line or the configuration cannot be right."""
    ENVIRONMENT = 3
    """Something around us: cannot connect, the store is away, a fault instead of an answer."""
    DEFECT = 70
    """A mistake of ours."""
    INTERRUPTED = 130
    PIPE_CLOSED = 141


class CommandError(Exception):
    """Ends a command with one line on stderr. The line says what is wrong and what would put it right."""

    exit: Exit = Exit.FAILED


class Failed(CommandError):
    """The thing asked for was tried, and failed."""


class Mistaken(CommandError):
    """The command line or a file it names cannot be right."""

    exit = Exit.MISTAKE


class EnvironmentFailed(CommandError):
    """Something outside this command does not work."""

    exit = Exit.ENVIRONMENT


_KNOWN: Final[dict[str, tuple[Exit, str]]] = {
    "minispine.config.loading.ConfigurationInvalid": (Exit.MISTAKE, ""),
    "minispine.keys.files.KeyFileRefused": (Exit.MISTAKE, ""),
    "minispine.keys.certificates.CertificateUnreadable": (Exit.MISTAKE, ""),
    "minispine.keys.pki.PkiRefused": (Exit.MISTAKE, ""),
    "minispine.vocabulary.tables.TableInvalid": (Exit.MISTAKE, ""),
    "minispine.provider.in_force.Unusable": (Exit.MISTAKE, ""),
    "minispine.spine.http.endpoint.EndpointInvalid": (Exit.MISTAKE, ""),
    "minispine.spine.ods.practice_file.OrganisationsInvalid": (Exit.MISTAKE, ""),
    "minispine.storage.errors.StorageMisconfigured": (Exit.MISTAKE, ""),
    "minispine.audit.opening.LogNotReady": (Exit.MISTAKE, ""),
    "minispine.audit.declaration.DeclarationInvalid": (Exit.FAILED, "look at it with: minispine audit verify"),
    "minispine.audit.reading.RecordUnreadable": (Exit.FAILED, ""),
    "minispine.audit.tree.TreeDamaged": (Exit.FAILED, "look at it with: minispine audit verify"),
    "minispine.audit.checkpointing.LogRewritten": (Exit.FAILED, "look at it with: minispine audit verify"),
    "minispine.audit.checkpointing.WrongLogKey": (Exit.MISTAKE, ""),
    "minispine.audit.rotation.NotForgettable": (Exit.FAILED, ""),
    "minispine.audit.redaction.NotTheOwner": (Exit.MISTAKE, ""),
    "minispine.audit.archive.ArchiveUnreadable": (Exit.MISTAKE, ""),
    "minispine.audit.vault.PayloadUnreadable": (Exit.MISTAKE, "look at the audit key folder"),
    "minispine.storage.errors.VersionConflict": (Exit.FAILED, "somebody else changed it; look again and repeat"),
    "minispine.storage.errors.SchemaOutdated": (Exit.ENVIRONMENT, ""),
    "minispine.storage.errors.StoreLost": (Exit.ENVIRONMENT, ""),
    "minispine.audit.index.layout.IndexBroken": (Exit.ENVIRONMENT, "make it anew with: minispine audit reindex"),
    "minispine.storage.errors.StorageError": (Exit.ENVIRONMENT, "look at [storage] in the configuration"),
    "minispine.audit.events.AuditUnavailable": (
        Exit.ENVIRONMENT,
        "look at [storage], and whether a change was made before making it again",
    ),
    "minispine.client.errors.RequestNotSent": (Exit.MISTAKE, ""),
    "minispine.client.errors.ClientError": (Exit.ENVIRONMENT, ""),
}
"""Our own exceptions by their full name, so that none of their modules is imported before it is used: how the command
ends, and what to do next where the exception does not say."""


def run(command: Callable[[], object]) -> int:
    """Run a command to its exit code; whatever it raises becomes one line on stderr."""
    if sys.stdout is None:
        _say("cannot write to standard output: it is closed")
        return Exit.ENVIRONMENT
    try:
        result = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        give_up(sys.stdout)
        return Exit.PIPE_CLOSED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Exit.DONE if end.code is None else Exit.FAILED
    except Exception as error:
        if isinstance(error, OutputFailed):
            give_up(sys.stdout)
        code, line = explain(error)
        _say(line)
        if os.environ.get("MINISPINE_DEBUG") == "1":
            traceback.print_exception(error)
        return code
    return result if isinstance(result, int) else Exit.DONE


def explain(error: BaseException) -> tuple[Exit, str]:
    """Give the exit code and the one line for an exception."""
    if isinstance(error, CommandError):
        return error.exit, str(error)
    for kind in type(error).__mro__:
        if known := _KNOWN.get(f"{kind.__module__}.{kind.__qualname__}"):
            code, advice = known
            text = str(error)
            # Who says which command to run does not want another way out behind it.
            return code, f"{text.rstrip('.')}; {advice}" if advice and "; run: " not in text else text
    if isinstance(error, OutputFailed):
        return Exit.ENVIRONMENT, f"cannot write to standard output: {(error.strerror or 'unknown').lower()}"
    if isinstance(error, OSError) and error.filename is not None:
        return Exit.MISTAKE, f"{error.filename}: {(error.strerror or type(error).__name__).lower()}"
    return Exit.DEFECT, (
        f"a mistake in minispine itself: {type(error).__name__} at {_place(error)}; "
        "run it again with MINISPINE_DEBUG=1 to see the detail for a report"
    )


def _place(error: BaseException) -> str:
    """Say where in our own code an exception came from."""
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if "minispine" in f.filename
    ] or traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('minispine/')[2]}:{frames[-1].lineno}" if frames else "an unknown place"


def _say(line: str) -> None:
    print(f"minispine: {' '.join(line.split())}", file=sys.stderr)
