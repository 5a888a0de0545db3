"""Codecs between bytes and the words of the domain. No I/O, no clock, no randomness: ids and times are parameters."""
