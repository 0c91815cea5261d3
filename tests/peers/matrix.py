"""README's table of families, made of what `make families` found (families.json).

  python tests/peers/matrix.py        writes it into README.md
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "peers" / "families.json"
COLUMNS = ["logits", "gradients", "GGUF", "dropped: HF", "dropped: GGUF", "some layers: HF", "some layers: GGUF"]
START, END = "<!-- families -->\n", "<!-- /families -->"

results = {}  # filled by conftest.py


def cell(texts):
    """All cases of a family in a few words: what holds for each, the worst first."""
    if not texts:
        return ""
    kinds = sorted(set(texts), key=lambda t: (t != "fails", texts.index(t)))
    return ", ".join(f"{k} ({texts.count(k)} of {len(texts)})" if len(kinds) > 1 and k in ("equal", "refused", "fails") else k for k in kinds)


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
