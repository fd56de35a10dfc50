"""`make bench` of the gateway: what it answers, how fast, and what that takes of a core."""
