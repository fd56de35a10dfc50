"""Pure computation over many devices at once: numpy in, numpy out, no I/O and no clock."""
