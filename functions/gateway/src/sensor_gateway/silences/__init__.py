"""Silences and maintenance windows: while one holds, nobody is told of the alerts in its scope."""
