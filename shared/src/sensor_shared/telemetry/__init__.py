"""Logs and metrics: what the system says about itself."""
