"""The plans of cascades on a screen: what each threshold loses, saves and costs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from models.judging.cascade_plan import price
from tasks.report.console import Row, print_line, print_table

MOST = 100  # rows: there are as many as thresholds
ONCE = (
    "The confidence is that of one plan: after several, with other models or losses or more "
    "answers, one that passes may be the one that passed by chance."
)

if TYPE_CHECKING:
    from models.judging.cascade_plan import CascadePlan, Option


def show_plans(
    plans: "Sequence[CascadePlan]", prices: Sequence[float], console: Console | None = None
) -> None:
    """Print a table for each front model, the costs side by side, and what to do."""
    screen = console or Console(highlight=False)
    for plan in plans:
        title = f"{plan.front} before {plan.champion}, on {plan.rows} audit images of the gate"
        print_table(screen, title, [_row(plan, one) for one in plan.options], limit=MOST)
        costs = [(f"{one.threshold:g}", one.ms) for one in plan.options]
        costs.append(("champion", plan.costs.champion_ms))
        rows = [{"threshold": name, **_costs(ms, prices)} for name, ms in costs]
        print_table(screen, "What an image costs", rows, limit=MOST)
        print_line(screen, plan.why)
    options = [_chosen(plan, prices) for plan in plans]
    alone = {
        "option": "the champion alone",
        "accuracy": f"{plans[0].accuracy.value:.3f}",
        "escalated": "-",
    }
    cost = _costs(plans[0].costs.champion_ms, prices)
    words = frozenset({"option"})
    print_table(screen, "Side by side", [*options, {**alone, **cost}], words=words)
    if any(plan.chosen is not None for plan in plans):
        print_line(screen, ONCE)
    for plan in plans:
        if plan.chosen is not None:
            print_line(
                screen,
                f"hone cascade set --front {plan.front} --threshold {plan.chosen:g} --who NAME "
                "--why REASON",
            )


def _row(plan: "CascadePlan", option: "Option") -> Row:
    safe = "yes" if option.is_safe else "no"
    return {
        "threshold": f"{option.threshold:g}{' *' if option.threshold == plan.chosen else ''}",
        "escalated": f"{100 * option.escalated.value:.1f} %",
        "accuracy": str(option.accuracy),
        "difference": f"{option.difference.value:+.3f}",
        "loses at most": f"{option.loss_bound:.3f}",
        f"safe at {plan.loss:g}": safe,
    }


def _chosen(plan: "CascadePlan", prices: Sequence[float]) -> Row:
    for one in plan.options:
        if one.threshold == plan.chosen:
            return {
                "option": f"{plan.front} from {one.threshold:g}",
                "accuracy": f"{one.accuracy.value:.3f}",
                "escalated": f"{100 * one.escalated.value:.1f} %",
                **_costs(one.ms, prices),
            }
    nothing = dict.fromkeys(("accuracy", "escalated", *_costs(0.0, prices)), "-")
    return {"option": f"{plan.front}: no threshold", **nothing}


def _costs(ms: float, prices: Sequence[float]) -> Row:
    """Seconds of one thread for 1,000 images (milliseconds of one), and what they cost."""
    money = {f"1,000 at {one:g} an hour": f"{price(ms, one):.6f}" for one in prices}
    return {"ms an image": f"{ms:.2f}", **money}
