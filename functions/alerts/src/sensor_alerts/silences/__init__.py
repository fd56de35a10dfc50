"""Silences and maintenance windows: kept in ClickHouse, known to every replica, made by gRPC."""
