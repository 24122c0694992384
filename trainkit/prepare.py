"""Raw data -> train.jsonl and test.jsonl: read, converted, split, and checked for rows that stand on both sides."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from evalkit.data import mirror_of, mirrored, read_rows
from evalkit.jsonl import dump, parse_object
from evalkit.models import load_backend
from evalkit.registry import load
from evalkit.types import Example, Request, Sampling, Suite
from trainkit.checkpoint import write_text
from trainkit.config import setting
from trainkit.dataset import TrainRow, split_rows
from trainkit.errors import BadRow, TrainError
from trainkit.formats import ASK, FORMATS, pair_of, paragraphs, rows_of
from trainkit.near import NEAR, near_pairs

SEEDED = "seed"
CONTENT = "content"
Record = tuple[int, Mapping[str, Any]]


@dataclass(frozen=True)
class PrepareSettings:
    """The settings of one `trainkit prepare`."""

    source: str = setting(
        says="A file (JSONL, JSON array, CSV, Parquet, text) or a data set on the hub.", metavar="DATA"
    )
    out: str = setting(says="Folder for train.jsonl and test.jsonl: new or empty.", metavar="DIR")
    form: str = setting("auto", says="How the source keeps its rows.", choices=FORMATS)
    input_key: str = setting("question", says="Key of the question.", metavar="KEY")
    output_key: str = setting("answer", says="Key of the answer.", metavar="KEY")
    hydrate: bool = setting(True, says="Write Alpaca's templates into the question, as the seed does.")
    subset: str = setting("", says="Subset (configuration) of a hub data set.", metavar="NAME")
    split: str = setting("train", says="Split of a hub data set.")
    data_dir: str | None = setting(None, says="Mirror of data sets.", metavar="DIR")
    limit: int | None = setting(None, says="Read only the first N records; the hub streams them.", metavar="N")
    test_share: float = setting(0.1, says="Share of the rows that go to test.jsonl.")
    split_by: str = setting(
        CONTENT, says="By content hash, or shuffled by --seed as the seed does.", choices=(CONTENT, SEEDED)
    )
    seed: int = setting(123, says="Seed of a shuffled split.", metavar="N")
    bad_rows: str = setting("raise", says="What to do with rows that cannot be read.", choices=("raise", "drop"))
    model: str | None = setting(None, says="For a text: the model that writes question and answer.", metavar="M")
    ask: str = setting(ASK, says="For a text: the prompt, with {text} in it.")

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        facts = (
            (0 <= self.test_share < 1, f"test_share = {self.test_share}: expected from 0 to below 1"),
            (self.limit is None or self.limit >= 1, f"limit = {self.limit}: expected 1 or more"),
            ("{text}" in self.ask, "ask: expected the place of the text, {text}, in it"),
        )
        for holds, message in facts:
            if not holds:
                raise TrainError(message)


@dataclass(frozen=True)
class Prepared:
    """What was written, and what stands on both sides."""

    folder: Path
    """Folder of train.jsonl and test.jsonl."""
    train: tuple[TrainRow, ...]
    """Training rows."""
    test: tuple[TrainRow, ...]
    """Test rows."""
    dropped: Mapping[str, str]
    """Line -> why it was left out."""
    crossing: Sequence[tuple[str, str, float]]
    """(test row, training row, similarity of their questions) of near duplicates across the split."""


def prepare(settings: PrepareSettings) -> Prepared:
    """Read, convert, split, check and write.

    Raises:
        TrainError: the source cannot be read, rows are broken, or the folder is not empty.
    """
    out = Path(settings.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TrainError(f"{out}: is not an empty folder; choose another --out")
    rows, dropped = _rows(settings)
    train, test = split(rows, settings.test_share, settings.split_by, settings.seed)
    crossing = near_pairs({r.id: r.question for r in test}, {r.id: r.question for r in train}, NEAR)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, part in (("train", train), ("test", test)):
            if part:
                write_text(out / f"{name}.jsonl", "".join(dump(record_of(row)) + "\n" for row in part))
    except OSError as fault:
        raise TrainError(f"{out}: cannot be written: {fault.strerror}") from None
    return Prepared(out, tuple(train), tuple(test), dropped, crossing)


def split(rows: Sequence[TrainRow], share: float, by: str, seed: int) -> tuple[list[TrainRow], list[TrainRow]]:
    """Return (train, test): by content hash, or the first rows of a seeded shuffle, rounded up as the seed does."""
    if by == CONTENT:
        return split_rows(rows, share)
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    count = -(-round(len(rows) * share * 1e6) // 1_000_000)
    test = set(order[:count])
    return [r for i, r in enumerate(rows) if i not in test], [r for i, r in enumerate(rows) if i in test]


def record_of(row: TrainRow) -> dict[str, Any]:
    """Return a row as a line of our files."""
    meta = {"meta": dict(row.meta)} if row.meta else {}
    if isinstance(row.input, str):
        return {"id": row.id, "question": row.input, "answer": row.answer, **meta}
    turns = [{"role": turn.role, "content": turn.content} for turn in row.input]
    return {"id": row.id, "messages": [*turns, {"role": "assistant", "content": row.answer}], **meta}


def _rows(settings: PrepareSettings) -> tuple[list[TrainRow], dict[str, str]]:
    path = Path(settings.source)
    if path.suffix in (".txt", ".md") and path.is_file():
        found: Iterable[TrainRow | BadRow] = _asked(path, settings)
    else:
        keys = (settings.input_key, settings.output_key)
        found = rows_of(islice(_records(settings), settings.limit), settings.form, keys, hydrate=settings.hydrate)
    rows: list[TrainRow] = []
    dropped: dict[str, str] = {}
    names: dict[str, int] = {}
    for row in found:
        if isinstance(row, BadRow):
            if settings.bad_rows == "raise":
                raise TrainError(f"{settings.source}: {row} (--bad-rows drop leaves such rows out, counted)")
            dropped[row.row] = row.reason
            continue
        names[row.id] = names.get(row.id, 0) + 1
        twice = f"-{names[row.id]}" if names[row.id] > 1 else ""
        rows.append(TrainRow(row.id + twice, row.input, row.answer, row.meta, row.line))
    if not rows:
        raise TrainError(f"{settings.source}: no usable row in it ({len(dropped)} dropped)")
    return rows, dropped


def _records(settings: PrepareSettings) -> Iterator[Record]:
    path = Path(settings.source)
    if not path.is_file():
        if path.exists() or "/" not in settings.source or settings.source.startswith((".", "/")):
            raise TrainError(f"{settings.source}: expected a file, or a data set on the hub (owner/name)")
        yield from enumerate(_hub_rows(settings), 1)
    elif path.suffix == ".jsonl":
        for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            if line.strip():
                try:
                    yield number, parse_object(line.rstrip(b"\r"))
                except ValueError as fault:
                    yield number, {"": f"not a JSON object ({fault})"}
    else:
        yield from enumerate(load("trainkit.frames:records_of")(path), 1)


def _hub_rows(settings: PrepareSettings) -> Iterable[Mapping[str, Any]]:
    """Return rows from the mirror or the hub; with a limit, the hub's are streamed."""
    mirror = mirror_of(settings.data_dir)
    there = mirror and mirrored(mirror, settings.source, settings.subset, settings.split)
    if settings.limit and not there:
        streamed: Iterable[Mapping[str, Any]] = load("trainkit.hub:streamed")(
            settings.source, settings.subset, settings.split
        )
        return streamed
    return read_rows(settings.source, settings.subset, settings.split, settings.data_dir)


def _asked(path: Path, settings: PrepareSettings) -> Iterator[TrainRow | BadRow]:
    """Yield a row for each paragraph of a text that the model turned into question and answer."""
    if not settings.model:
        raise TrainError(f"{path}: a text becomes questions and answers by a model; give --model M")
    blocks = paragraphs(path.read_text(encoding="utf-8-sig"))[: settings.limit]
    requests = [_request(settings.ask.replace("{text}", block), number) for number, block in enumerate(blocks, 1)]
    backend = load_backend(settings.model, {})
    replies = [r for batch in backend.plan(requests) for r in backend.respond([requests[i] for i in batch])]
    for number, (block, reply) in enumerate(zip(blocks, replies, strict=True), 1):
        pair = pair_of(reply.text) if reply.error is None else None
        if pair is None:
            yield BadRow(
                f"paragraph {number}", reply.error or "the model's reply is not of the form Question: … Answer: …"
            )
        else:
            yield TrainRow(
                f"{path.stem}-{number}", *pair, {"source": path.name, "text": block, "by": settings.model}, number
            )


def _request(prompt: str, number: int) -> Request:
    from evalkit.prompt import request_of

    suite = Suite("text", (), generation=Sampling(max_new_tokens=256))
    return request_of(suite, Example(str(number), prompt))
