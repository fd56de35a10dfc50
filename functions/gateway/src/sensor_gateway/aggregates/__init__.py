"""What groups of devices measured, from the rollups."""
