# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk to another image: with the upgrade, and by stock QEMU's jobs, in turn on the same binary.

Three questions: how long a copy takes, how much longer the guest is stopped for it, and how long a
read of a block waits that is not in the new image yet.
"""
import os
import random
import subprocess
import time

from figures import spread
from qmp import QmpError
from vm import Guest, Vm

DISK_MIB = 1024
READS = 300
GUEST = Guest(ram_mib=256, touched_mib=128, devices=0)
SHARE = {'ram': 'share'}  # what 7.2 can, too


def _qemu_img(*arguments):
    subprocess.run(['qemu-img', *arguments], check=True, stdout=subprocess.DEVNULL)


class Images:
    """Old images with content, and new ones, in the folder of the run."""

    def __init__(self, bench):
        self.bench = bench

    def old(self, mib=DISK_MIB):
        path = self.bench.path('.raw')
        block = os.urandom(1 << 20)
        with open(path, 'wb') as file:
            for i in range(mib):
                file.write(i.to_bytes(8, 'little') + block[8:])
        return path

    def new(self, old):
        path = self.bench.path('.qcow2')
        _qemu_img('create', '-q', '-f', 'qcow2', '-b', old, '-F', 'raw', path)
        return path


def _disks(paths):
    result = []
    for i, path in enumerate(paths):
        result += ['-blockdev', f'driver=file,filename={path},node-name=file{i}',
                   '-blockdev', f'driver=raw,file=file{i},node-name=disk{i}',
                   '-device', f'virtio-blk-pci,drive=disk{i},id=vd{i}']
    return result


def _boot(bench, qemu, paths):
    vm = Vm(bench, qemu, GUEST, more=_disks(paths))
    vm.monitor.connected()
    vm.trace.wait(60)
    return vm


def _move(source, paths, disks):
    """The guest runs in the destination; (destination, what the source says)."""
    path = source.bench.path('.lm')
    target = Vm(source.bench, source.qemu, source.guest, source.trace,
                more=_disks(paths) + ['-incoming', 'defer'])
    target.monitor.command('localhost-migrate-incoming', uri=f'unix:{path}')
    more = {'disks': disks} if disks else {}
    source.monitor.command('localhost-migrate', uri=f'unix:{path}', **SHARE, **more)
    while True:
        info = source.monitor.command('query-localhost-migrate')
        if info['status'] == 'completed':
            return target, info
        if info['status'] in ('failed', 'cancelled'):
            raise QmpError(info.get('error-desc', info['status']))
        time.sleep(0.003)


def _job_ms(vm, begin, end='BLOCK_JOB_COMPLETED'):
    return (vm.monitor.event(end, since=begin, wait_s=120) - begin) * 1000


def copy_ours(images, qemu):
    """From the moment in which the guest runs there; the copying itself is from the job's start."""
    old = images.old()
    source = _boot(images.bench, qemu, [old])
    target, info = _move(source, [old], [{'node': 'disk0', 'file': images.new(old)}])
    begin = target.monitor.event('JOB_STATUS_CHANGE', status='running')
    sample = {'copy-ms': _job_ms(target, begin), 'runs-there-ms': info['total-time']}
    source.quit()
    target.quit()
    return sample


def _boot_with_new(images, qemu):
    """A guest on disk0, and its new image beside it as the node new."""
    old = images.old()
    vm = _boot(images.bench, qemu, [old])
    vm.monitor.command('blockdev-add', driver='qcow2', node_name='new', backing=None,
                       file={'driver': 'file', 'filename': images.new(old)})
    return vm


def copy_stream(images, qemu):
    """The same, by hand: an overlay, and block-stream."""
    vm = _boot_with_new(images, qemu)
    vm.monitor.command('blockdev-snapshot', node='disk0', overlay='new')
    begin = time.time()
    vm.monitor.command('block-stream', job_id='job', device='new')
    sample = {'copy-ms': _job_ms(vm, begin)}
    vm.quit()
    return sample


def copy_mirror(images, qemu):
    """Copied first, and moved then: what stock QEMU's users do."""
    vm = _boot_with_new(images, qemu)
    begin = time.time()
    vm.monitor.command('blockdev-mirror', job_id='job', device='disk0', target='new', sync='full')
    copied = _job_ms(vm, begin, 'BLOCK_JOB_READY')
    vm.quit()
    return {'copy-ms': copied, 'runs-there-ms': copied}


def pause(images, qemu, count):
    paths = [images.old(8) for _ in range(4)]
    disks = [{'node': f'disk{i}', 'file': images.new(paths[i])} for i in range(count)]
    source = _boot(images.bench, qemu, paths)
    target, info = _move(source, paths, disks)
    source.quit()
    target.quit()
    return {'down-ms': info['downtime']}


def _read_ms(vm, offsets):
    times = []
    for offset in offsets:
        begin = time.perf_counter()
        vm.monitor.command('human-monitor-command',
                           command_line=f'qemu-io -d vd0/virtio-backend "read -q {offset} 4096"')
        times.append((time.perf_counter() - begin) * 1000)
    return sorted(times)[len(times) // 2]


def read_missing(images, qemu):
    """The median of reads of blocks that are in the old image only; and of the old image itself."""
    old = images.old()
    offsets = [n << 20 for n in random.sample(range(64, DISK_MIB), READS)]
    source = _boot(images.bench, qemu, [old])
    local = _read_ms(source, offsets)
    target, _ = _move(source, [old], [{'node': 'disk0', 'file': images.new(old),
                                       'throttle': 1 << 20}])
    sample = {'local-ms': local, 'missing-ms': _read_ms(target, offsets)}
    source.quit()
    target.quit()
    return sample


MEASURES = {'ours': copy_ours, 'block-stream': copy_stream, 'blockdev-mirror': copy_mirror,
            'read': read_missing}


def measure(bench, qemu, runs, say):
    """{name: samples}, each of its turn."""
    images = Images(bench)
    measures = MEASURES | {f'pause, {count} of 4': lambda i, q, count=count: pause(i, q, count)
                           for count in (0, 1, 2, 4)}
    found = {name: [] for name in measures}
    for run in range(runs):
        turn = run % len(measures)
        for name in list(measures)[turn:] + list(measures)[:turn]:
            bench.warm(3 * DISK_MIB)
            found[name].append(measures[name](images, qemu))
            say(f'  {qemu.version} run {run + 1}, {name}: {found[name][-1]}')
            for file in os.listdir(bench.dir):
                if file.endswith(('.raw', '.qcow2')):
                    os.unlink(os.path.join(bench.dir, file))
    return found


def _of(found, name, key):
    return spread([sample[key] for sample in found[name]])


def report(qemu, found):
    """A table for people, and for docs/move-disk.md."""
    ours, stream = _of(found, 'ours', 'copy-ms'), _of(found, 'block-stream', 'copy-ms')
    mirror = _of(found, 'blockdev-mirror', 'copy-ms')
    there = _of(found, 'ours', 'runs-there-ms')
    none = _of(found, 'pause, 0 of 4', 'down-ms')
    rows = [(f'{DISK_MIB} MiB copied: with the upgrade', f'{ours.text(0)} ms'),
            ('block-stream by hand', f'{stream.text(0)} ms'),
            ('blockdev-mirror by hand', f'{mirror.text(0)} ms'),
            ("throughput against block-stream's (aim: 0.8 at least)",
             f'{stream.over(ours).text(2)}'),
            ('the guest runs in the new process after', f'{there.text()} ms'),
            ('the same, copied by blockdev-mirror first (without the upgrade itself)',
             f'{mirror.text(0)} ms'),
            ('stopped for, of four disks none moves', f'{none.text(2)} ms')]
    for count in (1, 2, 4):
        down = _of(found, f'pause, {count} of 4', 'down-ms')
        rows.append((f'stopped for, {count} of four move (aim: 5 ms more a disk at most)',
                     f'{down.text(2)} ms, {(down.median - none.median) / count:+.2f} a disk'))
    local, missing = _of(found, 'read', 'local-ms'), _of(found, 'read', 'missing-ms')
    rows += [('a read of 4 KiB from the old image', f'{local.text(3)} ms'),
             ('the same in the new one, where it is not there yet (aim: 2 ms more at most)',
              f'{missing.text(3)} ms')]
    return '\n'.join([f'| QEMU {qemu.full_version()} | median (lowest to highest) |', '|---|---|'] +
                     [f'| {name} | {value} |' for name, value in rows])
