"""A short campaign over every target: results and named refusals only, in bounded work."""

import ast
import json
import random
from pathlib import Path

import pytest

from tests.fuzz import __main__, campaign
from tests.fuzz.campaign import CORPUS, outcome_of, run
from tests.fuzz.mutation import CHANGES, damaged
from tests.fuzz.targets import TARGETS, Target
from tests.source_code import name_of, sources, tree_of

INPUTS = 60  # damaged ones for each target; `python -m tests.fuzz --minutes 60` runs more
FEWER = {"import": 15, "collect": 20, "model": 20, "webhook": 15, "backend": 30}

# What parses bytes, and where; each place is a target or is here with the reason why it is none.
PARSERS = ("json.load", "json.loads", "tomllib.loads", "csv.reader", "np.load", "numpy.load",
           "torch.load", "load_file", "yaml.safe_load", "pq.read_table", "XMLPullParser",
           "Image.open", "safetensors.torch.load", "parse_options_header", "base64.b64decode",
           "base64.urlsafe_b64decode", "np.fromfile", "struct.unpack", "struct.unpack_from",
           "HEADER.unpack_from", "CHECKS.unpack_from", "_RECORD.iter_unpack", "load",
           "_HEADER.unpack_from")  # fmt: skip
FUZZED = {
    "core/dvc_objects.py", "core/hone_toml.py", "core/image_formats.py", "core/plain_png.py",
    "labeling/formats/csv_table.py", "labeling/formats/folders.py", "labeling/formats/rows.py",
    "labeling/ingest/near_duplicates.py", "labeling/simulation.py", "labeling/studio/errors.py",
    "labeling/studio/project.py", "models/network/network.py",
    "models/pretraining/cold_start.py", "models/registry/model_card.py",
    "models/registry/model_store.py", "models/scoring/cache.py", "models/serving/callbacks.py",
    "models/serving/feedback.py",
    "models/serving/feedback_records.py", "models/serving/label_studio.py",
    "models/serving/requests.py", "models/serving/screen.py", "models/serving/segment_reader.py",
    "models/serving/shadow_records.py",
    "models/watching/feedback_file.py",
}  # fmt: skip
OUR_OWN = {
    "core/journal.py": "JSON of the ledger",
    "core/journal_checks.py": "JSON of the ledger",
    "labeling/ledger/checks.py": "JSON of the ledger",
    "labeling/ledger/report_queries.py": "JSON of the ledger",
    "labeling/ledger/settlement.py": "JSON of the ledger",
    "tasks/retrain/train.py": "pyproject.toml of the code that runs",
    "labeling/snapshots/table.py": "a table whose SHA-256 was checked, or the ledger's JSON",
    "models/judging/corruptions.py": "images that it encoded itself",
    "models/kinds/classification.py": "JSON of the ledger",
    "models/pretraining/feature_runtime.py": "our own note; a damaged one is made anew",
    "models/pretraining/pretrained.py": "our own notes; a damaged one is made anew",
    "models/registry/bento.py": "the list of a bento's files; damage is a finding of fsck",
    "models/registry/checks.py": "the model store; damage is a finding of fsck",
    "models/registry/stored_entries.py": "the model store; damage is a finding of fsck",
    "models/runtimes/choice.py": "our own record; a damaged one is none, and a test damages it",
    "models/runtimes/export.py": "the note beside an export; one that is damaged is made anew",
    "models/runtimes/probe_images.py": "images that the process which started it wrote",
    "models/runtimes/probe_process.py": "what the process that started it asks for",
    "models/serving/prediction_store.py": "fields that the reader of segments checked",
    "models/training/tracking.py": "the summaries of runs; one that is damaged is passed over",
    "tasks/demo/digits.py": "images that the demo drew",
    "tasks/demo/servers.py": "the demo's own note",
    "tasks/operate/effective_config.py": "the default configuration",
    "models/watching/channels.py": "the answer of the process that sends; another one is an error",
    "models/watching/decisions.py": "JSON of the ledger",
    "models/watching/send_message.py": "the message of the process that started it",
    "tasks/report/budget_record.py": "our own file; a damaged one is none, and a test damages it",
    "tasks/report/label_budget.py": "our own file; a damaged one is no limit, and is printed",
    "tasks/watch/reference.py": "our own cache, a damaged one is made anew; stored images",
}


@pytest.mark.filterwarnings("ignore")  # Pillow's and torch's, about what is damaged
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_is_taken_or_refused_by_name_in_bounded_work(name: str) -> None:
    tally = run(name, seed=0, inputs=FEWER.get(name, INPUTS))
    assert [crash.problem for crash in tally.crashes.values()] == []
    assert tally.inputs >= FEWER.get(name, INPUTS)


def parses() -> set[str]:
    """The modules that parse bytes."""
    calls = {
        name_of(path): {ast.unparse(node.func) for node in ast.walk(tree_of(path))
                        if isinstance(node, ast.Call)} for path in sources()
    }  # fmt: skip
    return {name for name, called in calls.items() if called & set(PARSERS)}


def test_every_parser_of_input_has_a_target_or_a_reason() -> None:
    known = FUZZED | set(OUR_OWN)
    assert parses() - known == set()
    assert known - parses() == set(), "gone: take it out of the list"


def crash(content: bytes) -> object:
    return json.loads(content)


def refuse(content: bytes) -> object:
    raise ValueError("it is not what is needed")


def search(content: bytes) -> object:
    return [n for n in range(len(content) ** 2) if n < 0]


@pytest.mark.parametrize(
    ("act", "outcome"),
    [(crash, "crash: JSONDecodeError"), (refuse, "refused: ValueError"), (search, "crash: "),
     (len, "taken")],
)  # fmt: skip
def test_an_error_of_a_library_and_too_much_work_are_crashes(act: object, outcome: str) -> None:
    target = Target(list, lambda folder: len, lines=1_000, lines_per_byte=2)
    assert outcome_of(act, target, b"x" * 100).startswith(outcome)  # type: ignore[arg-type]


def test_another_outcome_for_the_same_bytes_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []

    def act(content: bytes) -> object:
        calls.append(content)
        return ValueError("no") if len(calls) % 2 else None

    monkeypatch.setitem(TARGETS, "unsteady", Target(lambda: [b"x"], lambda folder: act))
    tally = run("unsteady", seed=0, inputs=campaign.REPEATED)
    assert "another outcome" in next(iter(tally.crashes.values())).problem


def test_an_input_can_be_made_again_and_every_change_does_something() -> None:
    whole = TARGETS["image"].seeds()
    made = [damaged(whole[0], whole, random.Random(7)) for _ in range(2)]
    assert made[0] == made[1] != whole[0]
    for change in set(CHANGES):
        given = [change(one, random.Random(n)) for n, one in enumerate(whole)]
        assert given != whole, change


def test_a_campaign_prints_its_counts_and_writes_its_crashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(__main__.resource, "setrlimit", lambda *limits: None)  # of pytest itself
    monkeypatch.setitem(TARGETS, "broken", Target(lambda: [b"{"], lambda folder: crash))
    assert __main__.run_here("screen", seed=0, seconds=0.1, crashes=tmp_path / "crashes") == 0
    assert "inputs, 0 crashes" in capsys.readouterr().out
    assert not (tmp_path / "crashes").exists()
    assert __main__.run_here("broken", seed=0, seconds=0.1, crashes=tmp_path / "crashes") == 1
    [path, *_] = sorted((tmp_path / "crashes").iterdir())
    assert path.suffix == ".broken" and str(path) in capsys.readouterr().out


def test_files_of_the_corpus_belong_to_a_target() -> None:
    endings = tuple(f".{name.replace(' ', '-')}" for name in TARGETS)
    assert [path.name for path in CORPUS.glob("*") if not path.name.endswith(endings)] == []
