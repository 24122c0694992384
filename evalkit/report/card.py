"""One answer as a person reviews it: question, references, answer with its evidence marked, errors, scores. Pure.

Evidence stands between `«` and `»` with the number of its error, so that it is found without colour.
"""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evalkit.labels import Given, Label, Preference
from evalkit.report.visible import one_line, visible
from evalkit.review import Review
from evalkit.types import Example, Row, Score, Tag

_EVIDENCE = "bold reverse"
_SEVERITY = {"critical": "bold", "major": "bold"}
"""Weight, not colour: a terminal without colours turns red into a grey that nobody reads."""
_GAP = Text("")


def card(review: Review) -> RenderableType:
    """Return what is known of the answer in front; in blind mode neither scores nor errors, which would tell."""
    entry = review.entry
    parts: list[RenderableType] = [*_question(entry.row.example, entry.row.trial), _GAP]
    if review.blind and entry.other:
        sides = (entry.other, entry.row) if review.swapped else (entry.row, entry.other)
        return Group(*parts, _columns(*(_answer(f"Answer {n}", row) for n, row in enumerate(sides, 1))))
    if entry.other:
        return Group(*parts, _columns(_judged("Answer", entry.row), _judged("Answer of the other run", entry.other)))
    return Group(*parts, _judged("Answer", entry.row))


def progress(review: Review, width: int = 20) -> str:
    """Return the place in the queue and how much is decided, in one line."""
    total = len(review.entries)
    full = max(width * review.decided // total, min(1, review.decided))
    shown = " and ".join(map(one_line, review.only)) or "all"
    return (
        f"{one_line(review.run.suite, 24)} · {review.position + 1} of {len(review.queue)} ({shown}) · "
        f"{review.decided}/{total} labelled [{'#' * full}{'.' * (width - full)}]"
    )


def said(review: Review) -> str:
    """Return what the labeller says of the answer in front, in one line."""
    asked = "which answer is better? " if review.blind else ""
    return f"{one_line(review.labeller, 24)}: {asked}{_given(review.given)}"


def _given(given: Given | None) -> str:
    if isinstance(given, Label):
        note = f"note: {one_line(given.note, 120)}" if given.note else ""
        parts = (given.verdict or "no verdict yet", one_line(given.category or ""), note)
        return " · ".join(part for part in parts if part)
    if isinstance(given, Preference):
        return {"left": "answer 1", "right": "answer 2", "tie": "a tie"}[given.better]
    return "nothing said yet"


def marked(text: str, tags: tuple[Tag, ...]) -> Text:
    """Return a visible text with the evidence of each tag between guillemets; after it the number of its error."""
    spans = [(n, *tag.span) for n, tag in enumerate(tags, 1) if tag.span and tag.span[0] < tag.span[1]]
    spans = [(n, max(0, start), min(end, len(text))) for n, start, end in spans]
    edges = sorted({0, len(text), *(edge for _, *span in spans for edge in span if 0 <= edge <= len(text))})
    shown = Text(overflow="fold")
    for start, end in zip(edges, [*edges[1:], len(text)], strict=True):
        shown.append("".join(f"»{n}" for n, _, closed in reversed(spans) if closed == start), "bold")
        shown.append("".join("«" for _, opened, _ in spans if opened == start), "bold")
        inside = any(opened <= start < closed for _, opened, closed in spans)
        shown.append(visible(text[start:end]), _EVIDENCE if inside else "default")
    return shown


def _columns(left: RenderableType, right: RenderableType) -> Table:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(ratio=1)
    table.add_column(width=1)
    table.add_column(ratio=1)
    table.add_row(left, "", right)
    return table


def _question(example: Example, trial: int) -> list[RenderableType]:
    about = [one_line(example.id, 60), *([f"trial {trial}"] if trial else [])]
    about += [f"{one_line(key, 20)} {one_line(str(value), 30)}" for key, value in example.meta.items()]
    parts: list[RenderableType] = [_heading("Question", " · ".join(about))]
    if isinstance(example.input, str):
        parts.append(_plain(example.input))
    else:
        parts += [_plain(f"{turn.role}: {turn.content}") for turn in example.input]
    parts += [_plain(f"{letter}) {choice}") for letter, choice in _lettered(example)]
    parts += [_GAP, _heading("Accepted answer" if len(example.target) < 2 else "Accepted answers")]
    return [*parts, *(_plain(target) for target in example.target or ("(none is known)",))]


def _judged(title: str, row: Row) -> Group:
    """Return an answer with its errors and scores."""
    tags = [
        Text(
            f"{n} {one_line(tag.category)}, {tag.severity}: {one_line(tag.why)}", _SEVERITY.get(tag.severity, "default")
        )
        for n, tag in enumerate(row.tags, 1)
    ]
    scores = [Text(_score(score)) for score in row.scores]
    parts: list[RenderableType] = [_answer(title, row, row.tags)]
    parts += [_GAP, _heading("Errors found"), *tags] if tags else []
    parts += [_GAP, _heading("Scores"), *scores] if scores else []
    return Group(*parts)


def _score(score: Score) -> str:
    value = "unscored" if score.value is None else f"{score.value:.2f}"
    return f"{one_line(score.name)} {value}{f': {one_line(score.why)}' if score.why else ''}"


def _answer(title: str, row: Row, tags: tuple[Tag, ...] = ()) -> Group:
    response, about = row.response, []
    if response.finish == "length":
        about.append("cut at the token limit")
    parts: list[RenderableType] = [_heading(title, " · ".join(about))]
    if response.choice_logprobs and len(response.choice_logprobs) == len(row.example.choices):
        best = max(response.choice_logprobs)
        values = zip(_lettered(row.example), response.choice_logprobs, strict=True)
        parts += [
            _plain(f"{'>' if value == best else ' '} {letter}) {value:.2f} nats") for (letter, _), value in values
        ]
    if response.text or not response.choice_logprobs:
        parts.append(marked(response.text, tags) if response.text else Text("(empty)", "dim"))
    return Group(*parts)


def _lettered(example: Example) -> list[tuple[str, str]]:
    return [(chr(ord("a") + n) if n < 26 else str(n), choice) for n, choice in enumerate(example.choices)]


def _heading(title: str, about: str = "") -> Text:
    return Text().append(title, "bold underline").append(f"  {about}" if about else "", "dim")


def _plain(text: str) -> Text:
    return Text(visible(text), overflow="fold")
