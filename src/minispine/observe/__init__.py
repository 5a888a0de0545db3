"""Application log events and metrics: one table each, fixed texts, no personal values."""
