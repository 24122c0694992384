"""From errors to training rows: audit, attribute, plan edits, apply and undo them.

Every module but `flow`, `version` and `effects` is pure.
"""
