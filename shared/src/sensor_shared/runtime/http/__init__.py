"""What the two REST services have in common: errors, headers, tokens, OpenAPI and its page."""
