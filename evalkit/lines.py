"""Sequences that hold no objects: lines of a file, parsed when they are asked for, and texts packed into one block.

What goes through a large run several times keeps its memory small with them. Knows no schema of ours.
"""

from __future__ import annotations

import os
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar, overload

MARK = b"\xef\xbb\xbf"
"""The byte order mark that some editors put before the first line."""
T = TypeVar("T")
S = TypeVar("S")


class Drawn(Sequence[T], Generic[T]):
    """A sequence whose items are made anew whenever they are asked for."""

    def _item(self, index: int) -> T:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._item(place) for place in range(len(self))[index]]
        return self._item(range(len(self))[index])


class Lines(Drawn[T]):
    """The lines of a file that are not blank, by their places; line ends and a byte order mark are dropped.

    The file stays open, so that another one of its name, written meanwhile, is never taken for it.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], T], watch: Callable[[bytes], object] = len) -> None:
        """Find the lines; `watch` sees each once, blank ones and line ends included.

        Raises:
            OSError: the file cannot be read.
        """
        self._parse, self._places = parse, array("Q")
        place = 0
        with path.open("rb") as file:
            for line in file:
                watch(line)
                mark = len(MARK) if not place and line.startswith(MARK) else 0
                if line[mark:].strip():
                    self._places.append(place + mark)
                place += len(line)
            self._file = os.dup(file.fileno())
        self._end = place
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[T]:
        return map(self._item, range(len(self)))

    def _item(self, index: int) -> T:
        start, after = self._places[index], index + 1
        end = self._places[after] if after < len(self._places) else self._end
        line = os.pread(self._file, end - start, start).partition(b"\n")[0]  # blank lines may follow
        return self._parse(line.rstrip(b"\r"))


class Texts(Drawn[str]):
    """Texts in one block of memory."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """Pack texts."""
        self._block, self._ends = bytearray(), array("Q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add a text."""
        self._block += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._block))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[str]:
        return map(self._item, range(len(self)))

    def _item(self, index: int) -> str:
        return self._block[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogatepass")


class Parts(Drawn[T], Generic[S, T]):
    """A part of every item of another sequence."""

    def __init__(self, whole: Sequence[S], part: Callable[[S], T]) -> None:
        """Keep the sequence and what is wanted of its items."""
        self._whole, self._part = whole, part

    def __len__(self) -> int:
        return len(self._whole)

    def __iter__(self) -> Iterator[T]:
        return map(self._part, self._whole)

    def _item(self, index: int) -> T:
        return self._part(self._whole[index])
