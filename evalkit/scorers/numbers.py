"""Numerals, number words and dates in a list of words: an own grammar with a digit limit, nothing is ever evaluated.

Numerals become one spelling (`1,000`, `1000.0` and `one thousand` are `1000`), ordinals the number they count
(`third`, `3rd` are `3`). What is longer than MAX_DIGITS stays the text it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

MAX_DIGITS = 30
"""Longest numeral, in characters, that is read as a number."""

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_ORDINAL_UNITS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {w: n for names in (_UNITS, _ORDINAL_UNITS) for n, w in enumerate(names.split())}
_SMALL |= {w: 10 * n for n, w in enumerate(_TENS.split(), 2)}
_SMALL |= {w[:-1] + "ieth": 10 * n for n, w in enumerate(_TENS.split(), 2)}
_ROMAN = "i ii iii iv v vi vii viii ix x xi xii xiii xiv xv xvi xvii xviii xix xx"
_SMALL_ROMAN = {w: str(n) for n, w in enumerate(_ROMAN.split(), 1) if len(w) > 1}  # one letter is more often a letter
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALES |= {w + "th": n for w, n in _SCALES.items()}
_GROUPED = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_PLAIN = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d{1,2})?")
_POINT = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_YEARS = re.compile(r"(?<![\w-])(1\d|20)(\d\d)-(\d\d)(?![\w-])", re.ASCII)
_CITED = re.compile(r"(1[5-9]\d\d|20[0-4]\d)[1-9]\d?", re.ASCII)
_ISO_DATE = re.compile(r"(?<![\w-])(\d{4})-(\d\d)-(\d\d)(?![\w-])", re.ASCII)
_MONTHS = "january february march april may june july august september october november december"
_MONTH = {name[:n]: i for i, name in enumerate(_MONTHS.split(), 1) for n in {3, len(name)}} | {"sept": 9}


def spell_out_years(text: str) -> str:
    """Return folded `text` with year ranges and ISO dates in words: `1946-1947`, `9 february 2018`."""
    text = _ISO_DATE.sub(_iso_in_words, text)
    return _YEARS.sub(lambda m: f"{m[1]}{m[2]}-{m[1]}{m[3]}" if m[3] > m[2] else m[0], text)


def _iso_in_words(found: re.Match[str]) -> str:
    year, month, day = (int(part) for part in found.groups())
    return f"{day} {_MONTHS.split()[month - 1]} {year}" if 1 <= month <= 12 else found[0]


def numeral(word: str) -> str | None:
    """Return the one spelling of a numeral in digits, or None where `word` is none or is too long."""
    if len(word) > MAX_DIGITS or not (_PLAIN.fullmatch(word) or _GROUPED.fullmatch(word)):
        return None
    return _spell(Decimal(word.replace(",", "")))


def _spell(value: Decimal) -> str:
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text if text != "-0" else "0"


def spell_numbers(words: Sequence[str]) -> list[str]:
    """Return `words` with numerals, number words and ordinals in one spelling each."""
    out: list[str] = []
    at = 0
    while at < len(words):
        read = _read(words, at)
        if read is None:
            out.append(words[at])
            at += 1
        else:
            out.append(read[0])
            at = read[1]
    return out


def _read(words: Sequence[str], at: int) -> tuple[str, int] | None:
    """Read the number that starts at `at`: its spelling and where it ends; None where there is none."""
    value = numeral(words[at])
    if value is not None:
        end = at + 1
        if end < len(words) and words[end] in {"st", "nd", "rd", "th"}:
            return value, end + 1
        while end < len(words) and words[end] in _SCALES and len(value) < MAX_DIGITS:
            value = _spell(Decimal(value) * _SCALES[words[end]])
            end += 1
        return value, end
    if words[at] in _SMALL_ROMAN:
        return _SMALL_ROMAN[words[at]], at + 1
    return _read_words(words, at) if words[at] in _SMALL else None


def _read_words(words: Sequence[str], at: int) -> tuple[str, int]:
    """Read a number written in words: `two hundred and six`, `twenty first`, `nineteen eighty four`."""
    total, part, last, end = 0, _SMALL[words[at]], _SMALL[words[at]], at + 1
    while end < len(words):
        word = words[end]
        if word in _SCALES and end - at < 12:
            scale = _SCALES[word]
            total, part, last = (total, part * scale, scale) if scale == 100 else (total + part * scale, 0, scale)
        elif word in _SMALL and _joins(last, _SMALL[word]):
            part, last = part + _SMALL[word], _SMALL[word]
        elif word in _SMALL and 10 < part < 100 and _SMALL[word] >= 10 and not total:
            part, last = part * 100 + _SMALL[word], _SMALL[word]
        elif word == "and" and last >= 100 and end + 1 < len(words) and words[end + 1] in _SMALL:
            pass
        else:
            break
        end += 1
    return str(total + part), end


def _joins(last: int, value: int) -> bool:
    """Tell whether `value` continues a number word of `last`: `twenty` + `one`, `hundred` + `six`."""
    return (last >= 100 and value < 100) or (20 <= last < 100 and last % 10 == 0 and 0 < value < 10)


@dataclass(frozen=True, slots=True)
class Date:
    """A day, month or year as far as it is said; None is unsaid."""

    year: int | None = None
    month: int | None = None
    day: int | None = None

    def agreement(self, other: Date) -> int:
        """Return how many parts both say alike; -1 where they differ in one."""
        both = [(a, b) for a, b in zip(self.parts, other.parts, strict=True) if a is not None and b is not None]
        return -1 if any(a != b for a, b in both) else len(both)

    @property
    def parts(self) -> tuple[int | None, ...]:
        """Return year, month and day."""
        return (self.year, self.month, self.day)


def dates(words: Sequence[str]) -> list[Date]:
    """Return the dates that hold a month name, in order: `9 february 2018`, `february 9 2018`, `march 2018`."""
    found = []
    for at, word in enumerate(words):
        month = _MONTH.get(word)
        if month is None:
            continue
        before = _whole(words, at - 1)
        after = _whole(words, at + 1)
        if after is not None and 1 <= after <= 31 and len(words[at + 1]) < 3:
            found.append(Date(_year(words, at + 2), month, after))
        elif before is not None and 1 <= before <= 31:
            found.append(Date(_year(words, at + 1), month, before))
        elif _year(words, at + 1):
            found.append(Date(_year(words, at + 1), month))
        elif word not in {"may", "march", "mar", "dec", "jan"}:
            found.append(Date(None, month))
    return found


def cited_year(word: str) -> str | None:
    """Return the year of a numeral to which a footnote mark is glued, as in `in 19971.`; None where there is none."""
    found = _CITED.fullmatch(word)
    return found[1] if found else None


def _whole(words: Sequence[str], at: int) -> int | None:
    word = words[at] if 0 <= at < len(words) else ""
    return int(word) if word.isascii() and word.isdigit() and len(word) < 7 else None


def _year(words: Sequence[str], at: int) -> int | None:
    """Return the year at `at` or, after `of`/`in`, behind it."""
    if at < len(words) and words[at] in {"of", "in"}:
        at += 1
    year = _whole(words, at)
    year = int(cited_year(words[at]) or year) if year is not None else None
    return year if year is not None and 100 <= year < 2200 else None


def is_numeral(word: str) -> bool:
    """Tell whether a word of a spelled list is a number."""
    return word[0].isdigit() or (word[0] == "-" and len(word) > 1)


def rounds_to(exact: str, rounded: str) -> bool:
    """Tell whether `rounded` is `exact` with fewer decimals and at least three digits: 3.14159 and 3.14."""
    if "." not in exact or len(exact) <= len(rounded) or len(rounded.replace(".", "").strip("-0")) < 3:
        return False
    if not (_POINT.fullmatch(exact) and _POINT.fullmatch(rounded)):
        return False
    places = Decimal(1).scaleb(-len(rounded.partition(".")[2]))
    return _spell(Decimal(exact).quantize(places)) == rounded
