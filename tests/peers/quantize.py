"""llama-quantize itself: llama.cpp's src/llama-quant.cpp compiled against the library that xllamacpp brings, which has
everything else but not this file. Both are of October 2026; the sizes of the structs are checked before use."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import PEERS


class Imatrix(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


class Params(ctypes.Structure):
    """llama_model_quantize_params of include/llama.h."""

    _fields_ = [("nthread", ctypes.c_int32), ("ftype", ctypes.c_int), ("output_tensor_type", ctypes.c_int),
                ("token_embedding_type", ctypes.c_int), ("allow_requantize", ctypes.c_bool),
                ("quantize_output_tensor", ctypes.c_bool), ("only_copy", ctypes.c_bool), ("pure", ctypes.c_bool),
                ("keep_split", ctypes.c_bool), ("dry_run", ctypes.c_bool), ("imatrix", ctypes.POINTER(Imatrix)),
                ("kv_overrides", ctypes.c_void_p), ("tt_overrides", ctypes.c_void_p), ("prune_layers", ctypes.c_void_p),
                ("max_buf_size", ctypes.c_size_t)]


# llama.h, enum llama_ftype
FILE_TYPES = {"q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q2_k": 10, "q3_k_s": 11, "q3_k_m": 12, "q3_k_l": 13,
              "q4_k_s": 14, "q4_k_m": 15, "q5_k_s": 16, "q5_k_m": 17, "q6_k": 18, "q2_k_s": 21, "iq4_nl": 25, "iq4_xs": 30,
              "q3_k": 12, "q4_k": 15, "q5_k": 17}  # the last three are aliases in tools/quantize/quantize.cpp


def compiled():
    """The compiled file in the folder of peers; a test that needs it is skipped by name where it cannot be made."""
    source, library = PEERS / "llama.cpp", PEERS / "llama-quant.so"
    code = source / "src" / "llama-quant.cpp"
    if not code.is_file():
        pytest.skip(f"no llama.cpp at {source} (.ci/llama {PEERS} source)")
    if not library.is_file() or library.stat().st_mtime < code.stat().st_mtime:
        if not shutil.which("g++"):
            pytest.skip("no g++ to compile llama-quant.cpp with")
        folders = ["include", "src", "ggml/include", "ggml/src"]
        made = library.with_suffix(".new")
        # the old ABI of std::string is that of the wheel
        subprocess.run(["g++", "-shared", "-fPIC", "-O1", "-std=c++17", "-D_GLIBCXX_USE_CXX11_ABI=0",
                        *(f"-I{source / f}" for f in folders), code, "-o", made], check=True)
        made.rename(library)
    return library


def quantizer():
    """quantize(source, out, name, imatrix): what `llama-quantize source out name` writes; `imatrix` is {tensor: values}."""
    library = compiled()
    import xllamacpp

    # its symbols have to be there before the file that uses them
    whole = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("*.so"))), mode=ctypes.RTLD_GLOBAL)
    quant = ctypes.CDLL(str(library))
    quant.llama_model_quantize_default_params.restype = Params
    quant.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Params)]
    log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    silent = log(lambda level, text, data: None)
    whole.llama_log_set(silent, None)
    whole.llama_backend_init()

    def quantize(source, out, name, imatrix=None, pure=False):
        p = quant.llama_model_quantize_default_params()
        assert p.quantize_output_tensor and not p.imatrix and not p.prune_layers  # the struct is the one above
        p.ftype, p.nthread, p.allow_requantize, p.pure = FILE_TYPES[name], 1, True, pure
        if imatrix:
            keep = [(ctypes.c_float * len(v))(*v) for v in imatrix.values()]
            entries = (Imatrix * (len(imatrix) + 1))()
            for e, n, v in zip(entries, imatrix, keep):
                e.name, e.data, e.size = n.encode(), v, len(v)
            p.imatrix = entries
        assert quant.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(p)) == 0, f"{name} of {source}"
        return out
    quantize.silent = silent  # the library keeps the callback
    return quantize
