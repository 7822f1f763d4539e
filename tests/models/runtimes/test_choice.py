"""Records of choices: of one model, machine and policy; a damaged one is no choice."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.runtimes import machine as machines
from models.runtimes.agreement import Agreement
from models.runtimes.choice import (
    Choice,
    Timed,
    choice_path,
    choices,
    load_choice,
    model_folder,
    store_choice,
)
from models.runtimes.machine import fingerprint, machine
from models.runtimes.policy import Policy

AGREES = Agreement(1000, 0.9995, 0.004, 0.001, 0.0001, 0.01)


def choice(**changes: object) -> Choice:
    known = Choice(
        version="hone:0001-a",
        digest="abc",
        policy=Policy.AUTO,
        machine=machine(1),
        at="2030-01-01T00:00:00+00:00",
        seconds=9.0,
        images="audit and pool images",
        sizes={1: Timed("openvino", 2.0, 8.0), 64: Timed("onnxruntime", 10.0, 20.0)},
        agreement={"openvino": AGREES, "onnxruntime": AGREES},
        dropped={"torch bf16": "this processor has no bf16 instructions"},
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def test_a_choice_is_read_back_for_its_model_machine_and_policy_only(tmp_path: Path) -> None:
    store_choice(tmp_path, choice())
    assert load_choice(tmp_path, "abc", Policy.AUTO, threads=1) == choice()
    assert load_choice(tmp_path, "other", Policy.AUTO, threads=1) is None
    assert load_choice(tmp_path, "abc", Policy.OPENVINO, threads=1) is None
    assert load_choice(tmp_path, "abc", Policy.AUTO, threads=2) is None


def test_a_choice_of_another_processor_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_choice(tmp_path, choice())
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: Another\nflags\t\t: fpu amx_bf16\n")
    monkeypatch.setattr(machines, "CPUINFO", cpuinfo)
    machines._cpu.cache_clear()
    try:
        assert machine(1)["processor"] == "Another"
        assert load_choice(tmp_path, "abc", Policy.AUTO, threads=1) is None
        assert [one.version for one in choices(tmp_path)] == ["hone:0001-a"]  # shown all the same
    finally:
        machines._cpu.cache_clear()


def test_a_record_without_the_agreement_of_what_answers_is_no_choice(tmp_path: Path) -> None:
    store_choice(tmp_path, choice(agreement={"openvino": AGREES}))
    assert load_choice(tmp_path, "abc", Policy.AUTO, threads=1) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sizes": {"1": 3}}', '{"sizes": null}', "{}"])
def test_a_damaged_record_is_no_choice(tmp_path: Path, text: str) -> None:
    store_choice(tmp_path, choice())
    choice_path(tmp_path, Policy.AUTO, machine(1)).write_text(text)
    assert load_choice(tmp_path, "abc", Policy.AUTO, threads=1) is None
    assert list(choices(tmp_path)) == []


def test_the_sentence_has_speed_up_and_agreement() -> None:
    assert choice().sentence() == (
        "openvino for batches of 1, onnxruntime for batches of 64: 2.8 times as fast as torch "
        "(4.0 for one image), the same label for 99.95% of 1,000 audit and pool images"
    )
    absent = "onnxruntime not installed: pip install 'hone[fast]'"
    plain = choice(sizes={1: Timed("torch", 8.0, 8.0)}, dropped={"onnxruntime": absent})
    assert "nothing faster agrees here (onnxruntime: onnxruntime not installed: pip install" in (
        plain.sentence()
    )


def test_a_machine_has_a_name_that_packages_and_threads_change() -> None:
    here = machine(1)
    assert here["packages"]["torch"]
    assert fingerprint(here) == fingerprint(dict(here)) != fingerprint(machine(2))
    assert fingerprint({**here, "packages": {}}) != fingerprint(here)


def test_a_version_is_a_folder_of_its_own() -> None:
    assert model_folder(Path("home"), "hone:0001-a") == Path("home/hone-0001-a")
