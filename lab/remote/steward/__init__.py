"""The only one that changes the queue: ``python -m lab.remote.steward``. Its desks answer what the gateway passes on."""
