"""The vocabulary: every noun that evalkit's modules exchange, as frozen data.

Nothing here knows how a value is read, computed or shown. A field means one thing everywhere, and its meaning is the
sentence under it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Severity = Literal["info", "minor", "major", "critical"]
Split = Literal["dev", "held_out"]
Finish = Literal["stop", "length", "error"]
Kind = Literal["generate", "choose"]
Meta = Mapping[str, Any]

SEVERITY_WEIGHTS: Mapping[Severity, float] = {"info": 0.0, "minor": 1.0, "major": 2.0, "critical": 4.0}
"""How much one tag of a severity costs in the ranking of categories; a suite may override a category's severity."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: str
    """Who speaks: `system`, `user` or `assistant`."""
    content: str
    """What is said, as text."""


@dataclass(frozen=True, slots=True)
class Example:
    """One question of a suite."""

    id: str
    """Unique within its suite; the key by which runs are aligned."""
    input: str | tuple[Message, ...]
    """The question as text, or the turns of a chat that ends with the user's."""
    target: tuple[str, ...] = ()
    """Every accepted answer, the best one first; empty where nothing is known to be right."""
    choices: tuple[str, ...] = ()
    """The answers to choose from; empty for an open question."""
    meta: Meta = field(default_factory=dict)
    """What slices are cut by: topic, subject, source; JSON values only."""

    @property
    def question(self) -> str:
        """Return the question as one text: the input, or the last user turn of a chat."""
        if isinstance(self.input, str):
            return self.input
        return next((m.content for m in reversed(self.input) if m.role == "user"), "")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn from the model."""

    max_new_tokens: int = 128
    """Upper limit of generated tokens; the prompt does not count."""
    temperature: float = 0.0
    """0 is greedy decoding; above it, tokens are drawn from the tempered distribution."""
    top_p: float = 1.0
    """Share of probability mass that is kept when drawing."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer; they are not part of it."""
    seed: int = 0
    """Seed of the draw; it differs between trials of one example."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a backend is asked to do for one trial of one example."""

    example_id: str
    """Id of the example that is asked."""
    trial: int = 0
    """Number of the repetition, from 0."""
    kind: Kind = "generate"
    """`generate`: write an answer; `choose`: give each choice's log-probability."""
    prompt: str = ""
    """The text to continue, where there are no messages."""
    messages: tuple[Message, ...] = ()
    """The chat to render with the model's own template; empty: `prompt` is sent as it is."""
    choices: tuple[str, ...] = ()
    """The continuations to score, in order."""
    contexts: tuple[str, ...] = ()
    """One context per choice where they differ; empty: every choice continues `prompt`."""
    rolling: bool = False
    """Each choice is a whole text whose log-probability is wanted, however long, from its first token on."""
    sampling: Sampling = field(default_factory=Sampling)
    """How to draw a generated answer."""
    target: tuple[str, ...] = ()
    """Accepted answers, only to be measured in the model's tokens; a backend never shows them to the model."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a backend answered; a failed request is a response with `error`, never a missing one."""

    text: str = ""
    """The answer, without prompt and special tokens."""
    finish: Finish = "stop"
    """Why it ended: `stop` by itself or a stop text, `length` at the token limit, `error`."""
    sent: str = ""
    """The exact text that the model was given."""
    choice_logprobs: tuple[float, ...] = ()
    """Summed log-probability of each choice, in nats."""
    choice_greedy: tuple[bool, ...] = ()
    """Whether each choice is what greedy decoding would have written."""
    tokens: int | None = None
    """Tokens generated, the end token not counted; None where unknown."""
    prompt_tokens: int | None = None
    """Tokens of the prompt as sent; None where unknown."""
    target_tokens: tuple[int, ...] = ()
    """Tokens of each accepted answer in the same tokenizer; empty where unknown."""
    truncated_tokens: int = 0
    """Prompt tokens cut off at the left because the model's context was too short."""
    error: str | None = None
    """One line of what went wrong; None for an answer."""


@dataclass(frozen=True, slots=True)
class Score:
    """One scorer's judgement of one answer."""

    name: str
    """The scorer's name."""
    value: float | None
    """0 (wrong) to 1 (right); None is unscored and is never counted as 0."""
    answer: str | None = None
    """The part of the answer that was judged, where a part was extracted."""
    why: str = ""
    """One line of the reason."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One error in one answer, with its evidence."""

    category: str
    """What is wrong: `misspelling`, `repetition`, …"""
    severity: Severity
    """How much it hurts a reader."""
    why: str
    """One line of the reason, with its numbers."""
    span: tuple[int, int] | None = None
    """Evidence as [start, end) in characters of the answer; None where the whole answer is meant."""
    confidence: float = 1.0
    """How often a tag like this one is right, 0..1."""


@dataclass(frozen=True, slots=True)
class Row:
    """One answered example: a line of rows.jsonl."""

    example: Example
    """The question."""
    response: Response
    """The answer."""
    trial: int = 0
    """Number of the repetition, from 0."""
    scores: tuple[Score, ...] = ()
    """A score per scorer of the suite, in the suite's order."""
    tags: tuple[Tag, ...] = ()
    """Everything found wrong, in the order of the text."""
    primary: str | None = None
    """The category that counts when each answer may count once; None for an answer without tags."""

    def score(self, name: str) -> Score | None:
        """Return the score called `name`, or None where that scorer did not run."""
        for score in self.scores:
            if score.name == name:
                return score
        return None


@dataclass(frozen=True, slots=True)
class Source:
    """Where a suite's examples come from when they are not in its own folder."""

    hub: str = ""
    """Id of a data set on the hub, for instance `lamini/lamini_docs`."""
    lm_eval: str = ""
    """Name of an lm-evaluation-harness task."""
    config: str = ""
    """Configuration (subset) of the data set."""
    split: str = "test"
    """Split of the data set that holds the questions."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our field name -> column of the data set: `input`, `target`, `id`, `choices`; others go to meta."""
    fewshot: int | None = None
    """Few-shot examples of an lm_eval task; None: what the task says."""
    subset: tuple[str, ...] = ()
    """Tasks to take of an lm_eval group; empty: all."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A set of questions together with how they are asked, scored and judged."""

    name: str
    """The suite's name, equal to its folder's."""
    examples: Sequence[Example]
    """The questions, in the suite's order."""
    version: int = 1
    """Raised whenever questions or settings change meaning."""
    split: Split = "held_out"
    """`dev`: may be used to choose training rows; `held_out`: may only judge."""
    description: str = ""
    """One line of what the suite measures."""
    chat: bool = True
    """Ask through the model's chat template; otherwise through `template`."""
    template: str = "{input}"
    """The prompt where `chat` is false; `{input}` stands for the question."""
    system: str = ""
    """System message; empty: none is sent, so a chat template's own default applies."""
    fewshot: tuple[Example, ...] = ()
    """Solved examples shown before each question."""
    generation: Sampling = field(default_factory=Sampling)
    """How answers are drawn."""
    scorers: tuple[str, ...] = ("exact", "fuzzy", "match")
    """Scorers by name."""
    taggers: tuple[str, ...] = ("default",)
    """Taggers by name; `default` stands for all that need no settings, `none` for none."""
    primary: str = "match"
    """The metric that decides; the name of a scorer or of a score it gives."""
    cluster_key: str = ""
    """Key of meta whose equal values make items dependent; empty: items are independent."""
    trials: int = 1
    """How often each question is asked."""
    margin: float | None = None
    """Points of 100 by which the primary metric may fall and still pass; None: by the number of items."""
    severity: Mapping[str, str] = field(default_factory=dict)
    """Category -> severity that overrides the tagger's own."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings per plug-in: `scorer.fuzzy` -> {"cutoff": 0.6}, `tagger.too_long` -> {"ratio": 2.0}."""
    source: Source | None = None
    """Where the examples were read from, if not from the folder."""
    requests: tuple[Request, ...] = ()
    """Requests made elsewhere (an lm_eval task owns its prompts), one per example; empty: made from the template."""
    digest: str = ""
    """sha256 over name, version, settings and examples: equal digests mean equal questions asked equally."""
    data_digest: str = ""
    """sha256 over the examples alone."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished (or partly finished) run, as read from its folder."""

    id: str
    """Name of the run: UTC time and six random hex digits."""
    manifest: Mapping[str, Any]
    """Everything that identifies the run: suite, model, versions, settings, status."""
    rows: Sequence[Row]
    """The answers, in suite order, trials of one example together; in memory, or on disk as `open_run` leaves them."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """Figures derived when the run finished, among them the tag rates of its references."""

    @property
    def suite(self) -> str:
        """Return the name of the suite that was run."""
        return str(self.manifest["identity"]["suite"])

    @property
    def model(self) -> str:
        """Return the model as it was named on the command line."""
        return str(self.manifest["settings"]["model"])

    def to_frame(self) -> Any:
        """Return a pandas DataFrame, a row an item: id, trial, question, answer, scores, tags, meta."""
        from evalkit.registry import load

        return load("evalkit.frames:frame_of")(self)


@dataclass(frozen=True, slots=True)
class Corpus:
    """What taggers may know beyond one row: texts of the whole run and the words of the domain."""

    answers: Sequence[str] = ()
    """Every answer of the run."""
    references: Sequence[str] = ()
    """Every accepted answer of the suite."""
    prompts: Sequence[str] = ()
    """Every question of the suite."""
    training: tuple[str, ...] = ()
    """Answers the model was trained on, where they are known."""
    vocabulary: frozenset[str] = frozenset()
    """Words of the domain given by the user, lower case."""
    template: str = ""
    """The prompt template of the run, whose fixed strings must not come back in an answer."""


Answer = tuple[Example, int, Response]
"""An example, the number of the trial, and what the model answered."""

Scorer = Callable[[Example, Response], Score | tuple[Score, ...]]
"""Judges one answer; pure and total. A scorer is a frozen dataclass whose fields are its settings; one that reads the
log-probabilities of choices has an attribute `kind = "choose"`. One that is quicker with the whole run at once has a
method `prepare(answers: Sequence[Answer]) -> Scorer`, called once before any row; its `repr` stays the same."""

Tagger = Callable[[Row], Iterable[Tag]]
"""Finds errors of one kind in one answer; pure. A tagger is a frozen dataclass whose fields are its settings. One that
needs the whole run first has a method `prepare(corpus: Corpus) -> Tagger`, called once before any row."""


Tick = Callable[[], None]
"""Called whenever one more answer is there, in whatever order; for progress alone."""


def no_tick() -> None:
    """Report no progress."""


class Backend(Protocol):
    """The one seam to models: requests in, responses out."""

    kinds: frozenset[str]
    """Kinds of request that it can answer, so that a mismatch fails before weights load."""

    @property
    def identity(self) -> Mapping[str, str]:
        """Name everything that must be equal for answers to be comparable: weights, dtype, device, threads."""

    def plan(self, requests: Sequence[Request]) -> Sequence[Sequence[int]]:
        """Cut requests into batches of indices, from the requests alone: the unit of journal and resume."""

    def respond(self, requests: Sequence[Request], tick: Tick = no_tick) -> Iterator[Response]:
        """Answer one batch of the plan: a response per request, in the same order."""
