"""The alert service: records every alert, and tells people about those that they must know."""
