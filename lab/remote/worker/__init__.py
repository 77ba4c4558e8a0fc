"""What runs in the RE Manager's worker: the laboratory's session, and a RunEngine that keeps the ledger of the queue."""
