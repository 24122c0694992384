"""ledger.jsonl: what each action was measured to do, written by `trainkit loop` and read by later plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from evalkit.jsonl import dump, read_jsonl, write_atomic
from trainkit.curate.edits import Edit
from trainkit.errors import TrainError

LEDGER = "ledger.jsonl"


@dataclass(frozen=True, slots=True)
class Effect:
    """The measured effect of one action on one error category, over all seeds of one loop."""

    action: str
    """What was done to the rows."""
    category: str
    """The error that it was meant to reduce."""
    edits: int
    """Edits of this kind in the plan."""
    metric: str
    """What was measured: `tag:` and the category, or the suite's primary metric for what no tagger sees in answers."""
    change: float
    """Change against the original, in points of 100; positive is better."""
    control: float
    """The same after a random plan of equal size."""
    accepted: bool
    """Whether the plan as a whole beat the original and the control."""
    plan: str
    """Id of the plan."""
    suite: str
    """Suite that judged."""
    seeds: int = 0
    """Trainings of each arm; 0 where the ledger does not say."""


def read_effects(folder: Path) -> tuple[Effect, ...]:
    """Read the ledger beside a training set; no ledger is an empty one."""
    path = folder / LEDGER
    if not path.is_file():
        return ()
    try:
        return tuple(Effect(**record) for _, record in read_jsonl(path, TrainError))
    except TypeError as fault:
        raise TrainError(f"{path}: is no ledger of `trainkit loop` ({fault}); move it away") from None


def add_effects(folder: Path, effects: Sequence[Effect]) -> Path:
    """Write effects into the ledger beside a training set; return its path.

    What the same plan, suite and number of seeds gave before is replaced.
    """
    path = folder.resolve() / LEDGER
    fresh = {(effect.plan, effect.suite, effect.seeds) for effect in effects}
    known = [effect for effect in read_effects(folder) if (effect.plan, effect.suite, effect.seeds) not in fresh]
    write_atomic(path, [dump(asdict(effect)).encode() + b"\n" for effect in (*known, *effects)])
    return path


def trust(effects: Sequence[Effect], edit: Edit) -> float:
    """Return what an edit's confidence is multiplied by: (1 + successes) / (1 + measurements) of its kind.

    A success is a change for the better that the random control did not reach; what was never measured keeps its
    confidence.
    """
    mine = [e for e in effects if (e.action, e.category) == (edit.action, edit.category)]
    wins = sum(e.change > 0 and e.change > e.control for e in mine)
    return (1 + wins) / (1 + len(mine))
