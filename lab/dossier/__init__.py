"""``lab report``: everything that can be told of a campaign, for a person, in one file.

Composed of the records and of what `lab.optimise.explain` tells of the models. Nothing here is kept: a dossier is a function of the ledger,
and the same ledger gives the same file.
"""
