"""The scorer `exact`: is the answer, normalised, equal to an accepted target? Knows no numbers and no spellings."""

from __future__ import annotations

from dataclasses import dataclass

from evalkit.errors import SuiteError
from evalkit.scorers.normal import plain
from evalkit.types import Example, Response, Score


@dataclass(frozen=True)
class Exact:
    """Score 1 where the answer equals an accepted target, else 0."""

    normalize: bool = True
    """Compare without case, diacritics, punctuation and articles; otherwise only outer white space is ignored."""

    def __post_init__(self) -> None:
        """Refuse settings of another type."""
        if type(self.normalize) is not bool:
            raise SuiteError(
                f"scorer exact: normalize is {self.normalize!r}, expected true or false; "
                "change [scorer.exact] in suite.toml"
            )

    def __call__(self, example: Example, response: Response) -> Score:
        """Judge one answer."""
        if response.error is not None:
            return Score("exact", None, why="no answer: the request failed")
        if not example.target:
            return Score("exact", None, why="no target to compare with")
        answer = self._form(response.text)
        equal = answer != "" and answer in {self._form(t) for t in example.target}
        return Score("exact", float(equal), why="equals a target" if equal else "equals no target")

    def _form(self, text: str) -> str:
        return plain(text) if self.normalize else text.strip()
