"""Part of sensor_shared."""
