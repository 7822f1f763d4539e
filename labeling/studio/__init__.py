"""The only package that knows Label Studio's API and JSON."""
