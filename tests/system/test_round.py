"""One whole round with every organ real, the database in PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from sqlalchemy import select

from core.database import connect
from core.workspace import Workspace
from labeling import simulation
from labeling.ledger.tables import answers, assignments, samples
from labeling.studio import client as exchange
from tasks.demo import digits, servers
from tasks.demo.servers import LabelStudioServer, Server
from tasks.demo.traffic import send_images, wait_for_model
from tests.system.annotators import annotating, sign_up
from tests.system.terminal import Hone, terminal
from tests.system.world import as_json, environment, make_world

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.system, pytest.mark.timeout(1_800)]

BY_HAND = 3  # images that the person in the browser labels
PERSON = "rosa@example.com"  # the server is shared: other tests have their own people


class Play:
    """The workspace, the people who answer, and the commands, as a team would use them."""

    def __init__(
        self, workspace: Workspace, studio: LabelStudioServer, more: dict[str, str], hone: Hone
    ) -> None:
        self.workspace = workspace
        self.studio = studio
        self.environment: dict[str, Any] = more
        self.hone = hone
        self.engine = connect(more["HONE_DATABASE_URL"])
        self.truths = simulation.load_simulation(workspace.root)[0]

    def status(self) -> Any:
        return as_json(self.hone("status", "--json"))

    def open(self) -> "pd.DataFrame":
        query = select(assignments).where(assignments.c.closed_at.is_(None))
        with self.engine.connect() as connection:
            return pd.read_sql(query, connection)

    def answer_by_hand(self, browser: "Browser", count: int) -> None:
        """A person looks at each image and presses the key of its class."""
        keys = {known.name: known.hotkey for known in self.workspace.classes}
        waiting = self.open()
        shown = dict(zip(waiting["external_id"], waiting["sample_id"], strict=True))
        with annotating(browser, self.studio, self.project(), PERSON) as person:
            for _ in range(count):
                task = str(person.task())
                truth = self.truths[shown[task]]
                if person.preselected() != [truth]:  # a key would take back what is ticked
                    person.press(keys[truth])
                person.submit()

    def answer_the_rest(self) -> None:
        """The other annotators, through Label Studio's API."""
        with self.connected() as studio:
            done = set(studio.answers_since(None).answers["sample_id"])
            for row in self.open().itertuples():
                if row.sample_id in done:
                    continue
                value = {"choices": [self.truths[str(row.sample_id)]]}
                result = {
                    "from_name": "label",
                    "to_name": "image",
                    "type": "choices",
                    "value": value,
                }
                studio.client.annotations.create(id=int(str(row.external_id)), result=[result])

    def answer_again(self) -> None:
        """Whoever has not seen what the model doubts is asked, and says the same."""
        with self.connected() as studio:
            users = {user.email: user.id for user in studio.client.users.list()}
            given = studio.answers_since(None).answers
            for row in self.open().itertuples():
                seen = set(given.loc[given["sample_id"] == row.sample_id, "annotator"])
                value = {"choices": [self.truths[str(row.sample_id)]]}
                result = {"from_name": "label", "to_name": "image", "type": "choices"}
                studio.client.annotations.create(
                    id=int(str(row.external_id)),
                    result=[{**result, "value": value}],
                    completed_by=users[next(who for who in users if who not in seen)],
                )

    def project(self) -> int:
        with self.connected() as studio:
            return studio.project_id

    @contextmanager
    def connected(self) -> Iterator[exchange.Studio]:
        with exchange.connect(self.studio.url, self.studio.api_key) as studio:
            studio.project(self.workspace)
            yield studio


@pytest.fixture
def play(
    label_studio: LabelStudioServer,
    document_root: Path,
    postgres: str,
    prefect_server: Server,
    request: pytest.FixtureRequest,
) -> Iterator[Play]:
    folder = document_root / request.node.name[:20]
    workspace = make_world(folder, images=400)
    sign_up(label_studio, PERSON)
    more = {
        "HONE_DATABASE_URL": postgres,
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.api_key,
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(document_root),
        "PREFECT_API_URL": prefect_server.url,
    }
    with terminal(workspace, **more) as hone:
        yield Play(workspace, label_studio, more, hone)


def test_a_round_goes_from_files_to_a_served_answer_and_back(
    play: Play, browser: "Browser", tmp_path: Path
) -> None:
    play.hone("ingest", str(play.workspace.root.parent / "images"))
    first = a_round(play, browser, size=200, by_hand=BY_HAND)
    assert first["champion"] is not None, first["said"]
    second = a_round(play, browser, size=20, by_hand=1)
    assert second["snapshots"][:2] == ["snapshot-0001", "snapshot-0002"]  # a duel may add one
    prediction = served_and_watched(play, tmp_path)
    drift_is_answered(play)
    chain = as_json(play.hone("trace", prediction, "--json"))
    assert chain["model"]["version"] == play.status()["champion"]
    assert chain["snapshot"]["name"] in second["snapshots"]
    assert chain["image"]["sample"]["origin"] == "served"
    assert "every promise holds" in play.hone("fsck").stdout


def a_round(play: Play, browser: "Browser", *, size: int, by_hand: int) -> Any:
    """Choose, answer in Label Studio, collect, retrain; return the status."""
    play.hone("label", "--size", str(size), "--audit-share", "0.5")
    assert len(play.open()) == size
    play.answer_by_hand(browser, by_hand)
    play.answer_the_rest()
    play.hone("collect")
    play.answer_again()
    play.hone("collect")
    with play.engine.connect() as connection:
        people = set(connection.scalars(select(answers.c.annotator)))
    assert PERSON in people
    retrained = play.hone("retrain", "--seed", "1")
    while len(play.open()):  # a duel: on what the two models answer differently
        play.answer_the_rest()
        play.hone("collect")
    status = play.status()
    assert (status["assigned"], len(status["refused"])) == (0, 0)
    return status | {"said": retrained.stdout + retrained.stderr}


def served_and_watched(play: Play, folder: Path) -> str:
    """Clean images through a real `bentoml serve`, then turned and noisy ones; the watch sees them.

    A reference of a few images of each class gives little evidence in one window: up to three.
    """
    images = digits.load_digits(seed=0)[0]
    champion = play.status()["champion"]
    more = environment(play.workspace, **play.environment)
    with servers.bentoml(Path(__file__).parents[2], folder / "service", more) as service:
        wait_for_model(service.url, champion)
        for seed in range(4):
            sent = digits.shifted(images[-220:], seed=seed) if seed else images[-440:-220]
            answers = send_images(service.url, [(one.name, one.png) for one in sent])
            assert len(answers) == len(sent)
            play.hone("watch")
            if play.status()["last_decision"]["action"] == "label-served":
                assert seed, "clean images raised an alarm"
                return str(answers[0]["prediction_id"])
    raise AssertionError(play.hone("why", "4").stdout)


def drift_is_answered(play: Play) -> None:
    """What was served becomes samples, and most of the next batch is taken from them."""
    play.hone("ingest")
    play.hone("label", "--size", "20", "--audit-share", "0.2")
    answered_by = play.status()["last_decision"]["answered_by"]
    batch = select(assignments.c.reason, samples.c.origin).join(
        samples, samples.c.sample_id == assignments.c.sample_id
    )
    with play.engine.connect() as connection:
        newest = connection.execute(batch.where(assignments.c.round_id == answered_by)).all()
    assert [origin for _, origin in newest].count("served") >= 16, newest  # of 20, audit and others
    assert {reason for reason, origin in newest if origin == "served"} >= {"drifted", "audit"}
