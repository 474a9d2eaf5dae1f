"Probabilities and labels: where nothing could be chosen on validation images, the reason is said, kept and shown."

import numpy as np, pandas as pd, pytest
from scipy.special import expit

from hpdval import core
from hpdval.config import make_config
from hpdval.decide import Decision, best_threshold, calibrate_logits, choose_decision
from hpdval.experiment import Result, load_benchmark, run
from hpdval.predict import Classifier

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(60, 4)) * 2
Y = (RNG.random((60, 4)) < expit(Z / 2)).astype(int)
WHY = {  # logits and targets of which no calibration can be learned -> why
    'no label': (Z, 0 * Y, 'no label is there on the validation images'),
    'every label': (Z, 0 * Y + 1, 'every label is there on the validation images'),
    'one number': (0 * Z + 3, Y, 'all logits of the validation images are one number'),
    'turned round': (-Z, Y, 'labels with higher scores are not likelier there on the validation images'),
}


@pytest.mark.parametrize('z, y, why', WHY.values(), ids=WHY)
def test_what_cannot_be_calibrated_says_why(z, y, why, capsys):
    core._print_once.cache_clear()
    chosen = choose_decision(z, y)
    assert chosen.plain == why and chosen.missing == f'probabilities are not calibrated: {why}'
    assert capsys.readouterr().err == ''  # whoever asked says it
    np.testing.assert_array_equal(chosen.probabilities(z), expit(z))
    assert calibrate_logits(z, y) == (1.0, 0.0)
    assert capsys.readouterr().err == f'not calibrated: {why}\n'


def test_a_threshold_takes_targets_by_their_labels():
    p = pd.Series([0.9, 0.8, 0.2, 0.1], list('abcd'))
    y = pd.Series([0, 0, 1, 1], list('dcba'))
    assert best_threshold(p, y) == best_threshold([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0]) == 0.5
    assert best_threshold(p.to_numpy(), y) != 0.5  # as they stand
    with pytest.raises(ValueError, match='rows of scores and targets'):
        best_threshold(p, y.rename(dict(a='e')))


def test_what_can_be_calibrated_says_nothing(capsys):
    core._print_once.cache_clear()
    chosen = choose_decision(Z, Y)
    assert chosen.missing == chosen.plain == '' and chosen.slope == calibrate_logits(Z, Y)[0] != 1
    assert capsys.readouterr().err == ''


def test_logits_that_are_nan_have_no_labels():
    for ask in (Decision().probabilities, Decision().labels):
        with pytest.raises(ValueError, match='1 of 2 logits are NaN'):
            ask([[0.5, np.nan]])


@pytest.fixture(scope='module')
def few():
    data = load_benchmark(make_config('dval', 'icon-voc-lt'), progress=False)
    return data._replace(train=data.train.at(range(60)), test=data.test.at(range(30)), scenes=None, digest='60-30')


QUICK = dict(epochs2=1, device='cpu', empty_classes='keep')


def test_a_run_without_validation_images_says_so_and_so_does_its_classifier(few, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    core._print_once.cache_clear()
    r = run(make_config('coop', 'icon-voc-lt', select='test', **QUICK), progress=False, data=few)
    said = 'no validation images to choose by: probabilities are not calibrated, and the threshold is .5\n'
    assert f'CoOp: {said}' in capsys.readouterr().err and r.decision == {}
    Classifier.load(r).predict(few.test.images[0], top=1)
    assert f'{r.folder}: {said}' in capsys.readouterr().err


def test_a_run_whose_validation_images_say_nothing_keeps_the_reason(few, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    core._print_once.cache_clear()
    full = few.test.at(range(6))
    every = full._replace(targets=full.targets * 0 + 1)
    data = few._replace(val=every)
    r = run(make_config('coop', 'icon-voc-lt', **QUICK), progress=False, data=data)
    said = 'probabilities are not calibrated: every label is there on the validation images\n'
    assert f'CoOp: {said}' in capsys.readouterr().err
    kept = Result.load(r.folder).decisions
    assert kept.plain and (kept.slope, kept.shift) == (1.0, 0.0)
    Classifier.load(r).predict(few.test.images[0], top=1)
    assert f'{r.folder}: {said}' in capsys.readouterr().err


def test_an_older_result_has_no_reason_and_is_read(few, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    r = run(make_config('coop', 'icon-voc-lt', **QUICK), progress=False, data=few)
    del r.decision['plain']
    r.save(r.folder)
    assert Result.load(r.folder).decisions.missing == ''
