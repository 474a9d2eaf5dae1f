"Properties of decoding, holding out and augmenting that hold for any input; the examples are in nbs/12_data.ipynb."

import warnings

import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image

with warnings.catch_warnings():
    warnings.filterwarnings('ignore', 'IProgress not found')
    from hpdval.data import AUGMENTS, TRANSFORMS, augment, augment_clip, decode_split, holdout, load_image

few = settings(max_examples=60, deadline=None)


def labels(seed):
    g = np.random.default_rng(seed)
    n, c = int(g.integers(1, 120)), int(g.integers(1, 12))
    return (g.random((n, c)) < g.uniform(0, 0.6, c)).astype(np.uint8)


@few
@given(st.integers(0, 10**6), st.floats(0, 1), st.integers(0, 3))
def test_holdout_splits_and_never_takes_the_last_image(seed, fraction, again):
    Y = labels(seed)
    train, val = holdout(Y, fraction, again)
    n = Y.sum(0)
    assert sorted([*train, *val]) == list(range(len(Y)))
    assert (Y[train].sum(0)[n > 0] >= 1).all()
    assert (holdout(torch.from_numpy(Y), fraction, again)[1] == val).all()
    if fraction == 0:
        assert len(val) == 0
    else:  # a class is missing from validation only if each of its images would take another class's last one
        alone = Y[:, n == 1].any(1) if (n == 1).any() else np.zeros(len(Y), bool)
        for c in np.flatnonzero((Y[val].sum(0) == 0) & (n > 1)):
            left = n - Y[val].sum(0)
            assert alone[Y[:, c] > 0].all() or (Y[Y[:, c] > 0] & (left == 1)).any(1).all()


@few
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 40),
    st.sampled_from(['L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', '1', 'I;16']),
    st.sampled_from(sorted(TRANSFORMS)),
)
def test_any_size_and_mode_becomes_a_square(w, h, size, mode, transform):
    im = Image.new(mode, (w, h))
    out = load_image(im, size, transform)
    assert out.shape == (3, size, size) and out.dtype == np.uint8
    assert len(np.unique(out)) == 1  # one colour stays one colour


@few
@given(st.integers(0, 10**6), st.integers(2, 24), st.integers(1, 5))
def test_a_crop_makes_no_new_extremes(seed, side, n):
    batch = torch.randint(0, 256, (n, 3, side, side), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    out = augment_clip(batch, torch.Generator().manual_seed(seed), jitter=0.0)
    assert (out.amax((2, 3)) <= batch.amax((2, 3))).all() and (out.amin((2, 3)) >= batch.amin((2, 3))).all()


@pytest.mark.parametrize('how', AUGMENTS)
def test_augmenting_is_repeatable_and_advances_the_generator(how):
    batch = torch.randint(0, 256, (6, 3, 32, 32)).to(torch.uint8)
    before = batch.clone()
    g = torch.Generator().manual_seed(0)
    first, second = augment(batch, how, g), augment(batch, how, g)
    assert (
        (augment(batch, how, torch.Generator().manual_seed(0)) == first).all()
        and (first != second).any()
        and (batch == before).all()
    )


def test_a_failure_while_decoding_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    (tmp_path / 'im').mkdir()
    Image.new('RGB', (9, 9)).save(tmp_path / 'im/a.png')
    monkeypatch.setattr('hpdval.data.tqdm', lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        decode_split(['a.png'], [[1]], ['x'], tmp_path / 'im', 8)
    assert list((tmp_path / 'cache').iterdir()) == []
