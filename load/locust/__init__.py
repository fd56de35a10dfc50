"""`make load`: what people and attackers do over HTTP, against the running system."""
