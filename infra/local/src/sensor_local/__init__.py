"""Starts, watches and stops the whole system on one machine: parts, functions, producer."""
