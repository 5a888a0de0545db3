"""A Spine to run against, in its own process, with its own rules. It never imports the provider."""
