"""What commands print for people: tables that fit the terminal, and whole when written to a file or a pipe."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNBOUNDED = 400


def console(piped_width: int = _UNBOUNDED) -> Console:
    """Give a console for stdout, wide enough not to cut anything when nobody looks at it directly."""
    if sys.stdout.isatty():
        return Console()
    return Console(width=piped_width, no_color=True)


def plain(text: str, *, keep: str = "") -> str:
    """Text that a terminal only shows: what would move its cursor, break the line or turn the writing is escaped.

    Much of what is printed came from others, who could otherwise make a line look like one of ours. The characters in
    `keep` stay as they are.
    """
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def pairs(rows: Sequence[tuple[str, str]]) -> None:
    """Print names beside their values."""
    out = Table(box=None, pad_edge=False, show_edge=False, show_header=False)
    out.add_column(style="bold")
    out.add_column(overflow="fold")
    for name, value in rows:
        out.add_row(Text(plain(name)), Text(plain(value, keep="\n")))
    console().print(out)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, piped_width: int = _UNBOUNDED) -> None:
    """Print rows under their column names. Cells are plain text, never markup.

    Where stdout is no terminal, cells are folded so that lines have at most `piped_width` characters.
    """
    out = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        out.add_column(column, overflow="fold")
    for row in rows:
        out.add_row(*(Text(plain(cell, keep="\n")) for cell in row))
    console(piped_width).print(out)
