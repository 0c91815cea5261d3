"""PyTorch's own files: what torch.save writes we read, byte for byte, and what a pickle could do is not done."""

import collections
import json
import os
import pickle
import subprocess
import zipfile

import pytest
import torch
from conftest import BUILD, run_derope, run_tool
from reference import tiny

TYPES = {
    "f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "i64": torch.int64,
    "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8, "bool": torch.bool,
    "u16": torch.uint16, "u32": torch.uint32, "u64": torch.uint64, "c64": torch.complex64,
    "f8_e4m3": torch.float8_e4m3fn, "f8_e5m2": torch.float8_e5m2, "f8_e8m0": torch.float8_e8m0fnu,
    "f8_e4m3fnuz": torch.float8_e4m3fnuz, "f8_e5m2fnuz": torch.float8_e5m2fnuz,
}


def raw(t):
    return t.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def same(path, expected):
    ours = json.loads(run_tool("container", "dump", path))["tensors"]
    assert [t["name"] for t in ours] == list(expected)
    for t in ours:
        other = expected[t["name"]]
        assert TYPES[t["dtype"]] is other.dtype and tuple(t["shape"]) == tuple(other.shape), t["name"]
        assert bytes.fromhex(t["bytes"]) == raw(other), t["name"]


def refusal(path):
    p = subprocess.run([BUILD / "tests" / "tool_container", "dump", path], capture_output=True, text=True)
    assert p.returncode == 3 and p.stdout == "" and p.stderr.startswith(f"{path}: "), (p.returncode, p.stderr)
    return p.stderr


def state_dict():
    g = torch.Generator().manual_seed(5)
    made = collections.OrderedDict()
    for name, dtype in TYPES.items():
        size = torch.tensor([], dtype=dtype).element_size()
        octets = torch.randint(0, 2 if dtype is torch.bool else 256, (24 * size,), generator=g, dtype=torch.uint8)
        made[f"t.{name}"] = octets.view(dtype).reshape(2, 3, 4)
    w = torch.randn(6, 10, generator=g)
    made |= {
        "tied.a": w, "tied.b": w, "transposed": w.t(), "slice": w[2:4], "columns": w[:, 3:7], "steps": w[1::2, ::3],
        "moved": w.reshape(2, 3, 10).permute(2, 0, 1), "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4),
        "expanded": w[:1].expand(3, 10), "parameter": torch.nn.Parameter(torch.randn(3, 5, generator=g)), "naïve ✓": torch.arange(5),
        "bf16.t": torch.randn(4, 6, generator=g).bfloat16().t(), "f8.t": w.to(torch.float8_e4m3fn).t(),
        "one": torch.randn(4, 1, 5, generator=g)[:, :, :1], "large": torch.arange(70000),
    }
    return made


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_type_and_layout(tmp_path, protocol):
    torch.save(state_dict(), tmp_path / "pytorch_model.bin", pickle_protocol=protocol)
    same(tmp_path / "pytorch_model.bin", state_dict())


def test_modules_and_nesting(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    plain = model.state_dict()
    for name, saved in {
        "plain": plain,
        "model": {"model": plain},
        "training": {"state_dict": plain, "optimizer": optimizer.state_dict(), "epoch": 3, "lr": 1e-4, "big": 1 << 40,
                     "dtype": torch.float32, "device": torch.device("cpu"), "shape": torch.Size([2, 3]), "none": None},
    }.items():
        torch.save(saved, tmp_path / f"{name}.pt")
        same(tmp_path / f"{name}.pt", plain)


def test_a_whole_model(tmp_path):
    """A folder with pytorch_model.bin converts to the very tensors of the model."""
    model = tiny("llama")
    model.save_pretrained(tmp_path / "in", safe_serialization=False, max_shard_size="100KB")
    assert len(list((tmp_path / "in").glob("pytorch_model-*.bin"))) > 1
    run_derope("convert", tmp_path / "in", tmp_path / "out")
    from safetensors.torch import load_file
    written, expected = load_file(tmp_path / "out" / "model.safetensors"), model.state_dict()
    assert sorted(written) == sorted(expected)
    assert all(torch.equal(written[k], expected[k]) for k in expected)
    told = json.loads(run_derope("inspect", tmp_path / "in", "--json").stdout)
    assert told["format"] == "torch" and told["family"] == "llama"


def test_deflated_and_without_checksums(tmp_path):
    made = state_dict()
    torch.save(made, tmp_path / "x.bin")
    with zipfile.ZipFile(tmp_path / "x.bin") as z, zipfile.ZipFile(tmp_path / "y.bin", "w", zipfile.ZIP_DEFLATED) as y:
        for item in z.infolist():
            y.writestr(item.filename, z.read(item))
    same(tmp_path / "y.bin", made)
    with zipfile.ZipFile(tmp_path / "x.bin") as z, zipfile.ZipFile(tmp_path / "s.bin", "w") as s:  # not aligned
        for item in z.infolist():
            s.writestr(item.filename, z.read(item))
    same(tmp_path / "s.bin", made)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(made, tmp_path / "z.bin")
    finally:
        torch.serialization.set_crc32_options(True)
    same(tmp_path / "z.bin", made)


class Exploit:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


def test_a_pickle_that_runs_commands_does_not(tmp_path):
    torch.save({"w": torch.zeros(2), "x": Exploit(tmp_path / "owned")}, tmp_path / "evil.bin")
    said = refusal(tmp_path / "evil.bin")
    assert "data.pkl: offset " in said and "imports 'posix.system', which no state dict needs; refused" in said
    assert not (tmp_path / "owned").exists()
    torch.load(tmp_path / "evil.bin", weights_only=False)  # the exploit is a working one
    assert (tmp_path / "owned").exists()


def test_what_is_no_state_dict(tmp_path):
    module = torch.nn.Linear(2, 2)
    w = torch.randn(2, 2)
    for saved, says in [
        (module, "torch.nn.modules.linear.Linear': a whole module, not its state dict; save model.state_dict()"),
        (w, "holds a tensor, not a state dict"),
        ([w, w], "holds a list, not a state dict"),
        ({"q": torch.quantize_per_tensor(w, 0.1, 0, torch.qint8)}, "a quantized torch tensor"),
        ({"s": torch.eye(2).to_sparse()}, "a sparse tensor"),
        ({"m": torch.zeros(2, device="meta")}, "a tensor on the meta device"),
        ({"c": torch.zeros(2, dtype=torch.complex64).conj()}, "a conjugated or negated view"),
        ({"c": torch.zeros(2, dtype=torch.complex128)}, "imports 'torch.ComplexDoubleStorage'"),
        ({"e": torch.zeros(1).expand(1000)}, "expanded to 1000 elements from the 4 bytes of storage '0'"),
        ({"optimizer": torch.optim.AdamW(module.parameters()).state_dict()}, "neither its dict nor an entry"),
        ({"model": {"w": w}, "ema": {"w": w}}, "both its entry 'model' and its entry 'ema' hold tensors"),
    ]:
        torch.save(saved, tmp_path / "x.pt")
        assert says in refusal(tmp_path / "x.pt")
    torch.jit.script(module).save(tmp_path / "script.pt")
    assert "a TorchScript program" in refusal(tmp_path / "script.pt")
    torch.save({"w": w}, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    assert "a bare pickle (PyTorch's format before 1.6), which is not supported; load it" in refusal(tmp_path / "old.bin")
    (tmp_path / "raw.pkl").write_bytes(pickle.dumps({"w": 1}))
    assert "a bare pickle" in refusal(tmp_path / "raw.pkl")
