"""README's table of families, made of what `make families` found (families.json).

  python tests/peers/matrix.py        writes it into README.md
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "peers" / "families.json"
COLUMNS = ["logits", "gradients", "GGUF", "dropped: HF", "in transformers 5", "dropped: GGUF", "some layers: HF", "some layers: GGUF"]
START, END = "<!-- families -->\n", "<!-- /families -->"


class Matrix:
    """Of a pytest run: what its tests say with record_property("matrix", [family, column, text]), written to a file."""

    def __init__(self, path):
        self.path, self.results = Path(path), {}

    def pytest_runtest_logreport(self, report):
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name == "matrix":
                family, column, text = value
                self.results.setdefault(family, {}).setdefault(column, []).append(text if report.passed else "fails")

    def pytest_sessionfinish(self):
        self.path.write_text(json.dumps(self.results, indent=1, sort_keys=True) + "\n")


def cell(texts):
    """All cases of a family in a few words: failures first, then what can be done, then what is refused."""
    kinds = sorted(set(texts), key=lambda t: (t != "fails", t == "refused", t))
    return ", ".join(k if len(kinds) == 1 else f"{k} ({texts.count(k)} of {len(texts)})" for k in kinds)


def table(data):
    lines = ["| family | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for family in sorted(data):
        lines.append(f"| {family} | " + " | ".join(cell(data[family].get(c, [])) for c in COLUMNS) + " |")
    return "\n".join(lines) + "\n"


def readme_with(text):
    readme = (ROOT / "README.md").read_text()
    return re.sub(re.escape(START) + ".*?" + re.escape(END), lambda _: START + text + END, readme, flags=re.S)


if __name__ == "__main__":
    (ROOT / "README.md").write_text(readme_with(table(json.loads(RESULTS.read_text()))))
