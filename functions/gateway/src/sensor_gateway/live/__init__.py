"""The live streams: what changes, pushed to whoever follows it (Server-Sent Events).

Names of events: `reading` (the newest reading of a device), `alert` (a change of an alert),
`reset` (ask for all alerts anew), `status` (whether changes are known now), `end` (why the stream
ends; the client opens it again). Each kind of thing has a name of its own: an EventSource hears
only those that it listens to. A feed finds out what is new, for all streams of its kind.
"""
