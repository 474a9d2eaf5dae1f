"The workflow that re-measures the paper: its jobs as Snakemake sees them, and a part of it run locally, in two goes."

import os, re, subprocess, sys
from pathlib import Path

from hpdval.paper import jobs

ROOT = Path(__file__).resolve().parents[1]


def snakemake(runs, *args):
    env = os.environ | dict(
        HPDVAL_RUNS=str(runs),
        OMP_NUM_THREADS='1',
        PATH=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
    )
    done = subprocess.run(
        [sys.executable, '-m', 'snakemake', '--cores', '2', '--nolock', *args],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def test_every_page_of_the_paper_is_planned(tmp_path):
    printed = snakemake(tmp_path / 'runs', '--dry-run', '--quiet', 'host')
    count = {k: int(n) for k, n in re.findall(r'^(\w+) +(\d+)$', printed, re.M)}
    tables = {p.stem for p in (ROOT / 'nbs').glob('*.ipynb') if re.match(r'table\d|fig\d', p.stem)}
    assert count['few_shot_table'] == 1 and count['page'] >= len(tables) - 1 and count['fewshot'] == 6
    assert count['run'] > 100 and all(t in printed for t in tables)


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path):
    runs, small = tmp_path / 'runs', ('--config', 'seeds=0', 'epochs=1', f'out={tmp_path}/out')
    page = f'{runs}/pages/table6_prompts/voc_lt.ipynb'
    marks = [f'{runs}/jobs/{j}.done' for j in jobs([0], ['table6'], ['icon-voc-lt'], epochs1=1, epochs2=1)]
    snakemake(runs, *small, '--', *marks)
    first = {f: f.stat().st_mtime_ns for f in runs.glob('*/result.json')}
    assert len(first) == 4  # stage 1, and three stages 2 on top of it
    lost = min((runs / 'jobs').glob('*.done'))
    lost.unlink()  # as if it had been stopped before this mark
    snakemake(runs, *small, '--', page)
    assert lost.exists() and {f: f.stat().st_mtime_ns for f in runs.glob('*/result.json')} == first
    table = (tmp_path / 'out/table6_prompts/voc_lt/table.md').read_text()
    assert 'measured here: total' in table and 'quoted from the paper: total' in table and 'seeds [0]' in table
