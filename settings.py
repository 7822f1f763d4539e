"""What the world looks like: addresses, tokens and folders, from the environment and `.env`."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read anew by whoever needs it; `.env.example` lists every variable."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,  # `NAME=` in a .env means: not set
        extra="ignore",
        populate_by_name=True,
    )

    workspace: Path | None = Field(default=None, alias="HONE_WORKSPACE")
    database_url: SecretStr | None = Field(default=None, alias="HONE_DATABASE_URL")
    threads: int = Field(default=1, ge=1, alias="HONE_THREADS")
    workers: int = Field(default=2, ge=1, alias="HONE_WORKERS")
    # What computes served predictions: the fastest of them that agrees with torch, or a named one.
    runtime: Literal["auto", "torch", "onnxruntime", "openvino"] = Field(
        default="auto", alias="HONE_RUNTIME"
    )
    # What makes embeddings while there is no model: the best at hand, a named one, or a file.
    features: str = Field(default="auto", min_length=1, alias="HONE_FEATURES")
    ray: str | None = Field(default=None, alias="HONE_RAY")
    # The commit of the code where there is no git to ask, as in an image, which sets it itself.
    commit: str | None = Field(default=None, alias="HONE_COMMIT")
    traffic: Path | None = Field(default=None, alias="HONE_TRAFFIC")
    # Below this confidence a served answer is marked for a person: at 0.8 a model that knows what
    # it does not know is wrong in one of five answers at worst.
    needs_review_below: float = Field(default=0.8, ge=0, le=1, alias="HONE_NEEDS_REVIEW_BELOW")
    # Of all images of one request, as their headers claim: half a minute of decoding at worst would
    # be 2**30; 2**27 are three times the photos of a phone that fit into one body.
    request_pixels: int = Field(default=2**27, ge=1, alias="HONE_REQUEST_PIXELS")
    requests_per_minute: int | None = Field(default=None, ge=1, alias="HONE_REQUESTS_PER_MINUTE")

    # Mebibytes in which each worker stores answers for the next request with the same bytes. Each
    # takes about 2 KB, so that 64 are the last 30,000 images.
    answer_cache: int = Field(default=64, ge=0, alias="HONE_ANSWER_CACHE")

    label_studio_url: str | None = Field(default=None, alias="LABEL_STUDIO_URL")
    label_studio_api_key: SecretStr | None = Field(default=None, alias="LABEL_STUDIO_API_KEY")
    label_studio_document_root: Path | None = Field(
        default=None, alias="LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"
    )
    image_bucket: str | None = Field(
        default=None,
        alias="HONE_IMAGE_BUCKET",
        validation_alias=AliasChoices("HONE_IMAGE_BUCKET", "HONE_DESK"),  # as 0.1 called it
    )
    label_studio_command: Path | None = Field(default=None, alias="HONE_LABEL_STUDIO_COMMAND")

    # What clients of the service send as `Authorization: Bearer ...`; it opens to no other machine
    # without one.
    service_token: SecretStr | None = Field(default=None, alias="HONE_SERVICE_TOKEN")
    # Where `hone watch` reads what the service counted: refused images, errors, latencies.
    service_url: str | None = Field(default=None, alias="HONE_SERVICE_URL")

    # The service as a model inside Label Studio: where Label Studio reaches it, and the password.
    backend_url: str | None = Field(default=None, alias="HONE_BACKEND_URL")
    backend_secret: SecretStr | None = Field(default=None, alias="HONE_BACKEND_SECRET")

    # `hone webhook`: what Label Studio shows to be let in, and where it reaches the receiver.
    webhook_secret: SecretStr | None = Field(default=None, alias="HONE_WEBHOOK_SECRET")
    webhook_url: str | None = Field(default=None, alias="HONE_WEBHOOK_URL")

    # Where clients of the service may have the labels of their images sent, addresses with spaces
    # between, and the secret that signs what is sent.
    callbacks: str | None = Field(default=None, alias="HONE_CALLBACKS")
    callback_secret: SecretStr | None = Field(default=None, alias="HONE_CALLBACK_SECRET")

    # Where alerts go: addresses of Apprise, with tokens and passwords in them.
    alerts: SecretStr | None = Field(default=None, alias="HONE_ALERTS")

    wandb_api_key: SecretStr | None = Field(default=None, alias="WANDB_API_KEY")
    wandb_project: str = Field(default="hone", alias="WANDB_PROJECT")
    wandb_mode: str = Field(default="online", alias="WANDB_MODE")  # of W&B: "online", "offline", ..

    prefect_api_url: str | None = Field(default=None, alias="PREFECT_API_URL")
    prefect_api_key: SecretStr | None = Field(default=None, alias="PREFECT_API_KEY")
    prefect_api_auth_string: SecretStr | None = Field(default=None, alias="PREFECT_API_AUTH_STRING")

    @field_validator(
        "label_studio_url", "backend_url", "webhook_url", "prefect_api_url", "ray", "service_url"
    )
    @classmethod
    def _refuse_credentials(cls, address: str | None, field: ValidationInfo) -> str | None:
        """Messages and logs show addresses; pydantic would add a ValueError's input to its own."""
        if address and "@" in urlsplit(address).netloc:
            name = cls.model_fields[str(field.field_name)].alias
            raise RuntimeError(
                f"{name} holds a user or a password, which messages and logs would show; give the "
                "address alone, and credentials by their own settings"
            )
        return address

    @property
    def wandb_key(self) -> str | None:
        """The key with which runs are sent to W&B; None: they stay in the workspace."""
        if self.wandb_api_key is None or self.wandb_mode != "online":
            return None
        return self.wandb_api_key.get_secret_value()

    def variables(self, *fields: str) -> dict[str, str]:
        """The environment variables of these fields, as far as they are set; for workers."""
        variables = {}
        for field in fields:
            value, name = getattr(self, field), type(self).model_fields[field].alias
            if value is not None and name is not None:
                plain = value.get_secret_value() if isinstance(value, SecretStr) else value
                variables[name] = str(plain)
        return variables
