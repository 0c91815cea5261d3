#!/usr/bin/env python3
"""Checks the structure of the source tree: which file depends on which.

Two graphs are read from a finished build. The include graph comes from the #include lines of the sources. The symbol
graph comes from `nm`: an arrow a.c -> b.c stands for a function or a table that a.o refers to and b.o defines. Both
are exact, because nothing here is guessed from names or call syntax.

The check fails on
  * a circle: two or more files each of which needs the other, directly or through others;
  * an arrow upwards: the folders form the order formats, surgery, recal, cmd, and a file may use its own folder and
    the folders before it, never those after it;
  * a header with a foreign definition: what foo.h declares must be defined in foo.c, so that a reader who meets a
    name in a header knows where to look;
  * a function that only its own file uses and that is not static.
Without --strict, as while a change is being made, the last two are reported and do not fail.

usage: tests/structure.py [--strict] [--all] [BUILD]      (BUILD: the build folder, default build)
"""
import argparse
import collections
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAYERS = ["formats", "surgery", "recal", "cmd"]

# A registry is one constant table that lists the entries of its kind, each of which is a file of its own. Its arrows to
# the entries carry no control flow that could run in a circle by surprise: they are how a generic file reaches a
# specific one. They are therefore left out of the search for circles. Arrows upwards count all the same.
# file that holds the table -> (pattern of the files that it lists, reason)
REGISTRIES = {
    "cmd/verb_table.c": (r"cmd/verbs/\w+\.c", "the list of verbs, which the verb `help` prints"),
}

# Headers whose declarations are defined in several files on purpose; at present none. header -> reason
SHARED_HEADERS = {}


def sources():
    """Every .c and .h of the four layers, as paths relative to the root."""
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*.[ch]")):
            yield str(path.relative_to(ROOT))


def includes(path):
    """The project headers that a file includes."""
    for line in (ROOT / path).read_text().splitlines():
        found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not found:
            continue
        name = found.group(1)
        beside = (pathlib.Path(path).parent / name).as_posix()
        for candidate in (name, beside):
            if (ROOT / candidate).exists():
                yield candidate
                break


def symbols(build, files):
    """What each source file defines and refers to, from the object that was compiled from it."""
    defined, wanted = {}, {}
    for path in files:
        result = subprocess.run(["nm", "-g", str(build / (path[:-2] + ".o"))], capture_output=True, text=True)
        if result.returncode:
            sys.exit(f"structure: {path} has no object in {build}: run make tests first")
        defined[path], wanted[path] = {}, set()
        for line in result.stdout.splitlines():
            kind, name = line.split()[-2:]
            if "." in name:
                continue  # A name that the compiler made, such as the resolver of a function with several targets.
            if kind == "U":
                wanted[path].add(name)
            else:
                defined[path][name] = kind
    return defined, wanted


def components(graph):
    """The strongly connected components of more than one node (Tarjan 1972), without recursion."""
    index, low, stack, on_stack, found = {}, {}, [], set(), []
    for root in graph:
        if root in index:
            continue
        work = [(root, iter(graph[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(graph.get(target, ()))))
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    members = set()
                    while node not in members:
                        members.add(stack.pop())
                    on_stack -= members
                    if len(members) > 1:
                        found.append(members)
    return found


def shortest_circle(graph, members):
    """The shortest way from some node of a component back to itself."""
    best = None
    for start in sorted(members):
        before, queue = {start: None}, collections.deque([start])
        while queue:
            node = queue.popleft()
            if start in graph[node]:
                circle = [start]
                while node is not None and node != start:
                    circle.insert(1, node)
                    node = before[node]
                if best is None or len(circle) < len(best):
                    best = circle
                break
            for target in sorted(graph[node]):
                if target in members and target not in before:
                    before[target] = node
                    queue.append(target)
    return best


def some(names):
    names = sorted(names)
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def show_circles(title, graph, show_all):
    """Prints each circle of a graph {file: {file: names of what is used}}; returns how many there are."""
    circles = components(graph)
    for members in circles:
        print(f"{title} of {len(members)} files: {' '.join(sorted(members))}")
        circle = shortest_circle(graph, members)
        pairs = [list(zip(circle, circle[1:] + circle[:1]))]
        # Pairs of files that need each other are where a circle is usually cut, so all of them are shown.
        pairs += [[(a, b), (b, a)] for a in sorted(members) for b in sorted(graph[a])
                  if a < b and a in graph.get(b, ()) and {a, b} != set(circle)]
        if show_all:
            pairs = [[(a, b) for a in sorted(members) for b in sorted(graph[a]) if b in members]]
        for arrows in pairs:
            for a, b in arrows:
                print(f"    {a} -> {b}: {some(graph[a][b])}")
            print()
    return len(circles)


def declarations(path):
    """The functions and objects that a header declares and does not define itself."""
    text = (ROOT / path).read_text()
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)
    text = re.sub(r"^\s*#(?:[^\n\\]|\\.)*(?:\\\n(?:[^\n\\]|\\.)*)*", "", text, flags=re.M)
    # Bodies of structs, enums and inline functions go: what stays is one statement for each declaration.
    while True:
        shorter = re.sub(r"\{[^{}]*\}", " @ ", text)
        if shorter == text:
            break
        text = shorter
    while True:
        shorter = re.sub(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)", "", text)
        if shorter == text:
            break
        text = shorter
    # An inline function ends without a semicolon; the marker of its body is taken for one.
    text = re.sub(r"\)\s*@", ") @;", text)
    for statement in text.split(";"):
        statement = " ".join(statement.split())
        if not statement or re.match(r"(static|typedef)\b", statement) or "@" in statement:
            continue
        function = re.match(r"[^(]*?(\w+) ?\(", statement)
        data = re.match(r"extern [^(]*?(\w+)( ?\[[^\]]*\])*$", statement)
        if function:
            yield function.group(1)
        elif data:
            yield data.group(1)


def main():
    parser = argparse.ArgumentParser(description="checks circles, layers and headers of the source tree")
    parser.add_argument("build", nargs="?", default="build")
    parser.add_argument("--strict", action="store_true", help="fail on what is only reported otherwise")
    parser.add_argument("--all", action="store_true", help="print every arrow inside a circle")
    options = parser.parse_args()

    files = list(sources())
    code = [f for f in files if f.endswith(".c")]
    defined, wanted = symbols((ROOT / options.build), code)
    owner = {name: path for path in code for name in defined[path]}
    bad = soft = 0

    include_graph = {f: {i: {"#include"} for i in includes(f)} for f in files}
    symbol_graph = {f: collections.defaultdict(set) for f in code}
    for path in code:
        for name in wanted[path]:
            if name in owner and owner[name] != path:
                symbol_graph[path][owner[name]].add(name)

    def listed(path, target):
        return path in REGISTRIES and re.fullmatch(REGISTRIES[path][0], target)

    bad += show_circles("circle of includes", include_graph, options.all)
    bad += show_circles("circle", {a: {b: names for b, names in to.items() if not listed(a, b)}
                                   for a, to in symbol_graph.items()}, options.all)

    for graph in (include_graph, symbol_graph):
        for path, targets in sorted(graph.items()):
            for target, names in sorted(targets.items()):
                layers = [p.split("/")[0] for p in (path, target)]
                if layers[1] in LAYERS and LAYERS.index(layers[1]) > LAYERS.index(layers[0]):
                    print(f"arrow upwards: {path} -> {target}: {some(names)}")
                    bad += 1
                elif layers[1] not in LAYERS:
                    print(f"arrow outside: {path} -> {target}")
                    bad += 1

    foreign = 0
    for header in (f for f in files if f.endswith(".h")):
        elsewhere = collections.defaultdict(set)
        for name in declarations(header):
            if name not in owner:
                elsewhere["nowhere"].add(name)
            elif owner[name] != header[:-1] + "c":
                elsewhere[owner[name]].add(name)
        if elsewhere and header not in SHARED_HEADERS:
            foreign += 1
            print(f"header with foreign definitions: {header}")
            for path, names in sorted(elsewhere.items()):
                print(f"    {path}: {some(names)}")
    soft += foreign

    # The test programs count as users. Fuzz targets are built by another compiler, so their text is read instead.
    objects = [str(o) for o in (ROOT / options.build / "tests").glob("*.o")]
    listing = subprocess.run(["nm", "-gu", *objects], capture_output=True, text=True).stdout
    used = {line.split()[-1] for line in listing.splitlines() if line.startswith(" ")}
    used.update(*(set(re.findall(r"\w+", p.read_text())) for p in (ROOT / "tests/fuzz").glob("*.[ch]")))
    used.update(*wanted.values())
    lonely = 0
    for path in code:
        names = {n for n in defined[path] if n not in used and n != "main"}
        if names:
            lonely += len(names)
            print(f"could be static: {path}: {', '.join(sorted(names))}")
    soft += lonely

    arrows = sum(len(t) for t in symbol_graph.values())
    print(f"structure: {len(code)} source files, {arrows} arrows, {len(owner)} external names; {bad} circles or arrows "
          f"upwards, {foreign} headers with foreign definitions, {lonely} names that could be static")
    return 1 if bad or (options.strict and soft) else 0


if __name__ == "__main__":
    sys.exit(main())
