"What a training says of itself: an average that is longer than it, and the learning rate that was too large."

import math

import numpy as np, pytest, torch
from test_fewshot import WORLD
from tqdm import tqdm

from hpdval import core
from hpdval.config import make_config
from hpdval.experiment import load_benchmark, run, with_short_average
from hpdval.fewshot import compare_fewshot
from hpdval.train import fit, show_epoch

X = torch.linspace(-1, 1, 40)


def fitted(tmp_path, ema, epochs=5, batch=4, lr=0.3):
    "The slope of a line through 40 points, whose slope is 2, by an average of the weights with decay `ema`."
    line = torch.nn.Parameter(torch.zeros(1))
    cfg = make_config('dval', ema=ema, batch_size=batch, epochs1=epochs, weight_decay=0.0, schedule='constant')
    loss = lambda idx, epoch, step: dict(cls=(line * X[idx] - 2 * X[idx]).pow(2).mean())
    core._print_once.cache_clear()
    fit([line], loss, None, 40, epochs, lr, cfg, tmp_path / f'{ema}-{epochs}-{batch}.pt', 'stage 1', progress=False)
    return line.item()


def test_an_average_longer_than_the_training_is_said_and_the_advice_helps(tmp_path, capsys):
    assert abs(fitted(tmp_path, 0.998)) < 0.3  # 50 steps, and next to nothing learned
    said = capsys.readouterr().err
    assert said == (
        'stage 1: ema=0.998 is for more than the 50 steps there are: 90 % of the weights that are judged and kept are '
        'still those of the start; set ema=0.8, or train longer\n'
    )
    assert abs(fitted(tmp_path, 0.8) - 2) < 0.2
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize('ema, epochs, batch, said', [(0.98, 5, 4, False), (0.981, 5, 4, True), (0.99999, 50, 4, True)])
def test_when_an_average_is_longer_than_the_training(ema, epochs, batch, said, tmp_path, capsys):
    fitted(tmp_path, ema, epochs, batch)
    assert ('is for more than the' in capsys.readouterr().err) == said


def test_a_few_steps_are_better_without_an_average(tmp_path, capsys):
    fitted(tmp_path, 0.5, 1, 40)
    assert '50 % of the weights' in capsys.readouterr().err
    fitted(tmp_path, 0.998, 1, 4)
    assert 'the 10 steps there are: 98 % of the weights' in (said := capsys.readouterr().err) and 'set ema=0,' in said


def test_no_average_says_nothing(tmp_path, capsys):
    assert abs(fitted(tmp_path, 0.0) - 2) < 0.2
    assert 'ema' not in capsys.readouterr().err


@pytest.fixture(scope='module')
def few():
    data = load_benchmark(make_config('dval', 'icon-voc-lt'), progress=False)
    rows = sorted({int(i) for c in range(20) for i in np.flatnonzero(data.train.targets[:, c])[:3]})
    return data._replace(train=data.train.at(rows), test=data.test.at(range(40)), scenes=None, digest='few')


def test_own_data_with_the_papers_average_are_told(few, tmp_path, monkeypatch, capsys):
    "The paper's decay, .998, on some fifty images."
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    cfg = make_config('dval', 'memory', 'paper', epochs1=3, device='cpu')
    assert cfg.ema == 0.998
    core._print_once.cache_clear()
    run(cfg, progress=False, data=few)
    assert 'stage 1: ema=0.998 is for more than the' in capsys.readouterr().err


def test_own_data_get_an_average_that_fits_unless_somebody_asks_for_another(few, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    n, own = len(few.train.targets), make_config('hp-dval', 'memory', epochs1=3, epochs2=4)
    assert own.ema == 0.98 and 30 < n < 64
    core._print_once.cache_clear()
    batches = math.ceil(0.9 * n / own.batch_size)
    fitting = 1 - 10 / (3 * batches) if 3 * batches > 10 else 0
    assert with_short_average(own, few).ema == fitting
    said = capsys.readouterr().err
    assert said == (
        f'ema={fitting:g} in the place of 0.98: the shorter stage has {3 * batches} steps, {batches} an epoch\n'
    )
    kept = [
        make_config('hp-dval', 'memory', ema=0.9, epochs1=3),
        make_config('hp-dval', 'memory', epochs1=60, epochs2=60),
    ]
    kept += [make_config('zero-shot', 'memory'), make_config('hp-dval', 'memory', 'paper')]
    kept += [make_config('hp-dval', 'icon-voc-lt', mode, epochs1=1) for mode in ('paper', 'recommended')]
    assert [with_short_average(c, few) for c in kept] == kept
    assert capsys.readouterr().err == ''
    small = make_config('hp-dval', 'memory', epochs1=1, epochs2=1, device='cpu')
    assert run(small, progress=False, data=few).config['ema'] == 0
    assert 'is for more than' not in capsys.readouterr().err


@pytest.mark.parametrize('method, field', [('coop', 'epochs2'), ('dval', 'epochs1'), ('joint', 'epochs1')])
def test_the_average_of_a_training_of_one_stage_fits_into_that_stage(method, field, few, capsys):
    "And not into one that it has not."
    batches = math.ceil(0.9 * len(few.train.targets) / make_config(method, 'memory').batch_size)
    core._print_once.cache_clear()
    for epochs, fitting in ((300, 0.98), (20, 1 - 10 / (20 * batches)), (1, 0)):
        cfg = make_config(method, 'memory', **{field: epochs})
        assert with_short_average(cfg, few).ema == round(fitting, 3)
    said = [f'the training has {n * batches} steps, {batches} an epoch' for n in (20, 1)]
    assert [line.split(': ')[1] for line in capsys.readouterr().err.splitlines()] == said


@pytest.mark.parametrize('method, name', [('dval', 'lr1'), ('coop', 'lr2')])
def test_the_learning_rate_that_was_too_large_is_named(method, name, few, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    with pytest.raises(
        FloatingPointError, match=rf'the loss is not finite .*lower the learning rate {name}=1e\+30'
    ) as e:
        run(make_config(method, 'icon-voc-lt', **{name: 1e30, f'epochs{name[-1]}': 2}), progress=False, data=few)
    assert '\n' not in str(e.value)


def test_weights_that_the_last_step_of_an_epoch_broke_are_named(tmp_path):
    "One step: its loss was finite, and what it left is not."
    line = torch.nn.Parameter(torch.full((1,), 3.4e38))
    cfg = make_config('dval', ema=0.0, batch_size=40, epochs1=1, weight_decay=0.0, schedule='constant')
    loss = lambda idx, epoch, step: dict(cls=-line.sum())
    with pytest.raises(
        FloatingPointError, match=r'epoch 1: the loss is not finite .*lower the learning rate lr1=1e\+37'
    ):
        fit([line], loss, None, 40, 1, 1e37, cfg, tmp_path / 'one.pt', 'stage 1', progress=False)


def test_a_weight_that_was_too_large_is_named(few, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    cfg = make_config('dval', 'icon-voc-lt', epochs1=2, lr1=1e30, weight_decay=1e6)
    with pytest.raises(FloatingPointError, match=r'lower the learning rate lr1=1e\+30 or weight_decay=1e\+06$'):
        run(cfg, progress=False, data=few)


@pytest.mark.parametrize('method, name', [('dval', 'adapt_lr1'), ('coop', 'adapt_lr2')])
def test_few_shot_names_the_learning_rate_that_it_has(method, name, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    own = dict(benchmark=WORLD, episodes=1, resample=50, draws=64, batch_size=16, epochs1=1, epochs2=1)
    own |= {name: 1e30, f'adapt_epochs{name[-1]}': 3}
    with pytest.raises(FloatingPointError, match=rf'adaptation to a support, .*learning rate {name}=1e\+30'):
        compare_fewshot(method, [0], 1, False, **own)


@pytest.mark.parametrize('select, of', [('val', 'validation mAP'), ('test', 'test mAP')])
def test_a_line_of_progress_says_of_which_images_its_mAP_is(select, of, tmp_path, monkeypatch, capsys):
    line = torch.nn.Parameter(torch.zeros(1))
    cfg = make_config('dval', ema=0.0, batch_size=4, epochs1=1, select=select)
    loss = lambda idx, epoch, step: dict(cls=(line * X[idx]).pow(2).mean())
    fit([line], loss, lambda: 12.0, 40, 1, 0.1, cfg, tmp_path / 'a.pt', 'stage 1')
    assert f'epoch 1 of 1: loss 0, {of} 12.00, ' in capsys.readouterr().err
    monkeypatch.setattr('hpdval.train.live', lambda: True)
    with tqdm(total=1) as bar:
        show_epoch(bar, dict(loss=0.5, mAP=12.0, epoch=1, seconds=1), 1, select)
    assert f'{of}=12.00' in capsys.readouterr().err
