"""The prediction service: what the bento holds."""
