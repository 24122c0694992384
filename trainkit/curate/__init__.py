"""From errors to training rows: audit, attribute, plan edits, apply and undo them.

Files are read and written by `flow`, `lines`, `guard`, `version`, `effects` and `selftest`; the rest is pure.
"""
