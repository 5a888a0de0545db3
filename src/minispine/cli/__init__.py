"""The commands, one module each; ``app.py`` is the tree they hang on, ``errors.py`` how each ends."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process, and end it with the command's exit code."""
    from minispine.cli import app, stdout  # here, because whoever imports one command need not load the tree of all

    stdout.name_failures()
    sys.exit(app.run(sys.argv[1:]))
