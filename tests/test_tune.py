"The search of settings: what it looks at, what it gives, and that a killed one goes on."

import json, os, signal, sys, threading, time
from pathlib import Path

import numpy as np, pytest, torch
from click.testing import CliRunner
from test_extend import small

from hpdval import tune as module
from hpdval.command import main
from hpdval.config import make_config
from hpdval.experiment import run
from hpdval.tune import SPACE, TUNE_PARAMETERS, Between, check_folds, tune

pytest.importorskip('optuna')
ROOT = Path(__file__).resolve().parents[1]
QUICK = dict(benchmark='icon-voc-lt', epochs2=1, batch_size=64)
SEARCH = dict(folds=2, fresh=2, progress=False, space=dict(loss=['bce', 'asl'], lr2=(1e-3, 1e-1, 'log')))


def fewer():
    "Fewer images still, with every class."
    data = small()
    rows = {int(i) for c in range(20) for i in np.flatnonzero(data.train.targets[:, c])[:4]}
    return data._replace(train=data.train.at(sorted(rows)), test=data.test.at(range(60)), digest=f'{data.digest}er')


@pytest.fixture(scope='module')
def data():
    return fewer()


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    "A folder of runs that the tests share."
    folder = tmp_path_factory.mktemp('runs')
    with pytest.MonkeyPatch.context() as m:
        m.setenv('HPDVAL_RUNS', str(folder))
        yield folder


@pytest.fixture(scope='module')
def tuned(data, runs):
    return tune('coop', trials=3, data=data, **SEARCH, **QUICK)


def test_the_start_is_the_first_trial_and_the_best_is_not_worse(tuned):
    start = make_config('coop', **QUICK)
    first = tuned.trials[0]
    assert first.settings == dict(loss=start.loss, lr2=start.lr2)
    assert {t.state for t in tuned.trials} <= {'complete', 'pruned'}
    best = tuned.trials[tuned.chosen]
    assert best.mean >= first.mean and best.mean == max(t.mean for t in tuned.trials if t.state == 'complete')


def test_a_value_is_the_validation_map_of_the_reported_epoch(tuned, data):
    best = tuned.trials[tuned.chosen]
    for seed, value in enumerate(best.values):
        result = run(make_config(**tuned.best, seed=seed), False, data)
        assert value == max(h['mAP'] for h in result.history if h['phase'] == 'stage 2') != result.mAP['total']


def test_intervals_are_those_of_the_differences(tuned):
    start, best = (np.array(tuned.trials[i].values) for i in (0, tuned.chosen))
    half = 12.7062 * abs((best - start)[0] - (best - start)[1]) / 2  # t of one degree of freedom; s / sqrt(2) of two
    assert tuned.gain['high'] - tuned.gain['mean'] == pytest.approx(half, abs=1e-3)
    assert len(tuned.fresh) == (2 if tuned.chosen else 0)
    row = tuned.table.loc[tuned.chosen]
    assert row['mean'] == pytest.approx(best.mean()) and row['std'] == pytest.approx(best.std(ddof=1))


def test_scrambled_test_labels_change_nothing(tuned, data, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))  # nothing from the memo
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(data.test.targets)))
    test = data.test._replace(targets=data.test.targets[order])
    other = tune('coop', trials=3, data=data._replace(test=test, digest='scrambled'), **SEARCH, **QUICK)
    assert json.dumps(other.said() | dict(shown='')) == json.dumps(tuned.said() | dict(shown=''))


def killed_while_it_searches(data):
    "Soon after its second trial."

    def say(line):
        if line.startswith('trial 2 of 3'):
            threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGKILL]).start()

    module.say = say
    tune('coop', trials=3, data=data, **SEARCH | dict(progress=True), **QUICK)


def test_a_killed_search_goes_on(tuned, data, tmp_path, monkeypatch, in_a_copy):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    assert in_a_copy(killed_while_it_searches, data).returncode == -signal.SIGKILL
    before = {f: f.stat().st_mtime_ns for f in tmp_path.glob('*/result.json')}
    assert len(before) >= 4
    again = tune('coop', trials=3, data=data, **SEARCH, **QUICK)
    assert json.dumps(again.said()) == json.dumps(tuned.said())
    assert {f: f.stat().st_mtime_ns for f in before} == before  # none was made again
    assert len(list(tmp_path.glob('*/result.json'))) > len(before)


def answered(monkeypatch, value):
    "Searches without training: `value(config)` stands for the validation mAP."
    monkeypatch.setattr(module, 'run', lambda cfg, progress, data: cfg)
    monkeypatch.setattr(module, 'validation_map', value)


def test_it_finds_a_better_learning_rate_and_says_so(data, monkeypatch):
    answered(monkeypatch, lambda cfg: 60 - 10 * abs(np.log10(cfg.lr1 / 3e-3)) + cfg.seed)
    found = tune('dval', trials=25, data=data, progress=False, space='lr1', **dict(QUICK, epochs2=0), lr1=1e-3)
    assert 2.2e-3 < found.best['lr1'] < 4.1e-3
    assert found.confirmed['low'] > 0 and 'beyond the noise of the folds' in found.sentence
    assert np.isclose(found.confirmed['mean'], found.gain['mean'])


def test_a_gain_that_is_noise_is_called_noise(data, monkeypatch):
    "The best of many equal ones leads by luck on the folds that chose it, and by nothing on fresh ones."
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        answered(monkeypatch, lambda cfg: 50 + rng.normal(0, 5))
        found.append(tune('dval', trials=12, data=data, progress=False, space='lr1', **dict(QUICK, epochs2=0)))
    found = [t for t in found if t.chosen]
    assert np.mean([t.gain['mean'] for t in found]) > 4
    assert abs(np.mean([t.confirmed['mean'] for t in found])) < 2
    assert sum('beyond the noise' in t.sentence for t in found) <= 2  # one in forty is due


def test_what_falls_behind_is_pruned_and_never_chosen(data, monkeypatch):
    answered(
        monkeypatch, lambda cfg: 60 - 10 * abs(np.log10(cfg.lr1 / 3e-3)) + (50 if cfg.lr1 < 1e-3 and cfg.seed else 0)
    )
    space = dict(lr1=Between(1e-4, 1e-2, log=True))
    found = tune('dval', trials=25, folds=4, data=data, progress=False, space=space, **dict(QUICK, epochs2=0), lr1=2e-3)
    pruned = [t for t in found.trials if t.state == 'pruned']
    assert pruned and all(1 <= len(t.values) < 4 for t in pruned)
    assert found.trials[found.chosen].state == 'complete' and found.table.state[found.chosen] == 'complete'


def test_a_training_that_breaks_down_is_a_failed_trial(data, monkeypatch):
    def value(cfg):
        if cfg.lr1 > 1e-3:
            raise FloatingPointError('the loss is not finite')
        return 50.0

    answered(monkeypatch, value)
    found = tune('dval', trials=8, data=data, progress=False, space='lr1', **dict(QUICK, epochs2=0), lr1=5e-4)
    assert 'failed: the loss is not finite' in set(found.table.state) and found.chosen == 0
    with pytest.raises(ValueError, match='the start itself cannot be trained, failed: the loss is not finite'):
        tune('dval', trials=8, data=data, progress=False, space='lr1', **dict(QUICK, epochs2=0), lr1=5e-3)


@pytest.mark.parametrize('first, said', [(3, 'fresh fold 1'), (5, 'fresh fold 3')])
def test_a_best_that_breaks_down_on_a_fresh_fold_is_no_gain(data, monkeypatch, first, said):
    def value(cfg):
        if cfg.lr1 > 1e-3 and cfg.seed >= first:
            raise FloatingPointError('the loss is not finite')
        return 50.0 + (cfg.lr1 > 1e-3) + cfg.seed

    answered(monkeypatch, value)
    found = tune('dval', trials=8, data=data, progress=False, space='lr1', **dict(QUICK, epochs2=0), lr1=5e-4)
    assert found.chosen and len(found.fresh) == first - 3
    assert f'the best did not come through {said} (failed: the loss is not finite): keep the start.' in found.sentence
    assert found.said()['broken'] and 'beyond' not in found.sentence


def test_seconds_end_the_search_after_the_trial_that_runs(data, monkeypatch):
    answered(monkeypatch, lambda cfg: time.sleep(0.06) or 50.0)
    found = tune('dval', trials=50, seconds=0.3, data=data, progress=False, space='lr1', **dict(QUICK, epochs2=0))
    assert 1 <= len(found.trials) < 5


def test_a_validation_split_of_ones_own_is_kept_and_said(data, monkeypatch, capsys):
    answered(monkeypatch, lambda cfg: 50.0 + (cfg.loss == 'bce'))
    own = data._replace(val=data.test.at(range(50)), digest='own')
    found = tune('dval', trials=6, data=own, space='loss', **dict(QUICK, epochs2=0))
    assert found.same_images and 'fresh seeds' in found.sentence and found.best['loss'] == 'bce'
    said = capsys.readouterr().err
    assert 'your validation images serve every seed' in said and 'not searched' not in said


def test_classes_without_a_validation_image_are_named(data, capsys):
    targets = data.train.targets.clone()
    rows = targets[:, 0].nonzero()[1:, 0]
    targets[rows, 0] = 0  # one image is left, and it stays in training
    lonely = data._replace(train=data.train._replace(targets=targets))
    check_folds(lonely, make_config('dval', 'icon-voc-lt'), range(2))
    assert capsys.readouterr().err.strip().endswith(f'count for nothing here: {data.classes[0]}')


def test_what_the_method_does_not_read_is_said(data, monkeypatch, capsys):
    answered(monkeypatch, lambda cfg: 50.0)
    tune('coop', trials=1, data=data, **QUICK)
    said = capsys.readouterr().err
    for name in SPACE.keys() - {'loss', 'lr2', 'epochs2'}:
        assert f'not searched: {name} (' in said


def test_without_optuna_one_line_says_how_to_get_it(data, monkeypatch):
    monkeypatch.setitem(sys.modules, 'optuna', None)
    with pytest.raises(ValueError, match=r"tune needs Optuna .*: pip install '?optuna"):
        tune('coop', data=data, **QUICK)


def imported_without_optuna():
    for name in [n for n in sys.modules if n.split('.')[0] in ('hpdval', 'optuna')]:
        del sys.modules[name]
    sys.modules['optuna'] = None
    import hpdval.command, hpdval.tune

    assert hpdval.tune is not module


def test_the_library_imports_without_optuna(in_a_copy):
    done = in_a_copy(imported_without_optuna)
    assert done.returncode == 0, done.stderr


def test_the_extra_is_part_of_dev():
    text = (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
    assert 'tune = ["optuna' in text and '"hpdval[tune]"' in text.split('dev = [')[1]


def test_the_notebook_lists_every_parameter_it_takes():
    cells = json.loads((ROOT / 'nbs/tune_own.ipynb').read_text(encoding='utf-8'))['cells']
    (cell,) = [c for c in cells if 'parameters' in c['metadata'].get('tags', [])]
    names = [line.split(' = ')[0] for line in cell['source'] if ' = ' in line and line[0] != '#']
    assert sorted(names) == sorted(TUNE_PARAMETERS)


def test_a_picture_of_the_trials(tuned):
    fig = tuned.plot()
    top, *panels = fig.axes
    assert [ax.get_xlabel() for ax in panels] == ['loss', 'lr2'] and len(fig.legends) == 1
    shown = sum(
        len(line.get_xdata()) for line in top.lines if line.get_label() in ('complete', 'given up: mean of its folds')
    )
    assert shown == len(tuned.trials)


def test_the_command_says_what_the_function_finds(data, tmp_path, monkeypatch):
    answered(monkeypatch, lambda cfg: 50.0 + (cfg.loss == 'bce') + cfg.seed)
    words = 'tune dval --benchmark icon-voc-lt --trials 6 --fresh 3 --space loss --quiet --out'.split()
    done = CliRunner().invoke(main, [*words, str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert 'loss=bce: +1.00 points over the start on 3 fresh folds' in done.stdout
    assert done.stdout.splitlines()[-1] == 'hpdval run dval --benchmark=icon-voc-lt --mode=paper --loss=bce'
    said = json.loads((tmp_path / 'tune.json').read_text())
    assert said['best']['loss'] == 'bce' and len(said['trials']) == 6


def test_samples_in_memory_are_read_once_for_all_trials(runs):
    from test_sources import MEMORY, counted, pictures

    source, asked = counted([pictures(48, 0), pictures(24, 1)])
    found = tune('coop', trials=3, data=source, **SEARCH, **MEMORY, epochs2=1)
    assert len(found.trials) == 3 and asked == [(64, 'clip')]
