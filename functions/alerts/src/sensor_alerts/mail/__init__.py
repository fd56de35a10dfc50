"""Notification by e-mail: what a letter says, how it is delivered, when it goes out."""
