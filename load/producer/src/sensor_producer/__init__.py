"""The long-running device simulator: a seeded fleet whose readings go to Kafka."""
