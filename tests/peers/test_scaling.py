"""Every rope scaling, read from a config.json or put there by --rope-scaling: our own forward pass, transformers 4.56
and 5 and llama.cpp on what we write, all to the logits of the same model built in transformers."""

import pytest
import transformers
from conftest import run_derope
from gguf_file import without_our_keys
from llama import compare_llama
from reference import IDS, class_logits, load_here, load_tf5, own_logits, save, tiny

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 40}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}

# what the source has, the flags, what the result has, whether llama.cpp can say it
CASES = {
    "linear flag": ({}, ["--rope-scaling", "linear:4"], {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, True),
    "yarn flag": ({}, ["--rope-scaling", "yarn:4"], {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, True),
    "yarn flag, longer": ({}, ["--rope-scaling", "yarn:4", "--set-context", "512"],
                          {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}}, True),
    "ntk flag": ({}, ["--rope-scaling", "ntk:4"], {"rope_theta": 5000.0 * 4 ** (16 / 14)}, True),
    "dynamic flag": ({"max_position_embeddings": 40}, ["--rope-scaling", "dynamic:2"], {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, False),
    "yarn": ({"rope_scaling": YARN}, [], {}, True),
    "yarn, attention": ({"rope_scaling": {**YARN, "attention_factor": 0.8}}, [], {}, True),
    "yarn, ramp": ({"rope_scaling": {**YARN, "beta_fast": 8.0}}, [], {}, False),
    "llama3": ({"rope_scaling": LLAMA3}, [], {}, True),
    "yarn for llama3": ({"rope_scaling": LLAMA3}, ["--rope-scaling", "yarn:4"], {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, True),
}


def reference(model, changes):
    config = transformers.AutoConfig.for_model(**{**model.config.to_dict(), **changes})
    other = type(model)(config).eval()
    other.load_state_dict(model.state_dict())
    return class_logits(other)


@pytest.mark.parametrize("case", CASES)
def test_scaling(case, tf5, tmp_path):
    has, flags, gets, in_gguf = CASES[case]
    model = tiny("llama", **has)
    source, out = save(model, tmp_path / "source"), tmp_path / "out"
    expected = reference(model, gets)
    assert not flags or (expected - reference(model, {})).abs().max() > 0.05  # it is no small thing
    run_derope("convert", source, out, *flags)
    assert (own_logits(source, tmp_path, *flags) - expected).abs().max() < 1e-3
    assert (own_logits(out, tmp_path) - expected).abs().max() < 1e-3
    assert (load_here(out) - expected).abs().max() < 1e-3
    if case in ("yarn flag, longer", "dynamic flag", "llama3"):
        assert (load_tf5(tf5, out, IDS, tmp_path) - expected).abs().max() < 1e-3
    done = run_derope("convert", source, tmp_path / "out.gguf", *flags, ok=in_gguf)
    if not in_gguf:
        assert done.returncode == 1 and "no stock architecture of llama.cpp can express this model" in done.stderr
        return
    compare_llama(tmp_path / "out.gguf", expected, IDS, 1e-2, (2, 40, 100))
    assert (own_logits(tmp_path / "out.gguf", tmp_path) - expected).abs().max() < 1e-3
    without_our_keys(tmp_path / "out.gguf", tmp_path / "plain.gguf")
    assert (own_logits(tmp_path / "plain.gguf", tmp_path) - expected).abs().max() < 1e-3
    run_derope("convert", tmp_path / "plain.gguf", tmp_path / "back")
    assert (load_here(tmp_path / "back") - expected).abs().max() < 1e-3
