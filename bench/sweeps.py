# SPDX-License-Identifier: GPL-2.0-or-later
"""One parameter of the guest, or of the way, is varied; the rest stays as it is."""
from dataclasses import dataclass, replace
from typing import Callable

from ways import WAYS, flip_with

GIB = 1024
FASTEST = 'max'


@dataclass(frozen=True)
class Sweep:
    title: str
    unit: str
    values: tuple
    ways: tuple
    guest: Callable  # of a value


def _dirty(base, value):
    return replace(base, rate={'none': None, FASTEST: 0}.get(value, value))


SWEEPS = {
    'ram': Sweep('RAM, half of it touched', 'GiB', (1, 2, 4, 8, 16),
                 ('flip', 'share', 'pass', 'precopy', 'postcopy-release', 'cpr-transfer'),
                 lambda base, x: replace(base, ram_mib=x * GIB, touched_mib=x * GIB // 2)),
    'touched': Sweep('touched share of 4 GiB', '%', (5, 50, 100),
                     ('flip', 'share', 'pass', 'precopy'),
                     lambda base, x: replace(base, ram_mib=4 * GIB, touched_mib=4 * GIB * x // 100)),
    'dirty': Sweep('pages that the guest makes new', 'per ms', ('none', 4, 16, 64, FASTEST),
                   ('flip', 'share', 'precopy', 'postcopy-release'), _dirty),
    'vcpus': Sweep('vCPUs', '', (1, 2, 4), ('share', 'pass', 'precopy', 'cpr-transfer'),
                   lambda base, x: replace(base, vcpus=x)),
    'devices': Sweep('virtio devices', '', (2, 8, 16), ('share', 'pass', 'precopy', 'cpr-transfer'),
                     lambda base, x: replace(base, devices=x)),
    'pipes': Sweep('pipes', '', (1, 2, 4, 8), ('flip',), lambda base, x: base),
}
QUICK = {'ram': (1, 2, 4), 'touched': (50, 100), 'dirty': ('none', 16), 'vcpus': (1, 2),
         'devices': (2, 8), 'pipes': (1, 2)}


def ways_of(name, value, version):
    """The ways that a sweep compares, in the QEMU of that version."""
    if name == 'pipes':
        return {'flip': flip_with(value)}
    return {way: WAYS[way] for way in SWEEPS[name].ways if WAYS[way].exists_in(version)}


def needs_mib(guest, way):
    """What both processes take together."""
    return guest.touched_mib * (2 if way.holds_twice() else 1) + 512
