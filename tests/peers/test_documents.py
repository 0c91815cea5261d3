"""Documents: links lead somewhere, files and functions that they name exist, README.md stays short."""

import re
import subprocess

import pytest

from conftest import ROOT

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:[ch]|py|md|json|yaml))`")
FUNCTION = re.compile(r"`(\w+)\(\)`")
MAKE = re.compile(r"(?m)(?:^|&& |; )make (?:-C (\S+) )?([a-z][a-z-]*)(?![\w/-])")

FILES = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
DOCUMENTS = [f for f in FILES if f.endswith("README.md") or re.fullmatch(r"\.github/[A-Z]+\.md", f)]
SOURCE = "\n".join((ROOT / f).read_text() for f in FILES if f.endswith((".c", ".h")))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    folder = (ROOT / document).parent
    for target in LINK.findall((ROOT / document).read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (folder / target).exists(), f"{document}: {target} does not exist"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_named_exists(document):
    text = (ROOT / document).read_text()
    for path in PATH.findall(text):
        if "NAME" in path or path.startswith("build/"):  # a placeholder, a result of building
            continue
        assert (ROOT / path).exists() or (ROOT / document).parent.joinpath(path).exists(), f"{document}: no file {path}"
    for function in FUNCTION.findall(text):
        assert re.search(rf"\b{function}\(", SOURCE), f"{document}: no function {function}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document):
    """Only in code: sentences may use the word as a verb."""
    text = (ROOT / document).read_text()
    code = "\n".join(re.findall(r"```[^\n]*\n(.*?)```", text, re.S) + re.findall(r"`([^`\n]+)`", text))
    for folder, target in MAKE.findall(code):
        makefile = (ROOT / folder / "Makefile").read_text()
        assert re.search(rf"(?m)^(?:[\w-]+ )*{target}(?: [\w-]+)*:", makefile), f"{document}: no target {target} in {folder}"


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
