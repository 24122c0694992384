"""The HTML page in a real browser: the system's Chromium, driven by Playwright. Skipped where either is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli import call
from evalkit.report import html
from evalkit.report.visible import visible
from evalkit.types import Example, Message, Response, Row, Score, Tag

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]
PAYLOADS = json.loads((Path(__file__).parent / "xss.json").read_text(encoding="utf-8"))
RIGHT, WRONG = "LoRA trains small matrices.", "LoRA freezes all matrices. It is small. It is small."
LOOP = Tag("repetition", "critical", "'It is small.' twice", (27, 52), 0.9)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


class Watched:
    """A page with everything that it must not do written down."""

    def __init__(self, browser: Any, **settings: Any) -> None:
        self.page = browser.new_page(**settings)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.on("console", lambda m: self.complaints.append(m.text))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("dialog", lambda d: self.complaints.append(d.message))

    def open(self, path: Path, fragment: str = "") -> Any:
        self.page.goto(f"{path.as_uri()}{fragment}")
        self.page.wait_for_selector("html[data-ready]")
        return self.page

    def check(self, path: Path) -> None:
        assert {url.split("#")[0] for url in self.requests} - {path.as_uri()} <= {
            url for url in self.requests if url.startswith("blob:")
        }
        assert self.complaints == []


@pytest.fixture
def watched(browser: Any) -> Iterator[Watched]:
    found = Watched(browser, viewport={"width": 1400, "height": 900})
    yield found
    found.page.close()


def rows_of(wrong: set[int], count: int = 60) -> list[Row]:
    return [
        Row(
            Example(f"q{i:02}", f"What does method {i} train?", (RIGHT,), meta={"topic": "ab"[i % 2]}),
            Response(WRONG if i in wrong else RIGHT, tokens=9 + i % 5),
            0,
            (Score("match", float(i not in wrong)), Score("fuzzy", 0.4 if i in wrong else 0.9)),
            (LOOP,) if i in wrong else (),
            "repetition" if i in wrong else None,
        )
        for i in range(count)
    ]


@pytest.fixture
def page_of_two(write_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run("base", rows_of({0}))
    write_run("cand", rows_of({1, 2, 3}))
    assert call(["report", "base", "cand", "--format", "html", "-o", "r.html"]) == 0
    return tmp_path / "r.html"


def ids(page: Any) -> list[str]:
    return list(page.locator("#list tbody a").all_inner_texts())


def test_filters_find_items_and_say_how_many(page_of_two, watched):
    page = watched.open(page_of_two)
    assert page.inner_text("#count") == "60 of 60 items"
    page.select_option("[name=flip]", "1:broken")
    assert ids(page) == ["q01", "q02", "q03"]
    page.select_option("[name=flip]", "1:fixed")
    assert ids(page) == ["q00"]
    page.click("text=Clear")
    page.select_option("[name=category]", "repetition")
    assert ids(page) == ["q01", "q02", "q03"]
    page.select_option("[name=in]", "0")
    assert ids(page) == ["q00"]
    page.click("text=Clear")
    page.select_option("[name=score]", "wrong")
    page.fill("[name=q]", "METHOD 2 ")
    assert ids(page) == ["q02"]
    watched.check(page_of_two)


def test_items_without_an_error_are_as_many_as_the_page_counts(tmp_path, make_run, make_row, watched):
    remark, error = Tag("long", "info", "x"), Tag("misspelling", "minor", "x")
    rows = [make_row("clean"), make_row("remark", tags=[remark]), make_row("both", tags=[remark, error])]
    path = tmp_path / "r.html"
    path.write_text(html.render(make_run([*rows, make_row("failed", value=None, error="down")])))
    page = watched.open(path)
    assert "2 without an error" in page.inner_text("body")
    page.select_option("[name=category]", "-none-")
    assert ids(page) == ["clean", "remark"]


def test_a_link_sets_fields_alone(page_of_two, watched):
    page = watched.open(page_of_two, "#items?length=1&namedItem=x&item&0=b&score=wrong")
    assert ids(page) == ["q01", "q02", "q03"]
    assert page.input_value("[name=q]") == ""
    watched.check(page_of_two)


def test_items_are_sorted_and_paged(page_of_two, watched):
    page = watched.open(page_of_two)
    page.select_option("[name=sort]", "low")
    assert ids(page)[:4] == ["q01", "q02", "q03", "q00"]
    assert page.inner_text("#page") == "page 1 of 3"
    page.click("#next-page")
    page.click("#next-page")
    assert len(ids(page)) == 10
    assert page.is_disabled("#next-page")


def test_an_item_opens_by_its_link_with_both_answers_and_marks(page_of_two, watched):
    page = watched.open(page_of_two)
    page.click("#list a >> text=q02")
    link = page.url
    assert "item=" in link
    again = watched.open(page_of_two, "#" + link.split("#", 1)[1])
    assert again.inner_text("#item-title") == "q02"
    again.wait_for_timeout(50)
    assert again.url == link
    boxes = again.locator("#item .answer .text")
    assert boxes.all_inner_texts() == [RIGHT, WRONG]
    assert boxes.nth(0).locator("ins").all_inner_texts() == ["trains small"]
    assert "freezes all" in boxes.nth(1).locator("ins").all_inner_texts()
    assert "".join(boxes.nth(1).locator("mark.critical").all_inner_texts()) == "It is small. It is small."
    again.keyboard.press("Escape")
    assert not again.is_visible("#item")
    watched.check(page_of_two)


def test_a_filtered_view_has_a_link_and_the_summary_leads_to_it(page_of_two, watched):
    page = watched.open(page_of_two, "#items?category=repetition&sort=id")
    assert ids(page) == ["q01", "q02", "q03"]
    page.click("nav >> text=Items")  # leaves the filters as they are
    assert ids(page) == ["q01", "q02", "q03"]
    page.click("text=1 fixed")
    page.get_by_text("1 of 60 items").wait_for()
    assert ids(page) == ["q00"]


def test_the_keyboard_is_enough(page_of_two, watched):
    page = watched.open(page_of_two)
    page.locator("#list a").first.focus()
    page.keyboard.press("Enter")
    assert page.inner_text("#item-title") == "q00"
    page.keyboard.press("Tab")
    page.locator("#next-item").press("Enter")
    assert page.inner_text("#item-title") == "q01"
    page.keyboard.press("Escape")
    page.locator("#list a:focus", has_text="q01").wait_for()


def test_filtered_rows_are_exported_and_an_item_is_copied(page_of_two, watched):
    page = watched.open(page_of_two)
    page.select_option("[name=flip]", "1:broken")
    with page.expect_download() as download:
        page.click("#export-jsonl")
    records = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert [record["id"] for record in records] == ["q01", "q02", "q03"]
    assert set(records[0]) == {"id", "question", "target", "meta", "suite", "trial", "answers", "checkpoints"}
    with page.expect_download() as download:
        page.click("#export-csv")
    assert len(Path(download.value.path()).read_text().splitlines()) == 4
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#list a >> nth=0")
    page.click("#copy-item")
    page.get_by_text("item copied").wait_for()
    assert json.loads(page.evaluate("navigator.clipboard.readText()"))["id"] == "q01"
    watched.check(page_of_two)


def test_the_page_neutralises_formulas_in_csv_and_keeps_numbers(tmp_path, make_run, make_row, watched):
    answers = ["=1+1", "-1.5", "@x", "+1+1", "\t=1", "＝1", "plain, text", "-2+3"]
    path = tmp_path / "r.html"
    path.write_text(html.render(make_run([make_row(f"q{i}", answer) for i, answer in enumerate(answers)])))
    page = watched.open(path)
    with page.expect_download() as download:
        page.click("#export-csv")
    cells = [line.split(",", 6)[6] for line in Path(download.value.path()).read_text().split("\n")[1:-1]]
    shown = [cell.rsplit(",", 3)[0] for cell in cells]
    assert shown == ["'=1+1", "-1.5", "'@x", "'+1+1", "'\t=1", "'＝1", '"plain, text"', "'-2+3"]


def hostile_rows(bad: str, value: float) -> list[Row]:
    """Four items: a question, a chat, a choice and a failed request, with an attack in every field of each."""
    found = []
    for kind in ("text", "chat", "choice", "failed"):
        chat = (Message("user", bad), Message(bad, bad), Message("user", bad))
        question = chat if kind == "chat" else bad
        choices = (bad, "b") if kind == "choice" else ()
        example = Example(f"{kind} {bad}", question, (bad,), choices, {bad: bad, "topic": bad})
        response = Response(
            f"{value} {bad}", sent=bad, choice_logprobs=(-1.0, -2.0) if choices else (),
            error=bad if kind == "failed" else None,
        )  # fmt: skip
        tags = (Tag(bad, "major", bad, (0, 9)), Tag("same", "minor", bad))
        scores = (Score("match", value, bad, bad), Score(bad, value, bad, bad))
        found.append(Row(example, response, 0, scores, tags, bad))
    return found


def hostile_run(make_run, name, bad, value):
    run = make_run(hostile_rows(bad, value), id=f"{name}{bad}", suite=bad, model=f"{name} {bad}", split=bad)
    return replace(run, summary={"rates": {}, "notes": [bad]})


def test_no_attack_runs_asks_or_breaks_the_page(tmp_path, make_run, watched):
    """Every payload stands in every field of an item, and is the name of a suite, a model, a run, a score, an error."""
    path = tmp_path / "r.html"
    columns = [
        [hostile_run(make_run, name, bad, value) for bad in PAYLOADS] for name, value in (("a", 1.0), ("b", 0.0))
    ]
    path.write_text(html.render_all(columns), encoding="utf-8")
    page = watched.open(path)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert page.inner_text("#count") == "160 of 160 items"
    page.click("#list a >> nth=0")
    for _ in range(159):
        page.click("#next-item")
    assert page.is_disabled("#next-item")
    assert page.inner_text("#item-title").startswith("failed")
    for name in ("csv", "jsonl"):
        with page.expect_download():
            page.evaluate(f"document.getElementById('export-{name}').click()")
    assert page.evaluate("typeof window.canary") == "undefined"
    assert page.locator("img, iframe, object, embed, base, link, video, audio, marquee").count() == 0
    watched.check(path)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
def test_axe_finds_nothing_serious(browser, page_of_two, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")
    watched = Watched(browser, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page = watched.open(page_of_two)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    for step in ("list", "item"):
        if step == "item":
            page.click("#list a >> nth=1")
        found = axe.Axe().run(page).response["violations"]
        grave = [
            (v["id"], [n["html"][:120] for n in v["nodes"][:3]])
            for v in found
            if v["impact"] in ("serious", "critical")
        ]
        assert grave == [], step
    page.close()


def test_the_page_fits_a_phone(browser, tmp_path, make_run):
    path = tmp_path / "r.html"
    runs = [hostile_run(make_run, name * 60, "word" * 40, 0.0) for name in "ab"]
    path.write_text(html.render_all([[run] for run in runs]), encoding="utf-8")
    watched = Watched(browser, viewport={"width": 400, "height": 800})
    page = watched.open(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.click("#list a >> nth=0")
    assert page.evaluate("document.getElementById('item').scrollWidth") <= 400
    page.close()


def test_hidden_characters_are_spelled_out_as_in_the_terminal(tmp_path, make_run, make_row, watched):
    path = tmp_path / "r.html"
    hidden = (
        "a\u202eb\u200bc\x1b[0m ❤\ufe0f x\ufe0f \ufe00 \uffff \U0001d173 \U000e0041 \u180b 1\ufe0f e"
        + "\u0301\u20dd" * 50
    )
    path.write_text(html.render(make_run([make_row("q0", hidden)])), encoding="utf-8")
    page = watched.open(path)
    page.click("#list a")
    assert page.inner_text("#item .text") == visible(hidden)


def test_marks_stand_where_they_belong_after_characters_beyond_the_basic_plane(tmp_path, make_run, make_row, watched):
    path = tmp_path / "r.html"
    path.write_text(
        html.render(make_run([make_row("q0", "😀😀 seperate", tags=[Tag("misspelling", "minor", "x", (3, 11))])]))
    )
    page = watched.open(path)
    page.click("#list a")
    assert page.inner_text("#item mark") == "seperate"


@pytest.mark.slow
def test_ten_thousand_items_open_and_filter_at_once(big_runs, measured, tmp_path, watched):
    big_runs(10_000)
    code, _, cpu, _, heavy = measured("report", "base", "cand", "--format", "html", "-o", "r.html")
    assert (code, heavy) == (0, [])
    assert cpu < 10
    path = tmp_path / "r.html"
    assert path.stat().st_size < 15_000_000
    page = watched.open(path)
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert paint < 2000
    page.fill("[name=q]", "w0001")  # the first search prepares the texts
    took = page.evaluate(
        """() => { const began = performance.now(); const field = document.querySelector("[name=q]");
        field.value = "w0002"; field.dispatchEvent(new Event("input", { bubbles: true })); document.body.offsetHeight;
        return performance.now() - began; }"""
    )
    assert took < 300
    print(f"size {path.stat().st_size}, building {cpu:.1f} s CPU, first paint {paint:.0f} ms, filter {took:.0f} ms")
    watched.check(path)
