# SPDX-License-Identifier: GPL-2.0-or-later
"""Each way from one QEMU process to the next, and what it cost.

A way is a function of a source, whose guest runs, that returns the destination, in which it runs
then. What is measured around it is the same for all of them: see measure().
"""
import os
import time

from host import MIB, guest_huge_mib, processor_s
from qmp import QmpError
from trace import BEAT_S, bins, longest_gap_ms, worst_share
from vm import Vm

NO_LIMIT = 1 << 40  # bytes a second
POLL_S = 0.003
OVER_S = 30  # a migration that does not converge is given up then
BEFORE_S, AFTER_S = 0.3, 0.3  # of a picture


def _capabilities(vm, names):
    vm.monitor.command('migrate-set-capabilities',
                       capabilities=[{'capability': name, 'state': True} for name in names])


def _wait_listen(path):
    """The name is there a moment earlier: the kernel's list says who listens (unix(7))."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with open('/proc/net/unix', encoding='utf-8') as file:
            if any(line.rstrip().endswith(' ' + path) and ' 00010000 ' in line for line in file):
                return
        time.sleep(0.001)
    raise QmpError(f'nobody listens on {path}')


def _wait_status(vm, query):
    """Until a migration is over, by asking; what it says then."""
    end = time.monotonic() + OVER_S
    while time.monotonic() < end:
        info = vm.monitor.command(query)
        if info.get('status') == 'completed':
            return info
        if info.get('status') in ('failed', 'cancelled'):
            raise QmpError(f"{query}: {info['status']}: {info.get('error-desc')}")
        time.sleep(POLL_S)
    raise QmpError(f'{query}: not over after {OVER_S} s')


class Move:
    """One move under way: processes, and the times that a way notes."""

    def __init__(self, source):
        self.source, self.destination = source, None
        self.begin = self.done = None
        self.info = {}

    def start(self, **options):
        source = self.source
        self.destination = Vm(source.bench, source.qemu, source.guest, source.trace, **options)
        return self.destination

    def command(self, name, **arguments):
        """From here on time counts."""
        self.source.bench.group.begin()
        self.cpu_begin_s = self.cpu_s()
        self.begin = time.time()
        self.source.monitor.command(name, **arguments)

    def cpu_s(self):
        return processor_s(self.source.pid) + processor_s(self.destination.pid)


def local(ram, live=True, channels=None):
    def move(run):
        path = run.source.bench.path('.lm')
        destination = run.start(plugin_args=f',incoming=unix:{path}', more=['-incoming', 'defer'])
        destination.monitor.connected()
        _wait_listen(path)
        arguments = {'uri': f'unix:{path}', 'ram': ram}
        if channels:
            arguments['channels'] = channels
        if ram == 'share':
            arguments['live'] = live
        run.command('localhost-migrate', **arguments)
        destination.monitor.event('RESUME')
        run.done = run.source.monitor.event('MIGRATION', status='completed')
        run.info = _wait_status(run.source, 'query-localhost-migrate')
    return move


def stock(*capabilities, source_only=(), channels=None, postcopy=False):
    def move(run):
        path = run.source.bench.path('.migrate')
        destination = run.start(plugin=False, more=['-incoming', 'defer'])
        destination.monitor.connected()
        _capabilities(destination, ('events', *capabilities))
        _capabilities(run.source, ('events', *capabilities, *source_only))
        if channels:
            destination.monitor.command('migrate-set-parameters', multifd_channels=channels)
            run.source.monitor.command('migrate-set-parameters', multifd_channels=channels)
        run.source.monitor.command('migrate-set-parameters', max_bandwidth=NO_LIMIT)
        destination.monitor.command('migrate-incoming', uri=f'unix:{path}')
        _wait_listen(path)
        run.command('migrate', uri=f'unix:{path}')
        if postcopy:
            run.source.monitor.event('MIGRATION', run.begin, status='active')
            run.source.monitor.command('migrate-start-postcopy')
        run.done = run.source.monitor.event('MIGRATION', run.begin, OVER_S, status='completed')
        run.info = _wait_status(run.source, 'query-migrate')
        destination.monitor.event('RESUME')
    return move


def mapped_ram(run):
    """Through a file in memory. The destination can read it only when all of it is written."""
    path = f'/dev/shm/lm-bench-{os.getpid()}.ram'
    destination = run.start(plugin=False, more=['-incoming', 'defer'])
    destination.monitor.connected()
    for vm in (run.source, destination):
        _capabilities(vm, ('events', 'mapped-ram', 'multifd'))
        vm.monitor.command('migrate-set-parameters', multifd_channels=2)
    run.source.monitor.command('migrate-set-parameters', max_bandwidth=NO_LIMIT)
    try:
        run.command('migrate', uri=f'file:{path}')
        run.source.monitor.event('MIGRATION', run.begin, OVER_S, status='completed')
        destination.monitor.command('migrate-incoming', uri=f'file:{path}')
        run.done = destination.monitor.event('RESUME', 0, OVER_S)
        run.info = _wait_status(run.source, 'query-migrate')
    finally:
        if os.path.exists(path):
            os.unlink(path)


def cpr_transfer(run):
    """The destination has no monitor before the source has begun."""
    path, cpr_path = run.source.bench.path('.main'), run.source.bench.path('.cpr')

    def channel(kind, where):
        return {'channel-type': kind,
                'addr': {'transport': 'socket', 'type': 'unix', 'path': where}}
    cpr = ('{"channel-type": "cpr", "addr": {"transport": "socket", "type": "unix", '
           f'"path": "{cpr_path}"}}}}')
    _capabilities(run.source, ('events',))
    run.source.monitor.command('migrate-set-parameters', mode='cpr-transfer')
    destination = run.start(plugin=False, more=['-incoming', f'unix:{path}', '-incoming', cpr])
    _wait_listen(cpr_path)
    run.command('migrate', channels=[channel('main', path), channel('cpr', cpr_path)])
    destination.monitor.event('RESUME')
    run.done = run.source.monitor.event('MIGRATION', run.begin, status='completed')
    run.info = _wait_status(run.source, 'query-migrate')


class Way:
    def __init__(self, name, move, ours=False, shared=False, since=(0, 0), after=None):
        self.name, self.move = name, move
        self.ours = ours
        self.shared = shared  # needs memory that was shared from the start
        self.since = since    # the first QEMU that has it
        self.after = after    # the way that has to be gone before, in the same VM

    def exists_in(self, version):
        return tuple(int(x) for x in version.split('.')) >= self.since

    def holds_twice(self):
        return not self.ours and not self.shared


WAYS = {way.name: way for way in (
    Way('flip', local('flip'), ours=True),
    Way('share-stopped', local('share', live=False), ours=True),
    Way('share', local('share'), ours=True),
    Way('pass', local('share'), ours=True, after='share'),
    Way('precopy', stock()),
    Way('multifd', stock('multifd', channels=2)),
    Way('postcopy', stock('postcopy-ram', postcopy=True)),
    Way('postcopy-release', stock('postcopy-ram', source_only=('release-ram',), postcopy=True)),
    Way('postcopy-preempt', stock('postcopy-ram', 'postcopy-preempt', postcopy=True),
        since=(7, 2)),
    Way('mapped-ram', mapped_ram, since=(9, 0)),
    Way('cpr-transfer', cpr_transfer, shared=True, since=(10, 0)),
)}


def flip_with(channels):
    return Way(f'flip, {channels} pipes', local('flip', channels=channels), ours=True)


def _ms(later, earlier):
    return (later - earlier) * 1000


def _huge_after_mib(run, least_mib):
    """A page of a memfd shows as huge where it is mapped only: there the plugin counts better."""
    if 'share' in run.info:
        return run.info['share']['huge'] / MIB
    return None if run.source.guest.shared else guest_huge_mib(run.destination.pid, least_mib)


def _stage_ms(info, name):
    return sum(s['milliseconds'] for s in info.get('stages', ()) if s['name'] == name) or None


def measure(source, way, traced=False):
    """Moves the guest; the destination, and what it cost. The source is quit.

    A run that is @traced has pictures' worth of readings in it, which cost time themselves.
    """
    run = Move(source)
    least_mib = source.guest.low_mib() // 2
    huge_before = guest_huge_mib(source.pid, least_mib)
    if traced:
        source.bench.group.watch()
    try:
        way.move(run)
    except QmpError as error:
        said = [f'{vm.pid}: {vm.last_words()[0]}' for vm in (source, run.destination) if vm]
        raise QmpError(f'{error} ({"; ".join(said)})') from error
    cpu = run.cpu_s() - run.cpu_begin_s
    peak = source.bench.group.peak_over_before_mib()
    destination = run.destination
    stopped = source.monitor.event('STOP', run.begin)
    resumed = destination.monitor.event('RESUME')
    done = max(run.done, resumed)
    source.trace.wait(30)  # the guest is well, and its account reaches beyond the end
    beats = source.trace.beats()
    sample = {
        'down-ms': _ms(resumed, stopped), 'until-ms': _ms(resumed, run.begin),
        'total-ms': _ms(done, run.begin), 'peak-mib': peak, 'cpu-ms': cpu * 1000,
        'stall-ms': longest_gap_ms(beats, run.begin, done),
        'worst-100-ms': worst_share(beats, run.begin, done),
        'worst-100-ms-running': worst_share(beats, run.begin, stopped),
        'huge-before-mib': huge_before,
        'huge-after-mib': _huge_after_mib(run, least_mib),
        'flip-stage-ms': _stage_ms(run.info, 'flip'), 'flipped': run.info.get('flipped'),
        'pause': {part['name']: part['milliseconds'] for part in run.info.get('pause', ())},
    }
    if traced:
        sample |= {
            'bin-ms': BEAT_S * 1000, 'bins-from-ms': -BEFORE_S * 1000,
            'bins': [round(x, 1) for x in bins(beats, run.begin - BEFORE_S, done + AFTER_S)],
            'memory': [(_ms(at, run.begin), mib) for at, mib in source.bench.group.watched()],
        }
    source.quit()
    return destination, sample
