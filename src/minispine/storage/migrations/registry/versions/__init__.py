"""Each module is one revision."""
