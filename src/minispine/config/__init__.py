"""minispine.toml: what needs a restart, read once into one immutable `Settings`; errors name file, key and reason.

What changes while running (clients, reference tables) is in the registry of ``storage``, not here (Law 11).
"""

from minispine.config.example import example
from minispine.config.loading import ConfigurationInvalid, Problem, check, load
from minispine.config.settings import Settings

__all__ = ["ConfigurationInvalid", "Problem", "Settings", "check", "example", "load"]
