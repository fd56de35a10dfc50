"""`make bench`: the whole flow on this machine, measured against its pass marks."""
