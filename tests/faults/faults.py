#!/usr/bin/env python3
"""Makes calls of the system fail, one after the other, under every verb, and looks at what derope does.

Every case of cases.py is one command line of derope on tiny models. It is first run undisturbed, which gives its outputs and
the number of calls of each kind (inject.c counts them and makes them fail). It is then run once for every call and
every error of that kind, and must each time do one of two things:
  * succeed, with the outputs and the standard output that the undisturbed run had;
  * fail with a message that says why ("out of memory" for memory, the text of the errno otherwise), and leave no
    temporary file, no half-written output, and what was there before.
It may never crash, hang, change its inputs, or succeed with other bytes. After that, `run` is killed at random moments
and run again, which must give the outputs of a run that was not killed.

usage: tests/faults/faults.py BUILD [--sample] [--kills N] [--case NAME]... [--call NAME]... [--at N] [--error NAME]

BUILD holds the binary and tests/faults/inject.so. --sample takes a fixed part that fits into CI. With --case, --call,
--at and --error one injection is repeated, and what derope says is printed with the place that the call came from.
Only the standard library of Python is needed."""
import argparse
import collections
import errno
import hashlib
import itertools
import multiprocessing
import os
import pathlib
import random
import re
import shutil
import signal
import sys
import tempfile
import time

import models
from cases import ERRORS, LONGER, MEMORY, cases

TEMPORARY = re.compile(r"\.(tmp|old)-\d+")

# What differs between two undisturbed runs of the same command: durations, dates, and how much memory the machine has.
VARIABLE = re.compile(rb'"(seconds\w*|date|tokens_per_second|memory\w*)": *("[^"]*"|[-+.\deE]+)|[\d.]+ (ms|s|tokens/s)\b')
# Entries of out/ that an error may leave: what the next run continues from.
STATES = re.compile(r"\.(work|state|derope-state)$")

class Result(collections.namedtuple("Result", "status said told tree")):
    """What a run of derope did: exit status (negative: the signal that ended it), standard output and error, and the
    files of out/."""


def snapshot(folder):
    """{path: hash of content} of all files under a folder; folders themselves have the value "folder"."""
    tree = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            tree[name] = "folder"
        else:
            content = path.read_bytes()
            tree[name] = hashlib.sha1(VARIABLE.sub(b"", content)).hexdigest()
    return tree


def entries(tree):
    """A snapshot by entry of out/: {first part of the path: {path: hash}}."""
    groups = collections.defaultdict(dict)
    for path, content in tree.items():
        groups[path.split("/")[0]][path] = content
    return groups


def stamps(folder):
    """What changes when somebody writes to a folder."""
    return {str(p): (s.st_size, s.st_mtime_ns, s.st_ino) for p in sorted(folder.rglob("*")) for s in [p.lstat()]}


class Place:
    """The folder of one worker process, which is its current folder: in/ with the models, out/ for outputs."""

    def __init__(self, build):
        self.build, self.out = build, pathlib.Path("out")
        # The same kernels everywhere, and no threads that OpenBLAS starts before main().
        self.environment = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "1", "HOME": os.getcwd()}
        models.make(pathlib.Path("in"), self.make)
        self.inputs = stamps(pathlib.Path("in"))

    def make(self, arguments):
        """Runs derope in in/, for the models that it converts."""
        os.chdir("in")
        process = self.spawn(arguments)
        os.chdir("..")
        if os.waitpid(process, 0)[1]:
            sys.exit(f"derope {arguments}: " + pathlib.Path("in/stderr").read_text())
        for name in ("stdout", "stderr"):
            os.unlink("in/" + name)

    def fresh(self):
        """An empty out/."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()

    def spawn(self, command, **fault):
        """Starts derope and returns its process."""
        environment = dict(self.environment)
        if fault:
            environment["LD_PRELOAD"] = str(self.build / "tests/faults/inject.so")
            environment.update({f"FAULT_{k.upper()}": str(v) for k, v in fault.items()})
        create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        return os.posix_spawn(self.build / "derope", ["derope"] + command.split(), environment,
                              file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                                            (os.POSIX_SPAWN_OPEN, 1, "stdout", create, 0o666),
                                            (os.POSIX_SPAWN_OPEN, 2, "stderr", create, 0o666)],
                              setsigdef=[signal.SIGINT, signal.SIGPIPE, signal.SIGTERM])

    def result(self, process):
        """Waits for the process."""
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        return Result(status, VARIABLE.sub(b"", pathlib.Path("stdout").read_bytes()),
                      pathlib.Path("stderr").read_text(errors="replace"), snapshot(self.out))

    def run(self, command, **fault):
        return self.result(self.spawn(command, **fault))

    def prepare(self, case):
        """The state in which the command is run. Returns the files of out/."""
        self.fresh()
        if case.before and self.run(case.before).status:
            raise RuntimeError(f"{case.name}: 'derope {case.before}' fails")
        return snapshot(self.out)




class Reference(collections.namedtuple("Reference", "before result counts")):
    """What a case does undisturbed: the files of out/ beforehand, what the run did, and the number of calls of each
    kind."""


def reference(place, case):
    """Runs a case twice undisturbed, which must give the same."""
    before = place.prepare(case)
    result = place.run(case.command)
    place.prepare(case)
    counted = place.run(case.command, counts="counts")
    if result.status:
        sys.exit(f"{case.name}: 'derope {case.command}' fails undisturbed: {result.told}")
    if (result.said, comparable(result.tree)) != (counted.said, comparable(counted.tree)):
        sys.exit(f"{case.name}: 'derope {case.command}' does not do the same twice")
    counts = {name: int(n) for name, n in (line.split() for line in open("counts"))}
    return Reference(before, result, counts)


def comparable(tree):
    """A snapshot without states, which have durations in them, and which a later run needs not to have."""
    return {path: content for path, content in tree.items() if not STATES.search(path.split("/")[0])}


# ---- what is wrong with a run ----

def wrong_outputs(r, expected):
    """The files that a failed run left."""
    for path in r.tree:
        if TEMPORARY.search(path):
            return f"left {path}"
    left, old, new = entries(r.tree), entries(expected.before), entries(expected.result.tree)
    for name in set(left) | set(old):
        if not STATES.search(name) and left.get(name) not in (old.get(name), new.get(name)):
            return f"out/{name} is " + ("lost" if name not in left else "neither the old nor the new one")
    return None


def wrong_message(call, error, r):
    """What a failed run said."""
    if error == "SHORT" or error == "EINTR" or error == "ENOLCK":
        return "fails where the call can be repeated or done without"
    number = getattr(errno, error.rstrip("+"))
    if number == errno.ENOMEM:
        true = re.search("out of memory|not enough memory", r.told) and (call not in MEMORY or r.status == 1)
    else:
        true = os.strerror(number) in r.told
    false = re.search(r"18446744073709551615|File exists|Success|\(null\)|not valid", r.told)
    if not true or false or not r.told.rstrip().split("\n")[-1].startswith("derope"):
        return "does not say what happened"
    return None


def violation(call, error, r, expected):
    """What is wrong with a run in which a call failed, or None."""
    if r.status < 0:
        return "hangs" if r.status == -signal.SIGALRM else f"crashes ({signal.Signals(-r.status).name})"
    if r.status == 0:
        if r.said != expected.result.said:
            return "succeeds and prints something else"
        if comparable(r.tree) != comparable(expected.result.tree):
            return "succeeds with other files"
        return None
    return wrong_outputs(r, expected) or wrong_message(call, error, r)


# ---- the injections ----

Injection = collections.namedtuple("Injection", "case call at error")


def injections(references, sample):
    """All injections. Memory that stays used up is tried from every tenth allocation on. A sample takes every 101st
    allocation and every 13th of the other calls, and begins elsewhere in each case."""
    for i, (case, expected) in enumerate(references.items()):
        for call, errors in ERRORS.items():
            for at, error in itertools.product(range(1, expected.counts[call] + 1), errors):
                turn = at + 7 * i + 3 * errors.index(error)
                if call in MEMORY and error == "ENOMEM+" and turn % 10:
                    continue
                if sample and turn % (101 if call in MEMORY else 13):
                    continue
                yield Injection(case, call, at, error)


class Worker:
    """One process that runs injections in a folder of its own."""
    place = None       # its folder
    references = None  # {case: Reference}
    longer = None      # the Reference of the command that is killed
    seconds = 0        # how long that command takes

    @classmethod
    def start(cls, root, build, references, longer, seconds):
        folder = root / str(os.getpid())
        folder.mkdir()
        os.chdir(folder)
        cls.place, cls.references, cls.longer, cls.seconds = Place(build), references, longer, seconds

    @classmethod
    def inject(cls, injection, trace=False):
        """Runs one injection and returns it, what is wrong with it or None, and what the run said."""
        case, call, at, error = injection
        place, expected = cls.place, cls.references[case]
        place.prepare(case)
        fault = {"call": call, "at": at, "seconds": 60,
                 "error": 0 if error == "SHORT" else getattr(errno, error.rstrip("+"))}
        fault.update({"always": 1} if error.endswith("+") else {}, **({"trace": 1} if trace else {}))
        r = place.run(case.command, **fault)
        wrong = violation(call, error, r, expected)
        if stamps(pathlib.Path("in")) != place.inputs:
            wrong = "changes its inputs"
            shutil.rmtree("in")
            cls.place = Place(place.build)
        if not wrong and case.again and r.status and (call not in MEMORY or at % 20 == 0):
            again = place.run(case.command)
            if again.status or comparable(again.tree) != comparable(expected.result.tree):
                wrong = f"the same command afterwards does something else: {again.told}"
        return injection, wrong, r.told

    @classmethod
    def kill(cls, seed):
        """Kills a run once, twice or three times, each time at a random moment, and then lets it finish. Returns how
        often it was killed, and what is wrong or None."""
        place, moments, killed = cls.place, random.Random(seed), 0
        place.fresh()
        for _ in range(moments.randint(1, 3)):
            process = place.spawn(LONGER.command)
            time.sleep(moments.uniform(0, cls.seconds))
            os.kill(process, moments.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            r = place.result(process)
            stopped = r.status in (-signal.SIGKILL, -signal.SIGTERM, 5)
            killed += stopped
            if r.status and not stopped:
                return killed, f"ends with status {r.status}: {r.told}"
        r = place.run(LONGER.command)
        if r.status:
            return killed, f"the run afterwards ends with status {r.status}: {r.told}"
        if comparable(r.tree) != comparable(cls.longer.result.tree):
            return killed, "the run afterwards gives other files"
        if any(TEMPORARY.search(path) for path in r.tree):
            return killed, "a temporary file is left"
        return killed, "changes its inputs" if stamps(pathlib.Path("in")) != place.inputs else None


# ---- the whole ----

def try_injections(pool, todo, log):
    """Runs all injections; prints a line for each kind of violation and a summary for each kind of call. Returns the
    number of violations."""
    done, wrong, seen = collections.Counter(), collections.Counter(), set()
    for injection, what, told in pool.imap_unordered(Worker.inject, todo, chunksize=8):
        done[injection.call] += 1
        if not what:
            continue
        wrong[injection.call] += 1
        line = (f"{injection.case.name}: {injection.call} {injection.at} {injection.error}: {what}"
                + "".join(f"\n    {t}" for t in told.rstrip().split("\n")[-3:]))
        log.write(line + "\n")
        log.flush()
        kind = (injection.case.name, injection.call, injection.error, what)
        if kind not in seen:
            print(line, flush=True)
        seen.add(kind)
    for call, n in done.items():
        print(f"  {call}: {n} calls failed, {wrong[call]} violations")
    print(f"faults: {done.total()} injections, {wrong.total()} violations", flush=True)
    return wrong.total()


def try_kills(pool, n):
    """Kills runs until `n` were killed; prints and returns the number of violations."""
    killed, wrong = 0, 0
    for seed in itertools.count(step=8):
        if killed >= n:
            break
        for k, what in pool.imap_unordered(Worker.kill, range(seed, seed + 8)):
            killed += k
            wrong += what is not None
            if what:
                print(f"killed run: {what}")
    print(f"faults: {killed} runs killed, {wrong} violations", flush=True)
    return wrong


def chosen(a):
    """Whether an injection is one that the command line asks for."""
    return lambda i: ((not a.case or i.case.name in a.case) and (not a.call or i.call in a.call)
                      and (not a.at or i.at == a.at) and (not a.error or i.error == a.error))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--kills", type=int, help="default 200, and 10 with --sample")
    parser.add_argument("--case", action="append")
    parser.add_argument("--call", action="append", choices=ERRORS)
    parser.add_argument("--at", type=int)
    parser.add_argument("--error")
    a = parser.parse_args()
    build = a.build.resolve()
    # A file system in memory, where there is one, because every run flushes its outputs to the disk.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="derope-faults-", dir=memory) as root:
        root = pathlib.Path(root)
        (root / "first").mkdir()
        os.chdir(root / "first")
        place = Place(build)
        references = {case: reference(place, case) for case in cases() if not a.case or case.name in a.case}
        started = time.monotonic()
        longer = reference(place, LONGER)
        seconds = (time.monotonic() - started) / 2
        todo = list(filter(chosen(a), injections(references, a.sample)))
        if a.at:
            Worker.place, Worker.references = place, references
            for injection in todo:
                print(*Worker.inject(injection, trace=True)[1:], sep="\n")
            return 0
        arguments = (root, build, references, longer, seconds)
        with multiprocessing.Pool(os.cpu_count(), Worker.start, arguments) as pool, \
                open(build / "tests/faults/violations.txt", "w") as log:
            wrong = try_injections(pool, todo, log)
            if not a.case and not a.call or a.kills:
                wrong += try_kills(pool, a.kills or (10 if a.sample else 200))
        os.chdir("/")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
