"Property tests of hpdval.metrics: AP against its definition, scikit-learn and the bounds of ties; means and variances."

import math, warnings

import numpy as np, pandas as pd, pytest, torch
from hypothesis import assume, given, settings, strategies as st
from scipy.sparse import coo_array, csr_array, csr_matrix
from sklearn.metrics import average_precision_score

from hpdval import core
from hpdval.metrics import (
    TIES,
    average_precision,
    bootstrap_ci,
    group_means,
    mean_interval,
    subset_ap,
    summary,
    threshold_metrics,
    tie_bounds,
)

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
    assume(len(s) > 1)
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


# What is said with labels, and what is refused

NAMES, IMAGES = [*'abcd'], [f'{i}.png' for i in range(30)]


def labelled(seed=0):
    "Scores and targets as tables, and as arrays."
    rng = np.random.default_rng(seed)
    s, y = rng.normal(size=(30, 4)) * 3, rng.random((30, 4)) < 0.4
    return pd.DataFrame(s, IMAGES, NAMES), pd.DataFrame(y, IMAGES, NAMES), s, y


METRICS = {
    'average_precision': average_precision,
    'stable': lambda s, y: average_precision(s, y, 'stable'),
    'tie_bounds': tie_bounds,
    'threshold_metrics': lambda s, y: [*threshold_metrics(s, y).values()],
    'bootstrap_ci': lambda s, y: [*bootstrap_ci(s, y, [200, 50, 30, 3], n=5).values()],
    'subset_ap': lambda s, y: subset_ap(s, y, y),
}
each_metric = pytest.mark.parametrize('metric', METRICS.values(), ids=METRICS)


@each_metric
@pytest.mark.parametrize('seed', range(3))
def test_tables_are_taken_by_their_labels(metric, seed):
    scores, targets, s, y = labelled(seed)
    rng = np.random.default_rng(seed)
    mixed = targets.iloc[rng.permutation(30), rng.permutation(4)]
    right = metric(s, y)
    np.testing.assert_equal(metric(scores, mixed), right)
    np.testing.assert_equal(metric(scores, targets), right)
    np.testing.assert_equal(metric(scores, y), right)  # an array has no labels


def test_an_order_by_labels_is_said(capsys):
    scores, targets, _, _ = labelled()
    core._print_once.cache_clear()
    average_precision(scores, targets)
    assert capsys.readouterr().err == ''
    average_precision(scores, targets[NAMES[::-1]])
    assert capsys.readouterr().err == 'columns of scores and targets stand in another order: taken by their labels\n'


@each_metric
def test_tables_of_other_labels_are_refused(metric):
    scores, targets, _, y = labelled()
    other = [
        (targets.rename(columns=dict(a='A')), r"columns of scores and targets have other labels \('a' and 'A'\)"),
        (targets.reset_index(drop=True), r"rows of scores and targets have other labels \('0.png' and 0\)"),
        (targets.iloc[:-1], "rows of scores and targets have other labels"),
        (targets.set_axis([*'aabc'], axis=1), 'columns of scores and targets have other labels'),
    ]
    for wrong, message in other:
        with pytest.raises(ValueError, match=message) as e:
            metric(scores, wrong)
        assert '\n' not in str(e.value) and '.to_numpy()' in str(e.value)
    twice = scores.set_axis(['same.png'] * 30), targets.set_axis(['same.png'] * 30)
    np.testing.assert_equal(metric(*twice), metric(scores, targets))  # equal labels in equal places


SPARSE = dict(
    csr_array=csr_array,
    csr_matrix=csr_matrix,
    coo_array=coo_array,
    tensor=lambda y: torch.tensor(y).to_sparse(),
    table=lambda y: pd.DataFrame(y).astype(pd.SparseDtype(int, 0)),
)


@each_metric
@pytest.mark.parametrize('form', SPARSE.values(), ids=SPARSE)
def test_sparse_targets_are_the_dense_ones(metric, form):
    *_, s, y = labelled()
    np.testing.assert_equal(metric(s, form(y.astype(int))), metric(s, y))


@each_metric
def test_masked_and_missing_values_are_refused(metric):
    *_, s, y = labelled()
    mask = s > 3
    lost = f'{mask.sum()} of 120'
    cases = [
        (s, np.ma.array(y, mask=mask), f'{lost} targets are masked or missing: fill them in'),
        (s, [*np.ma.array(y, mask=mask)], f'{lost} targets are masked or missing'),
        (s, pd.DataFrame(y).astype('boolean').mask(mask), f'{lost} targets are masked or missing'),
        (s, pd.DataFrame(y.astype(int)).astype('Int64').mask(mask), f'{lost} targets are masked or missing'),
        (s, np.where(mask, None, y), f'{lost} targets are masked or missing'),
        (np.ma.array(s, mask=mask), y, f'{lost} scores are masked or missing'),
        (np.where(mask, None, s), y, f'{lost} scores are masked or missing'),
        (pd.DataFrame(s).astype('Float64').mask(mask), y, f'{lost} scores are (masked or missing|NaN)'),
    ]
    for scores, targets, message in cases:
        with pytest.raises(ValueError, match=message) as e:
            metric(scores, targets)
        assert '\n' not in str(e.value)
    whole = pd.DataFrame(s).astype('Float64'), pd.DataFrame(y).astype('boolean')  # nothing is missing
    np.testing.assert_equal(metric(*whole), metric(s, y))
    np.testing.assert_equal(metric(np.ma.array(s), np.ma.array(y)), metric(s, y))


def test_a_subset_and_counts_may_have_nothing_missing_either():
    *_, s, y = labelled()
    with pytest.raises(ValueError, match='subset are masked or missing'):
        subset_ap(s, y, np.ma.array(y, mask=s > 3))
    with pytest.raises(ValueError, match='1 of 4 counts are masked or missing'):
        group_means([0.1] * 4, np.ma.array([9, 9, 9, 9], mask=[0, 1, 0, 0]))
    np.testing.assert_equal(subset_ap(s, y, csr_array(y.astype(int))), subset_ap(s, y, y))


def test_counts_and_subsets_are_taken_by_their_labels_too():
    scores, targets, s, y = labelled()
    counts = pd.Series([200, 50, 30, 3], NAMES)
    mixed = counts[['c', 'a', 'd', 'b']]
    assert bootstrap_ci(scores, targets, mixed, n=5) == bootstrap_ci(s, y, counts.to_numpy(), n=5)
    ap = pd.Series([0.1, 0.2, 0.3, 0.4], NAMES)
    assert group_means(ap, mixed) == group_means(ap.to_numpy(), counts.to_numpy())
    assert group_means(ap, mixed)['tail'] == 40.0
    with pytest.raises(ValueError, match='APs and counts have other labels'):
        group_means(ap, mixed.rename(dict(a='x')))
    large = targets & (np.arange(30) % 2 == 0)[:, None]
    np.testing.assert_equal(subset_ap(scores, targets, large[NAMES[::-1]]), subset_ap(s, y, large.to_numpy()))


LOGITS = np.array([[2.0, -1, 1], [1, 3, -2], [-1, 0.5, 4]])
TRUTH = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]])
OF_NO_KIND = {
    'probabilities': 1 / (1 + np.exp(-LOGITS)),
    'percent': 100 / (1 + np.exp(-LOGITS)),
    'log-probabilities': -np.log1p(np.exp(-LOGITS)),
    'cosines': LOGITS / 10,
    'a hundred cosines': 100 * (0.2 + LOGITS / 100),
    'small logits': LOGITS / 5,
}


@pytest.mark.parametrize('scores', OF_NO_KIND.values(), ids=OF_NO_KIND)
def test_scores_that_may_be_no_logits_need_a_kind(scores):
    with pytest.raises(ValueError, match="say kind='logits' if .*kind='probabilities' if") as e:
        threshold_metrics(scores, TRUTH)
    assert '\n' not in str(e.value)
    assert threshold_metrics(scores, TRUTH, kind='logits')['OR'] >= 0  # what was said is taken


def test_a_kind_gives_the_same_labels():
    right = threshold_metrics(LOGITS, TRUTH)
    assert threshold_metrics(OF_NO_KIND['probabilities'], TRUTH, kind='probabilities') == right
    assert threshold_metrics(OF_NO_KIND['small logits'], TRUTH, kind='logits') == right


REFUSED = [
    (lambda: threshold_metrics(LOGITS, TRUTH, top=0), 'top must be a whole number of 1 or more, or None .*, got 0'),
    (lambda: threshold_metrics(LOGITS, TRUTH, top=-1), 'top must be'),
    (lambda: threshold_metrics(LOGITS, TRUTH, top=1.5), 'top must be'),
    (lambda: threshold_metrics(LOGITS, TRUTH, top=True), 'top must be .*, got True'),
    (
        lambda: threshold_metrics(LOGITS, TRUTH, threshold='0.5'),
        "threshold must be a number between 0 and 1, got '0.5'",
    ),
    (lambda: bootstrap_ci(LOGITS, TRUTH, [1, 2, 3], n=0), 'n must be a whole number of 1 or more, got 0'),
    (lambda: bootstrap_ci(LOGITS, TRUTH, [1, 2, 3], n=2.5), 'n must be a whole number of 1 or more, got 2.5'),
    (lambda: bootstrap_ci(LOGITS, TRUTH, [1, 2, 3], seed=None), 'seed must be a whole number of 0 or more, got None'),
    (lambda: bootstrap_ci(LOGITS, TRUTH, [1, 2, 3], seed=-1), 'seed must be .*, got -1'),
    (lambda: bootstrap_ci(LOGITS, TRUTH, [1, 2, 3], level=95), 'level must be a number between 0 and 1, .*, got 95'),
    (lambda: bootstrap_ci(LOGITS, TRUTH, [1, 2]), r'\(3,\) APs for \(2,\) class counts'),
    (lambda: bootstrap_ci(LOGITS, TRUTH, [1, np.nan, 3]), 'counts must be numbers of images, 0 or more each'),
    (lambda: bootstrap_ci(LOGITS, TRUTH, [1, -2, 3]), 'counts must be numbers of images, 0 or more each'),
    (lambda: bootstrap_ci(LOGITS, TRUTH, 'abc'), 'counts must be an array of numbers'),
    (lambda: bootstrap_ci(LOGITS[:1], TRUTH[:1], [1, 2, 3]), 'one image drawn again is the same image'),
    (lambda: bootstrap_ci([], [], []), r'scores and targets must both be \[images, classes\], got \(0,\) and \(0,\)'),
    (lambda: mean_interval([1.0, 2.0], level=95), 'level must be'),
    (lambda: mean_interval([1.0, 2.0], level=0), 'level must be'),
    (lambda: mean_interval([1.0, 2.0], level=math.nan), 'level must be .*, got nan'),
    (lambda: mean_interval([]), 'values must be a list of numbers, at least one'),
    (lambda: mean_interval([[1.0, 2.0], [3.0, 4.0]]), r'a list of numbers, at least one, got shape \(2, 2\)'),
    (lambda: mean_interval(3.0), 'values must be a list of numbers'),
    (lambda: mean_interval([1.0, math.nan, math.inf]), '2 of 3 values are NaN or infinite'),
    (lambda: mean_interval(['1', 'two']), 'values must be an array of numbers, got an array of <U3'),
    (lambda: mean_interval(dict(a=1.0)), 'values must be an array of numbers'),
    (lambda: subset_ap(LOGITS, TRUTH, TRUTH[:, :1]), 'subset must be .* as the targets are'),
    (lambda: subset_ap(LOGITS, TRUTH, TRUTH * 0.5), 'subset must be 0 or 1'),
    (lambda: subset_ap(LOGITS * np.nan, TRUTH, TRUTH), 'scores are NaN'),
    (lambda: average_precision(LOGITS * 1j, TRUTH), 'scores must be an array of numbers, got an array of complex128'),
    (lambda: average_precision([[1, 2], [3]], TRUTH), 'scores must be an array of numbers, got a list'),
    (
        lambda: group_means([50, 60], [100, 10]),
        r'APs must lie in 0\.\.1, got 50 to 60: divide by 100 .* as Result.ap is',
    ),
    (lambda: group_means([-0.5, 0.6], [100, 10]), r'APs must lie in 0\.\.1'),
    (lambda: group_means([], []), 'counts must be a list of numbers, at least one'),
    (lambda: group_means(np.eye(2), np.eye(2)), 'counts must be a list of numbers'),
    (lambda: summary(dict(a=0.5), [1]), 'APs must be an array of numbers'),
]


@pytest.mark.parametrize('call, message', REFUSED)
def test_what_has_no_answer_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as e:
        call()
    assert '\n' not in str(e.value)


def test_draws_that_are_few_for_their_interval_are_said(capsys):
    rng = np.random.default_rng(0)
    s, y = rng.normal(size=(30, 2)), rng.random((30, 2)) < 0.4
    core._print_once.cache_clear()
    bootstrap_ci(s, y, [200, 3], n=40)
    assert capsys.readouterr().err == ''
    bootstrap_ci(s, y, [200, 3], n=39)
    said = 'n=39 draws are few for level=0.95: from 40 on, some lie outside of the interval\n'
    assert capsys.readouterr().err == said


def test_a_group_without_a_positive_has_no_interval():
    rng = np.random.default_rng(0)
    s, y = rng.normal(size=(30, 2)), rng.random((30, 2)) < 0.4
    y[:, 1] = False
    found = bootstrap_ci(s, y, [200, 3])
    assert np.isnan(found['tail']).all() and np.isnan(found['medium']).all()
    assert found['total'] == found['head']


def test_times_are_taken_by_the_rows_of_the_scores():
    scores = pd.DataFrame(np.random.default_rng(0).random((6, 2)), list('abcdef'))
    targets = pd.DataFrame(np.tile([[0, 1], [1, 0]], (3, 1)), list('abcdef'))
    times = np.array([1, 0, 2, 3, 1, 1])
    right = average_precision(scores, targets, times=times)
    shuffled = pd.Series(times, list('abcdef')).iloc[[3, 1, 5, 0, 2, 4]]
    np.testing.assert_array_equal(average_precision(scores, targets, times=shuffled), right)
    with pytest.raises(ValueError, match='rows of scores and times'):
        average_precision(scores, targets, times=shuffled.rename(dict(a='g')))
