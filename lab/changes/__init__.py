"""What people change of a campaign under way: its question (`lab.changes.config`), its points (`lab.changes.points`).

Everything is checked before it is written, goes into the ledger with who did it in one transaction, and is taken up by the session that
runs the campaign before its next sample; of an interrupted campaign, by its resume.
"""
