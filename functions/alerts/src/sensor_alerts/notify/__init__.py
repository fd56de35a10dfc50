"""Notifications: who is told of a change of an alert, by which channel, and nothing is lost."""
