"""Alerts, as the alert service answers about them by gRPC."""
