"""What crosses a process boundary: event types, payloads and the errors of delivery."""
