"""minispine.toml: what needs a restart, read into one immutable `Settings`; errors name file, key and reason.

The few keys that are taken while running are in ``rereading.py``. What else changes while running (clients, reference
tables) is in the registry of ``storage``, not here (Law 11).
"""

from minispine.config.example import example
from minispine.config.loading import ConfigurationInvalid, Problem, Survey, check, load, load_with_digest, survey
from minispine.config.rereading import CHANGEABLE, decode, differing, encode, taking
from minispine.config.settings import Settings

__all__ = [
    "CHANGEABLE",
    "ConfigurationInvalid",
    "Problem",
    "Settings",
    "Survey",
    "check",
    "decode",
    "differing",
    "encode",
    "example",
    "load",
    "load_with_digest",
    "survey",
    "taking",
]
