"""The screen of `evalkit review`: keys in, a card out, a line in labels.jsonl for everything said. The textual edge.

Foreign text reaches a widget as `rich.text.Text` that passed `visible`, never as a string, which textual would parse.
"""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.events import Key as KeyPress
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from evalkit.errors import EvalkitError
from evalkit.labels import Given, Label, Record, add_record
from evalkit.report.card import card, progress, said
from evalkit.report.visible import one_line
from evalkit.review import ALL, Review

NONE = "(none)"
TERMINATED = 143


class Key(NamedTuple):
    """What a key does."""

    keys: str
    """The keys, as textual names them, comma between."""
    shown: str
    """The keys, as a person reads them."""
    action: str
    """The action of the screen."""
    short: str
    """What it does, in the line at the bottom; empty: only in the help."""
    long: str
    """What it does, in the help and in the documents."""
    blind: bool | None = None
    """Only there with (or without) `--blind`; None: always."""


KEYS = (
    Key("c", "c", "say('correct')", "correct", "the answer is correct; go on", False),
    Key("w", "w", "say('wrong')", "wrong", "the answer is wrong; go on", False),
    Key("u", "u", "say('unsure')", "unsure", "cannot tell; go on", False),
    Key("1", "1", "prefer('left')", "left", "answer 1 is better; go on", True),
    Key("2", "2", "prefer('right')", "right", "answer 2 is better; go on", True),
    Key("t", "t", "prefer('tie')", "tie", "neither is better; go on", True),
    Key("g", "g", "category", "category", "pick the error category; stay here", False),
    Key("n", "n", "note", "note", "write a note; stay here", False),
    Key("right,j", "→ j", "move(1)", "next", "next answer"),
    Key("left,k", "← k", "move(-1)", "back", "previous answer"),
    Key("z", "z", "undo", "undo", "take back the last thing you said, and go there"),
    Key("f", "f", "filter", "filter", "choose which answers are shown"),
    Key("up", "↑", "scroll(-1)", "", "scroll up a line"),
    Key("down", "↓", "scroll(1)", "", "scroll down a line"),
    Key("pageup", "PgUp", "page(-1)", "", "scroll up a page"),
    Key("pagedown,space", "PgDn Space", "page(1)", "", "scroll down a page"),
    Key("question_mark", "?", "keys", "help", "these keys"),
    Key("q", "q", "quit", "quit", "end; everything said is kept already"),
)


def keys_of(*, blind: bool) -> tuple[Key, ...]:
    """Return the keys of a mode."""
    return tuple(key for key in KEYS if key.blind in (None, blind))


class Keys(ModalScreen[None]):
    """The keys, until any key is pressed."""

    def __init__(self, *, blind: bool) -> None:
        super().__init__()
        self.blind = blind

    def compose(self) -> ComposeResult:
        """Show a line per key."""
        lines = "\n".join(f"{key.shown:12}{key.long}" for key in keys_of(blind=self.blind))
        yield Vertical(Static(Text(lines)), Static(Text("\nany key closes this")), classes="window")

    def on_key(self, event: KeyPress) -> None:
        """Close."""
        event.stop()
        self.dismiss(None)


class Picker(ModalScreen[str | None]):
    """A list to pick from; None is handed back where nothing was picked."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)"),
        Binding("j", "step('down')"),
        Binding("k", "step('up')"),
    ]

    def __init__(self, title: str, names: tuple[str, ...], chosen: str) -> None:
        super().__init__()
        self.heading, self.names, self.chosen = title, names, chosen

    def compose(self) -> ComposeResult:
        """Show a line per name."""
        options = OptionList(*(Option(Text(one_line(name, 60))) for name in self.names), markup=False)
        options.highlighted = self.names.index(self.chosen) if self.chosen in self.names else 0
        hint = Static(Text("↑ ↓ choose   Enter take   Esc cancel"))
        yield Vertical(Static(id="chosen"), options, hint, classes="window")

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Name the choice in words too, for terminals without colours."""
        chosen = one_line(self.names[event.option_index], 36)
        self.query_one("#chosen", Static).update(Text(f"{self.heading} {chosen}", "bold"))

    def action_step(self, way: str) -> None:
        """Move as the arrow does."""
        options = self.query_one(OptionList)
        options.action_cursor_down() if way == "down" else options.action_cursor_up()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Hand back the name."""
        self.dismiss(self.names[event.option_index])


class Note(ModalScreen[str | None]):
    """A line to write; None is handed back where it was given up."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)")]

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def compose(self) -> ComposeResult:
        """Show the line."""
        hint = Static(Text("Enter keep   Esc cancel"))
        yield Vertical(
            Static(Text("Note", "bold")), Input(one_line(self.text), select_on_focus=False), hint, classes="window"
        )

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Hand back what was written."""
        self.dismiss(" ".join(event.value.split()))


class Cards(Screen[None]):
    """One answer at a time."""

    def __init__(self, folder: Path, review: Review) -> None:
        super().__init__()
        self.folder, self.review = folder, review
        for key in keys_of(blind=review.blind):
            self._bindings.bind(key.keys, key.action, key.short, show=False)

    def compose(self) -> ComposeResult:
        """Lay out progress, card, what was said, message and keys."""
        yield Static(id="progress")
        yield VerticalScroll(Static(id="card"), can_focus=False)
        yield Static(id="said")
        yield Static(id="message")
        hints = (f"{key.shown.replace(' ', '/')}={key.short}" for key in self.shown_keys if key.short)
        yield Static(Text("  ".join(hints)), id="hints")

    @property
    def shown_keys(self) -> tuple[Key, ...]:
        """Return the keys of this mode."""
        return keys_of(blind=self.review.blind)

    def on_mount(self) -> None:
        """Show the first answer."""
        self.show(self.review)

    def show(self, review: Review, message: str = "") -> None:
        """Show a review as it is now."""
        moved = review.entry is not self.review.entry
        self.review = review
        self.query_one("#progress", Static).update(Text(progress(review)))
        self.query_one("#card", Static).update(card(review))
        self.query_one("#said", Static).update(Text(said(review)))
        self.tell(message)
        if moved:
            self.query_one(VerticalScroll).scroll_home(animate=False)

    def tell(self, message: str) -> None:
        """Show a line of news."""
        self.query_one("#message", Static).update(Text(one_line(message)))

    def keep(self, record: Record) -> bool:
        """Write a record; on a failure say so and change nothing."""
        try:
            add_record(self.folder, record)
        except EvalkitError as fault:
            self.tell(f"not saved: {fault}")
            return False
        return True

    def judge(self, given: Given, step: int) -> None:
        """Keep what was said of the answer in front, then go on by `step`."""
        if self.keep(given):
            review = self.review.said(given)
            last = step and review.moved(step).position == review.position
            self.show(review.moved(step), "saved; this is the last one here: f chooses others, q ends" if last else "")

    def action_say(self, verdict: str) -> None:
        """Give a verdict."""
        self.judge(self.review.label(now(), verdict=verdict), 1)

    def action_prefer(self, side: Any) -> None:
        """Say which answer is better."""
        self.judge(self.review.preference(now(), side), 1)

    def action_move(self, step: int) -> None:
        """Go to another answer."""
        self.show(self.review.moved(step))

    def action_undo(self) -> None:
        """Take back the last thing said, and go there."""
        undo = self.review.undo(now())
        if undo is None:
            self.tell("nothing to take back")
        elif self.keep(undo):
            self.show(self.review.said(undo).at((undo.id, undo.trial)), "taken back")

    def action_category(self) -> None:
        """Pick the error category."""
        given = self.review.given
        chosen = given.category if isinstance(given, Label) and given.category else NONE

        def picked(name: str | None) -> None:
            if name is not None:
                self.judge(self.review.label(now(), category=None if name == NONE else name), 0)

        self.app.push_screen(Picker("What is wrong with it?", (NONE, *self.review.categories), chosen), picked)

    def action_note(self) -> None:
        """Write a note."""
        given = self.review.given

        def written(text: str | None) -> None:
            if text is not None:
                self.judge(self.review.label(now(), note=text), 0)

        self.app.push_screen(Note(given.note if isinstance(given, Label) else ""), written)

    def action_filter(self) -> None:
        """Choose which answers are shown."""

        def picked(name: str | None) -> None:
            if name is not None:
                try:
                    self.show(self.review.filtered((name,)))
                except EvalkitError as fault:
                    self.tell(f"{fault}; the filter stays as it was")

        chosen = self.review.only[0] if self.review.only else ALL
        self.app.push_screen(Picker("Which answers?", self.review.filters, chosen), picked)

    def action_scroll(self, lines: int) -> None:
        """Scroll by lines."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_page(self, pages: int) -> None:
        """Scroll by pages."""
        body = self.query_one(VerticalScroll)
        body.scroll_relative(y=pages * max(1, body.size.height - 1), animate=False)

    def action_keys(self) -> None:
        """Show the keys."""
        self.app.push_screen(Keys(blind=self.review.blind))

    def action_quit(self) -> None:
        """End."""
        self.app.exit()


class Reviewer(App[None]):
    """The program on the screen."""

    TITLE = "evalkit review"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #progress, #hints { background: $panel; height: auto; padding: 0 1; }
    #said, #message { height: auto; max-height: 2; padding: 0 1; }
    #message { color: $warning; }
    VerticalScroll { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    Picker, Note, Keys { align: center middle; }
    .window { width: 64; max-width: 100%; height: auto; max-height: 100%; border: solid $primary; padding: 0 1; }
    OptionList { height: auto; max-height: 14; border: none; padding: 0; scrollbar-size-vertical: 1; }
    OptionList:focus > .option-list--option-highlighted { color: $background; background: $foreground; }
    Input, Input:focus { border: none; height: 1; padding: 0; }
    """

    def __init__(self, folder: Path, review: Review) -> None:
        super().__init__()
        self.animation_level = "none"
        self.cards = Cards(folder, review)

    def on_mount(self) -> None:
        """Show the answers; end in order where the process is told to."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit, None, TERMINATED)
        self.push_screen(self.cards)


def run(folder: Path, review: Review) -> tuple[Review, int]:
    """Show a review until its labeller ends it; return what has become of it, and the exit code."""
    app = Reviewer(folder, review)
    app.run(mouse=False)  # the terminal's own selection goes on working
    return app.cards.review, app.return_code or 0


def now() -> str:
    """Return the time in UTC, to the second."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
