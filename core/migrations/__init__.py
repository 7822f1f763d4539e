"""Ordered changes of the schema, run by `core.database.upgrade`."""
