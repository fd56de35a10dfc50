"""How much of everything a number of devices needs, from what was measured: `make capacity`."""
