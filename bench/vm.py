# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs under measurement. The guest is the payload of tests/guest, which checks its memory.

A run has a folder of its own, which a QEMU in another root sees at the same path.
"""
import itertools
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace

from host import Group
from qmp import Monitor, QmpError
from trace import Trace

LOW_MIB = 2048  # q35 puts what is beyond above 4 GiB
FIRST_MIB = 8   # of the guest's own


@dataclass(frozen=True)
class Guest:
    ram_mib: int = 2048
    touched_mib: int = 2048
    rate: int = 16         # pages made new per ms; 0: as fast as it can; None: none
    vcpus: int = 1
    devices: int = 2
    shared: bool = False   # memory shared from the start, as cpr-transfer wants it

    def low_mib(self):
        return self.ram_mib if self.ram_mib < 2816 else LOW_MIB

    def append(self):
        """The payload's options."""
        low = min(self.touched_mib, self.low_mib() - FIRST_MIB)
        high = min(self.touched_mib - low, self.ram_mib - self.low_mib())
        work = 'idle=1' if self.rate is None else f'rate={self.rate}'
        return f'beat=10 touch={low} high={max(0, high) // 2 * 2} {work}'

    def with_shared(self, shared):
        return replace(self, shared=shared)


class Bench:
    """The folder, the control group, and the plugin."""

    def __init__(self, plugin, payload, limits):
        self.dir = tempfile.mkdtemp(prefix='lm-bench-')
        self.plugin = shutil.copy(plugin, self.dir)
        self.payload = shutil.copy(payload, self.dir)
        self.limits = limits
        self.group = Group()
        self._names = itertools.count()
        self.vms = []

    def path(self, suffix):
        return os.path.join(self.dir, f'{next(self._names)}{suffix}')

    def warm(self, mib):
        """See limits.c."""
        subprocess.run([self.limits, '--warm', f'--mib={mib // 2 * 2}'], check=True)

    def close(self):
        for vm in list(self.vms):
            vm.kill()
        self.group.remove()
        shutil.rmtree(self.dir, ignore_errors=True)


class Vm:
    def __init__(self, bench, qemu, guest, trace=None, plugin_args='', more=(), plugin=True):
        self.bench, self.qemu, self.guest = bench, qemu, guest
        self.trace = trace or Trace(bench.path('.serial'))
        self.monitor = Monitor(bench.path('.qmp'))
        arguments = qemu.command(bench.dir) + self._arguments()
        if plugin:
            arguments += ['-plugin', bench.plugin + plugin_args]
        self._stderr_path = bench.path('.stderr')
        with open(self._stderr_path, 'wb') as stderr:
            self.process = subprocess.Popen(arguments + list(more), stdin=subprocess.DEVNULL,
                                            stdout=stderr, stderr=stderr, preexec_fn=self._join)
        self.pid = self.process.pid
        self.monitor.process = self.process
        bench.vms.append(self)

    def _join(self):
        if self.bench.group.procs():
            with open(self.bench.group.procs(), 'w', encoding='utf-8') as file:
                file.write(str(os.getpid()))

    def _arguments(self):
        guest = self.guest
        machine = 'pc-q35-7.2'
        memory = []
        if guest.shared:
            machine += ',memory-backend=mem,aux-ram-share=on'
            memory = ['-object', f'memory-backend-memfd,share=on,id=mem,size={guest.ram_mib}M']
        return ['-nodefaults', '-no-user-config', '-display', 'none', '-machine', machine,
                '-accel', 'tcg', '-cpu', 'qemu64', '-m', str(guest.ram_mib),
                '-smp', str(guest.vcpus), *memory, '-kernel', self.bench.payload,
                '-append', guest.append(), *self._devices(),
                '-chardev', f'file,id=serial,path={self.trace.path},append=on',
                '-serial', 'chardev:serial',
                '-chardev', f'socket,id=monitor,path={self.monitor.path},server=off',
                '-mon', 'chardev=monitor,mode=control']

    def _devices(self):
        result = []
        for i in range(self.guest.devices):
            kind = ['-netdev', f'user,id=n{i},restrict=on',
                    '-device', f'virtio-net-pci,netdev=n{i},romfile=']
            if i % 2 == 0:
                kind = ['-blockdev', f'null-co,node-name=d{i},size={1 << 30},read-zeroes=on',
                        '-device', f'virtio-blk-pci,drive=d{i}']
            if i >= 2:  # as management software does: each behind a port of its own
                result += ['-device', f'pcie-root-port,id=p{i},chassis={i},slot={i}']
                kind[-1] += f',bus=p{i}'
            result += kind
        return result

    def last_words(self):
        with open(self._stderr_path, encoding='utf-8', errors='replace') as file:
            return file.read().strip().splitlines()[-1:] or ['it said nothing']

    def quit(self):
        try:
            self.monitor.command('quit')
        except QmpError:
            pass
        self.process.wait(30)
        self._forget()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._forget()

    def _forget(self):
        if self in self.bench.vms:
            self.bench.vms.remove(self)
        self.monitor.close()


def boot(bench, qemu, guest, plugin=True):
    """A VM whose guest has filled its memory and is at work."""
    vm = Vm(bench, qemu, guest, plugin=plugin)
    vm.monitor.connected()
    vm.trace.wait(60)
    return vm
