# SPDX-License-Identifier: GPL-2.0-or-later
"""Medians with their spread, ratios of them, growth, and the aims that they are held against."""
import statistics
from dataclasses import dataclass

MIB = 1 << 20
PEAK_AIM_MIB = 16


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float

    def over(self, other):
        """The ratio of the medians; at best and at worst, if the extremes had met."""
        return Spread(self.median / other.median, self.low / other.high, self.high / other.low)

    def text(self, digits=1):
        return f'{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})'


def spread(values):
    """None if none of them was measured."""
    values = [v for v in values if v is not None]
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def of(samples, key):
    """Of all runs that did not fail."""
    return spread([s.get(key) for s in samples or () if 'failed' not in s])


def fit(xs, ys):
    """Least squares: (at zero, per unit, how much of the variation that explains)."""
    if len(xs) < 3 or len(set(xs)) < 2:
        return None
    mean_x, mean_y = statistics.fmean(xs), statistics.fmean(ys)
    per_unit = (sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys)) /
                sum((x - mean_x) ** 2 for x in xs))
    at_zero = mean_y - per_unit * mean_x
    rest = sum((y - at_zero - per_unit * x) ** 2 for x, y in zip(xs, ys))
    whole = sum((y - mean_y) ** 2 for y in ys)
    return at_zero, per_unit, 1 - rest / whole if whole else 1.0


@dataclass(frozen=True)
class Aim:
    name: str
    against: str
    value: Spread
    at_most: float = None
    at_least: float = None

    def reached(self):
        if self.at_most is not None:
            return self.value.median <= self.at_most
        return self.value.median >= self.at_least

    def text(self):
        return f'<= {self.at_most:g}' if self.at_most is not None else f'>= {self.at_least:g}'


def _ratio(ways, key, ours, theirs):
    a, b = of(ways.get(ours), key), of(ways.get(theirs), key)
    return a.over(b) if a and b and b.low > 0 else None


def _inverse(value):
    return value and Spread(1 / value.median, 1 / value.high, 1 / value.low)


def best_copy(limits):
    """GB/s of the fastest way to copy once into memory that has to be got first."""
    copies = [x for x in limits if x['key'] in ('memcpy-fresh', 'readv-fresh', 'memfd-pwrite')]
    return max(copies, key=lambda x: x['median'], default=None)


def _flip_against_copy(ways, limits):
    best = best_copy(limits)
    speeds = [s['flipped'] / 1e6 / s['flip-stage-ms'] for s in ways.get('flip', ())
              if s.get('flip-stage-ms')]
    if not best or not speeds:
        return None
    return spread(speeds).over(Spread(best['median'], best['low'], best['high']))


def _size_ratio(sweep, way):
    points = {point['value']: point['ways'].get(way) for point in sweep['points']}
    small, large = of(points.get(1), 'down-ms'), of(points.get(16), 'down-ms')
    return large.over(small) if small and large else None


def aims(results, version):
    """Those of which there are figures."""
    ways, limits = results['main'].get(version, {}), results.get('limits', ())
    found = [
        Aim('flip, throughput of populated memory', 'stock precopy',
            _inverse(_ratio(ways, 'total-ms', 'flip', 'precopy')), at_least=3.0),
        Aim('flip, throughput while memory moves', 'the best single copy, as many threads',
            _flip_against_copy(ways, limits), at_least=0.85),
        Aim('share live, stopped for', 'cpr-transfer',
            _ratio(ways, 'down-ms', 'share', 'cpr-transfer'), at_most=0.5),
        Aim('pass, stopped for', 'cpr-transfer',
            _ratio(ways, 'down-ms', 'pass', 'cpr-transfer'), at_most=0.5),
        Aim('share live, total time', 'stock precopy',
            _ratio(ways, 'total-ms', 'share', 'precopy'), at_most=0.5),
        Aim('pass, total time', 'cpr-transfer',
            _ratio(ways, 'total-ms', 'pass', 'cpr-transfer'), at_most=0.5),
    ]
    for way in ('flip', 'share-stopped', 'share', 'pass'):
        peak = of(ways.get(way), 'peak-mib')
        found.append(Aim(f'{way}, peak memory over before', f'{PEAK_AIM_MIB} MiB', peak and Spread(
            *(x / PEAK_AIM_MIB for x in (peak.median, peak.low, peak.high))), at_most=1))
    for sweep in results.get('sweeps', ()):
        if sweep['name'] == 'ram' and sweep['version'] == version:
            found += [Aim(f'{way}, stopped for, 16 GiB', '1 GiB', _size_ratio(sweep, way),
                          at_most=1.2) for way in ('share', 'pass')]
    found.append(Aim("guest's throughput in the worst 100 ms of a live conversion", 'before it',
                     of(ways.get('share'), 'worst-100-ms-running'), at_least=0.5))
    return [aim for aim in found if aim.value]


def growth(sweep, key='down-ms'):
    """For each way: the fit of its medians, where the parameter is a number."""
    result = {}
    for way in sweep['ways']:
        points = [(p['value'], of(p['ways'].get(way), key)) for p in sweep['points']]
        points = [(x, y.median) for x, y in points if y and isinstance(x, (int, float))]
        found = fit([x for x, _ in points], [y for _, y in points])
        if found:
            result[way] = found
    return result
