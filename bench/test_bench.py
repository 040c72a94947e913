# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks compute, by hand-made figures."""
import unittest

from compare import lie_apart
from figures import Spread, aims, fit, growth, of, spread
from sweeps import SWEEPS, needs_mib, ways_of
from trace import bins, longest_gap_ms, worst_share
from vm import Guest
from ways import WAYS


class Figures(unittest.TestCase):
    def test_spread(self):
        self.assertEqual(spread([3, None, 1, 2]), Spread(2, 1, 3))
        self.assertIsNone(spread([None]))
        self.assertEqual(of([{'x': 1}, {'failed': 'why'}], 'x'), Spread(1, 1, 1))

    def test_ratio_is_worst_when_extremes_meet(self):
        self.assertEqual(Spread(4, 2, 8).over(Spread(2, 1, 4)), Spread(2, 0.5, 8))

    def test_fit(self):
        at_zero, per_unit, explained = fit([1, 2, 4], [5, 7, 11])
        self.assertAlmostEqual(at_zero, 3)
        self.assertAlmostEqual(per_unit, 2)
        self.assertAlmostEqual(explained, 1)
        self.assertIsNone(fit([1, 2], [1, 2]))

    def test_apart(self):
        self.assertTrue(lie_apart(Spread(1, 1, 2), Spread(4, 3, 5)))
        self.assertFalse(lie_apart(Spread(1, 1, 3), Spread(4, 3, 5)))

    def test_aims(self):
        main = {'10.0': {
            'flip': [{'total-ms': 100, 'flipped': 1e9, 'flip-stage-ms': 100, 'peak-mib': 8}],
            'precopy': [{'total-ms': 500}],
            'share': [{'down-ms': 6, 'total-ms': 100, 'worst-100-ms-running': 0.4}],
            'cpr-transfer': [{'down-ms': 10, 'total-ms': 40}]}}
        limits = [{'key': 'memcpy-fresh', 'median': 10, 'low': 10, 'high': 10},
                  {'key': 'memcpy-touched', 'median': 50, 'low': 50, 'high': 50}]
        found = {aim.name: aim for aim in aims({'main': main, 'limits': limits}, '10.0')}
        self.assertAlmostEqual(found['flip, throughput of populated memory'].value.median, 5)
        self.assertTrue(found['flip, throughput of populated memory'].reached())
        self.assertAlmostEqual(found['flip, throughput while memory moves'].value.median, 1)
        self.assertFalse(found['share live, stopped for'].reached())
        self.assertTrue(found['flip, peak memory over before'].reached())
        self.assertNotIn('pass, stopped for', found)

    def test_growth_leaves_out_what_is_no_number(self):
        points = [{'value': x, 'ways': {'flip': [{'down-ms': y}]}}
                  for x, y in ((1, 10), (2, 20), (4, 40), ('max', 1))]
        law = growth({'ways': ['flip', 'share'], 'points': points})
        self.assertEqual(list(law), ['flip'])
        self.assertAlmostEqual(law['flip'][1], 10)


class Trace(unittest.TestCase):
    def setUp(self):
        # a beat every 10 ms with 100 pages, none for 60 ms from 1.0 on
        times = [i / 100 for i in range(101)] + [1.06 + i / 100 for i in range(101)]
        self.beats = [(t, i, i * 100) for i, t in enumerate(times)]

    def test_gap(self):
        self.assertAlmostEqual(longest_gap_ms(self.beats, 0.9, 1.2), 60)
        self.assertAlmostEqual(longest_gap_ms(self.beats, 0.1, 0.5), 10)

    def test_bins_hold_all_pages(self):
        self.assertAlmostEqual(sum(bins(self.beats, 0, 2)), 100 * 195, delta=2)

    def test_worst_share(self):
        self.assertAlmostEqual(worst_share(self.beats, 0.6, 0.9), 1, places=2)
        self.assertAlmostEqual(worst_share(self.beats, 0.8, 1.3), 0.5, delta=0.02)
        self.assertIsNone(worst_share(self.beats[:2], 0.6, 0.9))


class Plan(unittest.TestCase):
    def test_memory_beyond_two_gib_is_above_four(self):
        self.assertIn('touch=2040 high=2056', Guest(ram_mib=16384, touched_mib=4096).append())
        self.assertIn('touch=504 high=0', Guest(ram_mib=512, touched_mib=512).append())

    def test_stock_holds_memory_twice(self):
        guest = Guest(touched_mib=1000)
        self.assertEqual(needs_mib(guest, WAYS['precopy']), 2512)
        self.assertEqual(needs_mib(guest, WAYS['share']), 1512)

    def test_ways_by_version(self):
        self.assertIn('cpr-transfer', ways_of('ram', 1, '10.0'))
        self.assertNotIn('cpr-transfer', ways_of('ram', 1, '7.2'))
        for name, sweep in SWEEPS.items():
            for value in sweep.values:
                self.assertTrue(sweep.guest(Guest(), value).append(), name)


if __name__ == '__main__':
    unittest.main()
