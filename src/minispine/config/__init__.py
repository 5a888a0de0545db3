"""minispine.toml: what needs a restart, read once into one immutable `Settings`; errors name file, key and reason."""
