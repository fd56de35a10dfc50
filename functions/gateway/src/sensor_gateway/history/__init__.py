"""Readings of one device over time: raw, or in minutes, hours and days."""
