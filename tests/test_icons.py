"""The embedded COCO-LT beside the real one: same counts, company of the same kind."""

import io, zipfile

import numpy as np, pytest, torch

from hpdval import icons
from hpdval.icons import ICON_BENCHMARKS, label_matrix, load_icons
from hpdval.labels import COCO_LT_COUNTS
from hpdval.lists import read_list


def lift(Y):
    "log of how much likelier two classes share an image than by chance, for pairs of classes with 30 images or more."
    Y = Y[:, np.asarray(COCO_LT_COUNTS) >= 30].astype(float)
    together, p = Y.T @ Y / len(Y), Y.mean(0)
    return np.log((together + 1 / len(Y)) / (np.outer(p, p) + 1 / len(Y)))[np.triu_indices(Y.shape[1], 1)]


def test_counts_and_company_are_like_the_real_ones(bench):
    _, real = read_list(bench / 'lists/coco_lt_train.txt', 80)
    drawn = label_matrix(COCO_LT_COUNTS, 1909)
    assert (drawn.sum(0) == real.sum(0)).all() and drawn.sum() == real.sum()
    r = np.corrcoef(lift(real), lift(drawn))[0, 1]
    print(f'correlation of log lift, real and drawn: {r:.2f}')
    assert r > 0.4


def test_every_class_is_measured_on_at_least_twenty_images():
    for b in ICON_BENCHMARKS.values():
        assert b.test_counts().min() >= 20


def other_shape(b):
    "The header of an array says that there are fewer images."
    return b.replace(b"'shape': (30, ", b"'shape': (29, ", 1)


def without_boxes(b):
    "A whole archive, without one of its parts."
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(b)) as old, zipfile.ZipFile(out, 'w') as new:
        for name in old.namelist():
            if name != 'objects.npy':
                new.writestr(name, old.read(name))
    return out.getvalue()


DAMAGES = {
    'cut in half': lambda b: b[: len(b) // 2],
    'a pixel flipped': lambda b: b[: len(b) // 2] + bytes([b[len(b) // 2] ^ 1]) + b[len(b) // 2 + 1 :],
    'zeros': lambda b: bytes(len(b)),
    'empty': lambda b: b'',
    'a text': lambda b: b'hello',
    'other shape': other_shape,
    'without boxes': without_boxes,
}


@pytest.mark.parametrize('how', DAMAGES)
def test_damaged_scenes_are_named_and_drawn_again(how, tmp_path, monkeypatch, capsys):
    few = icons.IconBenchmark(('person', 'bicycle'), (0, 1), (20, 10), 30, 30)
    monkeypatch.setitem(ICON_BENCHMARKS, 'icon-few', few)
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path))
    right = load_icons('icon-few', 'train', progress=False)
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()
    file.write_bytes(DAMAGES[how](before))
    assert file.read_bytes() != before
    again = load_icons('icon-few', 'train', progress=False)
    assert f'{file} is damaged (' in capsys.readouterr().err
    assert torch.equal(again.images, right.images) and again.boxes == right.boxes and again.labels == right.labels
    assert load_icons('icon-few', 'train', progress=False).digest() == right.digest()
    assert capsys.readouterr().err == ''  # what was drawn again is whole


def test_scenes_that_cannot_be_read_now_are_not_thrown_away(tmp_path, monkeypatch):
    few = icons.IconBenchmark(('person', 'bicycle'), (0, 1), (20, 10), 30, 30)
    monkeypatch.setitem(ICON_BENCHMARKS, 'icon-few', few)
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path))
    load_icons('icon-few', 'train', progress=False)
    (file,) = tmp_path.iterdir()

    def denied(*args, **how):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(icons.zipfile, 'ZipFile', denied)
    with pytest.raises(PermissionError):
        load_icons('icon-few', 'train', progress=False)
    assert file.is_file()
