"""Notification by HTTP: a signed POST to an endpoint that somebody configured."""
