"Property tests of hpdval.metrics: AP against its definition, scikit-learn and the bounds of ties; means and variances."

import warnings

import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import average_precision_score

from hpdval.metrics import TIES, average_precision, bootstrap_ci, group_means, summary, threshold_metrics, tie_bounds

quick = settings(deadline=None, max_examples=60, derandomize=True)


@st.composite
def rankings(draw, levels=st.sampled_from([1, 2, 3, 6, 1000])):
    "Scores on few or many levels, and targets with a positive in every class."
    N, C = draw(st.integers(1, 25)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y = rng.random((N, C)) < draw(st.sampled_from([0.1, 0.5, 1.0]))
    y[rng.integers(N, size=C), np.arange(C)] = True
    return rng.integers(0, draw(levels), (N, C)).astype(float), y


def definition(scores, targets):
    "AP of one class; ties in the order given."
    ranked = targets[np.argsort(-scores, kind='stable')]
    return np.mean([ranked[: i + 1].mean() for i in np.flatnonzero(ranked)])


def per_class(f, s, y):
    return [f(s[:, c], y[:, c]) for c in range(s.shape[1])]


@quick
@given(rankings())
def test_stable_is_the_definition(problem):
    s, y = problem
    np.testing.assert_allclose(average_precision(s, y, 'stable'), per_class(definition, s, y), atol=1e-12)


@quick
@given(rankings())
def test_sklearn_is_scikit_learn(problem):
    s, y = problem
    theirs = per_class(lambda scores, targets: average_precision_score(targets, scores), s, y)
    np.testing.assert_allclose(average_precision(s, y, 'sklearn'), theirs, atol=1e-12)


@quick
@given(rankings())
def test_expected_lies_between_worst_and_best_order(problem):
    s, y = problem
    low, high = tie_bounds(s, y)
    ap = average_precision(s, y)
    assert (0 <= low).all() and (low <= ap + 1e-12).all() and (ap <= high + 1e-12).all() and (high <= 1 + 1e-12).all()


@quick
@given(rankings(), st.integers(0, 2**32 - 1))
def test_expected_is_the_mean_over_random_orders_and_ignores_the_order_of_images(problem, seed):
    s, y = problem
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(s)) for _ in range(200)]
    ap = average_precision(s, y)
    draws = np.array([average_precision(s[o], y[o], 'stable') for o in orders])
    assert (np.abs(draws.mean(0) - ap) <= 6 * draws.std(0) / np.sqrt(len(orders)) + 0.02).all()
    np.testing.assert_allclose(average_precision(s[orders[0]], y[orders[0]]), ap, atol=1e-12)


@pytest.mark.parametrize('ties', TIES)
@quick
@given(rankings(), st.sampled_from([lambda s: 3 * s - 7, np.exp, lambda s: s**3, lambda s: -1 / (1 + s)]))
def test_monotone_maps_change_nothing(ties, problem, f):
    s, y = problem
    s = s / (1 + s.max()) * 5
    np.testing.assert_allclose(average_precision(f(s), y, ties), average_precision(s, y, ties), atol=1e-12)


@quick
@given(rankings(), st.integers(0, 2**32 - 1))
def test_group_means_and_variances_add_up(problem, seed):
    s, y = problem
    counts = np.random.default_rng(seed).integers(1, 300, s.shape[1])
    r = summary(average_precision(s, y), counts)
    sizes = dict(head=(counts >= 100).sum(), tail=(counts < 20).sum())
    sizes['medium'] = len(counts) - sum(sizes.values())
    assert np.isclose(sum(n * r['mAP'][g] for g, n in sizes.items() if n), len(counts) * r['mAP']['total'])
    assert -1e-9 <= r['var_between_groups'] <= r['var_population'] + 1e-9


@quick
@given(rankings(), st.floats(0.05, 0.95), st.sampled_from([None, 1, 3]))
def test_threshold_metrics_are_the_counts(problem, threshold, top):
    s, y = problem
    s = s - s.mean()
    t = threshold_metrics(s, y, threshold, top, kind='logits')
    right = said = 0
    for row, true in zip(s, y):
        best = sorted(range(len(row)), key=lambda c: (-row[c], c))[:top]
        yes = [c for c in best if row[c] >= np.log(threshold / (1 - threshold))]
        right += sum(true[c] for c in yes)
        said += len(yes)
    assert np.isclose(t['OR'], right / y.sum()) and t['OP'] <= (right / said if said else 0) + 1e-12


@quick
@given(rankings())
def test_bootstrap_is_reproducible_and_ordered(problem):
    s, y = problem
    counts = np.arange(s.shape[1]) * 60
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        a, b = (bootstrap_ci(s, y, counts, n=5, seed=3) for _ in range(2))
    for k in a:
        np.testing.assert_equal(a[k], b[k])
        assert not a[k][0] > a[k][1]


def test_class_without_positive_is_nan_with_one_warning():
    s, y = np.arange(12.0).reshape(4, 3), np.zeros((4, 3))
    y[1, 0] = 1
    with pytest.warns(UserWarning, match='2 of 3 classes') as w:
        ap = average_precision(s, y)
    assert len(w) == 1 and np.isnan(ap).tolist() == [False, True, True]
    assert group_means(ap, [200, 50, 1])['total'] == 100 * ap[0]
