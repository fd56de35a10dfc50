"""What alerts cost: the test of readings, a sweep over a fleet, and from a breach to its row."""
