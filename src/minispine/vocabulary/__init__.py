"""Tables as data: response codes, faults, Spine-code mappings, OIDs, and their loader (SMSP-CONF-001).

The tables that ship are TOML files in this folder; `minispine table load` puts an operator's own version of one into
the registry, checked by the same loader.
"""
