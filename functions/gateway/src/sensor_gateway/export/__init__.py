"""Readings of any span as a file, never held whole."""
