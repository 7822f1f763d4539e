"""The next batch: the champion looks at the pool, a strategy chooses, annotators get it."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
from prefect import task

from core.database import writing
from core.locks import only_writer
from labeling import simulation
from labeling.batches.checks import check_seen
from labeling.batches.quality_control import SECOND_LOOK, QueueConfig, as_shown, queue, turn_of
from labeling.batches.relabel import second_looks
from labeling.batches.select import SelectionConfig, part, select_batch
from labeling.consensus.settle_labels import load_standing
from labeling.ledger import rounds
from labeling.ledger.answers import refuse_lost_classes
from labeling.quality.pseudo_labels import guess_batch, reserved
from labeling.snapshots.publish import trained_on_guesses
from labeling.strategies.pool import Pool
from labeling.studio import client
from labeling.studio.ml_backend import connect_backend
from labeling.studio.protocol import guess_model
from models.registry import versions
from models.watching import decisions
from tasks.context import House, house
from tasks.label.score_pool import FEATURES, Sight, first_look, look
from tasks.label.stage_images import lay_out, lay_out_examples
from tasks.report.artifacts import show_batch
from tasks.retries import is_busy, may_pass

DRIFT_SHARE = 0.8  # of a batch that answers a drift signal: most of it from the drifted traffic


@task
def name_round(round_id: str | None, annotators: str) -> str:
    """The round this run works on: the one asked for, an unfinished one, or the next.

    Nothing is chosen for annotators who could not be asked: the server is greeted first.
    """
    place = house()
    if annotators == "simulated":
        simulation.load(place.workspace.root)
    else:
        with client.connect(**studio_address(place)):
            pass  # a token that is refused is found out now
    if round_id is not None:
        rounds.number_of(round_id)
        return round_id
    with place.engine.connect() as connection:
        refuse_lost_classes(connection, place.workspace.class_names)
        return rounds.next_round(connection)


@task(
    retries=3,
    retry_delay_seconds=[60, 600, 1800],  # a collect with soft labels may be looking at the pool
    retry_condition_fn=is_busy,
    timeout_seconds=6 * 3600,
)
def choose_batch(
    round_id: str, selection: SelectionConfig, queueing: QueueConfig, seed: int, queue_limit: int
) -> int:
    """Write down who is asked in this round and why; return how many it has.

    Idempotent: a round that was chosen stays as it was chosen. Nothing is chosen while
    `queue_limit` samples wait for annotators already.
    """
    place = house()
    with only_writer(place.engine, "rounds") as token:
        with place.engine.connect() as connection:
            size = rounds.size_of(connection, round_id)
            if size is not None:
                print(f"{round_id} was chosen before, {size} samples: it is finished as it was")
                return size
            waiting = rounds.count_open(connection)
            pool = rounds.load_pool(connection)
        if not _worth_choosing(pool, waiting, queue_limit, selection):
            return 0
        drift = decisions.unanswered_drift(place.engine)
        if drift is not None:
            selection = replace(selection, served_share=max(selection.served_share, DRIFT_SHARE))
        rng = np.random.default_rng([seed, rounds.number_of(round_id)])
        batch, model, rule = _choose(place, pool, selection, queueing, rng)
        with writing(place.engine) as connection:
            rounds.open_round(
                connection,
                token,
                round_id,
                batch,
                strategy=selection.strategy,
                config={**asdict(selection), **asdict(queueing)},
                model=model,
                seed=seed,
                why=drift["reason"] if drift is not None else "scheduled",
                rule=rule,
            )
            if drift is not None:
                decisions.answer_decision(connection, drift["decision_id"], round_id)
    print(
        f"{round_id}: {len(batch)} of {len(pool)} chosen by {rule}"
        f"{' with ' + model if model else ', no model yet'}"
    )
    return len(batch)


def _worth_choosing(
    pool: pd.DataFrame, waiting: int, queue_limit: int, selection: SelectionConfig
) -> bool:
    """Whether somebody can be asked about anything; what cannot be done is printed."""
    if waiting >= queue_limit:
        print(f"{waiting} samples wait for annotators (limit {queue_limit}): nothing chosen")
        return False
    if pool.empty:
        remedy = "`hone collect` when they answered" if waiting else "`hone ingest PATH`"
        print(f"nothing to choose: the pool is empty, {waiting} wait for annotators; {remedy}")
        return False
    absent = sorted(set(selection.named) - set(pool["sample_id"]))
    if absent:
        print(f"named, but labelled, asked about or unknown: {', '.join(absent)}")
    return True


@task(retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=may_pass, timeout_seconds=3600)
def send_batch(round_id: str, annotators: str) -> int:
    """Put the round before its annotators, the model's guess beside each image.

    Idempotent: a retry, or a second run of the round, sends only what is missing.
    """
    place = house()
    with only_writer(place.engine, "rounds") as token:
        with place.engine.connect() as connection:
            batch = rounds.open_assignments(connection, round_id)
            known = rounds.recent_rounds(connection)
        batch["file"] = lay_out(place, batch)
        if annotators == "simulated" or batch.empty:
            outside = dict(zip(batch["sample_id"], batch["sample_id"], strict=True))
        else:
            rng = np.random.default_rng(rounds.number_of(round_id))  # a second run tells the same
            with client.connect(**studio_address(place)) as studio:
                studio.project(place.workspace, lay_out_examples(place), place.object_desk)
                if place.object_desk is None:
                    studio.see(batch["file"].iloc[0])
                sent = studio.assign(as_shown(batch, rng))
                studio.show_tabs(known)
                _connect_backend(place, studio, batch)
            outside = {sample_id: str(number) for sample_id, number in sent.items()}
        rounds.record_sent(place.engine, token, round_id, outside)
    print(f"{round_id}: {len(outside)} before the annotators")
    return len(outside)


def _connect_backend(place: House, studio: client.Studio, batch: pd.DataFrame) -> None:
    """Let Label Studio ask the service for guesses; without it annotators work on just as well."""
    url, secret = place.settings.backend_url, place.settings.backend_secret
    if url is None or secret is None:
        return
    try:
        connect_backend(studio, url, secret.get_secret_value(), model=guess_model(batch))
    except ConnectionError as error:
        print(f"the batch is out, but the model is not connected: {error}")


@task
def publish_batch(round_id: str) -> None:
    """Show the batch, its images and why each was chosen, as an artifact in Prefect."""
    place = house()
    with place.engine.connect() as connection:
        batch = rounds.open_assignments(connection, round_id)
        rule = rounds.rule_of(connection, round_id)
    if batch.empty:
        return  # an old run, repeated: what it had to show was shown
    show_batch(round_id, batch, rule, place.workspace.shards)


def studio_address(place: House) -> dict[str, str]:
    """Where Label Studio is, and the token; a missing one is an error that says what to set."""
    url, key = place.settings.label_studio_url, place.settings.label_studio_api_key
    if not url or not key:
        missing = "LABEL_STUDIO_URL" if not url else "LABEL_STUDIO_API_KEY"
        raise ValueError(
            f"{missing} is not set, so no annotator can be asked; set it in the environment or "
            "in .env (see .env.example)"
        )
    return {"url": url, "api_key": key.get_secret_value()}


def _choose(
    place: House,
    pool: pd.DataFrame,
    selection: SelectionConfig,
    queueing: QueueConfig,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, str | None, str]:
    """The batch as it stands before people, the model whose guesses it has, and by which rule."""
    with place.engine.connect() as connection:
        known = rounds.load_gold(connection)
        spoken_for = rounds.load_spoken_for(connection)
        if trained_on_guesses(connection):
            pool = pool.assign(reserved=reserved(pool["sample_id"].tolist()))
    pool = pool.assign(taught=pool["group_id"].isin(spoken_for["group_id"]))
    gold = turn_of(known, min(selection.size, len(pool)), queueing, rng)
    model = versions.champion(place.engine)
    if model is None:
        sight = first_look(place, pool, spoken_for, selection)
        batch, rule = select_batch(pool, sight.pool, selection, rng, classes=sight.classes)
        batch = _first_guesses(batch, pool, sight)
        gold = gold[["sample_id"]]
    else:
        batch, gold, rule = _with_model(place, pool, gold, spoken_for, model, selection, rng)
    batch = queue(batch, gold, queueing, rng)
    with place.engine.connect() as connection:
        batch["neighbour"] = rounds.neighbours(connection, batch["sample_id"].tolist())
    return batch, model, rule


def _with_model(
    place: House,
    pool: pd.DataFrame,
    gold: pd.DataFrame,
    spoken_for: pd.DataFrame,
    model: str,
    selection: SelectionConfig,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """The batch and the gold with the model's guesses, second looks without; and by which rule."""
    again = pd.DataFrame()
    if selection.by_chance:  # the model is asked only about those who were drawn
        batch, rule = select_batch(pool, Pool(), selection, rng)
        drawn = pool[pool["sample_id"].isin(batch["sample_id"])]
        sight = look(place, drawn, gold, spoken_for[:0], model, selection)
    else:
        sight = look(place, pool, gold, spoken_for, model, selection)
        again = _second_looks(place, pool, sight, spoken_for, selection, rng)
        batch, rule = select_batch(
            pool, sight.pool, selection, rng, classes=sight.classes, taken=len(again)
        )
    batch, gold = _with_guesses(batch, sight), _with_guesses(gold[["sample_id"]], sight)
    again["position"] = range(len(batch), len(batch) + len(again))
    return pd.concat([batch, again], ignore_index=True) if len(again) else batch, gold, rule


def _with_guesses(rows: pd.DataFrame, sight: Sight) -> pd.DataFrame:
    """The rows with what the model says of each; with nothing where it is no probability."""
    told = sight.guesses(rows["sample_id"].tolist())
    return rows.merge(told[told["confidence"].between(0, 1)], on="sample_id", how="left")


def _first_guesses(batch: pd.DataFrame, pool: pd.DataFrame, sight: Sight) -> pd.DataFrame:
    """The batch with what the labels so far say of like samples, while there is no model."""
    seen = sight.pool
    if seen.labels is None or not (seen.labels >= 0).any():
        return batch
    ids = pool["sample_id"].tolist()
    return guess_batch(batch, ids, seen, sight.classes, source=FEATURES)


def _second_looks(
    place: House,
    pool: pd.DataFrame,
    sight: Sight,
    spoken_for: pd.DataFrame,
    selection: SelectionConfig,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Labels that take places of this batch: they teach more than the new samples in their place.

    The audit, the named and quotas keep their places, and one stays for what is new.
    """
    spare = selection.size - max(selection.promised, 1)
    limit = min(part(selection.size, selection.relabel_share), spare)
    seen = sight.pool
    if limit == 0 or seen.embeddings is None or seen.labelled is None:
        return pd.DataFrame()
    check_seen(pool, seen)  # before a head is fitted to it
    with place.engine.connect() as connection:
        known = rounds.load_labelled(connection)["sample_id"]
        given = load_standing(connection).given
    is_known = (spoken_for["label"].notna() & spoken_for["sample_id"].isin(known)).to_numpy()
    found = second_looks(
        seen.embeddings,
        seen.labelled[is_known],
        spoken_for[is_known].reset_index(drop=True),
        given[given["kind"] != "skip"],
        size=selection.size,
        limit=limit,
        seed=int(rng.integers(2**31)),
    )
    return found.assign(reason=SECOND_LOOK, confidence=1 - found["score"])
