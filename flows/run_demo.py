"""The whole loop on scikit-learn's handwritten digits: an empty folder to recovery from drift."""

from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from prefect import flow

from core.text import counted
from flows.collect_labels import collect_labels
from flows.ingest_images import ingest_images
from flows.label_round import label_round
from flows.retrain import retrain
from flows.watch_traffic import watch_traffic
from labeling.batches.select import SelectionConfig
from models.training.config import TrainConfig
from tasks.context import open_context
from tasks.demo import annotator, shadow_phase, traffic, watching
from tasks.demo import recipe as demo
from tasks.operate.trace import trace
from tasks.watch.act import summary_of


@flow(name="demo", flow_run_name="demo-{seed}")
def run_demo(home: Path, seed: int = 0, studio: bool = False) -> dict[str, Any]:
    """Three rounds beside random ones, then traffic, drift and recovery; return the facts."""
    story = demo.Progress()
    recipe = demo.Recipe(seed=seed)
    sets = demo.make_workspace(home, recipe, person=studio)
    story(f"workspace {home / 'workspace'}")
    with ExitStack() as stack:
        person = stack.enter_context(annotator.demo_annotator(home, story)) if studio else None
        beside = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
        story(f"{ingest_images([str(home / 'digits')])} images ingested")
        play_round(recipe, recipe.start, recipe.train)
        first = demo.round_facts(0)
        story(
            f"start: {first['labels']} random labels, audit accuracy {first['accuracy']:.3f}, "
            f"{first['verdict']}"
        )
        rounds = [
            round_beside_random(story, recipe, number, beside=beside, person=person)
            for number in range(1, demo.ROUNDS + 1)
        ]
        service = stack.enter_context(demo.serve(home))
        story(f"bentoml serve answers at {service.url}")
        drift = watch_both(story, sets, service.url, home)
        recovery, prediction_id = recover(story, sets, recipe, service.url)
        drift |= watch_the_end(story, sets, service.url, drift["incident"])
    chain = trace(open_context().engine, prediction_id)
    facts = {
        "rounds": rounds,
        "drift": drift,
        "recovery": recovery,
        "trace": demo.trace_ids(chain),
        "workspace": str(home / "workspace"),
        "seconds": round(story.seconds, 1),
    }
    demo.draw_curves(facts, first, home / "learning-curves.png")
    demo.show_facts(story, facts, home / "learning-curves.png", chain)
    return facts


def play_round(
    recipe: demo.Recipe,
    selection: SelectionConfig,
    train: TrainConfig,
    person: "annotator.DemoAnnotator | None" = None,
) -> str:
    """Choose, answer, settle and freeze one round; return the snapshot."""
    who: Literal["label-studio", "simulated"] = "label-studio" if person else "simulated"
    label_round(selection=selection, seed=recipe.seed, annotators=who)
    snapshot = None
    while snapshot is None:
        if person:
            person.wait()
        snapshot = collect_labels(who)
    retrain(snapshot, recipe.network, train, annotators=who)
    return snapshot


def round_beside_random(
    story: demo.Progress,
    recipe: demo.Recipe,
    number: int,
    *,
    beside: Executor,
    person: "annotator.DemoAnnotator | None",
) -> dict[str, Any]:
    """One round, and as many labels chosen at random and trained the same way beside it."""
    labels = demo.labels_to_train_on() + recipe.batch(person is not None)
    random_baseline = demo.start_random_baseline(beside, recipe, labels)
    play_round(recipe, recipe.round(person is not None), recipe.train, person)
    facts = demo.round_facts(number) | {"random_accuracy": random_baseline.result()}
    story(
        f"round {number}: {facts['labels']} labels, audit accuracy {facts['accuracy']:.3f}, "
        f"random {facts['random_accuracy']:.3f}, {facts['verdict']}"
    )
    if facts["duel"] is not None:
        story(f"round {number}: {facts['duel']}")
    return facts


def watch_both(
    story: demo.Progress, sets: dict[str, list[Any]], url: str, home: Path
) -> dict[str, Any]:
    """Send clean images, then shifted ones; return what was noticed of each window, and how."""
    facts: dict[str, Any] = {}
    for window in ("clean", "shifted"):
        traffic.send_images(url, [(one.name, one.png) for one in sets[window]])
        decision_id = watch_traffic()
        decision = summary_of(decision_id)
        facts[f"{window}_window"] = decision.drift
        story(f"{window} window: {decision.step}, {decision.reason}")
    facts |= watching.drift_facts(home, str(decision_id))
    story(f"{facts['incident']} ({facts['kind'] or 'of no kind that it can tell'}) is open")
    for title in facts["alerts"]:
        story(f"alert in {watching.alert_folder(home)}: {title}")
    story(f"the images that moved most: {', '.join(facts['exemplars'])}")
    return facts


def watch_the_end(
    story: demo.Progress, sets: dict[str, list[Any]], url: str, incident_id: str | None
) -> dict[str, Any]:
    """Send more shifted images to the model that learnt them; return how the incident ended."""
    traffic.send_images(url, [(one.name, one.png) for one in sets["again"]])
    decision = summary_of(watch_traffic())
    facts = watching.ending(incident_id)
    story(f"shifted images again: {decision.step}, {decision.reason}")
    ended = "has ended" if facts["incident_closed"] else "is still open"
    story(f"{incident_id} {ended}, {counted(facts['open_alerts'], 'alert')} open")
    return {"again_window": decision.drift, **facts}


def recover(
    story: demo.Progress, sets: dict[str, list[Any]], recipe: demo.Recipe, url: str
) -> tuple[dict[str, float], str]:
    """Label what drifted and retrain; return accuracies before and after, and a prediction."""
    before = demo.champion()
    story(f"{ingest_images()} served images are samples now; the next round takes from them")
    shadow_phase.choose_path()
    play_round(recipe, recipe.after_drift, recipe.train_after_drift)
    if shadow_phase.is_in_shadow():
        pictures = [(one.name, one.png) for name in ("shifted", "clean") for one in sets[name][:60]]
        story(f"shadow: {shadow_phase.send_until_compared(url, pictures)}")
        watch_traffic()
    after = demo.champion()
    traffic.wait_for_model(url, after)
    facts = demo.round_facts(demo.ROUNDS + 1)
    recovery = {
        f"{what}_{when}": demo.accuracy_of(version, sets[f"scored-{what}"])
        for what in ("shifted", "clean")
        for when, version in (("before", before), ("after", after))
    }
    story(f"drift round: {facts['labels']} labels, {facts['verdict']}, the service runs {after}")
    story(f"its runtime is {demo.runtime(after)}")
    return recovery, demo.labelled_prediction()
