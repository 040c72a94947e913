# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables, in Markdown that reads as plain text."""
import os
import re
import shutil

from figures import aims, best_copy, growth, of

COLUMNS = (
    ('stopped for, ms', 'down-ms', 1), ('until it runs, ms', 'until-ms', 1),
    ('done, ms', 'total-ms', 0), ('memory over before, MiB', 'peak-mib', 1),
    ("guest's longest stall, ms", 'stall-ms', 1), ('worst 100 ms', 'worst-100-ms', 2),
    ('processor, ms', 'cpu-ms', 0))
BEGIN, END = '<!-- figures: begin -->\n', '<!-- figures: end -->\n'


def table(head, rows):
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    lines = ['| ' + ' | '.join(str(c).ljust(w) for c, w in zip(row, widths)) + ' |'
             for row in [head, *rows]]
    lines.insert(1, '|' + '|'.join('-' * (w + 2) for w in widths) + '|')
    return '\n'.join(lines) + '\n'


def machine(results):
    meta = results['meta']
    host, guest = meta['host'], results['guest']
    huge = ', '.join(f'{k} {v}' for k, v in sorted(host['huge-pages'].items()))
    return (f"{meta['date']}; {host['processors']} processors ({host['processor']}), "
            f"{host['memory-mib']} MiB, Linux {host['kernel']}; transparent huge pages: {huge}. "
            f"QEMU {', '.join(meta['versions'].values())} under TCG, machine pc-q35-7.2; "
            f"{guest['ram_mib']} MiB, all of it touched, {guest['rate']} pages made new per ms, "
            f"{guest['vcpus']} vCPU, {guest['devices']} virtio devices. Median (lowest to highest) "
            f"of {meta['runs']} runs, in turn.\n")


def limits(results):
    rows = [(x['name'], f"{x['median']:.2f} ({x['low']:.2f} to {x['high']:.2f}) {x['unit']}")
            for x in results['limits']]
    return table((f"with {results['limit-threads']} threads", 'median'), rows)


def cell(samples, key, digits):
    value = of(samples, key)
    return value.text(digits) if value else '-'


def huge(samples):
    before, after = of(samples, 'huge-before-mib'), of(samples, 'huge-after-mib')
    if not before or not after or not before.median:
        return '-'
    return f'{100 * after.median / before.median:.0f} %'


def ways(version_ways):
    rows = []
    for way, samples in version_ways.items():
        if samples and all('failed' in s for s in samples):
            rows.append((way, 'failed', *[''] * len(COLUMNS)))
        else:
            rows.append((way, *(cell(samples, key, d) for _, key, d in COLUMNS), huge(samples)))
    return table(('', *(title for title, _, _ in COLUMNS), 'huge pages kept'), rows)


def aim_table(results, version):
    rows = [(aim.name, aim.against, aim.text(), aim.value.text(2),
             'yes' if aim.reached() else 'no') for aim in aims(results, version)]
    return table(('', 'against', 'aim', 'ratio', 'reached'), rows) if rows else ''


def sweep_table(sweep, key):
    rows = []
    for way in sweep['ways']:
        row = [way]
        for point in sweep['points']:
            value = of(point['ways'].get(way), key)
            row.append(f'{value.median:.1f}' if value else
                       'too large' if way in point['too-large'] else
                       'not over' if point['ways'].get(way) else '-')
        if any(x != '-' for x in row[1:]):
            rows.append(row)
    unit = f" {sweep['unit']}" if sweep['unit'] else ''
    return table(('', *(f"{point['value']}{unit}" for point in sweep['points'])), rows)


def laws(sweep, key):
    lines = []
    for way, (at_zero, per_unit, share) in growth(sweep, key).items():
        lines.append(f"- {way}: {at_zero:.1f} ms + {per_unit:.2f} ms per {sweep['unit'] or 'one'} "
                     f"(explains {100 * max(0, share):.0f} % of the variation)")
    return '\n'.join(lines) + '\n' if lines else ''


def sweep_text(sweep, picture):
    parts = [f"### {sweep['title']} (QEMU {sweep['version']})\n"]
    if picture:
        parts.append(f"![{sweep['title']}]({picture})\n")
    for title, key in (('Stopped for, ms:', 'down-ms'), ('Done, ms:', 'total-ms')):
        parts += [f'{title}\n', sweep_table(sweep, key), laws(sweep, key)]
    return '\n'.join(part for part in parts if part)


def text(results, pictures):
    """@pictures: {what is in it: file's name}"""
    parts = [machine(results), '## What the machine can do\n', limits(results)]
    best = best_copy(results['limits'])
    if best:
        parts.append(f"The best single copy is {best['name']}, {best['median']:.2f} GB/s.\n")
    for version, version_ways in results['main'].items():
        parts += [f'## Every way, QEMU {version}\n', ways(version_ways)]
        found = aim_table(results, version)
        if found:
            parts += [f'## Aims, QEMU {version}\n', found]
    for name, title in (('guest', "The guest's throughput through a move"),
                        ('memory', 'Memory over time through a move'),
                        ('pause', 'Where the pause goes')):
        if name in pictures:
            parts.append(f'![{title}]({pictures[name]})\n')
    if results['sweeps']:
        parts.append('## What grows with what\n')
        parts += [sweep_text(s, pictures.get(s['name'])) for s in results['sweeps']]
    if results['failed']:
        parts += ['## Failed\n', *(f"- {failure['text']}\n" for failure in results['failed'])]
    return '\n'.join(parts)


def update_docs(folder, top):
    """The report and its pictures between the marks of docs/benchmarks.md."""
    docs = os.path.join(top, 'docs')
    with open(os.path.join(folder, 'report.md'), encoding='utf-8') as file:
        new = file.read()
    new = re.sub(r'\]\((\w+\.svg)\)', r'](benchmarks/\1)', new)
    with open(os.path.join(docs, 'benchmarks.md'), encoding='utf-8') as file:
        before, _, rest = file.read().partition(BEGIN)
    after = rest.partition(END)[2]
    with open(os.path.join(docs, 'benchmarks.md'), 'w', encoding='utf-8') as file:
        file.write(before + BEGIN + new + END + after)
    os.makedirs(os.path.join(docs, 'benchmarks'), exist_ok=True)
    for name in os.listdir(folder):
        if name.endswith('.svg'):
            shutil.copy(os.path.join(folder, name), os.path.join(docs, 'benchmarks', name))
