import os
from pathlib import Path

import pytest

os.environ.setdefault('HPDVAL_DEVICE', 'cpu')  # what is compared to the last digit; tests/test_cuda.py asks for the GPU
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def bench() -> Path:
    "The folder with reference material: the environment variable HPDVAL_BENCH, else `shared` beside the checkout."
    path = Path(os.environ.get('HPDVAL_BENCH') or ROOT.parent / 'shared')
    if not path.is_dir():
        pytest.skip(f'no folder at {path} (HPDVAL_BENCH)')
    return path
