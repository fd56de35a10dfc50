"""Notification by e-mail: what a letter says, and how it is delivered."""
