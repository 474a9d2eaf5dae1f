"What a person would mean is read in every form; what could mean nothing, or two things, is one line."

import json, math
from dataclasses import replace
from pathlib import Path

import numpy as np, pytest, torch
from click.testing import CliRunner

from hpdval import command
from hpdval.config import make_config, trial
from hpdval.decide import Decision, reliability
from hpdval.experiment import compare, run
from hpdval.fewshot import Fewshot
from hpdval.losses import LOSSES, Loss, bce, make_loss
from hpdval.metrics import mean_interval, threshold_metrics


@pytest.mark.parametrize('yes', [True, 1, 'yes', 'True', 'on', '1', np.bool_(True)])
@pytest.mark.parametrize('no', [False, 0, 'no', 'off', 'False', '0'])
def test_truth_in_every_form(yes, no, monkeypatch):
    monkeypatch.delenv('IN_TEST', raising=False)
    assert [trial(dict(smoke=v))[1] for v in (yes, no)] == [True, False]
    assert [make_config('dval', train_text=v).train_text for v in (yes, no)] == [True, False]


@pytest.mark.parametrize('value', ['maybe', 'n', '', 2, None, [], 0.5])
def test_what_is_no_truth_is_refused(value):
    with pytest.raises(TypeError, match="parameter 'smoke' must be bool"):
        trial(dict(smoke=value))
    with pytest.raises(TypeError, match="parameter 'train_text' must be bool"):
        make_config('dval', train_text=value)


def test_paths_in_every_form(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    for name in ('image_root', 'lists', 'pretrained'):
        for value in (f'~/{name}', Path('~') / name, tmp_path / name, str(tmp_path / name)):
            assert getattr(make_config('dval', benchmark='coco-lt', **{name: value}), name) == str(tmp_path / name)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(seed=2**32), r'seed must be a whole number in 0\.\.4294967295'),
        (dict(epochs1=3, earliest1=4), 'earliest1=4 comes after the last epoch, epochs1=3'),
        (dict(earliest2=7), 'earliest2=7 comes after the last epoch, epochs2=6'),
    ],
)
def test_numbers_beyond_what_they_count(changes, message):
    with pytest.raises(ValueError, match=message):
        make_config('hp-dval', **changes)


def test_a_mode_of_few_epochs_says_that_the_last_is_reported():
    assert make_config('dval', mode='official', epochs1=2).earliest1 == 11


@pytest.mark.parametrize('given', ['hp-dval', None, {}, ['dval']])
def test_run_without_a_config(given):
    with pytest.raises(TypeError, match='run takes a Config, such as run\\(make_config'):
        run(given)


@pytest.mark.parametrize('name', ['seed', 'method'])
def test_compare_with_the_parameter_of_run(name):
    with pytest.raises(TypeError, match=f'compare takes methods and seeds, both as lists; got {name}'):
        compare(['zero-shot'], **{name: 1})


def test_a_loss_that_is_a_function(monkeypatch):
    monkeypatch.setitem(LOSSES, 'mine', dict(paper=lambda counts, n, p: bce))
    made = make_loss('mine', [1, 2], 3)
    x, y = torch.zeros(2, 2, requires_grad=True), torch.eye(2)
    assert isinstance(made, Loss) and made(x, y) == make_loss('bce', [1, 2], 3)(x, y)
    monkeypatch.setitem(LOSSES, 'mine', dict(paper=lambda counts, n, p: 0.5))
    with pytest.raises(TypeError, match="loss 'mine' must be built as a function of logits and targets, got 0.5"):
        make_loss('mine', [1, 2], 3)


def test_a_damaged_result_does_not_hide_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    run(make_config('zero-shot', 'icon-voc-lt'), progress=False)
    (tmp_path / 'notebook').mkdir()
    (tmp_path / 'notebook/result.json').write_text(json.dumps(dict(methods={})))
    for i, text in enumerate(('', '{', '[]', '3', 'null', '{"config": 1}')):
        (tmp_path / f'broken{i}').mkdir()
        (tmp_path / f'broken{i}/result.json').write_text(text)
    (tmp_path / 'folder/result.json').mkdir(parents=True)
    done = CliRunner().invoke(command.main, ['list', 'runs', '--json'])
    assert done.exit_code == 0, done.output
    assert [r['method'] for r in json.loads(done.stdout)] == ['zero-shot']
    assert done.stderr.count('left out:') == 7 and len(done.stderr.splitlines()) == 7


def test_limits_of_the_groups_are_of_the_report_alone(tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    usual = run(make_config('zero-shot', 'icon-voc-lt'), progress=False)
    own = run(make_config('zero-shot', 'icon-voc-lt', head_from=50, tail_below=10), progress=False)
    ap, n = np.array(usual.ap), np.array(usual.counts)
    assert own.hash == usual.hash and own.mAP['total'] == pytest.approx(usual.mAP['total'])
    for name, rows in dict(head=n >= 50, medium=(n >= 10) & (n < 50), tail=n < 10).items():
        assert own.mAP[name] == pytest.approx(ap[rows].mean())
    assert run(make_config('zero-shot', 'icon-voc-lt'), progress=False).mAP == usual.mAP
    with pytest.raises(ValueError, match='got 30 and 20 images'):
        make_config('zero-shot', head_from=20, tail_below=30)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(method='zero-shot'), "'zero-shot' fixes prompts='fixed', got 'hierarchical': make it with make_config"),
        (dict(alpha=5.0), r'alpha must be a number in 0\.\.1, got 5\.0'),
        (dict(epochs1=-1), 'epochs1 must be a whole number of 0 or more, got -1'),
        (dict(loss='bcee'), "unknown loss 'bcee'"),
        (dict(train_text='no'), "'train_text' must be bool, got 'no'"),
        (dict(seed='0'), "'seed' must be int, got '0'"),
        (dict(epochs1=1.0), "'epochs1' must be int, got 1.0"),
    ],
)
def test_a_config_that_was_made_by_hand_is_checked(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        run(replace(make_config('hp-dval', 'icon-voc-lt'), **changes))


NUMBERS = {  # who asks for a number -> (a call with it, what it must be, one that is right)
    'bins': (lambda v: reliability([[0.5]], [[1]], v), 'a whole number of 1 or more', np.int64(2)),
    'top': (lambda v: threshold_metrics([[2.0, -2]], [[1, 0]], top=v), 'a whole number of 1 or more', 1),
    'threshold': (lambda v: threshold_metrics([[2.0, -2]], [[1, 0]], v), 'a number between 0 and 1', np.float32(0.5)),
    'most': (lambda v: Decision().chosen([0.5], most=v), 'a whole number of 1 or more', 3),
    'level': (lambda v: mean_interval([1.0, 2.0], v), 'a number between 0 and 1', 0.5),
    'draws': (lambda v: Fewshot(draws=v), 'a whole number of 1 or more', 3),
    'alpha': (lambda v: make_config(alpha=v), 'a number in 0..1', 1),
    'batch_size': (lambda v: make_config(batch_size=v), 'a whole number of 1 or more', np.int32(2)),
    'lr1': (lambda v: make_config(lr1=v), 'a number of 0 or more', np.float64(0.1)),
}


@pytest.mark.parametrize('name', NUMBERS)
def test_numbers_are_refused_in_one_form(name):
    call, wanted, right = NUMBERS[name]
    call(right)
    odd = [-1, math.nan, math.inf, -math.inf] + ([2.5] if 'whole' in wanted else [])
    types = (ValueError, TypeError) if 'whole' in wanted else ValueError
    for value in odd:
        with pytest.raises(types, match=f'{name}.? must be ({wanted}|int)') as e:
            call(value)
        assert repr(value) in str(e.value) and '\n' not in str(e.value)
    for value in (True, '1', [1], None) if name not in ('top', 'most') else (True, '1', [1]):
        with pytest.raises((ValueError, TypeError), match=f'{name}.? must be .*, got') as e:
            call(value)
        assert '\n' not in str(e.value)
