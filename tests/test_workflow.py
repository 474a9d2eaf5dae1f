"""The workflow that re-measures the paper: its jobs as Snakemake sees them, and a small part of it run by the local
executor, interrupted and taken up again, in a copy of the repository."""

import multiprocessing, os, re, runpy, shutil, signal, subprocess, sys, time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest, snakemake.cli
from click.testing import CliRunner

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


def _forked(copy, printed, args):
    os.chdir(copy)
    tools = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    os.environ |= dict(HPDVAL_RUNS='runs', OMP_NUM_THREADS='1', PATH=tools, PYTHONPATH=str(copy))
    with open(printed, 'wb') as f:
        os.dup2(f.fileno(), 1)
        os.dup2(f.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, 'w'), os.fdopen(2, 'w')
    snakemake.cli.main(args)


def call(copy, *args):
    """Snakemake's command in the copy of the repository, in a copy of this process, which has the libraries loaded:
    exit status, and what it printed."""
    printed = copy / 'printed.txt'
    options = ['--cores', '2', '--nolock', *args]
    child = multiprocessing.get_context('fork').Process(target=_forked, args=(copy, printed, options))
    child.start()
    child.join(timeout=600)
    return child.exitcode, printed.read_text()


def dry_run(copy, *args):
    return call(copy, '--dry-run', '--quiet', 'host', *args)


def succeeds(done) -> str:  # what it printed
    code, printed = done
    assert code == 0, printed[-3000:]
    return printed


def planned(copy, *args) -> dict:  # rule -> jobs
    "What a dry run would do."
    printed = succeeds(dry_run(copy, *args))
    return {k: int(n) for k, n in re.findall(r'^(\w+) +(\d+)$', printed, re.M)}


def test_the_command_reads_the_words_of_a_job():
    codes = {}  # which no seed changes
    for name, job in jobs().items():
        options = command.run.make_context('run', list(job.words)).params
        cfg = make_config(**{k: v for k, v in options.items() if k in TYPES and v is not None})
        apart_from_seed = replace(cfg, seed=0)
        code = codes.get(apart_from_seed) or codes.setdefault(apart_from_seed, run_code(cfg))
        assert config_hash(cfg, code) == name


def test_every_page_of_the_paper_is_planned(copy, one_code):
    printed = succeeds(dry_run(copy, '--config', 'seeds=0'))
    count = {k: int(n) for k, n in re.findall(r'^(\w+) +(\d+)$', printed, re.M)}
    shown = r'table\d|fig\d|field|parts|local_view|open_vocabulary|video'
    notebooks = {p.stem for p in (ROOT / 'nbs').glob('*.ipynb') if re.match(shown, p.stem)}
    assert count['page'] >= len(notebooks) + len(pages.ALONE) and count['fewshot'] == 2
    assert count['run'] == len(jobs([0])) > 100
    assert all(f'paper_figures/{n}/' in printed for n in notebooks)


def test_the_seeds_are_those_of_the_tables(copy):
    found = jobs(tables=['table6'])
    assert planned(copy, '--config', 'tables=table6')['run'] == len(found) == 3 * len(jobs([0], ['table6']))


@pytest.mark.parametrize('option,near', [('tables=tabel1', 'table1'), ('epoch=1', 'epochs')])
def test_a_mistyped_option_is_an_error(copy, option, near):
    code, printed = dry_run(copy, '--config', option)
    assert code != 0 and f"did you mean '{near}'" in printed


def test_a_sweep_goes_on_where_it_stopped_and_makes_again_what_changed(copy, monkeypatch):
    "Two of its runs are made here, in a process that has the libraries loaded, as those of another program."
    runs, page = copy / 'runs', 'table6_prompts/voc_lt/table.md'
    table = jobs([0], ['table6'], ['icon-voc-lt'], epochs1=1, epochs2=1, image_size=32)
    first, lost, *others = [copy / f'runs/jobs/{name}.done' for name in table]

    def wanted(out):
        return '--config', *SMALL, 'tables=table6', f'out={out}', '--', f'{out}/{page}'

    succeeds(call(copy, '--config', *SMALL, 'tables=table6', '--', str(lost.relative_to(copy))))
    assert first.exists() and lost.exists()  # stage 1, and a stage 2 on top of it
    monkeypatch.setenv('HPDVAL_RUNS', str(runs))
    for mark in others:
        done = CliRunner().invoke(command.main, ['run', *table[mark.stem].words])
        assert done.exit_code == 0, done.output
        mark.touch()
    made = {f: f.stat().st_mtime_ns for f in runs.glob('*/result.json')}
    assert len(made) == 4
    lost.unlink()  # as if it had been stopped before this mark
    succeeds(call(copy, *wanted('a')))
    assert lost.exists()
    shown = (copy / 'a' / page).read_text()
    assert 'measured here: total' in shown and 'quoted from the paper: total' in shown and 'seeds [0]' in shown
    assert {f: f.stat().st_mtime_ns for f in runs.glob('*/result.json')} == made  # nothing was trained again
    assert planned(copy, *wanted('a')) == {}
    assert planned(copy, *wanted('b')) == dict(page=1, total=1)  # another folder: the page, and no run
    with open(copy / 'hpdval/labels.py', 'a') as f:
        f.write('# a remark\n')
    assert planned(copy, *wanted('a')) == dict(page=1, total=1)


def test_all_runs_in_a_pool_are_those_that_the_workflow_asks_for(tmp_path, monkeypatch, capsys):
    script = str(ROOT / 'scripts/all_runs.py')
    asked = ['--processes', '1', '--seeds', '0', '--tables', 'zero-shot', '--image-size', '32', '--pages']
    env = os.environ | dict(HPDVAL_RUNS=str(tmp_path), OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, script, *asked], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    names = jobs([0], ['zero-shot'], image_size=32)
    assert {f.stem for f in (tmp_path / 'jobs').iterdir()} == set(names)
    assert f'{len(names)} of {len(names)} runs' in done.stdout
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    monkeypatch.setattr('sys.argv', [script, *asked])
    with pytest.raises(SystemExit) as stopped:  # nothing is left to be made
        runpy.run_path(script, run_name='__main__')
    said = capsys.readouterr().out
    assert not stopped.value.code and '0 of 0 runs' in said and '0 of 0 pages' in said  # none shows this table alone


@pytest.fixture
def all_runs(tmp_path, monkeypatch):
    "The script as a module, as its processes import it, and tasks that do what they are called."
    (tmp_path / 'stub.py').write_text(
        'import os, sys\n'
        'def done(task):\n'
        '    print("said", file=sys.stderr)\n'
        '    if task.name == "killed":\n'
        '        os._exit(1)\n'
        '    if task.name == "wrong":\n'
        '        raise ValueError("no")\n'
        '    open(os.path.join(os.path.dirname(__file__), task.name), "w").close()\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT / 'scripts'))
    import all_runs, stub

    monkeypatch.setattr(all_runs, 'done', stub.done)
    yield all_runs
    del sys.modules['stub']


@pytest.mark.parametrize(
    'words, folder, some',
    [
        ('', 'paper_figures', {'table2_few_shot/table.md', 'audit/summary.md', 'field/coco_lt/table.md'}),
        ('--epochs 1 --tables field,table1', 'runs/trial', {'field/coco_lt/table.md'}),
        ('--epochs 1 --image-size 32', 'runs/trial', {'field/coco_lt/table.md'}),
        ('--epochs 1 --out elsewhere', 'elsewhere', {'field/coco_lt/table.md'}),
    ],
)
def test_a_trial_writes_no_page_over_a_measured_one(all_runs, words, folder, some, tmp_path, monkeypatch):
    "As with the workflow, whose folder and pages these are."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HPDVAL_RUNS', 'runs')
    monkeypatch.setattr('sys.argv', ['all_runs.py', '--pages', *words.split()])
    monkeypatch.setattr(all_runs, 'jobs', lambda *_, **__: {})  # what is trained is not looked at
    monkeypatch.setattr(all_runs, 'made', lambda tasks, processes: {})
    made = []
    monkeypatch.setattr(all_runs, 'written', lambda pages, n, seeds, out, short: made.append((pages, out)) or {})
    with pytest.raises(SystemExit):
        all_runs.main()
    pages, out = made.pop()
    assert str(out) == folder and some <= set(pages)
    assert ('table2_few_shot/table.md' in pages) == ('audit/summary.md' in pages) == ('--epochs' not in words)


def test_all_runs_names_the_run_that_ended_its_process_and_makes_the_others(all_runs, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(all_runs, 'START', 'fork')  # which has the libraries loaded
    names = ['a', 'killed', 'b', 'wrong', 'c']
    failed = all_runs.made([all_runs.Task(n) for n in names], 1)
    assert failed.pop('wrong') == 'ValueError: no'
    assert list(failed) == ['killed'] and failed['killed'].startswith('BrokenProcessPool')
    assert all((tmp_path / n).exists() for n in 'abc')
    assert 'said' not in capfd.readouterr().err  # between the steps of the progress bar


def _killed(folder):
    "A process with one of its own, whose number it leaves in a file before it is killed."
    sys.path[:0] = [str(ROOT / 'scripts')]
    import all_runs

    with ProcessPoolExecutor(1, multiprocessing.get_context('fork'), all_runs.begin) as pool:
        (folder / 'child').write_text(str(pool.submit(os.getpid).result()))
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not Path('/proc/self').exists(), reason='needs /proc')
def test_processes_end_when_all_runs_is_killed(tmp_path):
    script = multiprocessing.get_context('fork').Process(target=_killed, args=(tmp_path,))
    script.start()
    script.join(timeout=120)
    assert script.exitcode == -signal.SIGKILL
    left = Path('/proc', (tmp_path / 'child').read_text())
    for _ in range(100):
        if not left.exists() or 'State:\tZ' in (left / 'status').read_text():
            return
        time.sleep(0.1)
    pytest.fail(f'process {left.name} waits for ever')


def _stopped(folder, words):
    "The script with tasks that wait, in a session of its own; what it says lies in a file."
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ |= dict(PYTHONPATH=str(folder), HPDVAL_RUNS=str(folder / 'runs'))
    sys.path[:0] = [str(folder), str(ROOT / 'scripts')]
    sys.stderr = open(folder / 'said', 'w', buffering=1)
    import all_runs, stub

    sys.argv = ['all_runs.py', '--processes', '2', *words]
    runs = [] if '--pages' in words else 'a wait b wait c'.split()
    all_runs.START = 'fork'
    all_runs.done = stub.done
    all_runs.asked = lambda args: ([0], None, {}, [all_runs.Task(f'{n} {i}') for i, n in enumerate(runs)])
    all_runs.pages_of = lambda tables: {}
    all_runs.ALONE = dict.fromkeys('abcde', next(iter(all_runs.ALONE.values())))
    all_runs.page_words = lambda *how, **more: ''
    all_runs.stopped_in_a_line()


STUB = """
import os, time
def done(task):
    name, i = task.name.split()
    open(os.path.join(os.path.dirname(__file__), f'{name}{i}-{os.getpid()}'), 'w').close()
    time.sleep(300 if name == 'wait' else 0)
"""
PAPERMILL = """
import os, time
open(os.path.join(os.path.dirname(__file__), f'wait-{os.getpid()}'), 'w').close()
time.sleep(300)
"""


@pytest.mark.skipif(not Path('/proc/self').exists(), reason='needs /proc')
@pytest.mark.parametrize('to_all', [True, False], ids=['from a terminal', 'to the script alone'])
@pytest.mark.parametrize('words, said', [((), '2 of 5 runs are done'), (['--pages'], '0 of 5 pages are done')])
def test_an_interrupt_of_all_runs_ends_in_a_line(words, said, to_all, tmp_path):
    (tmp_path / 'stub.py').write_text(STUB)
    (tmp_path / 'papermill.py').write_text(PAPERMILL)
    script = multiprocessing.get_context('fork').Process(target=_stopped, args=(tmp_path, words))
    script.start()
    for _ in range(1200):
        waiting = [*tmp_path.glob('wait*-*')]
        if len(waiting) == 2:
            break
        time.sleep(0.1)
    (os.killpg if to_all else os.kill)(script.pid, signal.SIGINT)
    script.join(timeout=60)
    printed = (tmp_path / 'said').read_text()
    assert script.exitcode == 130, printed
    assert printed.splitlines()[-1] == f'stopped: {said}; the same command goes on from there'
    assert 'Traceback' not in printed
    for file in waiting:
        process = Path('/proc', file.name.split('-')[1])
        for _ in range(100):
            if not process.exists() or 'State:\tZ' in (process / 'status').read_text():
                break
            time.sleep(0.1)
        assert not process.exists() or 'State:\tZ' in (process / 'status').read_text()
    assert not [*tmp_path.glob('c*')]


@pytest.mark.parametrize(
    'words, said',
    [
        ('--processes 0', '--processes must be a whole number of 1 or more, got 0'),
        ('--processes -1', '--processes must be a whole number of 1 or more, got -1'),
        ('--tables table9', "unknown table 'table9'"),
        ('--seeds a', "seeds must be whole numbers with commas between them, such as 0,1,2; got 'a'"),
        ('--epochs -1 --tables zero-shot,table4', 'epochs1 must be a whole number'),
        (f'--out {__file__}', 'is a file: give a folder'),
    ],
)
def test_words_of_all_runs_that_mean_nothing_end_in_a_line(words, said, monkeypatch, capsys):
    script = str(ROOT / 'scripts/all_runs.py')
    monkeypatch.setattr('sys.argv', [script, *words.split()])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(script, run_name='__main__')
    assert stopped.value.code == 2 and said in capsys.readouterr().err.splitlines()[-1]
