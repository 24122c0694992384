"""`evalkit review` under a pilot: every key at 80x24, hostile text, a killed process, and the command around it."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from textual.widgets import Static

from evalkit.cli import call
from evalkit.errors import Stopped
from evalkit.labels import add_record, read_labels, read_preferences, read_records, run_key
from evalkit.record import read_run
from evalkit.review import review_of
from evalkit.screen import KEYS, Keys, Note, Picker, Reviewer, keys_of
from evalkit.types import Tag

DOCS = Path(__file__).parents[2] / "docs"
HOSTILE = (
    "\x1b]52;c;aGk=\x07 \x1b]8;;http://x\x07 \x9b2J \u202eevil [/] [red]x[/red] [@click=app.quit]y[/] :smile: \x1b[2J"
)


@pytest.fixture
def folder(write_run, make_row):
    rows = [
        make_row("q0", "good"),
        make_row("q1", "bad", 0.0, [Tag("leak", "major", "tags", (0, 3), 0.9)]),
        make_row("q2", "also bad", 0.0),
    ]
    return write_run("run", rows)


@pytest.fixture
def base(write_run, make_row):
    return write_run("base", [make_row(f"q{i}", f"base {i}") for i in range(3)])


def play(folder, *keys, size=(80, 24), **how):
    """Press keys in a review of a run and return the review as it ended, and what was seen."""
    run = read_run(folder)
    against = how.pop("against", None)
    review = review_of(run, "kim", read_records(folder, run), read_run(against) if against else None, **how)
    app = Reviewer(folder, review)
    seen = {}

    async def scene():
        async with app.run_test(size=size) as pilot:
            await pilot.press(*keys)
            await pilot.pause()
            seen["screen"] = screen_text(app)
            for name in ("progress", "said", "message"):
                seen[name] = str(app.cards.query_one(f"#{name}", Static).content)
            seen["top"] = type(app.screen)

    asyncio.run(scene())
    return app.cards.review, seen


def screen_text(app):
    """Return what stands on the screen, as text."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def said_in(folder):
    return [(given.id, given.verdict, given.category, given.note) for given in read_labels(folder)]


def test_it_fits_80_by_24(folder):
    _, seen = play(folder, "j")
    assert seen["screen"] == "\n".join([
        " docs_qa · 2 of 3 (all) · 0/3 labelled [....................]",
        " Question  q1",
        " q1?",
        "",
        " Accepted answer",
        " ref",
        "",
        " Answer",
        " «bad»1",
        "",
        " Errors found",
        " 1 leak, major: tags",
        "",
        " Scores",
        " match 0.00",
        *[""] * 5,
        " kim: nothing said yet",
        "",
        " c=correct  w=wrong  u=unsure  g=category  n=note  →/j=next  ←/k=back  z=undo",
        " f=filter  ?=help  q=quit",
    ])  # fmt: skip


def test_verdicts_are_kept_and_go_on(folder):
    review, seen = play(folder, "c", "w", "u")
    assert said_in(folder) == [("q0", "correct", None, ""), ("q1", "wrong", None, ""), ("q2", "unsure", None, "")]
    assert seen["progress"] == "docs_qa · 3 of 3 (all) · 3/3 labelled [####################]"
    assert seen["message"] == "saved; this is the last one here: f chooses others, q ends"
    assert read_labels(folder)[0].time.endswith("Z")
    assert review.given.verdict == "unsure"


@pytest.mark.parametrize(("keys", "place"), [("jj", 2), ("jjjj", 2), ("jjk", 1), ("k", 0)])
def test_j_and_k_move(folder, keys, place):
    assert play(folder, *keys)[0].position == place


def test_arrows_move(folder):
    assert play(folder, "right", "right", "left")[0].position == 1


def test_category_and_note_stay_on_the_answer(folder):
    review, seen = play(folder, "g", "down", "down", "enter", "n", *"so so", "enter")
    assert review.position == 0
    assert said_in(folder) == [("q0", None, "leak", "so so")]
    assert seen["said"] == "kim: no verdict yet · leak · note: so so"


def test_keys_of_verdicts_are_letters_while_a_note_is_written(folder):
    play(folder, "n", *"cwuq 1z", "left", "enter")
    assert said_in(folder) == [("q0", None, None, "cwuq 1z")]


@pytest.mark.parametrize("key", ["g", "n", "f"])
def test_escape_leaves_everything_as_it_was(folder, key):
    review, _ = play(folder, key, "escape")
    assert (review.only, said_in(folder)) == ((), [])


def test_a_category_is_taken_away_by_none(folder):
    play(folder, "g", "j", "enter", "g", "k", "enter")
    assert said_in(folder) == [("q0", None, None, "")]


def test_undo_takes_back_and_goes_there(folder):
    review, seen = play(folder, "c", "w", "z", "z", "z")
    assert (review.position, review.decided, said_in(folder)) == (0, 0, [])
    assert seen["message"] == "nothing to take back"
    assert (folder / "labels.jsonl").read_bytes().count(b"\n") == 4


def test_a_second_session_goes_on_with_the_first(folder):
    play(folder, "c", "w")
    review, _ = play(folder, "z")
    assert (review.decided, review.entry.row.example.id) == (1, "q1")


def test_filters(folder, base):
    review, seen = play(folder, "f", "j", "j", "enter")
    assert ([entry.key[0] for entry in review.queue], seen["progress"][:28]) == (
        ["q1", "q2"],
        "docs_qa · 1 of 2 (failures) ",
    )
    review, _ = play(folder, "f", "j", "j", "j", "enter", against=base)
    assert review.only == ("broken",)
    review, seen = play(folder, "c", "c", "c", "f", "j", "enter")
    assert seen["message"] == "no answer is left to review (undecided); the filter stays as it was"


def test_an_answer_longer_than_the_screen_is_scrolled_by_keys(write_run, make_row):
    folder = write_run("long", [make_row("q0", "\n".join(f"line {i}" for i in range(99))), make_row("q1")])
    assert "line 98" not in play(folder)[1]["screen"]
    assert "line 20" in play(folder, "down", "pagedown")[1]["screen"]
    assert "line 98" in play(folder, *["space"] * 9)[1]["screen"]
    assert "line 0" in play(folder, *["space"] * 9, "j", "k")[1]["screen"]


@pytest.mark.parametrize("seed", range(4))
def test_blind_keeps_which_answer_was_better(folder, base, seed):
    review, seen = play(folder, "1", "2", "t", against=base, blind=True, seed=seed)
    first, second, third = read_preferences(folder)
    own, other = run_key(review.run), run_key(review.against)
    assert {first.left, first.right} == {own, other}
    assert (first.better_run, second.better_run, third.better_run) == (first.left, second.right, None)
    assert (review.decided, read_labels(folder)) == (3, ())
    assert not [word for word in ("models/", "leak", "match") if word in seen["screen"]]


def test_blind_has_no_key_for_verdicts(folder, base):
    _, seen = play(folder, "c", "w", "u", "g", "n", against=base, blind=True)
    assert not (folder / "labels.jsonl").exists()
    assert seen["top"].__name__ == "Cards"
    assert "1=left  2=right  t=tie" in seen["screen"]


def test_two_answers_stand_side_by_side(folder, base):
    assert re.search(
        r"Answer 1 +Answer 2\n (good|base 0) +(good|base 0)\n", play(folder, against=base, blind=True)[1]["screen"]
    )
    assert re.search(r" good +base 0\n", play(folder, against=base, size=(120, 40))[1]["screen"])


@pytest.mark.parametrize("key", [key.keys.split(",")[0] for key in keys_of(blind=False) if key.keys != "q"])
def test_hostile_text_is_shown_and_never_obeyed(write_run, make_row, key):
    tag = Tag(HOSTILE, "major", HOSTILE, (3, 20))
    row = make_row(HOSTILE, HOSTILE, 0.0, [tag], question=HOSTILE, target=(HOSTILE,), meta={HOSTILE: HOSTILE})
    folder = write_run("run", [row], suite=HOSTILE)
    run = read_run(folder)
    review = review_of(run, "kim")
    add_record(folder, review.label("now", category=HOSTILE, note=HOSTILE))
    _, seen = play(folder, key, size=(200, 60))
    assert "\\x1b" in seen["screen"]
    assert not set(seen["screen"]) & {"\x1b", "\x07", "\x9b", "\u202e"}
    if seen["top"].__name__ == "Cards":
        assert "[/] [red]x[/red] [@click=app.quit]y[/] :smile:" in seen["screen"]


def test_a_failed_write_is_said_and_changes_nothing(folder, monkeypatch):
    def fails(*_):
        raise Stopped("labels.jsonl: No space left on device")

    monkeypatch.setattr("evalkit.screen.add_record", fails)
    review, seen = play(folder, "c")
    assert (review.position, review.decided) == (0, 0)
    assert seen["message"] == "not saved: labels.jsonl: No space left on device"


def test_help_shows_every_key_until_a_key_is_pressed(folder):
    _, seen = play(folder, "question_mark")
    assert seen["top"] is Keys
    for key in keys_of(blind=False):
        assert f"{key.shown:12}{key.long}" in seen["screen"]
    review, seen = play(folder, "question_mark", "c")
    assert (seen["top"].__name__, review.decided) == ("Cards", 0)


def test_a_picker_names_the_choice_in_words(folder):
    assert "What is wrong with it? empty" in play(folder, "g", "j")[1]["screen"]


def test_windows_of_each_kind_open(folder):
    tops = {key: play(folder, key)[1]["top"] for key in "gfn"}
    assert tops == {"g": Picker, "f": Picker, "n": Note}


def test_a_note_is_shown_again_to_be_changed(folder):
    play(folder, "n", *"abc", "enter")
    play(folder, "n", "backspace", "enter")
    assert said_in(folder)[0][3] == "ab"


KILLED = """\
import asyncio, os, sys
from pathlib import Path
from evalkit.record import read_run
from evalkit.review import review_of
from evalkit.screen import Reviewer
folder = Path(sys.argv[1])
async def scene():
    async with Reviewer(folder, review_of(read_run(folder), "kim")).run_test(size=(80, 24)) as pilot:
        await pilot.press("w")
        os._exit(9)
asyncio.run(scene())
"""


def test_a_label_survives_a_kill_right_after_its_key(folder):
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False, timeout=60)
    assert done.returncode == 9
    assert said_in(folder) == [("q0", "wrong", None, "")]


def in_terminal(*arguments, keys=b"", number=None):
    """Run a command in a terminal of its own; return its exit code and all that it wrote."""
    pid, handle = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "LINES": "24", "COLUMNS": "80"}
        os.execv(sys.executable, [sys.executable, "-m", "evalkit", *arguments])
    written, sent = b"", False
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            written += os.read(handle, 65536)
        except OSError:
            break
        if b"quit" in written and not sent:
            sent = True
            os.kill(pid, number) if number else os.write(handle, keys)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), written.decode(errors="replace")


def test_in_a_terminal_labels_are_kept_and_counted_at_the_end(folder):
    code, written = in_terminal("review", str(folder), "--labeller", "kim", keys=b"cwq")
    assert code == 0
    assert written.rstrip().endswith(f"kim: 2 of 3 answers labelled, in {folder}/labels.jsonl")
    assert said_in(folder) == [("q0", "correct", None, ""), ("q1", "wrong", None, "")]


def test_a_terminated_review_gives_the_terminal_back(folder):
    code, written = in_terminal("review", str(folder), "--labeller", "kim", number=signal.SIGTERM)
    assert code == 143
    assert "\x1b[?1049l" in written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "review needs a terminal to show answers in; to read labels: evalkit.read_labels(RUN)"),
        (["--blind"], "--blind shows the answers of two runs: give --against RUN2"),
        (["--labeller", " "], "no labeller: give --labeller NAME, of at most 60 characters"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_exit_2(folder, capsys, monkeypatch, arguments, message):
    monkeypatch.setenv("USER", "kim")
    assert call(["review", str(folder), *arguments]) == 2
    assert capsys.readouterr().err == f"evalkit: {message}\n"


def test_a_labeller_is_named_by_the_environment_or_must_be_given(folder, capsys, monkeypatch):
    monkeypatch.delenv("USER", raising=False)
    monkeypatch.delenv("LOGNAME", raising=False)
    assert call(["review", str(folder)]) == 2
    assert "no labeller: give --labeller NAME" in capsys.readouterr().err


def test_the_page_shows_every_key():
    page = (DOCS / "review.md").read_text(encoding="utf-8")
    table = page[page.index("## Keys") : page.index("## Blind")]
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \| (.+?) \|$", table, re.MULTILINE)
    modes = {None: "both", False: "labels", True: "blind"}
    assert rows == [(key.shown, key.long, modes[key.blind]) for key in KEYS]


def test_no_key_does_two_things():
    for blind in (False, True):
        keys = [name for key in keys_of(blind=blind) for name in key.keys.split(",")]
        assert len(keys) == len(set(keys))
