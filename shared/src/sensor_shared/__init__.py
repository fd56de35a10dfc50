"""What the functions stand on: contracts, adapters to the parts, the runtime, telemetry."""
