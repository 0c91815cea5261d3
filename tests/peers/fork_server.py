"""Runs Python sources one after another in forked children of a process that has torch and transformers loaded already.

Importing the two costs four to six seconds of processor time, a comparison often less than one. conftest.run_tf5 starts one server
for each pytest worker, with transformers 5 first on PYTHONPATH, and sends it one line of JSON for each script:
{"script": source, "args": [...], "stdout": path, "stderr": path}. It answers with one line, the exit status. Each script runs in a
child of its own, so that nothing it changes or leaves behind reaches the next one.
"""

import json
import os
import sys
import traceback

import torch  # noqa: F401: loaded before the fork, as the classes below
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel  # noqa: F401


def run_child(request):
    """The body of a child: its output goes to the files that the request names."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, descriptor)
    sys.argv = ["-c", *request["args"]]
    status = 0
    try:
        exec(compile(request["script"], "<script>", "exec"), {"__name__": "__main__"})
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main():
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run_child(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
