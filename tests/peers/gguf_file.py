"""GGUF files written again by the gguf package."""

import gguf


def quantized(t, kind):
    """A tensor's (data, type) as values of a quantised type."""
    return gguf.quants.quantize(t.data.astype("float32"), kind), kind


def without_our_keys(path, out, change=lambda t: None):
    """The same GGUF as if somebody else had written it; `change` may give a tensor's (data, type) anew."""
    r = gguf.GGUFReader(path)
    w = gguf.GGUFWriter(out, r.fields["general.architecture"].contents())
    for f in r.fields.values():
        if f.name.startswith(("derope.", "GGUF.")) or f.name == "general.architecture":
            continue
        w.add_key_value(f.name, f.contents(), f.types[0], f.types[-1] if f.types[0] == gguf.GGUFValueType.ARRAY else None)
    for t in r.tensors:
        data, kind = change(t) or (t.data, t.tensor_type)
        w.add_tensor(t.name, data, raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return out
