"""Label files, image names, Label Studio's answers and configuration, as readers take them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import httpx

from core.locks import only_writer
from core.workspace import load_workspace
from labeling.formats import READERS
from labeling.formats.image_lookup import Absent, find_files
from labeling.formats.imports import match, read_labels, record_gold, record_import
from labeling.formats.metadata_table import match_metadata, read_metadata
from labeling.kinds import KINDS
from labeling.ledger.answers import record_answers
from labeling.studio import client
from labeling.studio.errors import detail, explained_errors, token_kind
from tasks.policies import load_policies
from tests.fuzz import seeds
from tests.labeling.formats.workspaces import make_house, picture

KIND = KINDS["classification"]
Act = Callable[[bytes], object]


def reader(name: str) -> Callable[[Path], Act]:
    """The rows of a label file."""

    def opened(folder: Path) -> Act:
        def act(content: bytes) -> object:
            (folder / "labels").write_bytes(content)
            for row in READERS[name](folder / "labels", seeds.CLASSES, KIND).rows:
                assert row.where and bool(row.reason) == bool(row.detail), row
                str(row.detail).encode()  # as a terminal and a database take it
            return None

        return act

    return opened


def metadata(folder: Path) -> Act:
    """What a table says of images that exist, in columns and values that can be stored."""
    samples: dict[str, str | Absent] = {f"{number}.png": f"{number:064}" for number in range(8)}

    def act(content: bytes) -> object:
        (folder / "about.csv").write_bytes(content)
        file = read_metadata(folder / "about.csv")
        matched = match_metadata(file, samples, {*map(str, samples.values())})
        for row in matched.refused:
            assert row.where and row.reason and row.detail.encode(), row
        for values in matched.values.values():
            for name, value in values.items():
                assert name.encode() and " " not in name and len(value.encode()) <= 4 * 200
        return None

    return act


def label_files() -> list[bytes]:
    """Files of each format, a letter of which is in front of each."""
    kinds = {b"v": seeds.csv(), b"c": seeds.coco(), b"s": seeds.exports()}
    return [letter + content for letter, contents in kinds.items() for content in contents]


def label_import(folder: Path) -> Act:
    """A label file imported into a ledger, as answers and as gold."""
    house = make_house(folder / "workspace", *seeds.CLASSES)
    for number in range(4):
        (folder / f"{number}.png").write_bytes(picture(number))
    names = {b"v": "csv", b"c": "coco", b"s": "label-studio"}

    def act(content: bytes) -> object:
        (folder / "labels").write_bytes(content[1:])
        format = names.get(content[:1], "csv")
        file = read_labels(folder / "labels", seeds.CLASSES, KIND, format)
        matched = match(house.engine, house.workspace, file, folder=folder)
        with only_writer(house.engine, "answers") as token:
            record_import(house.engine, token, matched, seeds.CLASSES)
            return record_gold(house.engine, token, matched, seeds.CLASSES) and None

    return act


def folders(folder: Path) -> Act:
    """A tree with a folder for each class, and the file that says what the folders stand for."""
    (folder / "cat").mkdir()
    (folder / "cat" / "1.png").write_bytes(b"")

    def act(content: bytes) -> object:
        (folder / "classes.json").write_bytes(content)
        return READERS["folders"](folder, seeds.CLASSES, KIND) and None

    return act


def addresses() -> list[bytes]:
    """Names of images as label files and Label Studio have them."""
    return [b"a.png", b"in/a b.png", b"/data/local-files/?d=images/1.png", b"s3://bucket/a.png",
            b"/data/upload/3/8f3a2b1c-a.png", b"file:///tmp/a.png", b"data:image/png;base64,AAAA",
            b"../a.png", b"http://[::1]/a.png", b"\\in\\a.png",
            b"/data/local-files/?d=%2e%2e/a"]  # fmt: skip


def image_names(folder: Path) -> Act:
    """The files that names stand for, none of them outside the folder."""
    root = folder / "root"
    (root / "in").mkdir(parents=True)
    for name in ("a.png", "in/a b.png", "../outside.png"):
        (root / name).write_bytes(b"")
    (root / "link.png").symlink_to(folder / "outside.png")

    def act(content: bytes) -> object:
        names = content.decode("utf-8", "surrogateescape").split("\n")
        for place in find_files(names, root).values():
            assert isinstance(place, Absent) or Path(place).is_relative_to(root.resolve())
        return None

    return act


def collect(folder: Path) -> Act:
    """A page of Label Studio's API, read by the real client and recorded."""
    from label_studio_sdk import LabelStudio

    house = make_house(folder / "workspace", *seeds.CLASSES)
    pages: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/tasks/":
            return httpx.Response(
                200, content=pages[0], headers={"content-type": "application/json"}
            )
        if request.url.path == "/api/users/":
            return httpx.Response(200, json=[{"id": 1, "email": "ann@x.org"}])
        return httpx.Response(200, json={})

    token, url = "0" * 40, "http://studio"
    line = httpx.Client(transport=httpx.MockTransport(answer))
    studio = client.Studio(
        LabelStudio(base_url=url, api_key=token, httpx_client=line, max_retries=0), url
    )
    studio._project, studio._classes, studio._kind = 1, list(seeds.CLASSES), KIND

    def act(content: bytes) -> object:
        pages[:] = [content]
        with explained_errors(url, token):
            studio._classes_chosen()
            collected = studio.answers_since(None)
        with only_writer(house.engine, "answers") as lock:
            record_answers(
                house.engine, lock, collected.answers, source="s", read=collected.read,
                refused=collected.refused, classes=seeds.CLASSES, kind=KIND,
            )  # fmt: skip
        return None

    return act


def tokens() -> list[bytes]:
    """Tokens, and bodies of errors."""
    return [
        b"0" * 40,
        b"eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2ln",
        b'{"detail": "no"}',
    ]


def token(folder: Path) -> Act:
    """What kind of token a text is, and the reason in an error's body."""

    def act(content: bytes) -> object:
        text = content.decode("latin-1")
        kind = token_kind(text)
        try:
            body: Any = json.loads(content)
        except (ValueError, RecursionError):
            body = text
        return None if isinstance(kind + detail(body), str) else kind

    return act


def tomls() -> list[bytes]:
    """Configurations of a workspace."""
    return [seeds.TOML]


def hone_toml(folder: Path) -> Act:
    """A workspace's configuration with its policies; its classes come back from the screen."""

    def act(content: bytes) -> object:
        (folder / "hone.toml").write_bytes(content)
        workspace = load_workspace(folder)
        load_policies(workspace)
        screen = fromstring(KIND.screen(workspace.classes))
        offered = [choice.get("value") for choice in screen.iter("Choice")]
        assert offered == workspace.class_names, "annotators choose other names"
        return None

    return act
