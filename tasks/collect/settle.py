"""Answers become labels, and samples still in doubt go to one more annotator."""

from prefect import task

from core.locks import only_writer
from labeling.consensus.settle import SettlePolicy
from labeling.consensus.settle_labels import settle_labels
from labeling.kinds import KINDS
from labeling.ledger import rounds
from labeling.ledger.samples import load_image_places
from labeling.studio import client
from tasks.context import open_context
from tasks.label.choose import studio_address
from tasks.label.stage_images import stage_images, unstage_images
from tasks.retries import is_transient_error


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def settle_answers(settling: SettlePolicy) -> dict[str, int]:
    """Settle labels from the answers in force; return what changed.

    Idempotent: labels that stand on the same answers stay as they are.
    """
    ctx = open_context()
    with only_writer(ctx.engine, "answers") as token:
        counts = settle_labels(
            ctx.engine, token, settling, ctx.workspace.class_names, KINDS[ctx.workspace.kind]
        )
        counts["images unstaged"] = unstage_images(ctx)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return counts


@task(
    retries=3,
    retry_delay_seconds=[2, 10, 30],
    retry_condition_fn=is_transient_error,
    timeout_seconds=3600,
)
def ask_more_annotators(annotators: str) -> int:
    """Send to Label Studio what needs one more annotator or a final word; return how many moved.

    Idempotent: tasks that are as they should be stay as they are.
    """
    ctx = open_context()
    with ctx.engine.connect() as connection:
        asked = rounds.load_asked(connection)
        reopened = asked.loc[asked["is_open"], "sample_id"].tolist()
        places = load_image_places(connection, reopened)
    if annotators == "simulated" or asked.empty or ctx.settings.label_studio_url is None:
        return 0
    with only_writer(ctx.engine, "rounds"):
        # Its round may be closed, and its image unstaged.
        stage_images(ctx, places)
        with client.connect(**studio_address(ctx)) as studio:
            studio.project(ctx.workspace, bucket=ctx.image_bucket)
            moved = studio.ask_more(asked)
    print(f"{moved} of {len(asked)} sent to one more annotator or for a final word")
    return moved
