"""The report's page in a real browser: headless Chromium, from file://, with a hostile run in it."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlparse

import pytest
from conftest import script
from made_run import make_run
from PIL import Image

from posttrain import report

ROOT = Path(__file__).parents[2]
SORTED = (
    "[...document.querySelectorAll('#metrics tbody')].map(b => [...b.rows].slice(1).map(r => r.cells[{}].textContent))"
)
CONTRAST = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => {
    const v = parse(c)[i] / 255;
    return sum + w * (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  }, 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; }
    return "rgb(255, 255, 255)";
  };
  const names = ["h1", ".about", ".note", ".facts", ".metrics td b", ".metrics small", ".delta.won", ".delta.lost"];
  return [...names, ".verdict p", "thead th"].map((name) => {
      const e = document.querySelector(name);
      const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
      return [name, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    });
}"""


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install 'posttrain[dev]' brings playwright")
    picture = script("docs/picture.py")
    with playwright.sync_playwright() as running:
        started = picture.launch(running.chromium)
        if started is None:
            pytest.skip(picture.MISSING)
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "made"
    make_run(folder, items=60)
    return report.build(folder).as_uri()


@pytest.fixture
def page(browser, address):
    """The page, opened; at the end nothing was said on the console, raised, asked or fetched."""
    page = browser.new_page()
    said, fetched = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(address)
    yield page
    assert said == [] and set(fetched) == {address}
    page.close()


def test_it_opens_from_a_file_with_the_verdict_on_top(page):
    assert page.title() == "made – posttrain report"
    top = page.locator(".verdict")
    assert top.bounding_box()["y"] < 400 and "make gate RUN=made" in top.locator("code").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_hostile_text_is_shown_and_does_nothing(page):
    page.evaluate("document.querySelectorAll('details').forEach(d => (d.open = true))")
    words = page.locator("main").inner_text()
    assert "alert('x')" in words and "{{ 7*7 }}" in words
    assert page.locator("script").count() == 1 and page.locator("img").count() == 0


def test_a_header_sorts_by_number_one_way_and_the_other_by_mouse_and_by_key(page):
    def figures():
        cells = page.evaluate(SORTED.format(8))
        return [[float(re.match(r"[\d.]+", c.strip())[0]) for c in group if c.strip()] for group in cells]

    before = figures()
    header = page.locator("#metrics thead th").nth(8)
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert figures() == [sorted(group) for group in before] != before
    header.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert figures() == [sorted(group, reverse=True) for group in before]
    groups = page.evaluate("[...document.querySelectorAll('#metrics tbody')].map(b => b.rows[0].className)")
    assert set(groups) == {"group"}


def test_every_table_of_figures_sorts_and_loses_no_row(page):
    tables = page.locator("table.sortable")
    assert tables.count() >= 5
    for i in range(tables.count()):
        rows = tables.nth(i).locator("tbody tr").all_inner_texts()
        for button in tables.nth(i).locator("thead button").all():
            button.click()
            assert sorted(tables.nth(i).locator("tbody tr").all_inner_texts()) == sorted(rows)


def test_items_unfold_by_key_and_the_reference_of_differences_can_be_chosen(page):
    first = page.locator("details").first
    assert not first.locator("table").first.is_visible()
    first.locator("summary").focus()
    page.keyboard.press("Enter")
    assert first.locator("table").first.is_visible()
    assert page.locator("#metrics .delta.base").first.is_visible()
    page.get_by_label("the parent stage").check()
    assert not page.locator("#metrics .delta.base").first.is_visible()
    assert page.locator("#metrics .delta.parent").first.is_visible() and page.locator("#metrics.sortable").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_light_and_in_dark(page, scheme):
    """4.5 to 1 is WCAG's AA for text."""
    page.emulate_media(color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert all(ratio >= 4.5 for _, ratio in page.evaluate(CONTRAST)), page.evaluate(CONTRAST)
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground
    assert all(ratio >= 4.5 for _, ratio in page.evaluate(CONTRAST)), page.evaluate(CONTRAST)


def test_a_keyboard_and_a_screen_reader_find_their_way(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the verdict"
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    page.goto(page.url.partition("#")[0])
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, svg, .scroll, section[aria-label], input')].filter(e =>"
        " !(e.ariaLabel || e.textContent.trim() || e.labels?.length)).length"
    )
    assert nameless == 0
    assert page.evaluate("[...document.querySelectorAll('.scroll')].every(e => e.tabIndex === 0 && e.ariaLabel)")
    assert page.evaluate("[...document.querySelectorAll('th')].every(e => e.scope)")
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(e => +e.tagName[1])")
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))


def test_printed_from_the_dark_it_is_black_on_white_and_unfolded(page, tmp_path):
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(0, 0, 0)"
    assert not page.locator("#theme").is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    assert len(page.pdf()) > 10_000


def test_without_javascript_every_figure_is_there(browser, address):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address)
    assert page.locator("#metrics tbody tr").count() > 20 and page.locator(".verdict").is_visible()
    page.close()


def test_the_readmes_picture_is_taken_of_the_page(browser, address, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "docs" / "picture.py",
            Path(urlparse(address).path).parent,
            "--out",
            tmp_path / "p.png",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    taken, shown = (Image.open(path).size for path in (tmp_path / "p.png", ROOT / "docs" / "report.png"))
    assert taken == shown and "](docs/report.png)" in (ROOT / "README.md").read_text()


def test_no_report_no_picture(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "picture.py", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "report.html not found" in done.stderr
