"""minispine: an NHS Spine Mini Service Provider and the simulated Spine it is tried against.

The rooms of this package and what each may import are described in ``docs/architecture.md``.
"""

__version__ = "0.1.0"
