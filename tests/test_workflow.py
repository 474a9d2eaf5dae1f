"""The workflow that re-measures the paper: its jobs as Snakemake sees them, and a small part of it run by the local
executor, interrupted and taken up again, in a copy of the repository."""

import multiprocessing, os, re, shutil, subprocess, sys
from pathlib import Path

import pytest, snakemake.cli

from hpdval import command
from hpdval.config import TYPES, config_hash, make_config
from hpdval.experiment import run_code
from hpdval.paper import jobs

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'workflow'))
import pages

SMALL = ('seeds=0', 'epochs=1', 'image_size=32')


@pytest.fixture(scope='module')
def copy(tmp_path_factory) -> Path:
    "What the workflow reads of the repository."
    folder = tmp_path_factory.mktemp('copy')
    for name in ('hpdval', 'nbs', 'workflow'):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__', '.snakemake'))
    shutil.copy(ROOT / 'settings.ini', folder)
    return folder


def call(copy, *args):
    "Snakemake's command in the copy: exit status, and what it printed."
    tools = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    env = os.environ | dict(HPDVAL_RUNS='runs', OMP_NUM_THREADS='1', PATH=tools, PYTHONPATH=str(copy))
    command = [sys.executable, '-m', 'snakemake', '--cores', '2', '--nolock', *args]
    done = subprocess.run(
        command, cwd=copy, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
    )
    return done.returncode, done.stdout


def _forked(copy, printed, args):
    os.chdir(copy)
    os.environ['HPDVAL_RUNS'] = 'runs'
    with open(printed, 'wb') as f:
        os.dup2(f.fileno(), 1)
        os.dup2(f.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, 'w'), os.fdopen(2, 'w')
    snakemake.cli.main(args)


def dry_run(copy, *args):
    "The same of a dry run, in a copy of this process, which has the libraries loaded."
    printed = copy / 'printed.txt'
    options = ['--cores', '2', '--nolock', '--dry-run', '--quiet', 'host', *args]
    child = multiprocessing.get_context('fork').Process(target=_forked, args=(copy, printed, options))
    child.start()
    child.join(timeout=300)
    return child.exitcode, printed.read_text()


def succeeds(done) -> str:  # what it printed
    code, printed = done
    assert code == 0, printed[-3000:]
    return printed


def planned(copy, *args) -> dict:  # rule -> jobs
    "What a dry run would do."
    printed = succeeds(dry_run(copy, *args))
    return {k: int(n) for k, n in re.findall(r'^(\w+) +(\d+)$', printed, re.M)}


def test_the_command_reads_the_words_of_a_job():
    for name, job in jobs().items():
        options = command.run.make_context('run', list(job.words)).params
        cfg = make_config(**{k: v for k, v in options.items() if k in TYPES and v is not None})
        assert config_hash(cfg, run_code(cfg)) == name


def test_every_page_of_the_paper_is_planned(copy):
    printed = succeeds(dry_run(copy))
    count = {k: int(n) for k, n in re.findall(r'^(\w+) +(\d+)$', printed, re.M)}
    shown = r'table\d|fig\d|field|parts|local_view|open_vocabulary|video'
    notebooks = {p.stem for p in (ROOT / 'nbs').glob('*.ipynb') if re.match(shown, p.stem)}
    assert count['page'] >= len(notebooks) + len(pages.ALONE) and count['fewshot'] == 6
    assert count['run'] == len(jobs()) > 100
    assert all(f'paper_figures/{n}/' in printed for n in notebooks)


@pytest.mark.parametrize('option,near', [('tables=tabel1', 'table1'), ('epoch=1', 'epochs')])
def test_a_mistyped_option_is_an_error(copy, option, near):
    code, printed = dry_run(copy, '--config', option)
    assert code != 0 and f"did you mean '{near}'" in printed


def test_a_sweep_goes_on_where_it_stopped_and_makes_again_what_changed(copy):
    runs, page = copy / 'runs', 'table6_prompts/voc_lt/table.md'
    todo = [f'runs/jobs/{j}.done' for j in jobs([0], ['table6'], ['icon-voc-lt'], epochs1=1, epochs2=1, image_size=32)]

    def wanted(out):
        return '--config', *SMALL, 'tables=table6', f'out={out}', '--', f'{out}/{page}'

    succeeds(call(copy, '--config', *SMALL, 'tables=table6', '--', *todo))
    first = {f: f.stat().st_mtime_ns for f in runs.glob('*/result.json')}
    assert len(first) == 4  # stage 1, and three stages 2 on top of it
    lost = copy / todo[-1]
    lost.unlink()  # as if it had been stopped before this mark
    succeeds(call(copy, *wanted('a')))
    assert lost.exists()
    table = (copy / 'a' / page).read_text()
    assert 'measured here: total' in table and 'quoted from the paper: total' in table and 'seeds [0]' in table
    assert {f: f.stat().st_mtime_ns for f in runs.glob('*/result.json')} == first  # nothing was trained again
    assert planned(copy, *wanted('a')) == {}
    assert planned(copy, *wanted('b')) == dict(page=1, total=1)  # another folder: the page, and no run
    with open(copy / 'hpdval/labels.py', 'a') as f:
        f.write('# a remark\n')
    assert planned(copy, *wanted('a')) == dict(page=1, total=1)


def test_all_runs_in_a_pool_are_those_that_the_workflow_asks_for(copy):
    asked = ['--processes', '1', '--seeds', '0', '--tables', 'zero-shot', '--image-size', '32', '--pages']
    env = os.environ | dict(HPDVAL_RUNS=str(copy / 'pool'), OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
    command = [sys.executable, str(ROOT / 'scripts/all_runs.py'), *asked]
    done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    names = jobs([0], ['zero-shot'], image_size=32)
    assert {f.stem for f in (copy / 'pool/jobs').iterdir()} == set(names)
    assert f'{len(names)} of {len(names)} runs' in done.stdout
    again = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, timeout=300)
    assert '0 of 0 runs' in again.stdout and '0 of 0 pages' in again.stdout  # none shows this table alone
