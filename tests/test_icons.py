"""The embedded COCO-LT beside the real one: same counts, company of the same kind."""

import numpy as np

from hpdval.icons import ICON_BENCHMARKS, label_matrix
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
