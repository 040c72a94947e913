# SPDX-License-Identifier: GPL-2.0-or-later
"""What bench/run does once all is built. See bench/run for the options."""
import argparse
import datetime
import json
import os
import subprocess
import sys

import disks
import plots
import report
from compare import compare
from host import Qemu, description, memory_mib
from qmp import QmpError
from sweeps import QUICK, SWEEPS, needs_mib, ways_of
from vm import Bench, Guest, boot
from ways import WAYS, measure

DEFAULT_VERSIONS = '10.0,11.1'


def say(text):
    print(text, file=sys.stderr, flush=True)


def names(text, known, what):
    if text in ('all', 'none'):
        return list(known) if text == 'all' else []
    chosen = [name for name in text.split(',') if name]
    for name in chosen:
        if name not in known:
            raise SystemExit(f"bench/run: no {what} {name}: there are {', '.join(known)}")
    return chosen


def parse(arguments):
    parser = argparse.ArgumentParser(prog='bench/run', description='Moves one guest by every way '
                                     'that there is, and compares.')
    parser.add_argument('--versions', default=DEFAULT_VERSIONS, metavar='V,...',
                        help=f'of QEMU (default: {DEFAULT_VERSIONS})')
    parser.add_argument('--ways', default='all', metavar='WAY,...', help=', '.join(WAYS))
    parser.add_argument('--runs', type=int, default=5, metavar='N', help='of each way (default: 5)')
    parser.add_argument('--sweeps', default='all', metavar='NAME,...',
                        help=f"{', '.join(SWEEPS)}, all (default) or none")
    parser.add_argument('--sweep-runs', type=int, default=3, metavar='N', help='default: 3')
    parser.add_argument('--ram', type=int, default=2048, metavar='MIB',
                        help='of the guest, all of it touched (default: 2048)')
    parser.add_argument('--out', default='bench-results', metavar='DIR',
                        help='for results.json, report.md and the pictures')
    parser.add_argument('--add', action='store_true', help='to what DIR/results.json has: its '
                        'sweeps of other names stay, and all else with --runs=0')
    parser.add_argument('--disks', action='store_true', help='only disks that move to other '
                        'images (docs/move-disk.md): --versions and --runs count')
    parser.add_argument('--quick', action='store_true', help='small guests, one run: a trial')
    parser.add_argument('--report', metavar='DIR', help='only write report and pictures of a '
                        'DIR/results.json anew')
    parser.add_argument('--update-docs', metavar='DIR',
                        help='put the report and the pictures of DIR into docs/benchmarks.md')
    parser.add_argument('--compare', nargs=2, metavar=('A', 'B'),
                        help='two results.json: what differs by more than it varies')
    return parser.parse_args(arguments)


class Runner:
    def __init__(self, options):
        env = os.environ
        self.options = options
        self.bench = Bench(env['LM_PLUGIN'], env['LM_PAYLOAD'], env['LM_LIMITS'])
        self.results = {'limits': [], 'main': {}, 'failed': [], 'sweeps': []}

    def keep(self, before, sweeps):
        """What this run does not measure anew."""
        self.results['sweeps'] = [s for s in before['sweeps'] if s['name'] not in sweeps]
        if not self.options.runs:
            self.results = before | {'sweeps': self.results['sweeps']}
            before['meta']['sweep-runs'] = self.options.sweep_runs

    def limits(self):
        """With as many threads as a flip has pipes."""
        threads = min(4, os.cpu_count())
        self.bench.warm(2 * self.options.ram)
        said = subprocess.run([self.bench.limits, '--json', f'--threads={threads}',
                               f'--mib={self.options.ram // 2}', f'--runs={self.options.runs}'],
                              stdout=subprocess.PIPE, check=True).stdout
        self.results['limits'] = json.loads(said)
        self.results['limit-threads'] = threads

    def once(self, qemu, guest, way, into, traced=False):
        """One way in a VM of its own, or after the way that it needs to have gone before."""
        guest = guest.with_shared(way.shared)
        self.bench.warm(min(2 * guest.touched_mib, memory_mib()[1] * 3 // 4))
        vm = boot(self.bench, qemu, guest, plugin=way.ours)
        try:
            if way.after:
                vm, sample = measure(vm, WAYS[way.after])
                if way.after in into and not traced:
                    into[way.after].append(sample)
            vm, sample = measure(vm, way, traced)
            into.setdefault(way.name, []).append(sample)
            say(f"  {qemu.version} {way.name:18} stopped for {sample['down-ms']:8.1f} ms, "
                f"done after {sample['total-ms']:8.1f} ms")
            vm.quit()
        except (QmpError, RuntimeError) as error:
            into.setdefault(way.name, []).append({'failed': str(error)})
            self.results['failed'].append(
                {'way': way.name, 'ours': way.ours, 'text': f'QEMU {qemu.version}, {way.name}: {error}'})
            say(f'  {qemu.version} {way.name}: FAILED: {error}')
            for each in list(self.bench.vms):
                each.kill()

    def in_turn(self, qemu, guest, ways, runs):
        """{way: samples}. What another way needs is measured on its way, and not once more."""
        into = {name: [] for name in ways}
        on_the_way = {way.after for way in ways.values() if way.after}
        alone = [way for name, way in ways.items() if name not in on_the_way]
        for run in range(runs):
            turn = run % len(alone)
            for way in alone[turn:] + alone[:turn]:
                self.once(qemu, guest, way, into)
        return into

    def main(self, versions, ways):
        guest = Guest(ram_mib=self.options.ram, touched_mib=self.options.ram)
        self.results['guest'] = guest.__dict__
        for version in versions:
            qemu = Qemu(version)
            there = {name: WAYS[name] for name in ways if WAYS[name].exists_in(version)}
            say(f'QEMU {qemu.full_version()}, {len(there)} ways, {self.options.runs} runs')
            self.results['main'][version] = self.in_turn(qemu, guest, there, self.options.runs)
        qemu = Qemu(versions[0])
        traced = {}
        say('once more, for the pictures')
        for name in ways:
            if WAYS[name].exists_in(qemu.version):
                self.once(qemu, guest, WAYS[name], traced, traced=True)
        self.results['traced'] = {'version': qemu.version, 'ways': {
            name: samples[-1] for name, samples in traced.items() if 'failed' not in samples[-1]}}

    def sweep(self, name, version):
        sweep, qemu = SWEEPS[name], Qemu(version)
        base = Guest(ram_mib=self.options.ram, touched_mib=self.options.ram)
        result = {'name': name, 'title': sweep.title, 'unit': sweep.unit, 'version': version,
                  'ways': list(sweep.ways), 'points': []}
        self.results['sweeps'].append(result)
        for value in QUICK[name] if self.options.quick else sweep.values:
            guest = sweep.guest(base, value)
            ways = ways_of(name, value, version)
            fits = {way: WAYS[way] for way in ways
                    if needs_mib(guest, ways[way]) < memory_mib()[1] * 0.95}
            say(f'{sweep.title}: {value} {sweep.unit}')
            point = {'value': value, 'too-large': sorted(set(ways) - set(fits)), 'ways': {}}
            for way, samples in self.in_turn(qemu, guest, {way: ways[way] for way in fits},
                                             self.options.sweep_runs).items():
                point['ways'][way.split(',')[0]] = samples
            result['points'].append(point)


def run(options):
    if options.runs < 0 or options.sweep_runs < 1 or options.runs == 0 and not options.add:
        raise SystemExit('bench/run: at least one run, of sweeps, too (--runs=0: with --add)')
    if options.quick:
        options.runs = options.sweep_runs = 1
        options.ram = min(options.ram, 512)
    versions = [v for v in options.versions.split(',') if v]
    ways = names(options.ways, WAYS, 'way')
    sweeps = names(options.sweeps, SWEEPS, 'sweep')
    os.makedirs(options.out, exist_ok=True)
    runner = Runner(options)
    runner.results['meta'] = {
        'date': datetime.date.today().isoformat(), 'host': description(),
        'versions': {v: Qemu(v).full_version() for v in versions},
        'runs': options.runs, 'sweep-runs': options.sweep_runs}
    if options.add:
        runner.keep(read(os.path.join(options.out, 'results.json')), sweeps)
    try:
        if options.runs:
            runner.limits()
            runner.main(versions, ways)
        for name in sweeps:
            runner.sweep(name, versions[0])
    finally:
        runner.bench.close()
        with open(os.path.join(options.out, 'results.json'), 'w', encoding='utf-8') as file:
            json.dump(runner.results, file, indent=1)
    return runner.results


def run_disks(options):
    bench = Bench(os.environ['LM_PLUGIN'], os.environ['LM_PAYLOAD'], os.environ['LM_LIMITS'])
    try:
        for version in options.versions.split(','):
            qemu = Qemu(version)
            print(disks.report(qemu, disks.measure(bench, qemu, options.runs, say)), flush=True)
    finally:
        bench.close()
    return 0


def read(path):
    with open(path, encoding='utf-8') as file:
        return json.load(file)


def main():
    options = parse(sys.argv[1:])
    if options.compare:
        return compare(*(read(path) for path in options.compare))
    if options.disks:
        return run_disks(options)
    if options.update_docs:
        report.update_docs(options.update_docs, os.environ['LM_TOP'])
        return 0
    if options.report:
        options.out = options.report
        results = read(os.path.join(options.report, 'results.json'))
    else:
        results = run(options)
    pictures = plots.draw(results, options.out)
    text = report.text(results, pictures)
    with open(os.path.join(options.out, 'report.md'), 'w', encoding='utf-8') as file:
        file.write(text)
    print(text)
    return 1 if any(failure['ours'] for failure in results['failed']) else 0


if __name__ == '__main__':
    sys.exit(main())
