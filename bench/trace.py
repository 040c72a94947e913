# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's work over time.

The payload says every 10 ms, by its own clock, how many pages it has checked. The lines come
through a FIFO and are stamped with the host's time as they arrive, so that a stopped guest, a guest
that waits for a page and a guest that is slow all show. How late a line is read blurs that by a
millisecond or so; a beat that the guest could not give in time is made up for at the next one.
"""
import os
import re
import threading
import time

BEAT_S = 0.01
BEAT = re.compile(rb'beat (\d+) pages \d+ checked (\d+) .*errors (\d+)')


class Trace:
    def __init__(self, path):
        self.path = path
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR)  # never at its end while VMs come and go
        self._lock = threading.Lock()
        self._beats = []  # (seconds since the epoch, beat, pages checked)
        self._error = None  # the first one
        self._closed = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        rest = b''
        while not self._closed:
            data = os.read(self._fd, 65536)
            now = time.time()
            *lines, rest = (rest + data).split(b'\n')
            with self._lock:
                for line in lines:
                    self._take(now, line)

    def _take(self, now, line):
        match = BEAT.match(line)
        if match:
            beat, checked, errors = (int(x) for x in match.groups())
            if self._beats and beat != self._beats[-1][1] + 1:
                self._note(f'beat {beat} came after beat {self._beats[-1][1]}')
            if errors:
                self._note(f'{errors} errors')
            self._beats.append((now, beat, checked))
        elif line.startswith(b'ERROR'):
            self._note(line.decode(errors='replace'))

    def _note(self, error):
        self._error = self._error or error

    def beats(self):
        with self._lock:
            return list(self._beats)

    def wait(self, more, wait_s=180):
        """That many beats more than there are; the guest must have found no error."""
        want = len(self.beats()) + more
        end = time.monotonic() + wait_s
        while len(self.beats()) < want:
            if time.monotonic() > end:
                raise RuntimeError(f'the guest gave no {more} beats in {wait_s} s')
            time.sleep(0.01)
        if self._error:
            raise RuntimeError(f'the guest says: {self._error}')

    def close(self):
        self._closed = True
        os.write(self._fd, b'\n')


def longest_gap_ms(beats, begin, end):
    """Between two beats of which one at least is in that time."""
    gaps = [b[0] - a[0] for a, b in zip(beats, beats[1:]) if b[0] >= begin and a[0] <= end]
    return max(gaps) * 1000 if gaps else None


def bins(beats, begin, end, bin_s=BEAT_S):
    """Pages checked in each bin; a beat's pages are spread over the time since the last one."""
    count = max(1, int((end - begin) / bin_s))
    result = [0.0] * count
    for (t0, _, c0), (t1, _, c1) in zip(beats, beats[1:]):
        if t1 <= begin or t0 >= end or t1 <= t0:
            continue
        rate = (c1 - c0) / (t1 - t0)
        first, last = max(0, int((t0 - begin) / bin_s)), min(count - 1, int((t1 - begin) / bin_s))
        for i in range(first, last + 1):
            low, high = begin + i * bin_s, begin + (i + 1) * bin_s
            result[i] += rate * max(0.0, min(t1, high) - max(t0, low))
    return result


def worst_share(beats, begin, end, window_s=0.1, before_s=0.5):
    """The guest's throughput in the worst @window_s within that time, by what it was before."""
    before = bins(beats, begin - before_s, begin)
    per_bin = sum(before) / len(before)
    during = bins(beats, begin, max(end, begin + window_s))
    width = max(1, round(window_s / BEAT_S))
    if per_bin <= 0 or len(during) < width:
        return None
    return min(sum(during[i:i + width]) for i in range(len(during) - width + 1)) / per_bin / width
