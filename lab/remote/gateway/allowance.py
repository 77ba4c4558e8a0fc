"""How much one key may ask for: a bucket of tokens, filled at a steady rate, out of which each message takes according to its length."""

from __future__ import annotations

from lab.core.remote import Traffic

BYTES_A_TOKEN = 4096
"""A long message costs more to read than a short one."""

SHUT_OUT_S = 5.0
"""For how long a key that goes on after it was refused cannot connect."""


ENTRIES, ENTRIES_PER_S = 4, 4.0
"""How often a key may connect: so many times its connections at once, and so many a second."""


class Allowance:
    """Of one key.

    Parameters
    ----------
    traffic : Traffic
    now : float
        Monotonic seconds.
    """

    def __init__(self, traffic: Traffic, now: float) -> None:
        self._rate, self._burst = traffic.requests_per_s, float(traffic.burst)
        self._tokens, self._at = self._burst, now
        self._most_entries = float(ENTRIES * traffic.connections)
        self._entries = self._most_entries
        self._n_refused = 0.0
        self._shut_out_until = now
        self.n_outstanding = 0
        """Requests that have not been answered yet."""
        self.n_expected = 0
        """Bytes of their answers, about."""

    def take(self, size: int, now: float) -> bool:
        """Take what a message of `size` bytes costs; False when there is not enough.

        A message costs no more than the whole bucket, so that even the longest can be sent now and then.
        """
        self._fill(now)
        cost = min(self._burst, 1.0 + size // BYTES_A_TOKEN)
        if cost > self._tokens:
            self._n_refused += 1.0
            return False
        self._tokens -= cost
        return True

    def enter(self, now: float) -> bool:
        """Whether one more connection may be made now."""
        self._fill(now)
        if self._entries < 1.0 or self.is_shut_out(now):
            return False
        self._entries -= 1.0
        return True

    def is_abused(self) -> bool:
        """Whether as much was refused as a full bucket would have held; it is forgotten as fast as the bucket is filled."""
        return self._n_refused > self._burst

    def shut_out(self, now: float) -> None:
        """Let nobody with this key in for a while."""
        self._shut_out_until, self._n_refused = now + SHUT_OUT_S, 0.0

    def is_shut_out(self, now: float) -> bool:
        return now < self._shut_out_until

    def is_full(self, now: float) -> bool:
        """Whether there is nothing to remember of it."""
        self._fill(now)
        is_filled = self._tokens >= self._burst and self._entries >= self._most_entries
        return is_filled and not self.n_outstanding and not self.is_shut_out(now)

    def _fill(self, now: float) -> None:
        passed = max(0.0, now - self._at)
        self._at += passed
        filled = self._rate * passed
        self._entries = min(self._most_entries, self._entries + ENTRIES_PER_S * passed)
        self._tokens, self._n_refused = min(self._burst, self._tokens + filled), max(0.0, self._n_refused - filled)
