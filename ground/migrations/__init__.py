"""Ordered changes of the schema, run by `ground.database.upgrade`."""
