"""The error of what a user can mend."""


class HoneError(ValueError):
    """An error that a user can mend; its message has the value, the cause and the remedy."""
