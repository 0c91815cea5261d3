"""llama.cpp, by xllamacpp: log-probabilities of the token after a prompt, and ggml's quantiser."""

import ctypes
from pathlib import Path

import torch


class Llama:
    def __init__(self, path, n_ctx=512):
        import xllamacpp

        p = xllamacpp.CommonParams()
        p.model.path = str(path)
        p.n_ctx, p.n_batch, p.n_ubatch, p.n_parallel = n_ctx, n_ctx, n_ctx, 1
        p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 2
        p.cache_type_k = p.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        p.warmup = False
        p.verbosity = -1
        p.no_perf = True
        self.server = xllamacpp.Server(p)

    def top(self, ids, n=20):
        """{token: log-probability} of the n likeliest next tokens."""
        # probabilities are those before sampling; the bias makes it sample a token that is whole text, since it
        # reports none for half a character
        r = self.server.handle_completions({"prompt": ids, "n_predict": 1, "n_probs": n, "temperature": 0,
                                            "cache_prompt": False, "logit_bias": [[40, 100.0]]})
        if r.get("code", 200) != 200 or "error" in r:
            raise RuntimeError(str(r)[:500])
        first = (r.get("completion_probabilities") or r["choices"][0]["logprobs"]["content"])[0]
        return {t["id"]: t["logprob"] for t in first["top_logprobs"]}


def differences(path, expected, ids, lengths):
    """|ours - llama.cpp's| of its likeliest next tokens' log-probabilities, per length."""
    llama, out = Llama(path), []
    for n in lengths:
        ours = torch.log_softmax(expected[n - 1].double(), -1)
        theirs = llama.top(ids[:n])
        assert len(theirs) >= 10
        out.append(sorted(abs(ours[t].item() - p) for t, p in theirs.items()))
    return out


def compare_llama(path, expected, ids, tolerance, lengths):
    worst = max(d[-1] for d in differences(path, expected, ids, lengths))
    assert worst < tolerance, f"log-probabilities differ by {worst}"


def quantizer():
    """quantize(rows, type): the bytes that llama-quantize writes where no importance matrix is given."""
    import xllamacpp
    from gguf.constants import GGML_QUANT_SIZES

    lib = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("*.so"))))
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]

    def quantize(x, qtype):
        elems, size = GGML_QUANT_SIZES[qtype]
        out = ctypes.create_string_buffer(x.size // elems * size)
        assert lib.ggml_quantize_chunk(qtype.value, x.ctypes.data, out, 0, x.shape[0], x.shape[1], None) == len(out)
        return out.raw
    return quantize
