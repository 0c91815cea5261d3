"""Two tables of surgery/README.md: families, made of what `make families` found (families.json), and carriers, made of what the
program says (tests/tool_runtimes.c).

  DEROPE=build/derope python tests/peers/matrix.py        writes both into surgery/README.md
"""

import json
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "peers" / "families.json"
COLUMNS = ["logits", "gradients", "GGUF", "dropped: HF", "in transformers 5", "dropped: GGUF", "some layers: HF", "some layers: GGUF"]
README = ROOT / "surgery" / "README.md"


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


def carrier_table(facts):
    lines = ["| format | carrier | runs in | how it says it |", "|---|---|---|---|"]
    for c in facts["carriers"]:
        lines.append(f"| {c['format']} | `{c['name']}` | {c['runtimes']} | {c['says']} |")
    return "\n".join(lines) + "\n"


def put(text, name, table_text):
    """`text` with what lies between <!-- NAME --> and <!-- /NAME --> replaced."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    assert start in text and end in text, name
    return re.sub(re.escape(start) + ".*?" + re.escape(end), lambda _: start + table_text + end, text, flags=re.S)


def with_tables(text, results, facts):
    return put(put(text, "families", table(json.loads(results.read_text()))), "carriers", carrier_table(facts))


if __name__ == "__main__":
    build = Path(os.environ.get("DEROPE", ROOT / "build" / "derope")).resolve().parent
    told = json.loads(subprocess.run([build / "tests" / "tool_runtimes"], capture_output=True, check=True, text=True).stdout)
    README.write_text(with_tables(README.read_text(), RESULTS, told))
