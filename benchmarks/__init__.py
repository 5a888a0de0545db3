"""Benchmarks: each says what it measures, prints figures, and writes them as JSON when asked. Run by scripts/bench."""
