"""The commands, one module each; ``app.py`` is the tree they hang on, ``errors.py`` how each ends."""

import sys


def main() -> int:
    """Run the command line of this process; gives its exit code."""
    from minispine.cli import app  # here, because whoever imports one command need not load the tree of all

    return app.run(sys.argv[1:])
