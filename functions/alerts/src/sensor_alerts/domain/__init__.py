"""What an alert is, how bad it is, and when people are told: without any I/O."""
