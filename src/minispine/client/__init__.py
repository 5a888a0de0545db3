"""The library that calls a mini service provider, ours or anybody's."""
