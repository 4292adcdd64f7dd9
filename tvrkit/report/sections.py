"""What stands in a report, section by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import tvrkit
from tvrkit.evaluate import Evaluation, HardGallery, same_questions
from tvrkit.metrics import Difference, Ranks
from tvrkit.protocols import PROTOCOLS
from tvrkit.report import charts, groups, questions, tables
from tvrkit.report.cards import cards
from tvrkit.report.names import Names
from tvrkit.report.parts import Html, count, join, table, tag, text
from tvrkit.report.pictures import Picture
from tvrkit.report.questions import Question

WORST_CAPTIONS, WORST_VIDEOS, DIFFERING = 20, 10, 6
_BARS = 4  # rows that a histogram has room for
_BESIDE = 3  # rows whose R@1 stands beside the first one's in a group
_IDS = 20  # of missing videos
_SHORT = 16  # characters of a name that fits into a card
_DIRECTIONS = ("t2v", "v2t")
Rows = Sequence[tuple[str, Evaluation]]


@dataclass(frozen=True)
class QuestionList:
    """Questions under a heading, and what they are."""

    heading: str
    words: str
    questions: Sequence[Question]


def head(rows: Rows, notes: Sequence[str]) -> Html:
    """What was measured, by whom and when; where it is not the protocol's own set, that first."""
    first = rows[0][1]
    parts = _incomplete(rows)
    now = datetime.now().astimezone()
    facts: list[tuple[str, object]] = [("Data set", f"{first.dataset}, split {first.split}")]
    facts.append(("Protocol", _protocol(first)))
    facts.append(("Measured", first.coverage.words()))
    facts.append(("Models" if len(rows) > 1 else "Model", join([tables.row_name(*row) for row in rows], "<br>")))
    facts.append(("Made", tag("time", now.strftime("%Y-%m-%d %H:%M %Z"), datetime=now.isoformat(timespec="seconds"))))
    facts.append(("With", f"tvrkit {tvrkit.__version__}"))
    facts += [("Note", note) for note in notes]
    parts.append(
        tag("dl", join([tag("div", tag("dt", term), tag("dd", fact)) for term, fact in facts]), class_="facts")
    )
    return join(parts)


def results(
    rows: Rows,
    comparisons: Mapping[str, Mapping[str, Mapping[str, Difference]]],
    hard: Sequence[tuple[str, HardGallery]],
) -> Html:
    """All tables of numbers."""
    parts = [tables.result_table(direction, rows) for direction in _DIRECTIONS]
    parts += [tag("p", line, class_="dim") for line in tables.changed_words(rows)]
    if hard:
        parts += [tag("h3", "Hard gallery"), tables.hard_table(hard)]
    if comparisons:
        parts.append(tag("h3", "Compared, query by query"))
        told = sum(len(differences) for both in comparisons.values() for differences in both.values())
        for name, both in comparisons.items():
            parts += [tables.comparison_table(name, direction, both[direction]) for direction in both]
        words = (
            "The p-value is how often a difference at least as large arises when each video's two results are swapped"
            f" by the toss of a coin. Of {told} such numbers about one in twenty falls below 0.05 by chance alone."
        )
        parts.append(tag("p", words, class_="dim"))
    return join(parts)


def curves(rows: Rows) -> Html:
    """Both directions: recall over k, and the histogram of places."""
    names = [tables.label(*row) for row in rows]
    lines, bars, numbers = [], [], []
    for direction, what in zip(_DIRECTIONS, ("videos", "captioned videos"), strict=True):
        ranks = [(name, _ranks(row[1], direction)) for name, row in zip(names, rows, strict=True)]
        title = tables.title_of(direction)
        lines.append(_figure(f"{title}: recall", charts.recall_chart(f"{title}: recall", ranks, what)))
        histogram = charts.rank_histogram(f"{title}: place of the right answer", ranks[:_BARS])
        bars.append(_figure(f"{title}: place of the right answer", histogram))
        numbers.append(table(f"{title}: recall in percent", *charts.recall_rows(ranks)))
    words = "The band is the 95 % interval of the first line; the thin dotted line is guessing."
    if len(rows) > _BARS:
        words += f" The bars are those of the first {_BARS} rows."
    return join(
        [
            charts.legend(names) if len(names) > 1 else Html(""),
            tag("div", join(lines), class_="charts"),
            tag("div", join(bars), class_="charts"),
            tag("p", words, class_="dim"),
            tag("details", tag("summary", "The curves as numbers"), join(numbers)),
        ]
    )


def looked_at(rows: Rows, names: Names) -> list[QuestionList]:
    """The queries worth a look, of the first row and where it differs from another model.

    Rows of normalised scores are passed over: an evaluation keeps the model's own scores only.
    """
    plain = [row for row in rows if row[1].normalisation is None and same_questions(rows[0][1], row[1])]
    if not plain:
        return []
    (name, first), *others = plain
    captions = questions.worst_captions(first, names, WORST_CAPTIONS)
    videos = questions.worst_videos(first, names, WORST_VIDEOS)
    lists = [
        QuestionList("Captions that went worst", f"Of {name}: the right video ranks lowest.", captions),
        QuestionList("Videos that went worst", f"Of {name}: the best of their own captions ranks lowest.", videos),
    ]
    for other, second in others[:1]:
        short = name != other and max(len(name), len(other)) <= _SHORT
        a, b = (name, other) if short else ("first", "second")
        words = "" if short else f"The first is {name}, the second is {other}. "
        words += "The places of the right video differ most."
        sooner, later = questions.differing_captions({a: first, b: second}, names, DIFFERING)
        the = "" if short else "the "
        lists.append(QuestionList(f"Captions that {the}{a} finds sooner than {the}{b}", words, sooner))
        lists.append(QuestionList(f"Captions that {the}{b} finds sooner than {the}{a}", words, later))
    return lists


def question_lists(lists: Sequence[QuestionList], names: Names, pictures: Mapping[int, Picture]) -> Html:
    """The lists as cards."""
    parts = []
    if pictures:
        parts.append(
            tag("p", "A picture is of the middle of its video, and opens the video's file there.", class_="dim")
        )
    for part in lists:
        parts.append(tag("h3", part.heading))
        if part.questions:
            parts += [tag("p", part.words, class_="dim"), cards(part.questions, names, pictures)]
        else:
            parts.append(tag("p", "None.", class_="dim"))
    return join(parts)


def group_tables(rows: Rows, names: Names) -> Html:
    """Text to video by category, source, length and duration, as far as the records tell."""
    first = rows[0][1]
    same = [row for row in rows[1:] if same_questions(first, row[1])][:_BESIDE]
    ranks = [(tables.label(*row), row[1].t2v_ranks) for row in (rows[0], *same)]
    tagged = [groups.by_tag(key, names) for key in ("category", "source")]
    measured = [groups.by_caption_length(names), groups.by_duration(names)]
    found = [groups.group_table(group, names, ranks, best_first=True) for group in tagged if group]
    found += [groups.group_table(group, names, ranks, best_first=False) for group in measured if group]
    if not found:
        return Html("")
    words = (
        f"Text to video, {ranks[0][0]}. Each caption still looks for its video among all of them. A percentage of fewer"
        f" than {groups.FEW} captions says little and is marked “few”."
    )
    return join([tag("p", words, class_="dim"), *found])


def reading(rows: Rows) -> Html:
    """What the numbers mean."""
    protocol = PROTOCOLS.get(rows[0][1].protocol or "")
    lines = [
        "R@k is the percentage of queries whose right answer is among the first k; MdR and MnR are the median and the"
        " mean of its place, 1 being the best. mAP is given where a query has several right answers.",
        "Where others have exactly the score of the right answer, it stands at each of the places they share with equal"
        " chance, and that expected credit counts; the column “ties” says for how many queries.",
        "The 95 % interval says how much R@1 would move with another draw of as many videos, each with all its"
        " captions; two models on the same videos are told apart by a paired comparison, not by whether their"
        " intervals overlap.",
    ]
    if protocol:
        lines.append(f"{protocol.title}: {protocol.queries} {protocol.source}")
    return join([tag("p", text(line, 2000)) for line in lines])


def _incomplete(rows: Rows) -> list[Html]:
    """A warning for each set that is not whole; rows of one set share theirs."""
    sets = {(evaluation.coverage, evaluation.missing): name for name, evaluation in reversed(rows)}
    alerts = []
    for (coverage, missing), name in reversed(sets.items()):
        if coverage.complete and not missing:
            continue
        words = f"{name}: " if len(sets) > 1 else ""
        words += f"{coverage.words()}."
        if missing:
            some = ", ".join(missing[:_IDS]) + (" …" if len(missing) > _IDS else "")
            words += f" {count(len(missing), 'video')} could not be read and left out with their captions: {some}."
        words += " These numbers cannot be compared with those of the whole set."
        alerts.append(tag("p", tag("strong", "INCOMPLETE"), " ", text(words, 5000), class_="alert", role="note"))
    return alerts


def _protocol(first: Evaluation) -> str:
    protocol = PROTOCOLS.get(first.protocol or "")
    return f"{protocol.name} ({protocol.title})" if protocol else first.protocol or "none"


def _ranks(evaluation: Evaluation, direction: str) -> Ranks:
    ranks: Ranks = getattr(evaluation, f"{direction}_ranks")
    return ranks


def _figure(title: str, chart: Html) -> Html:
    return tag("figure", tag("figcaption", title), chart)
