"""What families and carriers say about runtimes (surgery/runtimes.h), held against the two releases of transformers: a class
exists from the release that is named, and not before. Whether outputs are computed as intended where `derope verify` says so is
held by test_families.py, test_transformers5.py and test_carriers.py, for every family and every carrier."""

import json

import matrix
import pytest
import transformers
from conftest import ROOT, run_tool
from test_families import CASES

FACTS = json.loads(run_tool("runtimes"))
HERE = next(r for r in FACTS["runtimes"] if r["name"] == "transformers 4.56")
NEWER = next(r for r in FACTS["runtimes"] if r["name"] == "transformers 5.23")
STOCK = [f for f in FACTS["families"] if f["hf_since"]]


def number(version):
    return tuple(map(int, version.replace("-", ".").split(".")))


def test_the_releases_are_those_at_hand(tf5):
    assert transformers.__version__.startswith(HERE["version"] + ".")
    assert tf5("import json, transformers; print(json.dumps(transformers.__version__))").startswith(NEWER["version"] + ".")


@pytest.mark.parametrize("family", STOCK, ids=lambda f: f["model_type"])
def test_transformers4_has_the_classes_of_its_time(family):
    assert (family["model_type"] in transformers.CONFIG_MAPPING) == (number(family["hf_since"]) <= number(HERE["version"]))


def test_transformers5_has_every_class(tf5):
    has = tf5("import json, transformers; print(json.dumps(sorted(transformers.CONFIG_MAPPING.keys())))")
    assert {f["model_type"] for f in STOCK} <= set(has)


def test_custom_code_is_nobodys():
    assert [f["model_type"] for f in FACTS["families"] if not f["hf_since"]] == ["llama_drope", "qwen2_drope"]


def test_every_family_and_carrier_is_held():
    """A family without a case, or a carrier that no case is written by, would be a claim that nothing checks."""
    elsewhere = {"granite_swa", "granitemoe_swa", "olmo3", "ministral", "llama_drope", "qwen2_drope"}  # test_carriers.py makes them
    cases = {family for family, _ in CASES.values()}
    named = {f["model_type"].removesuffix("_text") for f in FACTS["families"]}
    assert named == cases | elsewhere
    data = json.loads(matrix.RESULTS.read_text())
    for carrier in FACTS["carriers"]:
        if carrier["name"] not in ("own", "olmo3"):  # test_carriers.py: test_olmo2_loses_its_rotation_above_windows
            columns = [f"{what}: {carrier['format']}" for what in ("dropped", "some layers")]
            assert any(carrier["name"] in row.get(c, []) for row in data.values() for c in columns), carrier


def test_readme_lists_the_carriers():
    """The table of carriers in surgery/README.md is that of the program."""
    assert matrix.with_tables((ROOT / "surgery" / "README.md").read_text(), matrix.RESULTS, FACTS) == (ROOT / "surgery" / "README.md").read_text()
