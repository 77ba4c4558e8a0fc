"""The laboratory as services under a supervisor: ``lab up``, ``lab down``, ``lab status``."""
