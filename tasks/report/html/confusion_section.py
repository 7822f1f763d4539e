"""Which classes are taken for which, and the pictures of the worst mistakes."""

from pathlib import PurePath

import numpy as np

from core.intervals import mean_interval
from core.text import counted
from tasks.report.html.elements import Html, element, joined, plain, scrolling, sentence, table
from tasks.report.html.gather import Facts
from tasks.report.html.judged import JudgedRows, Mistake
from tasks.report.html.pictures import captions, picture_grid
from tasks.report.html.words import bounded, missing, section

WIDEST = 16  # classes of a matrix that is shown whole
PAIRS = 15  # of classes that are mistaken for each other
SERVED = "served:"  # begins the name of an image that came with traffic
NAME = 24  # characters of a class in the matrix


def confusion_section(facts: Facts) -> Html:
    """The newest judged model's confusion, and the champion's worst mistakes."""
    title = "Confusion and worst mistakes"
    if facts.judged is None:
        why = "No model was judged yet: `hone retrain` measures one on the audit images."
        return section("confusion", title, missing(why))
    champion = facts.champion_judged or facts.judged
    return section("confusion", title, _confusion(facts.judged), _mistakes(champion))


def _confusion(judged: JudgedRows) -> Html:
    if judged.missing:
        return missing(f"No confusion matrix: {judged.missing}.")
    if judged.confusion is None or judged.accuracy is None:
        why = "none of its audit images is in the part that verdicts use"
        return missing(f"No confusion matrix of {judged.version}: {why}.")
    counts, rows = judged.confusion, judged.accuracy.rows
    about = (
        f"{judged.version}, the challenger of the newest verdict, on {counted(rows, 'gate image')} "
        f"of the pool with the labels they have now: accuracy {bounded(judged.accuracy)}."
    )
    whole = len(judged.classes) <= WIDEST
    parts = [_matrix(counts, judged.classes)] if whole else []
    parts += [_by_class(counts, judged.classes), _pairs(counts, judged.classes)]
    return joined([element("p", about), element("div", *parts, class_="beside")])


def _matrix(counts: np.ndarray, classes: tuple[str, ...]) -> Html:
    names = [plain(name, NAME) for name in classes]
    head = element("tr", element("td", ""),
                   *(element("th", name, scope="col") for name in names))  # fmt: skip
    rows = []
    for place, name in enumerate(names):
        total = int(counts[place].sum())
        cells = [_cell(int(count), total, place == other)
                 for other, count in enumerate(counts[place])]  # fmt: skip
        rows.append(element("tr", element("th", name, scope="row"), *cells))
    caption = "Images by label (rows) and answer (columns)"
    return scrolling(
        element("thead", head), element("tbody", *rows), caption=caption, kind="matrix"
    )


def _cell(count: int, total: int, is_right: bool) -> Html:
    if not count:
        return element("td", "0", class_="none")
    much = round(10 + 35 * count / total)
    kind = "right" if is_right else "wrong"
    return element("td", f"{count:,}", class_=kind, style=f"--much: {much}%")


def _by_class(counts: np.ndarray, classes: tuple[str, ...]) -> Html:
    """The share of each class that is answered right; of many classes the lowest."""
    shares = []
    for place, name in enumerate(classes):
        total, right = int(counts[place].sum()), int(counts[place, place])
        if total:
            shares.append((mean_interval(np.repeat([1.0, 0.0], [right, total - right])), name))
    shares.sort(key=lambda one: (one[0].value, -one[0].rows))
    lines = [(name, bounded(one), f"{one.rows:,}") for one, name in shares[:WIDEST]]
    more = f", the {WIDEST} lowest of {len(shares)}" if len(shares) > WIDEST else ""
    head = ("class", "recall", "images")
    return table(head, lines, caption=f"Recall by class{more}", figures=head[1:])


def _pairs(counts: np.ndarray, classes: tuple[str, ...]) -> Html:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    lines = []
    for place in order:
        row, column = divmod(int(place), len(classes))
        if wrong[row, column]:
            total = int(counts[row].sum())
            lines.append((classes[row], classes[column], f"{wrong[row, column]:,} of {total:,}"))
    if not lines:
        return missing("It was right on all of them.")
    return table(
        ("label", "answer", "images"), lines, caption="Most frequent mistakes", figures=["images"]
    )


def _mistakes(judged: JudgedRows) -> Html:
    heading = element("h3", f"Worst mistakes of {judged.version}")
    if judged.missing:
        return joined([heading, missing(f"No pictures: {judged.missing}.")])
    if not judged.mistakes:
        none = f"It is right on all {judged.rows:,} audit images that were stored with it."
        return joined([heading, missing(none)])
    about = (
        f"Of {judged.rows:,} audit images, those that it is wrong about and most sure of. A label "
        "may be wrong, too: `hone review` asks again."
    )
    shown = [(one.picture, _words(one), _caption(one)) for one in judged.mistakes]
    return joined([heading, element("p", sentence(about)), picture_grid(shown)])


def _words(one: Mistake) -> str:
    return f"image labelled {one.truth[:80]}, answered {one.predicted[:80]}"


def _caption(one: Mistake) -> Html:
    is_file = one.path is not None and not one.path.startswith(SERVED)
    name = PurePath(str(one.path)).name if is_file else f"served, {one.sample_id[:8]}"
    return captions(
        joined([element("b", plain(one.predicted, 40)), f" {one.confidence:.2f}"]),
        joined(["label ", plain(one.truth, 40)]),
        element("span", plain(name, 40), class_="muted"),
    )
