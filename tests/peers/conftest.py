"""What the comparisons with other people's programs share.

Every test here holds our output against something nobody here wrote: transformers, torch, safetensors,
tokenizers, gguf, llama.cpp. `make check-peers` runs them; a test whose data is missing skips by name.

  DEROPE          the binary                          (build/derope)
  PEERS           folder with venv/ and tf5/          (.peers)
  DEROPE_SHARED   books and small models              (../shared)
  DEROPE_SMOLLM2  SmolLM2-135M as GGUF                (.peers/smollm2.gguf)
"""

import atexit
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import matrix
import pytest

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(os.environ.get("PEERS", ROOT / ".peers")).resolve()
BUILD = Path(os.environ.get("DEROPE", ROOT / "build" / "derope")).resolve().parent


def run_derope(*args, ok=True, **kw):
    """Runs the binary; returns the completed process, failing the test if `ok` and it did not exit with 0."""
    p = subprocess.run([BUILD / "derope", *map(str, args)], capture_output=True, text=True, **kw)
    if ok:
        assert p.returncode == 0, f"derope {' '.join(map(str, args))}: exit {p.returncode}\n{p.stderr}"
    return p


def run_tool(name, *args, **kw):
    """Runs a helper program built from tests/tool_NAME.c."""
    p = subprocess.run([BUILD / "tests" / f"tool_{name}", *map(str, args)], capture_output=True, **kw)
    assert p.returncode == 0, f"tool_{name}: exit {p.returncode}\n{p.stderr.decode()}"
    return p.stdout


@functools.lru_cache(maxsize=1)
def tf5_server():
    """The process of this pytest worker in which transformers 5 is loaded. It ends when its standard input does."""
    env = dict(os.environ, PYTHONPATH=str(PEERS / "tf5"))
    server = subprocess.Popen([sys.executable, Path(__file__).with_name("fork_server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True, env=env)
    atexit.register(server.communicate)
    return server


def run_tf5(script, *args):
    """Runs Python source under transformers 5; it prints one JSON value, which is returned."""
    server = tf5_server()
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        request = {"script": script, "args": list(map(str, args)), "stdout": str(out), "stderr": str(err)}
        print(json.dumps(request), file=server.stdin, flush=True)
        status = server.stdout.readline().strip()
        assert status == "0", f"exit {status or 'of the server'}: {err.read_text()[-4000:] if err.exists() else ''}"
        return json.loads(out.read_text().strip().splitlines()[-1])


def machine():
    """One line about what the numbers of a run were measured on."""
    with open("/proc/cpuinfo") as f:
        info = f.read()
    name = re.search(r"model name\s*: (.*)", info)
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if re.search(rf"\b{flag}\b", info)]
    return f"{name[1] if name else 'unknown CPU'}, {os.cpu_count()} cores, {' '.join(wide)}"


def pytest_configure(config):
    if os.environ.get("DEROPE_MATRIX"):  # `make families`
        config.pluginmanager.register(matrix.Matrix(os.environ["DEROPE_MATRIX"]))


@pytest.fixture(scope="session")
def record():
    """record(name, figures) of a long test: kept in long-results.json, beside those of earlier runs."""
    path = ROOT / "tests" / "peers" / "long-results.json"
    results = json.loads(path.read_text()) if path.is_file() else {}

    def keep(name, figures):
        results[name] = {"machine": machine(), **figures}
        path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")

    return keep


@pytest.fixture(scope="session")
def shared():
    path = Path(os.environ.get("DEROPE_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"no shared data at {path} (set DEROPE_SHARED)")
    return path


@pytest.fixture(scope="session")
def smollm2():
    path = Path(os.environ.get("DEROPE_SMOLLM2", PEERS / "smollm2.gguf"))
    if not path.is_file():
        pytest.skip(f"no SmolLM2-135M GGUF at {path} (make peers, or set DEROPE_SMOLLM2)")
    return path


@pytest.fixture(scope="session")
def tf5():
    if not (PEERS / "tf5" / "transformers").is_dir():
        pytest.skip(f"no transformers 5 at {PEERS / 'tf5'} (make peers)")
    return run_tf5
