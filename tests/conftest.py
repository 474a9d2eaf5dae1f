"What several files of tests share: a folder of facts, a notebook in this process, and the order of the tests."

import functools, multiprocessing, os, sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib, papermill, pytest
from IPython.display import display
from papermill.engines import Engine, papermill_engines

os.environ.setdefault('HPDVAL_DEVICE', 'cpu')  # what is compared to the last digit; tests/test_cuda.py asks for the GPU
ROOT = Path(__file__).resolve().parents[1]
# The longest first, and files whose tests share what is slow to make in one piece: so no worker of pytest-xdist is left
# with a long test at the end, and what is shared is made once.
FIRST = (
    'test_parallel.py',
    'test_a_sweep_goes_on',
    'test_a_run_through_papermill',
    'test_notebook[',
    'test_real_photographs',
    'test_no_field_is_accepted_without_effect[coop]',
)


def _rank(item) -> int:
    "The place of a test among the long ones; behind them all for any other."
    return next((i for i, name in enumerate(FIRST) if name in item.nodeid), len(FIRST))


def pytest_collection_modifyitems(items):
    items.sort(key=_rank)  # a stable sort: the others stay in their order


class InProcess(Engine):
    "Runs the cells of a notebook here, without a kernel, which would load all libraries again; an error comes out."

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, **kwargs):
        names = dict(__name__='__main__', display=display)
        for cell in nb_man.nb.cells:
            if cell.cell_type == 'code':
                exec(compile(cell.source, 'a cell', 'exec'), names)


papermill_engines.register('in process', InProcess)


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    "A function (name, **parameters): what `papermill` does with a notebook, from the root, in this process."
    monkeypatch.chdir(ROOT)

    def execute(name, **parameters):
        file = ROOT / f'nbs/{name}.ipynb'
        with matplotlib.rc_context():
            papermill.execute_notebook(
                file, tmp_path / 'out.ipynb', parameters, engine_name='in process', progress_bar=False
            )

    return execute


def _in_a_copy(folder, fn, args):
    import torch

    torch.set_num_threads(1)  # the threads of OpenMP are not in a copy, and would be waited for
    for n, name in ((1, 'stdout'), (2, 'stderr')):
        with open(folder / name, 'wb') as f:
            os.dup2(f.fileno(), n)
        setattr(sys, name, os.fdopen(n, 'w', encoding='utf-8'))
    fn(*args)


@pytest.fixture(scope='session')
def in_a_copy(tmp_path_factory):
    "A function (fn, *args): calls it in a copy of this process, which has the libraries loaded: what `run` would give."
    folder = tmp_path_factory.mktemp('said')

    def perform(fn, *args):
        child = multiprocessing.get_context('fork').Process(target=_in_a_copy, args=(folder, fn, args))
        child.start()
        child.join(timeout=600)
        stdout, stderr = [(folder / name).read_text(encoding='utf-8') for name in ('stdout', 'stderr')]
        return SimpleNamespace(returncode=child.exitcode, stdout=stdout, stderr=stderr)

    return perform


@pytest.fixture
def one_code(monkeypatch):
    "For tests that change no code while they run: what a config runs through is read once, not five times in each run."
    from hpdval import experiment, fewshot, paper

    run_code = functools.cache(experiment.run_code)
    for module in (experiment, fewshot, paper):
        monkeypatch.setattr(module, 'run_code', run_code)
    monkeypatch.setattr(experiment, 'code_parts', functools.cache(experiment.code_parts))


@pytest.fixture(scope='session')
def bench() -> Path:
    "The folder with reference material: the environment variable HPDVAL_BENCH, else `shared` beside the checkout."
    path = Path(os.environ.get('HPDVAL_BENCH') or ROOT.parent / 'shared')
    if not path.is_dir():
        pytest.skip(f'no folder at {path} (HPDVAL_BENCH)')
    return path
