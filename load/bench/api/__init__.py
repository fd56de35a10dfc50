"""`make bench`: the REST services on this machine, measured against their pass marks."""
