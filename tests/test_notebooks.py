"""Notebooks beside a folder of facts, or all in processes of their own, and runs through papermill.

`nbdev_test` runs all notebooks, several in one process, and in CI without HPDVAL_BENCH. HPDVAL_NOTEBOOKS=1 runs here
those that compare with that folder; HPDVAL_NOTEBOOKS=all runs every one in a process of its own, so that nothing left
by another one helps it, which takes as long again (before a release).
"""

import json, os, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WHICH = os.environ.get('HPDVAL_NOTEBOOKS', '')
TEXTS = {p.stem: p.read_text(encoding='utf-8') for p in sorted((ROOT / 'nbs').glob('*.ipynb'))}
NOTEBOOKS = [n for n, text in TEXTS.items() if WHICH == 'all' or 'HPDVAL_BENCH' in text]
RUNS = ('run_coco_lt', 'run_voc_fsl')  # the code of the other two is theirs (tests/test_repo.py)
pytestmark = pytest.mark.skipif(not WHICH, reason='where asked for: HPDVAL_NOTEBOOKS=1 or all')


def call(tool, *args):
    "A tool of this environment, from the root, on one thread: exit status and all that it printed."
    env = os.environ | dict(OMP_NUM_THREADS='1', PATH=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
    done = subprocess.run(
        [tool, *args], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
    )
    return done.returncode, done.stdout


def test_some_notebooks_compare_with_a_folder_of_facts():
    assert {'11_lists', '12_data', '26_model'} <= set(NOTEBOOKS)


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_notebook(name, notebook, monkeypatch):
    "As `nbdev_test` runs it; where all are wanted, in a process of its own."
    if WHICH == 'all':
        code, printed = call('nbdev_test', '--path', f'nbs/{name}.ipynb')
        assert code == 0 and 'Success.' in printed, printed
    else:
        monkeypatch.setenv('IN_TEST', '1')
        notebook(name)


@pytest.mark.parametrize('name', RUNS)
def test_a_run_through_papermill_writes_its_result(name, notebook, tmp_path):
    "One by papermill's command, in a kernel; the others in this process."
    out = str(tmp_path / 'run')
    if name == 'run_voc_fsl':
        words = f'papermill nbs/{name}.ipynb {tmp_path}/out.ipynb -p smoke True -p out {out}'.split()
        code, printed = call(*words)
        assert code == 0, printed
    else:
        notebook(name, smoke=True, out=out)
    result = json.loads(Path(out, 'result.json').read_text())
    assert {'config', 'hash', 'data', 'weights', 'device', 'seconds', 'seeds', 'methods'} <= result.keys()


@pytest.mark.parametrize('name', RUNS)
def test_a_parameter_that_a_run_does_not_know_is_an_error(notebook, name):
    with pytest.raises(ValueError, match="'epoch1'.*'epochs1'"):
        notebook(name, epoch1=1, smoke=True)
