"""``python -m minispine``: the same as the ``minispine`` command."""

from minispine.cli import main

if __name__ == "__main__":
    main()
