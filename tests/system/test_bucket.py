"""Images that lie in an object store reach annotators, and come off it when their round is over."""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image

from core.bucket import NOTE, BucketImageStore
from core.workspace import Workspace, init_workspace
from labeling.studio import client as exchange
from labeling.studio.ml_backend import connect_backend
from models.serving.staged_images import Unreadable, object_images
from tasks.demo import servers
from tasks.demo.servers import LabelStudioServer
from tests.models.saved_models import make_workspace, put_in_service, save
from tests.system.annotators import annotating, sign_up
from tests.system.faulty_proxy import Fault, faulty_proxy
from tests.system.terminal import Hone, terminal
from tests.system.world import as_json

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.system
PERSON = "bucket-bea@example.com"
REPOSITORY = Path(__file__).parents[2]
SECRET = "open:bucket"
FETCHED = "() => performance.getEntriesByType('resource').map(({ name }) => name)"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 API on this machine, named by the environment, with the bucket `hone`."""
    from boto3 import client
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "canary-77aa",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        client("s3").create_bucket(Bucket="hone")
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace to be made, beside six pictures."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    return Workspace(tmp_path / "ws", "Bucket", "", (), image_size=32)


@pytest.fixture
def hone(
    s3: str, workspace: Workspace, tmp_path: Path, label_studio: LabelStudioServer
) -> Iterator[Hone]:
    """The command line, in the workspace with its images."""
    given = {"LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": label_studio.api_key}
    with terminal(workspace, **given) as opened:
        opened("init", str(workspace.root), "--classes", "cat,dog", "--image-size", "32")
        opened("ingest", str(tmp_path / "images"))
        yield opened


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    into = io.BytesIO()
    Image.fromarray(pixels).save(into, "PNG")
    return into.getvalue()


def test_a_round_is_answered_from_an_object_store(
    hone: Hone, workspace: Workspace, label_studio: LabelStudioServer, browser: "Browser"
) -> None:
    bucket = BucketImageStore.at("s3://hone/a team/bucket")
    address: dict[str, Any] = {"HONE_IMAGE_BUCKET": bucket.address()}
    missing: dict[str, Any] = {"HONE_IMAGE_BUCKET": "s3://missing/bucket"}
    failed = hone("label", "--size", "4", check=False, **missing)
    assert failed.returncode != 0
    assert "there is no bucket 'missing'; make it, or correct HONE_IMAGE_BUCKET" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "canary" not in failed.stdout + failed.stderr
    hone("label", **address)  # goes on with what was chosen
    assert len(bucket.names()) == 4
    assert not list((workspace.root / "staged").glob("images/*"))
    project = project_of(workspace)
    sign_up(label_studio, PERSON)
    with annotating(browser, label_studio, project, PERSON) as person:
        for _ in range(4):
            task = person.task()  # waits until the image is really there
            fetched = person.page.evaluate(FETCHED)
            assert any(f"/tasks/{task}/resolve/?fileuri=" in address for address in fetched)
            person.press("1")
            person.submit()
    hone("collect", **address)
    assert as_json(hone("status", "--json"))["labels"] == 4
    assert bucket.names() == set()


def project_of(workspace: Workspace) -> int:
    return int(json.loads((workspace.root / "label-studio.json").read_text())["project"])


def own_workspace(document_root: Path, name: str) -> Workspace:
    """A workspace with a project of its own on the shared Label Studio."""
    return init_workspace(document_root / name, ["cat", "dog"], title=name, image_size=32)


def test_a_second_run_changes_the_one_storage_there_is(
    s3: str,
    document_root: Path,
    label_studio: LabelStudioServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = own_workspace(document_root, "bucket-twice")
    with exchange.connect(label_studio.url, label_studio.api_key) as studio:
        studio.project(own, bucket=BucketImageStore("hone", "twice"))
        storages = studio.client.import_storage.s3
        [first] = storages.list(project=studio.project_id)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
        studio.project(own, bucket=BucketImageStore("hone", "twice"))
        [second] = storages.list(project=studio.project_id)
        assert first.id == second.id
        assert (first.region_name, second.region_name) == ("us-east-1", "eu-north-1")
        assert (second.bucket, second.prefix, second.presign) == ("hone", "twice", True)
        assert "canary" not in second.model_dump_json()
        assert list(studio.client.tasks.list(project=studio.project_id)) == []  # of its own accord


def test_a_bucket_that_only_label_studio_does_not_reach_is_one_sentence(
    s3: str,
    document_root: Path,
    label_studio: LabelStudioServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = own_workspace(document_root, "bucket-unreached")

    def refused(address: str) -> str:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with (
            pytest.raises(ValueError, match=r"HONE_IMAGE_BUCKET s3://hone/unreached/") as error,
            exchange.connect(label_studio.url, label_studio.api_key) as studio,
        ):
            studio.project(own, bucket=BucketImageStore("hone", "unreached"))
        assert "canary" not in str(error.value)
        return str(error.value)

    lists = lambda method, _: Fault.FAIL if method == "GET" else Fault.NONE  # noqa: E731
    with faulty_proxy(s3, lists) as writable:
        assert "AWS_ENDPOINT_URL is an address that holds on its machine too" in refused(writable)
    assert "LABEL_STUDIO_USE_DEFAULT_BANNED_SUBNETS" in refused(s3.replace("127.0.0.1", "0.0.0.0"))


def test_label_studio_has_the_model_guess_for_an_image_in_the_bucket(
    s3: str, document_root: Path, label_studio: LabelStudioServer, tmp_path: Path
) -> None:
    import boto3

    bucket = BucketImageStore("hone", "guessed")
    elsewhere = BucketImageStore("other", "guessed")
    boto3.client("s3").create_bucket(Bucket=elsewhere.bucket)
    name = "d" * 64 + ".png"
    for place in (bucket, elsewhere):
        place.put({name: picture(2)})
    workspace, engine = make_workspace(document_root / "bucket-guessed")
    model = save(workspace, engine)
    put_in_service(engine, model)
    environment = {
        "HONE_WORKSPACE": str(workspace.root),
        "HONE_BACKEND_SECRET": SECRET,
        "HONE_IMAGE_BUCKET": bucket.address(),
    }
    with (
        servers.bentoml(REPOSITORY, tmp_path, environment) as service,
        exchange.connect(label_studio.url, label_studio.api_key) as studio,
    ):
        studio.project(workspace, bucket=bucket)
        connect_backend(studio, f"{service.url}/label-studio", SECRET, model=model)
        guesses = []
        for image in (bucket.address(name), elsewhere.address(name)):
            sent = studio.client.projects.import_tasks(
                studio.project_id, request=[{"data": {"image": image}}], return_task_ids=True
            )
            token = {"Authorization": f"Token {label_studio.api_key}"}
            [task] = sent.task_ids
            found = httpx.get(f"{label_studio.url}/api/tasks/{task}", headers=token, timeout=60)
            guesses.append([guess["model_version"] for guess in found.json()["predictions"]])
        status = httpx.get(f"{service.url}/status", timeout=60).json()["label_studio"]
    assert guesses == [[model], []]
    assert status["without_pre_annotation"]["NOT_STAGED"] >= 1


def test_only_our_images_are_listed_and_taken_away(s3: str) -> None:
    from boto3 import client

    bucket = BucketImageStore("hone", "shared")
    bucket.open()
    name = "a" * 64 + ".png"
    bucket.put({name: picture(0)})
    client("s3").put_object(Bucket="hone", Key="shared/report.pdf", Body=b"not ours")
    assert bucket.names() == {name}
    bucket.remove([name, name])
    there = client("s3").list_objects_v2(Bucket="hone", Prefix="shared/")["Contents"]
    assert {found["Key"] for found in there} == {f"shared/{NOTE}", "shared/report.pdf"}


def test_the_model_reads_images_of_the_desk_and_nothing_else(s3: str) -> None:
    from boto3 import client

    bucket = BucketImageStore("hone", "read")
    name = "b" * 64 + ".png"
    bucket.put({name: picture(1)})
    read = object_images(bucket)
    assert read(bucket.address(name)) == picture(1)
    client("s3").put_object(Bucket="hone", Key="elsewhere/" + name, Body=b"secret")
    for address in (
        f"s3://hone/elsewhere/{name}",
        f"s3://hone/read/../elsewhere/{name}",
        f"s3://other/read/{name}",
        bucket.address("c" * 64 + ".png"),
        bucket.address(NOTE),
        f"/data/local-files/?d={name}",
        "http://127.0.0.1/secret",
    ):
        with pytest.raises(Unreadable, match="is no image"):
            read(address)


@pytest.mark.parametrize(
    "address", ["bucket/bucket", "https://hone/bucket", "s3://hone", "s3://hone/", "s3:///bucket"]
)
def test_an_address_that_names_no_folder_in_a_bucket_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"HONE_IMAGE_BUCKET is .* like s3://bucket/folder"):
        BucketImageStore.at(address)


def test_a_store_that_does_not_answer_or_lets_nobody_in_is_one_sentence(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(
        ConnectionError, match=r"s3://hone/bucket/ does not answer .* AWS_ENDPOINT_URL"
    ):
        BucketImageStore("hone", "bucket").open()
    with closed_door() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(
            ValueError, match=r"does not let us .* check AWS_ACCESS_KEY_ID"
        ) as error:
            BucketImageStore("hone", "bucket").open()
    assert "canary" not in str(error.value)


@contextmanager
def closed_door() -> Iterator[str]:
    """An object store that knows nobody's keys."""

    class Door(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(403)
            self.end_headers()
            self.wfile.write(b"<Error><Code>InvalidAccessKeyId</Code></Error>")

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    with HTTPServer(("127.0.0.1", 0), Door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
