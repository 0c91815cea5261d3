"""Seconds to convert, side by side: a 2 GB sharded checkpoint with RoPE dropped beside `cp -r`, and SmolLM2-135M from
fp32 safetensors to a bf16 GGUF beside llama.cpp's convert_hf_to_gguf.py. Every time includes a sync.

  python tests/peers/bench_convert.py [REPEATS]
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from conftest import BUILD, PEERS, run_derope
from side_by_side import heading, row, turns
from test_frugal import make_checkpoint


def seconds(command, out, env=None):
    """Time of a command and a sync; `out` is removed before, so that writing always starts from nothing."""
    if out.is_dir():
        shutil.rmtree(out)
    out.unlink(missing_ok=True)
    os.sync()
    start = time.monotonic()
    subprocess.run([str(c) for c in command], check=True, capture_output=True, env=env)
    os.sync()
    return time.monotonic() - start


def main():
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    derope = [BUILD / "derope", "--quiet", "convert"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        big, copy, out = folder / "in", folder / "copy", folder / "out"
        size = make_checkpoint(big)
        heading(f"convert --drop-rope of {size / 1e9:.2f} GB in shards", "cp -r", "seconds")
        row("", *turns(repeats, lambda: seconds([*derope, big, out, "--drop-rope"], out), lambda: seconds(["cp", "-r", big, copy], copy)), digits=2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        smollm2, ours, theirs = folder / "hf", folder / "ours.gguf", folder / "theirs.gguf"
        run_derope("convert", os.environ.get("DEROPE_SMOLLM2", PEERS / "smollm2.gguf"), smollm2, "--dtype", "f32")
        script = PEERS / "llama.cpp" / "convert_hf_to_gguf.py"
        env = dict(os.environ, PYTHONPATH=str(script.parent / "gguf-py"))
        heading("SmolLM2-135M, fp32 safetensors to bf16 GGUF", "convert_hf_to_gguf.py", "seconds")
        row("", *turns(repeats, lambda: seconds([*derope, smollm2, ours, "--dtype", "bf16"], ours),
                       lambda: seconds([sys.executable, script, smollm2, "--outfile", theirs, "--outtype", "bf16"], theirs, env)), digits=2)


if __name__ == "__main__":
    main()
