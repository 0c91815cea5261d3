"""Reports in a browser (nothing overflows, both palettes work, printing shows the tables), under an XML parser, and as
huggingface_hub reads the model card.

Needs Debian's `chromium` (.ci/setup ci installs it); without it the tests that look at the page skip.
"""

import json
import math
import random
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest

from conftest import BUILD, ROOT, run_tool

XHTML, SVG = "{http://www.w3.org/1999/xhtml}", "{http://www.w3.org/2000/svg}"
CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
EVIL = "</title><script>console.error('ran')</script><img src=x onerror=console.error(1)>\"'&\x01\u202e" + "W" * 90


def wilson(right, n, z=1.96):
    p = right / n
    middle, half = (p + z * z / 2 / n), z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    return max(0, (middle - half) / (1 + z * z / n)), min(1, (middle + half) / (1 + z * z / n))


def made(models=3, methods=("none", "pi", "ntk", "yarn"), lengths=(256, 512, 1024, 2048), depths=5, losses=97, layers=6,
         tasks=("needle", "recall"), name="model-{}", points=16):
    """Results of the shape that `derope eval` writes, with numbers from a fixed seed."""
    r = random.Random(1)
    perplexity, rows = [], []
    for model in range(models):
        for method in methods:
            for length in lengths:
                ppl = 2.2 + r.random() * math.log2(length / 128) * (model + 1)
                series = {"model": model, "method": method, "length": length}
                perplexity.append(series | {
                    "softmax_scale": 1.0, "perplexity": ppl, "low": ppl * 0.95, "high": ppl * 1.06, "nll": math.log(ppl),
                    "tokens": 32768, "windows": 32768 // length,
                    "positions": [{"to": length * (i + 1) // points, "nll": math.log(ppl) + 1 / (i + 1)} for i in range(points)]})
                for task in tasks:
                    for depth in [i / (depths - 1) for i in range(depths)] if task == "needle" else [None]:
                        right, first = r.randrange(21), r.randrange(21)
                        low, high = wilson(right, 20)
                        first_low, first_high = wilson(first, 20)
                        rows.append(series | {
                            "task": task, "depth": depth, "trials": 20, "score": right / 20, "low": low, "high": high,
                            "first": first / 20, "first_low": first_low, "first_high": first_high,
                            "mean_rank": 1 + 4 * r.random(), "candidates": 10})
    return {
        "derope": "0.1.0", "command": "derope eval " + " ".join(f"out/model-{i}" for i in range(models)) + " --text held-out.txt",
        "machine": {"cpu": "Some CPU @ 2.10GHz", "cores": 2, "memory_gb": 23.5}, "started": "2026-11-25T03:00:00Z",
        "seconds": 1423.4, "settings": {"seed": 1, "trials": 20, "depths": depths, "score": "all"},
        "texts": [{"file": "held-out.txt", "bytes": 412345, "xxh3_128": "9f86d081884c7d659a2feaa0c55ad015"}],
        "models": [{
            "name": name.format(i), "path": f"out/model-{i}", "family": "llama", "parameters": 1200000, "context": 256,
            "layers": [{"position": "rope", "window": 64, "rope": {"base": 10000.0}} if k < layers // 2 else
                       {"position": "nope", "window": None, "rope": None} for k in range(layers)],
            "passes": [{"pass": "drop_rope", "layers": "3-5"}] if i else [],
            "recalibration": {"tokens_seen": 4096 * losses, "objective": "distill" if i % 2 else "next-token", "seconds": 38.1,
                              "losses": [[4096 * (k + 1), 1 + 2 * math.exp(-k / 20)] for k in range(losses)]} if i else None,
        } for i in range(models)],
        "perplexity": perplexity, "tasks": rows,
    }


CASES = {
    "usual": made(),
    "one": made(models=1, methods=("none",), lengths=(256,), tasks=("needle",), losses=2),
    "large": made(models=4, methods=("none", "pi", "ntk", "yarn", "dynamic-ntk"), depths=11, losses=5000, layers=40, points=64,
                  lengths=(256, 512, 1024, 2048, 4096, 8192, 16384, 32768), tasks=("needle", "recall", "multi", "trace")),
    "hostile": made(name=EVIL + "{}", tasks=("needle", EVIL)) | {"command": EVIL * 3, "settings": {EVIL: EVIL}},
    "empty": {},
}


@pytest.fixture(scope="module", params=CASES)
def report(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    results = folder / "results.json"
    results.write_text(json.dumps(CASES[request.param]))
    page = folder / "report.html"
    page.write_bytes(run_tool("report", results, "html"))
    return request.param, results, page


def test_page_is_small_and_well_formed(report):
    case, _, page = report
    assert page.stat().st_size < 500_000, f"{case}: {page.stat().st_size} bytes"
    root = ET.fromstring(page.read_text())
    assert root.tag == XHTML + "html" and root.get("lang") == "en"
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    for element in root.iter():
        assert element.tag.split("}")[1] not in ("script", "img", "iframe", "object", "form")
        for key, value in element.attrib.items():
            assert not key.startswith("on") and key != "src"
            assert key != "href" or value == "data:,"


def test_page_can_be_heard(report):
    """Each picture has a role, a title and a description; each table a caption and scoped heads."""
    root = ET.fromstring(report[2].read_text())
    for svg in root.iter(SVG + "svg"):
        parts = {e.get("id"): e.text for e in svg if e.tag in (SVG + "title", SVG + "desc")}
        assert svg.get("role") == "img" and len(parts) == 2 and all(parts.values())
        assert svg.get("aria-labelledby").split() == list(parts)
    for table in root.iter(XHTML + "table"):
        assert table.find(XHTML + "caption").text
        assert all(th.get("scope") in ("row", "col") for th in table.iter(XHTML + "th"))
        width = len(table.find(f"{XHTML}thead/{XHTML}tr"))
        assert all(len(row) == width for row in table.iter(XHTML + "tr"))


def test_pictures_are_well_formed(report):
    case, results, _ = report
    for which in ("perplexity", "needle", "needle-by-length"):
        picture = run_tool("report", results, which)
        if case == "empty":
            assert not picture
        else:
            assert ET.fromstring(picture).tag == SVG + "svg"


def test_picture_of_the_readme(tmp_path):
    """The committed picture is what `make picture` draws from the committed results."""
    folder = ROOT / "examples/embedded"
    subprocess.run(["make", "-s", "-C", folder, "picture", f"PICTURE={tmp_path}/needles.svg", f"TOOL={BUILD}/tests/tool_report"], check=True)
    assert (tmp_path / "needles.svg").read_bytes() == (folder / "needles.svg").read_bytes()


def test_card_as_the_hub_reads_it(report, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    case, results, _ = report
    front = tmp_path / "front.json"
    front.write_text(json.dumps({"base_model": "org/source", "license": "mit", "language": ["en", "no"], "tags": ["llama", EVIL]}))
    card = hub.ModelCard(run_tool("report", results, "card", front).decode())
    assert card.data.base_model == "org/source" and card.data.license == "mit"
    assert card.data.language == ["en", "no"] and card.data.tags == ["llama", EVIL, "derope"]
    if case == "empty":
        assert not card.data.eval_results
        return
    model = CASES[case]["models"][min(1, len(CASES[case]["models"]) - 1)]
    assert card.data.model_name == model["name"]
    mine = [r for r in CASES[case]["perplexity"] if r["model"] == min(1, len(CASES[case]["models"]) - 1) and r["method"] == "none"]
    found = [r.metric_value for r in card.data.eval_results if r.metric_type == "perplexity"]
    assert found == [r["perplexity"] for r in mine]
    assert {r.metric_type for r in card.data.eval_results} == {"perplexity", "accuracy"}
    assert not re.search(r"<(script|img)", card.text.split("## How it was measured")[0])


# ---- in the browser ----

# Looks into the page through a frame of the wanted width, since a window cannot be as narrow as a phone.
WRAPPER = """<!DOCTYPE html><html style="color-scheme: SCHEME"><body style="margin: 0">
<iframe id="page" src="SOURCE" style="border: 0; width: WIDTHpx; height: 900px"></iframe><pre id="found"></pre>
<script>
document.getElementById('page').onload = function () {
  const page = this.contentDocument, view = this.contentWindow, width = page.documentElement.clientWidth
  if (OPEN) page.querySelectorAll('details').forEach(d => d.open = true)
  const inside = e => e.closest('.scroll')
  const wide = [], cut = []
  for (const e of page.body.querySelectorAll('*')) {
    const box = e.getBoundingClientRect()
    if (box.width && !inside(e) && (box.right > width + 0.5 || box.left < -0.5)) wide.push(e.tagName + ' ' + e.className)
  }
  for (const svg of page.querySelectorAll('svg')) {
    const frame = svg.getBoundingClientRect()
    if (frame.width) for (const t of svg.querySelectorAll('text')) {
      const box = t.getBoundingClientRect()
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        cut.push(t.textContent)
    }
  }
  const size = s => [...page.querySelectorAll(s)].map(e => e.getBoundingClientRect().width)
  document.getElementById('found').textContent = JSON.stringify({
    width, scroll: page.documentElement.scrollWidth, wide: [...new Set(wide)], cut,
    paper: view.getComputedStyle(page.body).backgroundColor, ink: view.getComputedStyle(page.body).color,
    shown: Math.max(0, ...size('.wide svg')), narrow: Math.max(0, ...size('.narrow svg')),
    text: Math.min(...[...page.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width / s.viewBox.baseVal.width).filter(x => x))})
}
</script></body></html>"""


def chromium(*arguments):
    p = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
                        "--allow-file-access-from-files", "--enable-logging=stderr", "--v=0", *map(str, arguments)],
                       capture_output=True, text=True, timeout=300)
    console = [line for line in p.stderr.splitlines() if ":CONSOLE" in line]
    return p.stdout, console


def look(page, width, scheme, opened=False):
    text = WRAPPER.replace("SCHEME", scheme).replace("SOURCE", page.name).replace("WIDTH", str(width))
    wrapper = page.parent / f"look-{width}-{scheme}.html"
    wrapper.write_text(text.replace("OPEN", "true" if opened else "false"))
    dom, console = chromium("--window-size=1400,1000", "--virtual-time-budget=10000", "--dump-dom", wrapper.as_uri())
    found = re.search(r'<pre id="found">(\{.*?\})</pre>', dom)
    assert found, dom[-2000:]
    return json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")), console


@needs_chromium
def test_errors_of_the_console_are_seen(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<!DOCTYPE html><p>x</p><script>console.error('this one')</script>")
    _, console = chromium("--dump-dom", page.as_uri())
    assert any("this one" in line for line in console)


@needs_chromium
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_overflows(report, width):
    found, console = look(report[2], width, "light", opened=True)
    assert console == []
    assert found["width"] == width and found["scroll"] <= width and found["wide"] == []
    assert found["cut"] == [], "text outside its picture"
    if report[0] != "empty":
        assert found["text"] > 0.85, "a picture is scaled until its text is too small"
        assert bool(found["narrow"]) == (width == 360) and bool(found["shown"]) == (width == 1280)


@needs_chromium
def test_light_and_dark(report):
    light, dark = look(report[2], 1280, "light")[0], look(report[2], 1280, "dark")[0]
    assert light["paper"] == "rgb(255, 255, 255)"
    assert sum(map(int, re.findall(r"\d+", dark["paper"]))) < 120 < sum(map(int, re.findall(r"\d+", dark["ink"])))


@needs_chromium
def test_paper_shows_the_tables(report, tmp_path):
    """The closed tables are opened on paper: without them the same page takes fewer sheets."""
    case, _, page = report
    if case != "usual":
        pytest.skip("one case is enough")
    bare = tmp_path / "bare.html"
    bare.write_text(re.sub(r"<details>.*?</details>", "", page.read_text(), flags=re.S))
    pages = []
    for source in (page, bare):
        pdf = tmp_path / (source.stem + ".pdf")
        chromium("--no-pdf-header-footer", f"--print-to-pdf={pdf}", source.as_uri())
        pages.append(len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())))
    assert 0 < pages[1] < pages[0]
