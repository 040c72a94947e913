# SPDX-License-Identifier: GPL-2.0-or-later
"""Two results files: each figure's median before and after, and whether they lie apart."""
from figures import of

KEYS = ('down-ms', 'until-ms', 'total-ms', 'peak-mib', 'cpu-ms', 'stall-ms')


def lie_apart(a, b):
    """No run of one is within what the runs of the other span."""
    return a.high < b.low or b.high < a.low


def compare(before, after):
    """Prints; 0 if there was something to compare."""
    rows = []
    for version, ways in before['main'].items():
        for way, samples in ways.items():
            others = after['main'].get(version, {}).get(way)
            for key in KEYS:
                a, b = of(samples, key), of(others, key)
                if a and b:
                    rows.append((version, way, key, a, b))
    for version, way, key, a, b in rows:
        ratio = f'{b.median / a.median:6.2f}' if a.median else '     -'
        mark = '*' if lie_apart(a, b) else ' '
        print(f'{version:6}{way:18}{key:10}{a.median:10.1f}{b.median:10.1f}{ratio} {mark}')
    print('* no run of one is within what the runs of the other span' if rows else
          'bench/run: the two have no figure in common')
    return 0 if rows else 1
