"""Questions as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvrkit.report.names import Names
from tvrkit.report.parts import Html, join, tag
from tvrkit.report.pictures import Picture
from tvrkit.report.questions import Question, Side


def cards(questions: Sequence[Question], names: Names, pictures: Mapping[int, Picture]) -> Html:
    """A list with a card for each question; without pictures where there are none."""
    return tag("ol", join([_card(question, names, pictures) for question in questions]), class_="cards")


def _card(question: Question, names: Names, pictures: Mapping[int, Picture]) -> Html:
    sides = join([_side(side, names, pictures) for side in question.sides])
    places = join([tag("p", place, class_="place") for place in question.places])
    return tag("li", tag("p", question.asked, class_="asked"), places, tag("div", sides, class_="sides"))


def _side(side: Side, names: Names, pictures: Mapping[int, Picture]) -> Html:
    picture = pictures.get(side.video)
    name: Html = tag("span", names.video(side.video), class_="name")
    shown = Html("")
    if picture is not None:
        shown = tag("span", picture.shown, class_="picture")
        name = tag("a", shown, name, href=picture.address)
    scores = "; ".join(f"{label}\N{NO-BREAK SPACE}{_score(value)}" for label, value in side.scores)
    said = Html("") if side.caption is None else tag("span", side.caption, class_="said")
    return tag(
        "div", tag("span", side.label, class_="label"), name, said, tag("span", scores, class_="score"), class_="side"
    )


def _score(value: float) -> str:
    """Four digits: models' scores are of any size."""
    return (f"{value:,.1f}" if abs(value) >= 1000 else f"{value:#.4g}").replace("-", "−")
