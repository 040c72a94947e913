# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures by gnuplot, which gets its data within its script."""
import os
import shutil
import subprocess

from figures import of

PARTS = ('stop', 'save', 'send', 'map', 'load', 'activate', 'start')
SHOWN = ('flip', 'share', 'pass', 'precopy', 'postcopy-release', 'cpr-transfer')
HEAD = '''set terminal svg size 800,420 font "sans,12" background "white"
set grid lc rgb "#dddddd"
set key outside right top
set style data linespoints
'''


def block(name, rows):
    return f'${name} << EOD\n' + '\n'.join(' '.join(map(str, row)) for row in rows) + '\nEOD\n'


def lines(series, style):
    """[(title, rows)]: a script that plots them."""
    data = ''.join(block(f'd{i}', rows) for i, (_, rows) in enumerate(series))
    plots = ', '.join(f'$d{i} using 1:2 with {style} lw 2 title "{title}"'
                      for i, (title, _) in enumerate(series))
    return f'{data}plot {plots}\n'


def sweep_script(sweep):
    names = [point['value'] for point in sweep['points']]
    numeric = all(isinstance(x, (int, float)) for x in names)
    series = []
    for way in sweep['ways']:
        rows = [(x if numeric else i, value.median) for i, (x, value) in enumerate(
            (p['value'], of(p['ways'].get(way), 'down-ms')) for p in sweep['points']) if value]
        if rows:
            series.append((way, rows))
    if not series:
        return None
    tics = ', '.join(f'"{x}" {x if numeric else i}' for i, x in enumerate(names))
    unit = f", {sweep['unit']}" if sweep['unit'] else ''
    return (f"set xlabel \"{sweep['title']}{unit}\"\nset ylabel \"stopped for, ms\"\n"
            f"set logscale y\nset xtics ({tics})\n"
            + ('set logscale x\n' if numeric and min(names) > 0 else 'set xrange [-0.2:*]\n')
            + lines(series, 'linespoints'))


def guest_script(traced):
    series = []
    for way in SHOWN:
        sample = traced.get(way)
        if sample:
            begin, width = sample['bins-from-ms'], sample['bin-ms']
            series.append((way, [(begin + i * width, pages / width)
                                 for i, pages in enumerate(sample['bins'])]))
    if not series:
        return None
    script = 'set xlabel "ms since the command"\nset yrange [0:150]\nunset key\n'
    script += f'set multiplot layout {(len(series) + 1) // 2},2\n'
    for title, rows in series:
        script += f'set title "{title}: pages checked per ms"\n' + lines([(title, rows)], 'lines')
    return script + 'unset multiplot\n'


def memory_script(traced):
    series = []
    for way in SHOWN:
        readings = traced.get(way, {}).get('memory')
        if readings:
            first = readings[0][1]
            series.append((way, [(at, mib - first) for at, mib in readings]))
    if not series:
        return None
    return ('set xlabel "ms since the command"\nset ylabel "MiB more than before the new process"\nset yrange [-20:*]\n'
            + lines(series, 'lines'))


def pause_script(ways):
    rows = []
    for way in ('flip', 'share-stopped', 'share', 'pass'):
        parts = [s['pause'] for s in ways.get(way, ()) if s.get('pause')]
        if parts and way in ('share', 'pass'):
            medians = [sorted(p.get(name, 0) for p in parts)[len(parts) // 2] for name in PARTS]
            rows.append((f'"{way}"', *medians))
    if not rows:
        return None
    plots = ', '.join(f'$d using {i + 2}:xtic(1) title "{name}"' for i, name in enumerate(PARTS))
    return (block('d', rows) + 'set style data histograms\nset style histogram rowstacked\n'
            'set style fill solid 0.8\nset boxwidth 0.5\nset ylabel "ms"\nset yrange [0:*]\n'
            f'plot {plots}\n')


def scripts(results):
    traced = results.get('traced', {}).get('ways', {})
    first = next(iter(results['main'].values()), {})
    found = {'guest': guest_script(traced), 'memory': memory_script(traced),
             'pause': pause_script(first)}
    found |= {sweep['name']: sweep_script(sweep) for sweep in results['sweeps']}
    return {name: script for name, script in found.items() if script}


def draw(results, folder):
    """{name: file}; none without gnuplot."""
    if not shutil.which('gnuplot'):
        return {}
    drawn = {}
    for name, script in scripts(results).items():
        size = HEAD.replace('800,420', '900,700') if name == 'guest' else HEAD
        path = os.path.join(folder, f'{name}.svg')
        subprocess.run(['gnuplot'], input=f'{size}set output "{path}"\n{script}', text=True,
                       check=True)
        drawn[name] = f'{name}.svg'
    return drawn
