"""How a function runs: settings, events over HTTP, errors to statuses, start and stop."""
