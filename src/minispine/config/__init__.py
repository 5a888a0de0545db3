"""minispine.toml: what needs a restart, read once into one immutable `Settings` and checked with file, key and reason."""
