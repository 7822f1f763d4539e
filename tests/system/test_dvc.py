"""Snapshots against an S3 API, and killed at every single outside act."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.database import writing
from core.dvc_objects import StoreError
from core.git import tags
from core.locks import only_writer
from core.shards import read_image
from labeling.ledger.erased import forget_samples
from labeling.ledger.tables import location_of
from labeling.snapshots.publish import fetch_shards, verify_remote
from labeling.snapshots.replaced import replace_shards
from tests.labeling.databases import store_images
from tests.labeling.snapshots.workspaces import House, house_at, kill_and_run_again

pytestmark = pytest.mark.system


def test_killed_at_any_outside_act_and_run_again_a_snapshot_ends_the_same(tmp_path):
    second = house_at(tmp_path / "ws")
    second.second()
    ended, whole = kill_and_run_again(second, tmp_path / "whole", "never")
    for point in itertools.count():
        ended, left = kill_and_run_again(second, tmp_path / "killed", point)
        assert left == whole, f"killed at point {point}"
        if ended == 0:
            break
    assert point > 40


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 API on this machine, named by the environment, with the bucket `hone`."""
    from boto3 import client
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "canary-5e1f",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        client("s3").create_bucket(Bucket="hone")
        yield url
        server.stop()


@pytest.fixture
def house(tmp_path: Path, s3: str) -> Iterator[House]:
    house = house_at(tmp_path / "ws", remote=f"s3://hone/{tmp_path.name}")
    yield house
    house.engine.dispose()


def bucket(house: House) -> dict[str, bytes]:
    """Every object of this house in the bucket."""
    from boto3 import client

    s3 = client("s3")
    prefix = house.root.parent.name
    found = s3.list_objects_v2(Bucket="hone", Prefix=prefix).get("Contents", [])
    keys = [each["Key"] for each in found]
    return {key: s3.get_object(Bucket="hone", Key=key)["Body"].read() for key in keys}


def put(key: str, content: bytes | None) -> None:
    """Replace an object in the bucket behind everybody's back; None removes it."""
    from boto3 import client

    if content is None:
        client("s3").delete_object(Bucket="hone", Key=key)
    else:
        client("s3").put_object(Bucket="hone", Key=key, Body=content)


def leave_only_the_remote(house: House) -> None:
    """Lose the shards and DVC's cache."""
    for folder in (house.workspace.shards, house.root / ".dvc/cache/files"):
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            path.unlink()


def test_a_snapshot_goes_to_s3_and_comes_back_from_there_alone(house):
    assert house.cut() == "snapshot-0001"
    assert len(bucket(house)) == 3
    assert verify_remote(house.workspace, "snapshot-0001") == []
    before = house.load("snapshot-0001")
    (shard,) = house.workspace.shards.iterdir()
    leave_only_the_remote(house)
    assert house.load("snapshot-0001").equals(before)
    assert fetch_shards(house.engine, house.workspace, "snapshot-0001") == [shard.name]


def test_missing_and_damaged_objects_on_s3_are_named_and_those_still_needed_sent_again(house):
    house.cut()
    good = bucket(house)
    _, *others = sorted(good, key=lambda key: not key.endswith(".dir"))
    put(others[0], None)
    put(others[1], b"damaged")
    assert len(verify_remote(house.workspace, "snapshot-0001")) == 2
    house.label("s0002")
    assert house.cut() == "snapshot-0002"
    assert verify_remote(house.workspace, "snapshot-0002") == []


def test_an_erased_image_is_in_no_object_on_s3(house, monkeypatch):
    pictures = {name: name.encode() * 700 for name in ("s0000", "s0001", "s0002")}
    for path in house.workspace.shards.iterdir():
        path.unlink()
    shard = store_images(house.engine, house.workspace, pictures)
    house.cut()
    assert in_bucket(house, pictures) == set(pictures)
    with writing(house.engine) as connection:
        forget_samples(connection, 1, ["s0002"])
    with monkeypatch.context() as away:
        away.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        away.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(StoreError, match=r"remote s3://hone/.*run the command again"):
            erase(house)
    assert in_bucket(house, pictures) == set(pictures)
    assert erase(house) == []
    assert in_bucket(house, pictures) == {"s0000", "s0001"}
    leave_only_the_remote(house)
    [fetched] = fetch_shards(house.engine, house.workspace, "snapshot-0001")
    assert fetched != shard
    [row, _] = house.load("snapshot-0001").sort_values("sample_id").itertuples()
    assert read_image(house.workspace.shards, location_of(row)) == pictures[row.sample_id]


def in_bucket(house: House, pictures: dict[str, bytes]) -> set[str]:
    """Whose bytes are anywhere in the bucket."""
    objects = bucket(house).values()
    return {
        name for name, content in pictures.items() if any(content in stored for stored in objects)
    }


def erase(house: House) -> list[str]:
    with only_writer(house.engine, "workspace-git") as token:
        return replace_shards(house.engine, house.workspace, token)


def test_an_s3_that_does_not_answer_leaves_nothing_visible_and_is_named(house, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreError, match=r"remote s3://hone/.*run the command again"):
        house.cut()
    assert tags(house.root) == {}


def test_no_key_of_s3_is_in_what_git_keeps(house):
    house.cut()
    texts = [path.read_bytes() for path in house.root.rglob("*") if path.is_file()]
    assert not any(os.environ["AWS_SECRET_ACCESS_KEY"].encode() in text for text in texts)
