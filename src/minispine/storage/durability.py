"""Whether what is committed is on the disk, as far as that can be asked: nothing may be served from where it is not.

Of PostgreSQL the server is asked for the settings by which a power cut could undo a commit; of SQLite, which locks and
shares memory between processes of one machine, whether its folder lies on a network share.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from minispine.storage.errors import StorageMisconfigured
from minispine.storage.tables import Store

if TYPE_CHECKING:
    from minispine.storage.database import Database

SHARED: Final = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs"),
        *("nfs", "nfs4", "ocfs2", "orangefs", "smb2", "smb3", "smbfs"),
        *("fuse.ceph", "fuse.ceph-fuse", "fuse.davfs2", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    }
)
"""Types of file systems that are on another machine, or on several."""

_MOUNTS: Final = Path("/proc/self/mountinfo")
_NEEDED: Final = ("fsync", "full_page_writes", "synchronous_commit")
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def _mounts() -> str:
    try:
        return _MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:  # no Linux: nobody to ask
        return ""


def check(database: "Database", *, mounts: Callable[[], str] = _mounts) -> None:
    """Return if commits are durable here.

    `mounts` gives the text of ``/proc/self/mountinfo``. Raises `StorageMisconfigured`, which names what to change, and
    `StorageUnavailable`.
    """
    if database.folder is not None:
        kind = file_system(database.folder, mounts())
        if kind in SHARED:
            raise StorageMisconfigured(
                f"{database.folder} lies on a network share ({kind}), where SQLite cannot keep what it has committed; "
                "give storage.url a folder on a disk of this machine, or use PostgreSQL"
            )
        return
    with database.session(Store.AUDIT) as session:
        values = {name: session.rows(f"SHOW {name}")[0][0] for name in _NEEDED}
    off = [name for name, value in values.items() if value == "off"]
    if off:
        raise StorageMisconfigured(
            f"PostgreSQL runs with {', '.join(f'{name} = off' for name in off)}, so that a power cut can undo what it "
            "has committed; set it to on and restart the server"
        )


def file_system(path: Path, mounts: str) -> str | None:
    """The type of the file system that a path is or will be on, None if it cannot be told."""
    real = path.absolute().resolve()
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        where, separator, what = line.partition(" - ")
        fields = where.split(" ")
        if not separator or len(fields) < 5:
            continue
        mounted = Path(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), fields[4]))
        depth = len(mounted.parts)
        # Of several mounts in one place the last one covers the others.
        if real.is_relative_to(mounted) and (found is None or depth >= found[0]):
            found = depth, what.split(" ")[0]
    return None if found is None else found[1]
