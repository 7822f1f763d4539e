"""The environment of child processes that need no secret: git, and the builder of bentos."""

import os

# Of Hone's own settings all that are secret, and those of the tools beside it.
SECRETS = frozenset({
    "HONE_ALERTS", "HONE_DATABASE_URL", "HONE_SERVICE_TOKEN", "HONE_BACKEND_SECRET",
    "HONE_WEBHOOK_SECRET", "HONE_CALLBACK_SECRET",
    "LABEL_STUDIO_API_KEY", "WANDB_API_KEY", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING",
    "PREFECT_SERVER_API_AUTH_STRING", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
})  # fmt: skip


def environment_without_secrets() -> dict[str, str]:
    """What a child inherits of the environment: a child may log it, and others may read /proc."""
    return {name: value for name, value in os.environ.items() if name not in SECRETS}
