"""The live stream: what changes, pushed to whoever follows it (Server-Sent Events).

Names of events: `reading` (the newest reading of a device), `status` (whether changes are known
now), `end` (why the stream ends; the client opens it again). Each kind of thing has a name of its
own: an EventSource hears only those that it listens to, so another kind can be added beside them,
as alerts will be. `Change` is what a kind has to offer.
"""
