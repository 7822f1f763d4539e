"""Prefect tasks: read settings, open the client, call one domain function, store the result."""
