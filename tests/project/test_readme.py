"""The README and the pages of docs/ agree with the code."""

import re

import flags_page
import pytest

from support.commands import ROOT

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDES = [path for path in PAGES if path.parent == ROOT / "docs"]


def test_every_tool_is_listed():
    tools = {f"tools/{p.name}" for p in (ROOT / "tools").glob("*.py")}
    assert set(re.findall(r"^\| `(tools/\w+\.py)` \|", README, re.MULTILINE)) == tools


def test_the_readme_has_fewer_than_200_lines():
    assert len(README.splitlines()) < 200


def test_the_page_of_flags_equals_the_code():
    assert (ROOT / "docs/configuration.md").read_text() == flags_page.page()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_has_a_target(path):
    for target in re.findall(r"\]\(((?!http|#)[^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_every_page_is_linked_from_the_readme():
    found, new = set(), {ROOT / "README.md"}
    while new:
        page = new.pop()
        found.add(page)
        links = re.findall(r"\]\(((?!http)[^)#]+\.md)", page.read_text())
        new |= {(page.parent / link).resolve() for link in links} - found
    assert set(PAGES) <= found


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_lines_of_guides_fit_into_100_columns(path):
    """Except tables, which Markdown cannot wrap."""
    assert not [
        line for line in path.read_text().splitlines() if len(line) > 100 and "|" not in line
    ]


def test_every_flagfile_has_its_row():
    pages = (ROOT / "docs/reproduce.md").read_text()
    for path in (ROOT / "flags").glob("*.cfg"):
        assert path.stem == "smoke" or f"flags/{path.name}" in pages


def test_no_placeholder_is_left():
    for path in PAGES:
        assert not re.findall(r"@[A-Z0-9]+@", path.read_text()), path
