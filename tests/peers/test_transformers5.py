"""What we write of every case of every family, as it is, without rotation and with another softmax scale, loaded in transformers 5: the logits of the model
built and changed in transformers 4."""

import json

import pytest
import torch
from conftest import run_derope
from reference import IDS, claims, class_logits, load_here
from test_families import ALL, CASES, made, without_rotation

LOAD_ALL = """
import json, sys, torch, transformers
torch.set_num_threads(2)
done = {}
for folder in json.loads(sys.argv[1]):
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            done[folder] = model(torch.tensor([json.loads(sys.argv[2])])).logits[0]
    except Exception as e:
        done[folder] = f"{type(e).__name__}: {e}"
torch.save(done, sys.argv[3])
print(json.dumps(transformers.__version__))
"""
DROPPED = [case for case in CASES if not ALL[case][0]]
UNWEIGHTED = ("llama4", "llama4, lists", "llama4, bands")  # norms of queries and keys that no scale can go into; refused
# Where transformers 5 has GELU's approximation, whatever hidden_act says, and YaRN, though rope_scaling is null
ALIKE = [case for case in CASES if case not in ("gemma, gelu", "gpt_oss, types")]


@pytest.fixture(scope="module")
def results(tf5, tmp_path_factory):
    """{(case, way): (transformers 5's logits or what it said, those expected)}: one process loads them all"""
    expected, folders = {}, {}
    for case in CASES:
        tmp_path = tmp_path_factory.mktemp("case")
        model, source = made(case, tmp_path)
        ways = {"as it is": ([], lambda: class_logits(model)),
                "dropped": (["--drop-rope"], lambda: without_rotation(model, range(4))),
                "scaled": (["--scale-attention", 1.25], lambda: load_here(tmp_path / "scaled"))}
        for way, (flags, reference) in ways.items():
            if (way == "dropped" and case not in DROPPED) or (way == "scaled" and case in UNWEIGHTED):
                continue
            run_derope("convert", source, tmp_path / way, *flags)
            told = claims(tmp_path / way)
            assert told["transformers 5.23"] and (told["transformers 4.56"] or way == "dropped"), (case, way)
            folders[case, way], expected[case, way] = str(tmp_path / way), reference()
    out = tmp_path_factory.mktemp("logits") / "all.pt"
    tf5(LOAD_ALL, json.dumps(list(folders.values())), json.dumps(IDS), out)
    theirs = torch.load(out)
    return {key: (theirs[folder], expected[key]) for key, folder in folders.items()}


def check(found):
    theirs, expected = found
    assert not isinstance(theirs, str), theirs
    assert (theirs - expected).abs().max() < 5e-4


@pytest.mark.parametrize("case", ALIKE)
def test_as_it_is(case, results):
    check(results[case, "as it is"])


@pytest.mark.parametrize("case", [case for case in DROPPED if case in ALIKE])
def test_dropped(case, results, record_property):
    record_property("matrix", [CASES[case][0], "in transformers 5", "equal"])
    check(results[case, "dropped"])


@pytest.mark.parametrize("case", [case for case in ALIKE if case not in UNWEIGHTED])
def test_scaled(case, results):
    """Softmax scales that a configuration holds are held by transformers 5 too, which is strict about their types."""
    check(results[case, "scaled"])
    assert (results[case, "scaled"][1] - results[case, "as it is"][1]).abs().max() > 0.01


@pytest.mark.parametrize("case", UNWEIGHTED)
def test_unweighted_norms_take_no_scale(case, tmp_path):
    source = made(case, tmp_path)[1]
    refused = run_derope("convert", source, tmp_path / "out", "--scale-attention", 1.25, ok=False)
    assert refused.returncode == 1 and "own: has no key for the softmax scale, and norms queries without a weight" in refused.stderr
