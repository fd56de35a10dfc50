"""Logs people in: tokens signed with Ed25519, sessions that can be ended, argon2id."""
