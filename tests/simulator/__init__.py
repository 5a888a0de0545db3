"""A package, so that these modules may have the names of the modules they test."""
