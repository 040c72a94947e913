# SPDX-License-Identifier: GPL-2.0-or-later
"""What the host says of processes: memory of a control group, processor time, huge pages."""
import glob
import os
import platform
import re
import subprocess
import threading
import time

MIB = 1 << 20
WATCH_S = 0.003
TICKS = os.sysconf('SC_CLK_TCK')


def text_of(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def own_group():
    """The folder of our own memory control group, and its version."""
    unified = None
    for line in text_of('/proc/self/cgroup').splitlines():
        _, controllers, path = line.split(':', 2)
        if controllers == 'memory':
            return '/sys/fs/cgroup/memory' + path, 1
        if not controllers:
            unified = '/sys/fs/cgroup' + path
    return unified, 2


class Group:
    """All VMs of a run. The kernel keeps the peak; without one that can be set back: no figure."""

    def __init__(self):
        folder, version = own_group()
        self.path = os.path.join(folder, f'lm-bench-{os.getpid()}')
        self._usage = 'memory.usage_in_bytes' if version == 1 else 'memory.current'
        self._peak = 'memory.max_usage_in_bytes' if version == 1 else 'memory.peak'
        self._reset = '0' if version == 1 else 'reset'
        self._file = None
        self._before = 0
        self._readings = self._watching = None
        try:
            os.mkdir(self.path)
            self._file = open(os.path.join(self.path, self._peak), 'r+', encoding='utf-8')
        except OSError:
            pass

    def procs(self):
        return os.path.join(self.path, 'cgroup.procs') if self._file else None

    def begin(self):
        if not self._file:
            return
        self._file.write(self._reset)
        self._file.flush()
        self._before = int(text_of(os.path.join(self.path, self._usage)))

    def watch(self):
        """Reads what is in use every few milliseconds, from now until watched()."""
        self._readings = []
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def _watch(self):
        readings = self._readings
        while self._file and readings is self._readings:
            used = int(text_of(os.path.join(self.path, self._usage)))
            readings.append((time.time(), used / MIB))
            time.sleep(WATCH_S)

    def watched(self):
        """(seconds since the epoch, MiB)"""
        readings, self._readings = self._readings, None
        self._watching.join()
        return readings

    def peak_over_before_mib(self):
        if not self._file:
            return None
        self._file.seek(0)  # in version 2 a reset counts for the descriptor that made it
        return max(0, int(self._file.read()) - self._before) / MIB

    def remove(self):
        if self._file:
            self._file.close()
        try:
            os.rmdir(self.path)
        except OSError:
            pass


def processor_s(pid):
    """What all threads of a process have used."""
    fields = text_of(f'/proc/{pid}/stat').rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def guest_huge_mib(pid, least_mib):
    """In huge pages, of the mappings that are large enough to be the guest's memory."""
    counts, kib = False, 0
    for line in text_of(f'/proc/{pid}/smaps').splitlines():
        mapping = re.match(r'([0-9a-f]+)-([0-9a-f]+) rw-', line)
        if mapping:
            begin, end = (int(x, 16) for x in mapping.groups())
            counts = end - begin >= least_mib * MIB
        elif re.match(r'[0-9a-f]+-[0-9a-f]+ ', line):
            counts = False
        elif counts and line.startswith(('AnonHugePages:', 'ShmemPmdMapped:')):
            kib += int(line.split()[1])
    return kib / 1024


def memory_mib():
    """Total, and available."""
    info = dict(line.split(':', 1) for line in text_of('/proc/meminfo').splitlines())
    return tuple(int(info[key].split()[0]) // 1024 for key in ('MemTotal', 'MemAvailable'))


class Qemu:
    """An installed QEMU, or one in a root of another suite, by scripts/prepare's variables."""

    def __init__(self, version):
        name = version.replace('.', '_')
        self.version = version
        self.root = os.environ.get(f'LM_ROOT_{name}')
        self.binary = os.environ.get(f'LM_QEMU_{name}') or 'qemu-system-x86_64'
        if not self.root and f'LM_QEMU_{name}' not in os.environ:
            raise SystemExit(f'bench/run: no QEMU {version}: neither LM_ROOT_{name} nor '
                             f'LM_QEMU_{name} is set')

    def command(self, shared):
        """What a command line begins with; @shared is a folder that it sees at the same path."""
        if self.root:
            return [os.environ['LM_IN_ROOT'], self.root, shared, self.binary]
        return [self.binary]

    def full_version(self):
        said = subprocess.run(self.command('/tmp') + ['--version'], stdout=subprocess.PIPE,
                              text=True, check=True).stdout
        return said.split('version', 1)[1].split('(')[0].strip()


def description():
    model = re.search(r'model name\s*: (.*)', text_of('/proc/cpuinfo'))
    huge = {os.path.basename(path): re.search(r'\[(\w+)\]', text_of(path)).group(1)
            for path in glob.glob('/sys/kernel/mm/transparent_hugepage/*enabled')}
    return {'kernel': platform.release(), 'processor': model.group(1) if model else '?',
            'processors': os.cpu_count(), 'memory-mib': memory_mib()[0], 'huge-pages': huge}
