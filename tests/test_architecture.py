"""The rules of docs/architecture about the code, read from the code itself.

Each rule is one test that lists every place where it is broken.
"""

import ast
import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import source_code
from tests.source_code import (
    LAYERS,
    calls,
    functions,
    has_mirror,
    identifiers,
    imported,
    imported_by_tests,
    is_migration,
    length,
    literals,
    module_of,
    name_of,
    packages,
    reached_from,
    sources,
    tree_of,
    words,
)

Offence = tuple[str, str]  # file, and what in it breaks the rule
Rule = Callable[[], Iterator[Offence]]

READS_SETTINGS = ("tasks/", "models/serving/service.py", "models/serving/deployment.py")
HOLDS_SQL = (
    "core/",
    "labeling/audit/",
    "labeling/ledger/",
    "labeling/snapshots/",
    "labeling/ingest/",
    "models/registry/",
    "models/serving/prediction_store.py",
    "models/serving/copies.py",
    "models/serving/erasures.py",
    "models/serving/callback_store.py",
    "models/serving/answered.py",  # an answer, and what became of its image
    "models/serving/traffic_history.py",  # reads what the prediction store wrote, for pages
    "models/serving/traffic_window.py",  # draws from the predictions, at a cost of its own
    "models/serving/drained.py",  # how far the folders beside predictions were drained
    "models/rollout/spool.py",  # the drain of what services recorded of trials
    "models/rollout/store.py",  # the tables of trials and what is asked of them
    "models/watching/decisions.py",
    "models/watching/incidents.py",
    "models/watching/alerts.py",  # what was raised, and what became of each message
    "models/watching/decision_history.py",
    "models/watching/confirmed_mistakes.py",
    # What followed from predictions is joined with them in the database: the module of the tables,
    # those that write and read them, and the drain, which moves with the rows.
    "models/watching/outcome_tables.py",
    "models/watching/outcomes.py",
    "models/watching/slices.py",
    "models/watching/outcome_queries.py",
    "models/watching/feedback_spool.py",
    "models/watching/outcome_checks.py",
    "models/serving/checks.py",  # checks stand next to their data
    "models/watching/checks.py",
    "models/watching/alert_checks.py",
)
TYPES_OF_SQLALCHEMY = {"Connection", "Engine", "Row", "RowMapping", "exc"}
# Tables without a promise of their own: anything else changes through `core.journal`. What follows
# from outcomes is made again from them.
NOT_JOURNALED = {"intents", "locks", "pending_settlement", "refusals", "refused_answers",
                 "row_counts", "sample_states", "sources",
                 "truths", "truth_counts", "waiting_outcomes", "slice_names", "watch_states",
                 "shadow_records", "shadow_answers", "trials"}  # fmt: skip
CHANGES = ("insert", "update", "delete")
CHANGE_IN_SQL = re.compile(r"\s*(INSERT\s+(OR|INTO)|UPDATE|DELETE\s+FROM|REPLACE\s+INTO)\s")
# The service speaks the ML backend's protocol and may not import labeling.
KNOWS_LABEL_STUDIO = ("labeling/studio/", "labeling/kinds/", "models/serving/label_studio.py")
KEYS_OF_LABEL_STUDIO = {"from_name", "to_name", "was_cancelled", "ground_truth", "completed_by",
                        "label_config"}  # fmt: skip
KNOWS_KINDS = ("labeling/kinds/", "models/kinds/")
KINDS = {"classification", "detection"}
STRATEGIES_IMPORT = {"numpy", "labeling", "heapq", "math", "collections", "dataclasses", "typing"}
NOT_SERVED = ("models.training", "models.pretraining", "models.judging")
HEAVY = {"torch", "torchvision", "wandb", "bentoml", "alibi_detect", "label_studio_sdk", "dvc",
         "prefect", "pandas", "sklearn", "matplotlib", "transformers", "cv2"}  # fmt: skip
CODE_IN_DATA = {"cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
BANNED_MODULES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
VAGUE_WORDS = {"item", "info", "manager", "handler", "helper", "processor", "util", "utils"}
GIVEN_NAMES = {"to_info", "from_info", "info"}  # BentoML's, of methods we override
# Metaphors for mechanisms, and words that do not say what a value is.
BANNED_WORDS = {
    "arm", "arms", "bell", "carrying", "desk", "door", "eyes", "found", "guess", "guesses", "heard",
    "honest", "house", "kept", "leash", "looker", "lookalike", "lookalikes", "mouth", "opinions",
    "people", "pupil", "said", "sayings", "seen", "sight", "some", "suspects", "told", "waking",
}  # fmt: skip

# Modules that no test imports, and where they are tested instead. Flows and tasks only put others
# together: tests/system runs them.
TESTED_ELSEWHERE = (
    "core/migrations/",
    "flows/",
    "tasks/",
    "core/journal_repair.py",  # tests/tasks/operate/test_corruptions.py
    "core/checks.py",  # and all checks of fsck: tests/tasks/operate/test_checks.py
    "labeling/audit/checks.py",
    "labeling/ingest/checks.py",
    "labeling/ledger/checks.py",
    "labeling/snapshots/checks.py",
    "labeling/snapshots/repair.py",  # tests/tasks/operate/test_corruptions.py
    "models/registry/checks.py",
    "models/scoring/checks.py",
    "models/serving/checks.py",
    "models/watching/checks.py",
    "models/watching/alert_checks.py",
    "models/watching/outcome_checks.py",
)


def imports_run_one_way() -> Iterator[Offence]:
    for path in sources():
        mine = name_of(path).split("/")[0]
        for module in imported(path):
            theirs = module.split(".")[0]
            if theirs in LAYERS and theirs != mine and LAYERS[theirs] >= LAYERS.get(mine, -1):
                yield name_of(path), f"imports {module}"


def imports_are_absolute() -> Iterator[Offence]:
    for path in sources():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom) and node.level:
                yield name_of(path), f"line {node.lineno} hides where its import leads"


def only_flows_and_tasks_import_prefect() -> Iterator[Offence]:
    for path in sources():
        if not name_of(path).startswith(("flows/", "tasks/")) and "prefect" in packages(path):
            yield name_of(path), "imports prefect"


def only_tasks_command_line_and_service_read_settings() -> Iterator[Offence]:
    for path in sources():
        if "settings" in packages(path) and not name_of(path).startswith(READS_SETTINGS):
            yield name_of(path), "imports settings"


def only_studio_knows_label_studios_json() -> Iterator[Offence]:
    for path in sources():
        if not name_of(path).startswith(KNOWS_LABEL_STUDIO):
            for line, text in literals(path):
                if text in KEYS_OF_LABEL_STUDIO:
                    yield name_of(path), f"line {line} has {text!r}"


def only_the_named_places_hold_sql() -> Iterator[Offence]:
    for path in sources():
        if not name_of(path).startswith(HOLDS_SQL):
            names = {module.split(".")[1] for module in imported(path)
                     if module.startswith("sqlalchemy.")}  # fmt: skip
            if names - TYPES_OF_SQLALCHEMY:
                yield name_of(path), f"imports {', '.join(sorted(names))} from sqlalchemy"


def promised_rows_change_through_the_journal() -> Iterator[Offence]:
    for path in sources():
        if is_migration(path) or name_of(path).startswith("core/journal"):
            continue
        for line, text in literals(path):
            if CHANGE_IN_SQL.match(text):
                yield name_of(path), f"line {line} changes rows in text"
        has_sql = "sqlalchemy" in packages(path)
        for node in ast.walk(tree_of(path)):
            if has_sql and isinstance(node, ast.Call) and (table := _changed_table(node)):
                yield name_of(path), f"line {node.lineno} changes {table} without the journal"


def _changed_table(node: ast.Call) -> str | None:
    """What `insert(table)`, `sa.insert(table)` or `table.insert()` changes."""
    match node.func, node.args, node.keywords:
        case ast.Name(id=name), [table, *_], _:
            changed = table
        case ast.Attribute(value=ast.Name(id="sa"), attr=name), [table, *_], _:
            changed = table
        case ast.Attribute(value=table, attr=name), [], []:
            changed = table
        case _:
            return None
    is_free = name not in CHANGES or ast.unparse(changed) in NOT_JOURNALED
    return None if is_free else ast.unparse(changed)


def serving_imports_nothing_that_trains_or_judges() -> Iterator[Offence]:
    served = tuple(path for path in sources() if name_of(path).startswith("models/serving/"))
    for module, importer in reached_from(served).items():
        if module.startswith(NOT_SERVED):
            yield importer, f"imports {module}, which the service reaches"


def labeling_is_free_of_torch() -> Iterator[Offence]:
    for path in sources():
        if name_of(path).startswith("labeling/") and packages(path) & {"torch", "torchvision"}:
            yield name_of(path), "imports torch"


def strategies_are_numpy_only() -> Iterator[Offence]:
    for path in sources():
        if name_of(path).startswith("labeling/strategies/"):
            for module in imported(path):
                own = module.startswith("labeling.strategies")
                if module.split(".")[0] not in STRATEGIES_IMPORT or (module.startswith("labeling")
                                                                     and not own):  # fmt: skip
                    yield name_of(path), f"imports {module}"


def only_kinds_compare_kinds() -> Iterator[Offence]:
    for path in sources():
        if not name_of(path).startswith(KNOWS_KINDS):
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.Compare | ast.MatchValue):
                    strings = {inner.value for inner in ast.walk(node)
                               if isinstance(inner, ast.Constant)}  # fmt: skip
                    if strings & KINDS:
                        yield name_of(path), f"line {node.lineno} compares a label kind"


def the_command_line_starts_light() -> Iterator[Offence]:
    for path in sources():
        if name_of(path).startswith("flows/cli/"):
            modules = set(imported(path, top_level=True))
            for module in sorted(modules):
                if module.split(".")[0] in {*HEAVY, "labeling", "models", "tasks"}:
                    yield name_of(path), f"imports {module} before a command is known"


def packages_are_tables_of_contents() -> Iterator[Offence]:
    content = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr)
    for path in sources():
        if path.name == "__init__.py":
            for node in tree_of(path).body:
                if not isinstance(node, content):
                    yield name_of(path), f"line {node.lineno} defines {ast.unparse(node)[:40]!r}"


def modules_have_names_of_their_own() -> Iterator[Offence]:
    for path in sources():
        if path.stem in BANNED_MODULES:
            yield name_of(path), "says nothing of what it holds"


def names_say_what_a_thing_is() -> Iterator[Offence]:
    for path in sources():
        named = [node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)]
        for function in functions(path):
            named += [function.name, *(argument.arg for argument in function.args.args)]
        for name in named:
            if name == "data" or (name not in GIVEN_NAMES and VAGUE_WORDS & words(name)):
                yield name_of(path), name


def a_module_has_400_lines_at_most() -> Iterator[Offence]:
    for path in sources():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > 400 and not is_migration(path):
            yield name_of(path), f"{lines} lines"


def a_function_has_50_lines_at_most() -> Iterator[Offence]:
    for path in sources():
        for node in functions(path):
            if length(node) > 50 and not is_migration(path):
                yield name_of(path), f"{node.name} has {length(node)} lines"


def modules_and_public_names_have_docstrings() -> Iterator[Offence]:
    for path in sources():
        if is_migration(path):
            continue
        if not ast.get_docstring(tree_of(path)):
            yield name_of(path), "has no docstring"
        for node in tree_of(path).body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if not node.name.startswith("_") and not ast.get_docstring(node):
                yield name_of(path), f"{node.name} has no docstring"


def data_is_never_run_as_code() -> Iterator[Offence]:
    for path in sources():
        for module in imported(path):
            if module.split(".")[0] in CODE_IN_DATA or module.startswith("pickle."):
                yield name_of(path), f"imports {module}"
        for line, called, given in calls(path):
            if _runs_data(called, given):
                yield name_of(path), f"line {line} calls {called}"


def _runs_data(called: str, given: dict[str, str]) -> bool:
    forbidden = ("eval", "exec", "__import__", "os.system", "os.popen", "yaml.load", "pickle.load",
                 "pickle.loads", "pickle.Unpickler")  # fmt: skip
    return (
        called in forbidden
        or called.endswith("load_detector")
        or (called == "torch.load" and given.get("weights_only") != "True")
        or given.get("allow_pickle", "False") != "False"
        or given.get("shell", "False") != "False"
    )


def no_failure_is_passed_over_in_silence() -> Iterator[Offence]:
    for path in sources():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ExceptHandler):
                silent = all(isinstance(step, ast.Pass) for step in node.body)
                if silent or node.type is None:
                    yield name_of(path), f"line {node.lineno}"


def every_module_has_its_tests() -> Iterator[Offence]:
    tested = imported_by_tests()
    for path in sources():
        elsewhere = path.name == "__init__.py" or name_of(path).startswith(TESTED_ELSEWHERE)
        if not (elsewhere or has_mirror(path) or module_of(path) in tested):
            yield name_of(path), "no test of its name, and none that imports it"


def identifiers_are_words_of_the_field() -> Iterator[Offence]:
    for path in sources():
        used = {word for name in identifiers(path) for word in words(name)}
        for word in sorted(BANNED_WORDS & used):
            if not is_migration(path):
                yield name_of(path), f"an identifier has the word {word!r}"


RULES: tuple[Rule, ...] = (
    imports_run_one_way,
    imports_are_absolute,
    only_flows_and_tasks_import_prefect,
    only_tasks_command_line_and_service_read_settings,
    only_studio_knows_label_studios_json,
    only_the_named_places_hold_sql,
    promised_rows_change_through_the_journal,
    serving_imports_nothing_that_trains_or_judges,
    labeling_is_free_of_torch,
    strategies_are_numpy_only,
    only_kinds_compare_kinds,
    the_command_line_starts_light,
    packages_are_tables_of_contents,
    modules_have_names_of_their_own,
    names_say_what_a_thing_is,
    a_module_has_400_lines_at_most,
    a_function_has_50_lines_at_most,
    modules_and_public_names_have_docstrings,
    data_is_never_run_as_code,
    no_failure_is_passed_over_in_silence,
    every_module_has_its_tests,
    identifiers_are_words_of_the_field,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_holds(rule: Rule) -> None:
    assert [f"{file}: {what}" for file, what in rule()] == []


# For each rule a module that breaks it, and where that would stand.
BREAKS: dict[Rule, tuple[str, str]] = {
    imports_run_one_way: ("labeling/a.py", "from models.network import network"),
    imports_are_absolute: ("core/a.py", "from . import files"),
    only_flows_and_tasks_import_prefect: ("labeling/a.py", "from prefect import flow"),
    only_tasks_command_line_and_service_read_settings: ("core/a.py", "import settings"),
    only_studio_knows_label_studios_json: ("labeling/formats/a.py", "row['was_cancelled']"),
    only_the_named_places_hold_sql: ("tasks/a.py", "from sqlalchemy import Engine, select"),
    promised_rows_change_through_the_journal: (
        "labeling/ledger/a.py",
        "from sqlalchemy import update\nconnection.execute(update(labels).values(label='cat'))",
    ),
    serving_imports_nothing_that_trains_or_judges: (
        "models/serving/a.py",
        "def answer():\n    import models.training",
    ),
    labeling_is_free_of_torch: ("labeling/a.py", "def f():\n    import torch"),
    strategies_are_numpy_only: ("labeling/strategies/a.py", "from labeling.ledger import x"),
    only_kinds_compare_kinds: ("tasks/a.py", "if kind == 'detection': print()"),
    the_command_line_starts_light: ("flows/cli/a.py", "from tasks.context import open_context"),
    packages_are_tables_of_contents: ("labeling/__init__.py", "def f(): return 1"),
    modules_have_names_of_their_own: ("core/utils.py", "x = 1"),
    names_say_what_a_thing_is: ("core/a.py", "class RowHandler: pass"),
    a_module_has_400_lines_at_most: ("core/a.py", "x = 1\n" * 401),
    a_function_has_50_lines_at_most: ("core/a.py", "def f():\n" + "    x = 1\n" * 50),
    modules_and_public_names_have_docstrings: ("core/a.py", "'Doc.'\ndef f(): return 1"),
    data_is_never_run_as_code: ("core/a.py", "numpy.load(file, allow_pickle=True)"),
    no_failure_is_passed_over_in_silence: ("core/a.py", "try: f()\nexcept OSError: pass"),
    every_module_has_its_tests: ("core/a.py", "x = 1"),
    identifiers_are_words_of_the_field: ("core/a.py", "def clear_desk(): return 1"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_names_a_file_that_breaks_it(
    rule: Rule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, content = BREAKS[rule]
    monkeypatch.setattr(source_code, "ROOT", tmp_path)
    for file, text in {"models/training/__init__.py": "", name: content}.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    assert name in {file for file, _ in rule()}


def test_nine_functions_in_ten_are_short() -> None:
    written = [path for path in sources() if not is_migration(path)]
    lengths = [length(node) for path in written for node in functions(path)]
    assert statistics.quantiles(lengths, n=10)[-1] <= 25
    assert statistics.median(lengths) <= 12
