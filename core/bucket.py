"""Images of open assignments in an object store, under one s3:// address."""

import re
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

NOTE = "hone.txt"  # Label Studio takes no prefix under which there is nothing
NOTE_TEXT = b"Images that annotators are asked about. Hone puts them here and takes them away.\n"
NAME = re.compile(r"[0-9a-f]{64}\.(jpg|png)")  # what we put there; all else is somebody else's
AT_ONCE = 8  # puts under way: each waits for the network, not for the processor
NO_BUCKET, NO_KEY = ("NoSuchBucket",), ("404", "NoSuchKey")
CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


@dataclass(frozen=True)
class BucketImageStore:
    """Objects below `s3://bucket/prefix/`. Keys and endpoint come from AWS's own variables."""

    bucket: str
    prefix: str

    @classmethod
    def at(cls, address: str) -> "BucketImageStore":
        """The store at an address; one that is no s3:// address is an error."""
        parts = urlsplit(address)
        prefix = parts.path.strip("/")
        if parts.scheme != "s3" or not parts.netloc or not prefix or parts.query:
            raise ValueError(
                f"HONE_IMAGE_BUCKET is {address!r}; an address like s3://bucket/folder is "
                "needed, and a "
                "folder of its own in the bucket"
            )
        return cls(parts.netloc, prefix)

    def address(self, name: str = "") -> str:
        """How the object of this name is called everywhere."""
        return f"s3://{self.bucket}/{self.prefix}/{name}"

    def open(self) -> None:
        """See that the bucket takes what we put there. Idempotent."""
        with self._explained():
            self._client.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{NOTE}", Body=NOTE_TEXT)

    def put(self, images: Mapping[str, bytes]) -> None:
        """Have these images there, by their names."""
        with self._explained(), ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._put, images.items()))

    def names(self) -> set[str]:
        """The images that are there."""
        with self._explained():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=f"{self.prefix}/"
            )
            keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        names = {key.removeprefix(f"{self.prefix}/") for key in keys}
        return {name for name in names if NAME.fullmatch(name)}

    def remove(self, names: Collection[str]) -> None:
        """Take these images away; one that is gone is no error."""
        with self._explained():
            for name in names:
                self._client.delete_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}")

    def read(self, address: str, *, limit: int) -> bytes | None:
        """The bytes of one of our images, None if it is none or has over `limit` bytes."""
        name = address.removeprefix(self.address())
        if address == name or not NAME.fullmatch(name):
            return None
        with self._explained():
            try:
                answer = self._client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}")
            except self._client.exceptions.NoSuchKey:
                return None
            content: bytes = answer["Body"].read(limit + 1)
        return content if len(content) <= limit else None

    def access(self) -> dict[str, str]:
        """What another program needs to read here, for Label Studio's storage.

        Keys that end by themselves (of a machine's role) are left out: it must have its own.
        """
        config = {"region_name": self._client.meta.region_name}
        credentials = self._session.get_credentials()
        if credentials is not None and credentials.token is None:
            config |= {
                "aws_access_key_id": credentials.access_key,
                "aws_secret_access_key": credentials.secret_key,
            }
        if not urlsplit(self._client.meta.endpoint_url).netloc.endswith("amazonaws.com"):
            config["s3endpoint"] = self._client.meta.endpoint_url
        return config

    @cached_property
    def _session(self) -> Any:
        import boto3

        return boto3.Session()

    @cached_property
    def _client(self) -> Any:
        from botocore.config import Config

        # No network is waited for for ever; what fails is tried anew by the task.
        limits = Config(connect_timeout=10, read_timeout=60, retries={"total_max_attempts": 2})
        return self._session.client("s3", config=limits)

    def _put(self, image: tuple[str, bytes]) -> None:
        name, content = image
        kind = "image/png" if name.endswith(".png") else "image/jpeg"
        key = f"{self.prefix}/{name}"
        self._client.put_object(Bucket=self.bucket, Key=key, Body=content, ContentType=kind)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Let failures of the store leave the block as one sentence each, without the keys."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            yield
        except NoCredentialsError as error:
            raise ValueError(
                f"HONE_IMAGE_BUCKET is {self.address()}, and there are no keys for it; set "
                f"{CREDENTIALS}"
            ) from error
        except BotoCoreError as error:
            raise ConnectionError(
                f"the object store of HONE_IMAGE_BUCKET {self.address()} does not answer "
                f"({error}); see "
                "that it runs, and that AWS_ENDPOINT_URL is right if it is not Amazon's"
            ) from error
        except ClientError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Any) -> Exception:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in NO_BUCKET:
            return ValueError(
                f"HONE_IMAGE_BUCKET is {self.address()}, but there is no bucket "
                f"{self.bucket!r}; make it, "
                "or correct HONE_IMAGE_BUCKET"
            )
        if status in {401, 403}:
            return ValueError(
                f"the object store does not let us use HONE_IMAGE_BUCKET {self.address()} "
                f"({code}); "
                f"check {CREDENTIALS}, and that they may read, write, list and delete there"
            )
        kind = ConnectionError if status >= 500 else ValueError
        return kind(f"the object store refused HONE_IMAGE_BUCKET {self.address()}: {error}")
