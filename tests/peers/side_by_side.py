"""Benchmarks: ours and a peer's in turns, so that both meet the same machine in the same minute."""

from statistics import median


def turns(repeats, ours, theirs):
    """Two lists of figures, from calling both `repeats` times in turn after one call each to warm up. A function
    returns one figure, or a dict of them; then the lists are dicts of lists."""
    ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(repeats)]
    a, b = [p[0] for p in pairs], [p[1] for p in pairs]
    if isinstance(a[0], dict):
        return [{k: [x[k] for x in side] for k in b[0]} for side in (a, b)]
    return [a, b]


def spread(figures, digits):
    return f"{median(figures):.{digits}f} ({min(figures):.{digits}f} - {max(figures):.{digits}f})"


def heading(what, peer, unit):
    print(f"\n{what}; {unit}: median (min - max)\n{'':24}{'derope':>26}{peer:>26}{'times faster':>24}")


def row(label, ours, theirs, digits=0, rates=False):
    """`rates`: more is faster; else the figures are seconds."""
    faster = [a / b if rates else b / a for a, b in zip(ours, theirs)]
    print(f"{label:24}{spread(ours, digits):>26}{spread(theirs, digits):>26}{spread(faster, 2):>24}", flush=True)
