"""Each notebook in a process of its own, so that nothing left by another one helps it, and each run through papermill.

`nbdev_test` runs the notebooks too, several in one process. These cases take as long again: they run where asked for.
"""

import json, os, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p.stem for p in (ROOT / 'nbs').glob('*.ipynb'))
RUNS = [n for n in NOTEBOOKS if n.startswith('run_')]
pytestmark = pytest.mark.skipif(
    not os.environ.get('HPDVAL_NOTEBOOKS'), reason='each notebook in its own process: HPDVAL_NOTEBOOKS=1'
)


def call(tool, *args):
    "A tool of this environment, from the root, on one thread: exit status and all that it printed."
    env = os.environ | dict(OMP_NUM_THREADS='1', PATH=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
    done = subprocess.run(
        [tool, *args], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_notebook(name):
    code, printed = call('nbdev_test', '--path', f'nbs/{name}.ipynb')
    assert code == 0 and 'Success.' in printed, printed


@pytest.mark.parametrize('name', RUNS)
def test_a_run_through_papermill_writes_its_result(name, tmp_path):
    out = tmp_path / 'run'
    code, printed = call(
        'papermill', f'nbs/{name}.ipynb', str(tmp_path / 'out.ipynb'), '-p', 'smoke', 'True', '-p', 'out', str(out)
    )
    assert code == 0, printed
    result = json.loads((out / 'result.json').read_text())
    assert {'config', 'hash', 'data', 'weights', 'device', 'seconds', 'seeds', 'methods'} <= result.keys()


@pytest.mark.parametrize('name', RUNS)
def test_a_parameter_that_a_run_does_not_know_is_an_error(name, tmp_path):
    code, printed = call(
        'papermill', f'nbs/{name}.ipynb', str(tmp_path / 'out.ipynb'), '-p', 'epoch1', '1', '-p', 'smoke', 'True'
    )
    assert code != 0 and "'epoch1'" in printed and "'epochs1'" in printed, printed
