"""The words of the field: values and decisions.

Nothing here does I/O, reads a clock, draws a random number or knows XML. Everything that looks at the
outside world is handed in as a value.
"""
