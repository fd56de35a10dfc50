"""The dead letters: what failed for good, why, and its way back to the topic it came from."""
