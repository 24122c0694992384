"""Quality against the amount of data: train on parts of the rows, several seeds each, and judge each by evalkit.

Each cell (amount, seed) stands in a folder of its own and is not trained again when the curve is continued. Amounts of
one seed are nested: more data means the same rows and others.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from evalkit.jsonl import dump
from evalkit.registry import load
from evalkit.stats import mean_interval, t_quantile
from trainkit.checkpoint import MANIFEST, read_json, write_json, write_text
from trainkit.curved import Curve, Point, report
from trainkit.dataset import TrainRow, read_rows
from trainkit.errors import TrainError
from trainkit.manifest import settings_hash
from trainkit.prepare import record_of
from trainkit.settings import SftSettings
from trainkit.sft import sft
from trainkit.suites import score

Say = Callable[[str], None]


def curve(settings: SftSettings, suite: str, amounts: Sequence[int], seeds: int, *, limit: int | None = None,
          command: str = "", say: Say = lambda line: None) -> Curve:  # fmt: skip
    """Train and judge every cell, and write curve.json, curve.md, curve.png and the cells below `settings.out`.

    Raises:
        TrainError: an amount is more than there are rows, or the folder holds a curve of other settings.
    """
    out = Path(settings.out)
    rows = read_rows(settings.data, settings.input_key, settings.output_key, settings.bad_rows)
    _check(settings, suite, amounts, seeds, len(rows.rows), rows.sha256)
    base = _judged(settings.model, suite, out / "base", limit)
    say(f"before training: {base:.3f}")
    points = []
    for amount in sorted(set(amounts)):
        scores = [_cell(settings, rows.rows, amount, seed, suite, limit, say) for seed in range(seeds)]
        points.append(point_of(amount, scores))
    found = Curve(suite, base, tuple(points), *gain_of(points))
    write_json(out / "curve.json", asdict(found))
    load("trainkit.plot:curve_png")(
        [(p.amount, p.mean, p.low, p.high) for p in points], out / "curve.png", f"{suite} score", base
    )
    write_text(out / "curve.md", report(found, command))
    return found


def point_of(amount: int, scores: Sequence[float]) -> Point:
    """Return the mean of an amount's scores with its interval over seeds."""
    mean = fmean(scores)
    low, high = mean_interval(scores) or (mean, mean)
    return Point(amount, tuple(scores), mean, max(0.0, low), min(1.0, high))


def gain_of(points: Sequence[Point]) -> tuple[float | None, float | None, float | None]:
    """Return the slope of score against log2(amount), by least squares over all seeds, with its 95 % interval."""
    pairs = [(math.log2(p.amount), s) for p in points for s in p.scores]
    if len(pairs) < 3 or len(points) < 2:
        return None, None, None
    x_mean, y_mean = fmean(x for x, _ in pairs), fmean(y for _, y in pairs)
    spread = math.fsum((x - x_mean) ** 2 for x, _ in pairs)
    slope = math.fsum((x - x_mean) * (y - y_mean) for x, y in pairs) / spread
    rest = math.fsum((y - y_mean - slope * (x - x_mean)) ** 2 for x, y in pairs)
    half = t_quantile(0.975, len(pairs) - 2) * math.sqrt(rest / (len(pairs) - 2) / spread)
    return slope, slope - half, slope + half


def subset(rows: Sequence[TrainRow], amount: int, seed: int) -> list[TrainRow]:
    """Return `amount` rows; those of a smaller amount are among them."""
    order = list(range(len(rows)))
    random.Random(f"curve/{seed}").shuffle(order)
    return [rows[i] for i in order[:amount]]


def _cell(
    settings: SftSettings, rows: Sequence[TrainRow], amount: int, seed: int, suite: str, limit: int | None, say: Say
) -> float:
    """Train and judge one cell, unless it is there already."""
    place = Path(settings.out) / f"{amount}-{seed}"
    if not (place / "model" / MANIFEST).is_file():
        place.mkdir(parents=True, exist_ok=True)
        write_text(place / "train.jsonl", "".join(dump(record_of(row)) + "\n" for row in subset(rows, amount, seed)))
        own: dict[str, Any] = {"data": str(place / "train.jsonl"), "out": str(place / "model"), "seed": seed,
               "input_key": "question", "output_key": "answer"}  # fmt: skip
        if (place / "model").exists():
            load("trainkit.sft:resume")(place / "model")
        else:
            sft(replace(settings, **own))
    found = _judged(str(place / "model"), suite, place / "run", limit)
    say(f"{amount} rows, seed {seed}: {found:.3f}")
    return found


def _judged(model: str, suite: str, place: Path, limit: int | None) -> float:
    """Return a checkpoint's score, from its finished run where there is one."""
    kept = place.with_name(place.name + ".json")
    if kept.is_file():
        return float(read_json(kept)["score"])
    found = score(model, suite, place, limit)
    write_json(kept, {"score": found, "suite": suite, "model": model})
    return found


def _check(settings: SftSettings, suite: str, amounts: Sequence[int], seeds: int, rows: int, data: str) -> None:
    if not amounts or min(amounts) < 1 or seeds < 1:
        raise TrainError("expected amounts of 1 or more rows, and at least one seed")
    if max(amounts) > rows:
        raise TrainError(f"amount {max(amounts)} is more than the {rows} rows of {settings.data}")
    out = Path(settings.out)
    mark = {"hash": settings_hash({**_settings_record(settings), "suite": suite, "data": data})}
    if (out / "settings.json").is_file():
        if read_json(out / "settings.json") != mark:
            raise TrainError(f"{out}: holds a curve of other settings, data or suite; choose another --out")
    elif out.exists() and any(out.iterdir()):
        raise TrainError(f"{out}: is not an empty folder; choose another --out")
    else:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "settings.json", mark)


def _settings_record(settings: SftSettings) -> Mapping[str, Any]:
    return {key: value for key, value in asdict(settings).items() if key != "out"}
