"""Use cases of the control plane: each runs in one transaction over the ledger and the runs, and calls nobody outside.

Facts from outside (a branch's head, a review, an issue's state) are read first, without a transaction, and handed in.
"""
