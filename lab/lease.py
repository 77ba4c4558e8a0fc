"""Who controls the laboratory: one lease, which ends with the process that holds it."""
