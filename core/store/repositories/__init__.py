"""Queries, one file per kind of thing. Each repository belongs to one owner and sees nothing of others.

Repositories never commit; `core.store.database.unit_of_work` does, once.
"""
