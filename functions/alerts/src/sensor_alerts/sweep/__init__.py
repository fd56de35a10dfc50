"""What is decided on each tick: from stored readings, and from when devices were last seen."""
