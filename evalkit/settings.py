"""What the user asks of a run, as one frozen value; the manifest keeps it, so that a run can be resumed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError

MOST_AT_ONCE = 1024
"""Requests in flight: more would run into the limits of open connections."""
ENGINES = ("local", "ray")
_SHARD = re.compile(r"([1-9]\d{0,5})/([1-9]\d{0,5})")


@dataclass(frozen=True)
class RunSettings:
    """The settings of one `evalkit run`."""

    model: str
    """A folder, hub id, catalogue name, or `backend:where`."""
    suites: tuple[str, ...]
    """Suites by name, folder or `lm_eval:TASK`."""
    limit: int | None = None
    """Only the first examples of each suite (of each task of a group)."""
    data_dir: str | None = None
    """Mirror folder of data sets; None: EVALKIT_DATA_DIR, then the hub."""
    overrides: tuple[str, ...] = ()
    """`key.sub=value` settings that override the suites' own."""
    fewshot: int | None = None
    """Few-shot examples of lm_eval suites; None: the suite's own."""
    batch_tokens: int | None = None
    """Token budget of one scoring batch; None: measured."""
    concurrency: int | None = None
    """Requests in flight to an endpoint; None: 16."""
    timeout: float | None = None
    """Seconds that one request to an endpoint may take; None: 600."""
    max_errors: float = 0
    """Errors that are tolerated: a count, or a share below 1."""
    judge: str | None = None
    """The model that judges answers, named as `model` is."""
    against: str | None = None
    """The run that a judge holds the answers against."""
    vocabulary: str | None = None
    """File with words of the domain, one a line."""
    training: str | None = None
    """Training rows (JSONL) whose answers teach the domain's words and lengths."""
    shard: str | None = None
    """`K/N`: answer only the K-th of N shares of the batch plan."""
    engine: str = "local"
    """Where shards are answered: `local` or `ray`. It changes no answer."""
    workers: int | None = None
    """Workers of the ray engine; None: as many as the cluster has room for."""
    ray_address: str | None = None
    """The Ray cluster; None: RAY_ADDRESS, else one of our own on this machine."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.suites:
            raise EvalkitError("no suite: give --suite NAME or FOLDER; `evalkit suites list` shows all")
        if len(set(self.suites)) < len(self.suites):
            raise EvalkitError(f"a suite is given twice: {', '.join(self.suites)}; give each once")
        if not 0 <= self.max_errors < math.inf:
            raise EvalkitError(f"--max-errors {self.max_errors}: expected a count, or a share below 1")
        if self.concurrency is not None and not 1 <= self.concurrency <= MOST_AT_ONCE:
            raise EvalkitError(f"--concurrency {self.concurrency}: expected 1 to {MOST_AT_ONCE} requests")
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise EvalkitError(f"--timeout {self.timeout:g}: expected a number of seconds above 0")
        self._check_engine()

    def _check_engine(self) -> None:
        if self.engine not in ENGINES:
            raise EvalkitError(f"--engine {self.engine}: expected one of {', '.join(ENGINES)}")
        if self.workers is not None and self.workers < 1:
            raise EvalkitError(f"--workers {self.workers}: expected 1 or more")
        if self.engine != "ray" and (self.workers is not None or self.ray_address is not None):
            raise EvalkitError("--workers and --ray-address go with --engine ray")
        if self.engine == "ray" and self.model.startswith("openai:"):
            raise EvalkitError("--engine ray loads a model in every worker; an endpoint is asked with --concurrency N")
        number, count = self.share
        if number > count:
            raise EvalkitError(f"--shard {self.shard}: expected K/N with K from 1 to N, for instance 2/3")

    @property
    def share(self) -> tuple[int, int]:
        """Return (K, N) of the share of the plan that is answered; (1, 1) is all of it."""
        if self.shard is None:
            return 1, 1
        if not (found := _SHARD.fullmatch(self.shard)):
            raise EvalkitError(f"--shard {self.shard}: expected K/N with K from 1 to N, for instance 2/3")
        return int(found[1]), int(found[2])

    def options(self, measured: int | None = None) -> dict[str, Any]:
        """Return the options of the backend; `measured` is the token budget that was found where none is given."""
        return {name: getattr(self, name) for name in ("batch_tokens", "concurrency", "timeout")} | {
            "measured": measured
        }

    def record(self) -> dict[str, Any]:
        """Return the settings for the manifest; paths become absolute, so that resume works from any folder."""
        record = asdict(self)
        for key in ("data_dir", "vocabulary", "training", "against"):
            if record[key]:
                record[key] = str(Path(record[key]).resolve())
        record["model"], record["judge"] = _placed(self.model), self.judge and _placed(self.judge)
        record["suites"] = [str(Path(s).resolve()) if Path(s, "suite.toml").is_file() else s for s in self.suites]
        return record

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> RunSettings:
        """Rebuild settings from a manifest."""
        known = {f.name for f in fields(cls)}
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items() if k in known}
        return cls(**given)


def _placed(model: str) -> str:
    """Return a model's name with the path in it made absolute, where it is one."""
    backend, colon, where = model.partition(":")
    if Path(model).is_dir():
        return str(Path(model).resolve())
    return f"{backend}{colon}{Path(where).resolve()}" if where and Path(where).exists() else model
