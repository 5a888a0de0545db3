"""The Spine Mini Service Provider: from a client's bytes to its answer, along the path in docs/architecture.md."""
