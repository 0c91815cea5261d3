"""Containers against the safetensors, gguf and transformers packages: what they write we read, byte for byte, and
what we write they load, with the same bytes."""

import json

import gguf
import numpy as np
import pytest
import torch
from conftest import run_derope, run_tool
from safetensors import safe_open
from safetensors.torch import load_file, save_file

TYPES = {
    "f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "i64": torch.int64,
    "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8, "bool": torch.bool,
    "u16": torch.uint16, "u32": torch.uint32, "u64": torch.uint64,
    "f8_e4m3": torch.float8_e4m3fn, "f8_e5m2": torch.float8_e5m2,
}


def dump(path):
    return json.loads(run_tool("container", "dump", path))


def raw(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def tensors_of_every_type():
    g = torch.Generator().manual_seed(3)
    made = {}
    for i, (name, dtype) in enumerate(TYPES.items()):
        shape = (3, 1 + i % 5, 7)
        if dtype is torch.bool:
            made[f"t.{name}"] = torch.randint(0, 2, shape, generator=g).bool()
        else:
            size = int(np.prod(shape)) * torch.tensor([], dtype=dtype).element_size()
            made[f"t.{name}"] = torch.randint(0, 256, (size,), generator=g, dtype=torch.uint8).view(dtype).reshape(shape)
    return made | {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4), "naïve ✓": torch.arange(5)}


def same_tensors(ours, theirs):
    assert sorted(t["name"] for t in ours) == sorted(theirs)
    for t in ours:
        other = theirs[t["name"]]
        assert tuple(t["shape"]) == tuple(other.shape), t["name"]
        assert bytes.fromhex(t["bytes"]) == raw(other), t["name"]


def test_safetensors_read(tmp_path):
    made = tensors_of_every_type()
    save_file(made, tmp_path / "x.safetensors", metadata={"format": "pt", "note": 'é "quoted" \n'})
    ours = dump(tmp_path / "x.safetensors")
    same_tensors(ours["tensors"], made)
    assert ours["metadata"] == {"format": "pt", "note": 'é "quoted" \n'}
    types = {t["name"]: t["dtype"] for t in ours["tensors"]}
    assert all(types[f"t.{name}"] == name for name in TYPES)


@pytest.mark.parametrize("shard", [0, 400])
def test_safetensors_written(tmp_path, shard):
    made = tensors_of_every_type()
    save_file(made, tmp_path / "x.safetensors", metadata={"note": "kept"})
    run_tool("container", "copy", tmp_path / "x.safetensors", tmp_path / "out", str(shard))
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    assert (len(files) > 2) == bool(shard)
    loaded = {}
    for f in files:
        with safe_open(f, "pt") as s:
            assert s.metadata() == {"note": "kept", "format": "pt"}
        loaded |= load_file(f)
    assert sorted(loaded) == sorted(made)
    for name, t in made.items():
        assert loaded[name].dtype == t.dtype and loaded[name].shape == t.shape and raw(loaded[name]) == raw(t), name


def test_data_equals_what_safetensors_writes(tmp_path):
    """Read from their file and written by us, the data section is theirs to the byte."""
    save_file(tensors_of_every_type(), tmp_path / "x.safetensors")
    run_tool("container", "copy", tmp_path / "x.safetensors", tmp_path / "out")
    theirs, ours = (tmp_path / "x.safetensors").read_bytes(), (tmp_path / "out" / "model.safetensors").read_bytes()
    assert ours[8 + int.from_bytes(ours[:8], "little"):] == theirs[8 + int.from_bytes(theirs[:8], "little"):]


def test_misaligned_order_loads(tmp_path):
    """bytes before wide types, as a PyTorch checkpoint may have them: torch must be able to view what we write."""
    header = {"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}, "b": {"dtype": "F64", "shape": [2], "data_offsets": [3, 19]}}
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(range(19)))
    run_tool("container", "copy", tmp_path / "x.safetensors", tmp_path / "out")
    loaded = load_file(tmp_path / "out" / "model.safetensors")
    assert raw(loaded["a"]) == bytes(range(3)) and raw(loaded["b"]) == bytes(range(3, 19))


def test_shards_as_transformers_writes_and_reads_them(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=96)
    model = LlamaForCausalLM(config)
    model.save_pretrained(tmp_path / "in", max_shard_size="12KB")
    same_tensors(dump(tmp_path / "in")["tensors"], model.state_dict())
    run_tool("container", "copy", tmp_path / "in", tmp_path / "out", "12000")
    theirs, ours = (json.loads((tmp_path / d / "model.safetensors.index.json").read_text()) for d in ("in", "out"))
    assert list(ours["weight_map"]) == list(theirs["weight_map"])
    assert ours["metadata"]["total_size"] == theirs["metadata"]["total_size"]
    assert all(f.stat().st_size < 14000 for f in (tmp_path / "out").glob("*.safetensors"))
    assert (tmp_path / "out" / "config.json").read_bytes() == (tmp_path / "in" / "config.json").read_bytes()
    again = LlamaForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(again[k], v) for k, v in model.state_dict().items())


def gguf_file(path, alignment=None, **split):
    w = gguf.GGUFWriter(path, "llama", **split)
    if alignment:
        w.add_custom_alignment(alignment)
    w.add_uint8("k.u8", 200), w.add_int8("k.i8", -3), w.add_uint16("k.u16", 60000), w.add_int16("k.i16", -300)
    w.add_uint32("k.u32", 4_000_000_000), w.add_int32("k.i32", -70000), w.add_uint64("k.u64", 2**63 + 1), w.add_int64("k.i64", -(2**62))
    w.add_float32("k.f32", 0.1), w.add_float64("k.f64", 0.1), w.add_bool("k.bool", True), w.add_string("k.string", "naïve ✓")
    w.add_array("k.strings", ["one", "two", "drei ✓"]), w.add_array("k.bools", [True, False]), w.add_array("k.ints", [-1, 2, 3]), w.add_array("k.floats", [0.5, 1.5])
    rng = np.random.default_rng(5)
    w.add_tensor("plain", rng.standard_normal((3, 5)).astype(np.float32))
    w.add_tensor("half", rng.standard_normal((2, 3, 7)).astype(np.float16))
    for kind in (gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q6_K, gguf.GGMLQuantizationType.IQ2_XXS):
        _, size = gguf.GGML_QUANT_SIZES[kind]
        w.add_tensor(kind.name, rng.integers(0, 256, (4, 2 * size), dtype=np.uint8), raw_dtype=kind)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file()
    w.close()


def field_bytes(field):
    """The value's bytes as they stand in the file: after the key, its type and, for an array, elements and count."""
    parts = field.parts[3:] if field.types[0] != gguf.GGUFValueType.ARRAY else field.parts[5:]
    return b"".join(p[1].tobytes() if isinstance(p, tuple) else p.tobytes() for p in parts)


def same_gguf(ours, path):
    reader = gguf.GGUFReader(path)
    fields = [f for f in reader.fields.values() if not f.name.startswith("GGUF.")]
    assert [m["key"] for m in ours["meta"]] == [f.name for f in fields]
    for m, f in zip(ours["meta"], fields):
        assert m["type"] == f.types[0] and bytes.fromhex(m["bytes"]) == field_bytes(f), f.name
        if f.types[0] == gguf.GGUFValueType.ARRAY:
            assert m["elem"] == f.types[1] and m["count"] == len(f.data), f.name
    assert [t["name"] for t in ours["tensors"]] == [t.name for t in reader.tensors]
    for t, other in zip(ours["tensors"], reader.tensors):
        assert t["dtype"] == other.tensor_type.name.lower()
        assert t["shape"][::-1] == [int(n) for n in other.shape]
        assert bytes.fromhex(t["bytes"]) == other.data.tobytes(), t["name"]


@pytest.mark.parametrize("alignment", [None, 64, 256])
def test_gguf(tmp_path, alignment):
    gguf_file(tmp_path / "x.gguf", alignment)
    same_gguf(dump(tmp_path / "x.gguf"), tmp_path / "x.gguf")
    run_tool("container", "copy", tmp_path / "x.gguf", tmp_path / "out.gguf")
    assert (tmp_path / "out.gguf").read_bytes() == (tmp_path / "x.gguf").read_bytes()


def test_split_gguf(tmp_path):
    """The parts that the gguf package writes, read as the one file it writes otherwise."""
    gguf_file(tmp_path / "whole.gguf")
    gguf_file(tmp_path / "x.gguf", split_max_tensors=2)
    parts = sorted(tmp_path.glob("x-*.gguf"))
    assert [p.name for p in parts] == [f"x-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    assert {k: v for k, v in dump(parts[0]).items() if k != "path"} == {k: v for k, v in dump(tmp_path / "whole.gguf").items() if k != "path"}
    p = run_derope("inspect", parts[1], ok=False)
    assert p.returncode == 3 and "one of 3 parts of a split GGUF; give the path of the first one, NAME-00001-of-00003.gguf" in p.stderr
    parts[2].write_bytes(parts[1].read_bytes())
    p = run_derope("inspect", parts[0], ok=False)
    assert p.returncode == 3 and "x-00003-of-00003.gguf: expected part 3 of 3 of a split GGUF, found part 2 of 3" in p.stderr
    parts[2].unlink()
    p = run_derope("inspect", parts[0], ok=False)
    assert p.returncode == 3 and "x-00003-of-00003.gguf: No such file" in p.stderr


def test_smollm2_copied(smollm2, tmp_path):
    run_tool("container", "copy", smollm2, tmp_path / "out.gguf")
    assert (tmp_path / "out.gguf").read_bytes() == smollm2.read_bytes()


def test_smollm2_keys_by_way_of_hf(smollm2, tmp_path):
    """Every key of a published GGUF comes back from a folder with its type and value, but the type of its weights."""
    run_derope("convert", smollm2, tmp_path / "hf", "--dtype", "bf16")
    run_derope("convert", tmp_path / "hf", tmp_path / "back.gguf")
    before, after = gguf.GGUFReader(smollm2).fields, gguf.GGUFReader(tmp_path / "back.gguf").fields
    counts = {"GGUF.version", "GGUF.tensor_count", "GGUF.kv_count", "general.file_type"}
    assert before.keys() <= after.keys()
    for key in before.keys() - counts:
        assert before[key].types == after[key].types, key
        assert before[key].contents() == after[key].contents(), key


def tiny_llama(folder):
    from reference import byte_tokenizer, tiny

    tiny("llama").save_pretrained(folder)
    byte_tokenizer(folder)


def test_zip_written(tmp_path):
    """Python's zipfile finds every entry whole and stored; unpacked, transformers loads it."""
    import zipfile

    from transformers import LlamaForCausalLM

    tiny_llama(tmp_path / "in")
    run_derope("convert", tmp_path / "in", tmp_path / "out.zip", "--max-shard-size", "100000")
    with zipfile.ZipFile(tmp_path / "out.zip") as z:
        assert z.testzip() is None
        assert {i.compress_type for i in z.infolist()} == {zipfile.ZIP_STORED}
        assert len([n for n in z.namelist() if n.endswith(".safetensors")]) > 1
        z.extractall(tmp_path / "out")
    theirs, ours = (LlamaForCausalLM.from_pretrained(tmp_path / d).state_dict() for d in ("in", "out"))
    assert all(torch.equal(ours[k], v) for k, v in theirs.items())
    run_derope("verify", tmp_path / "out")


@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("prefix", ["", "tiny-llama/"])
def test_zip_read(tmp_path, prefix, zip64):
    """A folder that Python packed, its JSON deflated; headers of 64 bits as those of files beyond 4 GB have."""
    import zipfile

    tiny_llama(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as z:
        for f in sorted((tmp_path / "in").iterdir()):
            info = zipfile.ZipInfo(prefix + f.name)
            info.compress_type = zipfile.ZIP_STORED if f.suffix == ".safetensors" else zipfile.ZIP_DEFLATED
            with z.open(info, "w", force_zip64=zip64) as entry:
                entry.write(f.read_bytes())
    same_tensors(dump(tmp_path / "in.zip")["tensors"], load_file(tmp_path / "in" / "model.safetensors"))
    run_derope("convert", tmp_path / "in.zip", tmp_path / "a.gguf")
    run_derope("convert", tmp_path / "in", tmp_path / "b.gguf")
    assert run_derope("diff", tmp_path / "a.gguf", tmp_path / "b.gguf").returncode == 0


def test_zip_of_pytorch_weights(tmp_path):
    """A zip of torch.save's in the zip of the folder."""
    import zipfile

    tiny_llama(tmp_path / "in")
    state = load_file(tmp_path / "in" / "model.safetensors")
    torch.save(state, tmp_path / "pytorch_model.bin")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as z:
        z.write(tmp_path / "in" / "config.json", "m/config.json")
        z.write(tmp_path / "pytorch_model.bin", "m/pytorch_model.bin")
    same_tensors(dump(tmp_path / "in.zip")["tensors"], state)


def test_zip_of_deflated_weights(tmp_path):
    import shutil

    tiny_llama(tmp_path / "in")
    shutil.make_archive(str(tmp_path / "in"), "zip", tmp_path / "in")
    p = run_derope("inspect", tmp_path / "in.zip", ok=False)
    assert p.returncode == 3
    assert "in.zip: model.safetensors: compressed; weights are read in place and have to be stored (zip -0)" in p.stderr
