"""Replay: a stretch of a topic through its function once more, which adds what is missing."""
