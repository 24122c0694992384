"""The exception tree. Each message says what was given, what was expected and what to do, in one line.

EvalkitError            2   usage or bad input
├── SuiteError          2   a suite, its settings or its examples
├── ModelError          2   a model cannot be found, loaded or used for this
├── PluginError         2   a name that no scorer, tagger, backend or report has
├── RunError            2   a run folder cannot be read or written as asked
│   ├── IdentityError   2   resume with something changed
│   ├── RunLocked      75   another process holds the run
│   ├── Stopped         4   stopped but resumable: disk full, too many errors
│   └── Unfinished      4   a run that is read before it is finished
└── NotComparable       4   two runs that must not be compared
"""

from __future__ import annotations


class EvalkitError(Exception):
    """Anything the user can mend; shown as one line, never as a traceback."""

    exit_code = 2


def one_line_of(fault: BaseException) -> str:
    """Return what a library raised, by name, in one line of at most 240 characters."""
    return " ".join(f"{type(fault).__name__}: {fault}".split())[:240]


class SuiteError(EvalkitError):
    """A suite, its settings or its examples are not usable."""


class ModelError(EvalkitError):
    """A model cannot be found, loaded or used for what is asked."""


class PluginError(EvalkitError):
    """A name that no plug-in has."""


class RunError(EvalkitError):
    """A run folder cannot be read or written as asked."""


class IdentityError(RunError):
    """A run cannot be resumed because what it depends on has changed."""


class RunLocked(RunError):
    """Another process holds the run."""

    exit_code = 75


class Stopped(RunError):
    """The run stopped early and can be resumed."""

    exit_code = 4


class Unfinished(RunError):
    """The run is still in progress, or was stopped before its end."""

    exit_code = 4


class NotComparable(EvalkitError):
    """Two runs that must not be compared."""

    exit_code = 4
