"""A laboratory from afar: `connect` gives the official client, with one's own key, and what this laboratory knows besides."""

from lab.remote.client.laboratory import Laboratory, NoAnswer, Refused, connect

__all__ = ["Laboratory", "NoAnswer", "Refused", "connect"]
