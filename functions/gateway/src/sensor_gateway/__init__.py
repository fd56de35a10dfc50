"""REST over what is stored: devices, their latest metrics, their history."""
