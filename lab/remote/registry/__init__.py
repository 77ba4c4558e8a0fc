"""The plans that may be queued: what each takes in this laboratory, and whether what was sent will do."""
