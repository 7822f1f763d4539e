"""Fuzzing: every place that parses bytes from outside, and what damaged input does to it."""
