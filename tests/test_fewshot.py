"""Few-shot settings: every change that is accepted has an effect on the answer or on its name, whatever is refused has
none, and what stands for a list is read or refused."""

import itertools, json, time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from types import SimpleNamespace

import matplotlib.pyplot as plt, numpy as np, pytest

from hpdval import fewshot
from hpdval.config import METHODS, abilities
from hpdval.core import as_json, file_digest, read_sealed, write_sealed
from hpdval.fewshot import (
    FEWSHOT_PARAMETERS,
    Fewshot,
    _over_episodes,
    compare_fewshot,
    episodes_table,
    fewshot_config,
    fewshot_preset,
    fewshot_table,
    plot_fewshot,
    run_fewshot,
    train_base,
)
from hpdval.report import changed

NAMEABLE = [m for m in METHODS if abilities(m)['unseen']]
WORLD = 'icon-voc-fsl-smoke'
OTHER = dict(
    shots=5,
    episodes=3,
    overlap='keep',
    published=False,
    resample=300,
    draws=9,
    adapt_epochs1=3,
    adapt_epochs2=3,
    adapt_lr1=0.1,
    adapt_lr2=0.1,
)


@pytest.fixture
def answer(tmp_path, monkeypatch, one_code):
    "Name and both APs of a run, without its training: scores are noise of the support that they are adapted to."
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))

    def train_base(cfg, data, progress):
        folder = tmp_path / fewshot.run_name(cfg, fewshot.config_clip(cfg), data.digests[0])
        folder.mkdir(exist_ok=True)
        record = dict(environment=dict(commit='', device='cpu'), seconds=0, history=[], files={})
        write_sealed(folder / 'base.json', record)
        return folder

    def episode(setting, file, support):
        seed = [] if support is None else [int(p[-5:]) for p in support.paths]
        scores = np.random.default_rng(seed).random((len(setting.test.paths), len(setting.test.classes)))
        return scores, dict(environment=dict(commit='', device='cpu'), seconds=0, history=[])

    monkeypatch.setattr(fewshot, 'train_base', train_base)
    monkeypatch.setattr(fewshot, '_episode', episode)

    def of(cfg, fs):
        r = run_fewshot(cfg, fs, progress=False)
        return r.hash, r.ap.tolist(), r.balanced.tolist()

    return of


def test_there_is_another_value_of_every_field():
    assert set(OTHER) == set(FEWSHOT_PARAMETERS)
    assert not OTHER.items() & asdict(Fewshot()).items()


@pytest.mark.parametrize('mode', ['paper', 'official'])
@pytest.mark.parametrize('method', NAMEABLE)
def test_a_change_is_accepted_if_and_only_if_it_changes_the_answer(method, mode, answer):
    start = dict(benchmark=WORLD, mode=mode, episodes=2, resample=200)
    start |= dict(train_on='images') if method == 'tai-dpt' else {}  # a support is looked at
    cfg, fs = fewshot_config(method, 0, **start)
    plain, accepted = answer(cfg, fs), []
    for name, value in OTHER.items():
        try:
            other = fewshot_config(method, 0, **start | {name: value})
            accepted.append(name)
        except ValueError as e:
            assert f'{name} has no effect' in str(e) and '\n' not in str(e)
            other = cfg, replace(fs, **{name: value})
        same = answer(*other) == plain
        assert same == (name not in accepted) or name == 'shots', name  # shots name a column, whoever reads them
    assert {'shots', 'episodes', 'resample'} <= {*accepted} and not {'overlap', 'published'} & {*accepted}


READ = dict(  # which of the fields that only some methods read
    coop='draws adapt_epochs2 adapt_lr2',
    dval='draws adapt_epochs1 adapt_lr1',
    joint='draws adapt_epochs1 adapt_lr1',
)
READ |= {'zero-shot': '', 'hp-dval': 'draws adapt_epochs1 adapt_lr1 adapt_epochs2 adapt_lr2'}


@pytest.mark.parametrize('method', READ)
def test_what_a_method_reads(method):
    reads = fewshot.fewshot_reads(*fewshot_config(method, 0))
    assert reads == {'shots', 'episodes', 'resample', *READ[method].split()}
    on_coco = fewshot.fewshot_reads(*fewshot_config(method, 0, 'coco-fsl'))
    assert on_coco - reads == {'overlap', 'published'}
    assert fewshot.fewshot_reads(*fewshot_config(method, 0, 'voc-fsl')) - reads == {'published'}


def test_without_shots_nothing_of_the_adaptation_is_read():
    for name in ('draws', 'adapt_epochs1', 'adapt_lr1', 'adapt_epochs2', 'adapt_lr2'):
        with pytest.raises(ValueError, match=f'{name} has no effect'):
            fewshot_config('hp-dval', 0, shots=0, **{name: OTHER[name]})


def test_fields_of_the_base_training_without_effect_are_refused_too():
    for method, changes in [('coop', dict(lr1=0.1)), ('dval', dict(n_ctx=8)), ('zero-shot', dict(batch_size=8))]:
        with pytest.raises(ValueError, match=f'{next(iter(changes))} has no effect'):
            fewshot_config(method, 0, **changes)
        assert fewshot_config(method, 0, for_all=True, **changes) == fewshot_config(method, 0)


@pytest.mark.parametrize('benchmark', ['icon-coco-fsl', 'voc-fsl'])
@pytest.mark.parametrize('method', METHODS)
def test_the_settings_of_every_method_can_be_said(method, benchmark):
    "Where a method needs a change to name novel classes, a table says which."
    own = fewshot_preset(method, benchmark)
    assert own['method'] == method and own['shots'] == 1
    config = own | dict(benchmark=benchmark, class_ctx=not own['class_ctx'])
    assert changed(config) == dict(class_ctx=(not own['class_ctx'], own['class_ctx']))


NOTHING = [
    ('tai-dpt', dict(train_on='sentences')),
    ('tai-dpt', dict(train_on='captions')),
    ('hp-dval', dict(adapt_epochs1=0, adapt_epochs2=0)),
    ('coop', dict(adapt_epochs2=0)),
    ('dval', dict(epochs1=0)),
    ('dval', dict(adapt_epochs1=0)),
]


@pytest.mark.parametrize('method, changes', NOTHING)
def test_a_support_that_nobody_looks_at_is_refused(method, changes):
    with pytest.raises(ValueError, match='would adapt to no support') as e:
        fewshot_config(method, 0, **changes)
    assert '\n' not in str(e.value)
    assert fewshot_config(method, 0, shots=0, for_all=True, **changes)[1].shots == 0
    with pytest.raises(ValueError, match='would adapt to no support'):
        compare_fewshot([method], [0], [1], progress=False, **changes)


def test_official_has_the_numbers_of_the_authors_few_shot_script():
    "18 epochs, batches of 32, none before the 15th, ASL summed (docs/paper_and_code.md#row-33)."
    for benchmark in ('coco-fsl', 'voc-fsl'):
        cfg, _ = fewshot_config('dval', 0, benchmark, mode='official', select='val', val_fraction=0.1)
        assert (cfg.epochs1, cfg.batch_size, cfg.earliest1, cfg.loss) == (18, 32, 15, 'asl-sum')
        assert (cfg.schedule, cfg.schedule_epochs, cfg.lr1, cfg.train_text) == ('onecycle', 80, 1e-5, False)
    assert fewshot_config('dval', 0, mode='official')[0].epochs1 == 10  # the embedded world's own
    assert fewshot_config('dval', 0, 'coco-fsl', mode='official', epochs1=3)[0].epochs1 == 3


def test_a_comparison_says_what_goes_without_and_refuses_what_none_reads(answer, capsys):
    own = dict(benchmark=WORLD, episodes=2, resample=200)
    compare_fewshot('coop,dval', [0], 1, adapt_lr2=0.3, **own)
    assert 'HP-DVAL, stage 1 only goes without adapt_lr2' in capsys.readouterr().err
    for idle in (dict(adapt_lr1=0.3), dict(overlap='keep'), dict(lr1=0.3)):
        with pytest.raises(ValueError, match=f'{next(iter(idle))} has no effect on coop or zero-shot'):
            compare_fewshot(['coop', 'zero-shot'], [0], [1], **idle, **own)


FORMS = list(
    itertools.product(['zero-shot', ['zero-shot']], [[0], '0', (0,), np.array([0])], [1, [1], '1', np.int64(1)])
)


@pytest.mark.parametrize('methods, seeds, shots', FORMS)
def test_a_comparison_takes_one_as_a_list_of_one(methods, seeds, shots, answer):
    summary, _ = compare_fewshot(methods, seeds, shots, False, benchmark=WORLD, episodes=2, resample=200)
    assert summary['seeds'] == [0] and summary['config']['shots'] == [1]
    assert list(summary['methods']['Zero-shot CLIP']['mAP']) == ['1-shot']


REFUSED = [
    (dict(seeds=0), r'seeds=0 may be a seed or a number of seeds: write a list, \[0\] or \[0, 1, 2\]'),
    (dict(seeds=3), 'seeds=3 may be'),
    (dict(seeds='x'), "seeds must be whole numbers with commas between them, such as 0,1,2; got 'x'"),
    (dict(shots='one'), "shots must be whole numbers with commas between them, such as 0,1,2; got 'one'"),
    (dict(shots=[]), 'every number in shots must stand once, at least one'),
    (dict(shots=['1']), "shots must be a whole number of 1 or more, got '1'"),
    (dict(seeds=None), 'give a list in which every seed stands once, got None'),
    (dict(seeds=[0.5]), 'seed must be a whole number in .*, got 0.5'),
    (dict(shots=None), 'give a list in which every number in shots stands once, got None'),
    (dict(shots=[1, 1]), 'every number in shots must stand once'),
    (dict(shots=0), 'shots must be a whole number of 1 or more, got 0'),
    (dict(seed=1), r'seed=1: a comparison takes seeds=\[1\]'),
    (dict(method='coop'), r"method='coop': a comparison takes methods=\['coop'\]"),
    (dict(methods='cop'), "unknown method 'cop': did you mean 'coop'"),
    (dict(methods=[]), 'every method must stand once'),
]


@pytest.mark.parametrize('given, message', REFUSED)
def test_what_is_no_list_and_may_be_two_is_refused(given, message):
    with pytest.raises((ValueError, TypeError), match=message) as e:
        compare_fewshot(**dict(methods='coop', seeds=[0], shots=[1]) | given)
    assert '\n' not in str(e.value)


DAMAGES = {
    'cut in half': lambda b: b[: len(b) // 2],
    'a digit changed': lambda b: b.replace(b'1', b'2', 1),
    'bits flipped': lambda b: (
        b[: len(b) // 3] + bytes(x ^ 255 for x in b[len(b) // 3 : len(b) // 3 + 4]) + b[len(b) // 3 + 4 :]
    ),
    'null': lambda b: b'null',
}
KEPT = ['runs/*/base.json', 'runs/*/model.safetensors', 'runs/*/*.record.json', 'runs/*/episode_01.npy']
KEPT += ['runs/*/episode_01.json', 'cache/icon-*-base-*.npz', 'cache/icon-*-test-*.npz', 'cache/icon-*-pool-*.npz']


@pytest.fixture(scope='module')
def trial(tmp_path_factory):
    "A folder with a small few-shot run, its configs, and what it gave."
    folder = tmp_path_factory.mktemp('few')
    with pytest.MonkeyPatch.context() as m:
        m.setenv('HPDVAL_RUNS', str(folder / 'runs'))
        m.setenv('HPDVAL_CACHE', str(folder / 'cache'))
        fewshot.load_split.cache_clear()
        small = dict(epochs1=1, epochs2=1, device='cpu') | fewshot.fewshot_trial('icon-voc-fsl') | dict(episodes=1)
        configs = fewshot_config('coop', 0, for_all=True, **small)
        yield folder, configs, run_fewshot(*configs, progress=False)
    fewshot.load_split.cache_clear()


@pytest.mark.parametrize('how', DAMAGES)
@pytest.mark.parametrize('pattern', KEPT)
def test_what_a_run_keeps_is_named_and_made_again_where_it_is_damaged(pattern, how, trial, capsys):
    folder, configs, right = trial
    files = sorted(folder.glob(pattern))
    assert files
    whole = {f: f.read_bytes() for f in files}
    for f, b in whole.items():
        f.write_bytes(DAMAGES[how](b))
    changed = [f for f, b in whole.items() if f.read_bytes() != b]
    fewshot.load_split.cache_clear()
    capsys.readouterr()
    again = run_fewshot(*configs, progress=False)
    said = capsys.readouterr().err
    assert np.array_equal(again.ap, right.ap) and again.hash == right.hash
    assert ('thrown away' in said) == bool(changed) and all(f.name.split('.')[0] in said for f in changed), said
    for f in changed:
        if f.suffix in ('.npy', '.npz', '.safetensors'):
            assert f.read_bytes() == whole[f] or f.suffix == '.npz'  # a zip holds the time


def test_scores_of_another_base_model_are_made_again(trial, capsys):
    folder, configs, right = trial
    (record,) = folder.glob('runs/*/episode_01.record.json')
    before = read_sealed(record)
    write_sealed(record, before | dict(trained={'model.safetensors': '0' * 12}))
    again = run_fewshot(*configs, progress=False)
    assert 'was adapted from another base model: thrown away, and made again' in capsys.readouterr().err
    assert np.array_equal(again.ap, right.ap) and read_sealed(record)['trained'] == before['trained']


def test_two_programs_make_one_base_model(tmp_path, monkeypatch):
    "The second waits, and finds what the first wrote."
    made = []

    def make(cfg, clip, device, data, folder, progress):
        made.append(folder)
        time.sleep(0.3)
        folder.mkdir()
        (folder / 'model.safetensors').write_bytes(b'weights')
        digest = file_digest(folder / 'model.safetensors')
        write_sealed(folder / 'base.json', dict(files={'model.safetensors': digest}))

    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    monkeypatch.setattr(fewshot, '_make_base', make)
    cfg, _ = fewshot_config('dval', 0, WORLD)
    with ThreadPoolExecutor(2) as pool:
        folders = [*pool.map(lambda _: train_base(cfg, SimpleNamespace(digests=['a', 'b', 'c']), False), range(2))]
    assert made == [folders[0]] and folders[0] == folders[1]


def made_up(episodes):
    "The summary of one method, of some episodes with one shot, as a file holds it."
    by_shots = {'1-shot': [SimpleNamespace(ap=ap, balanced=ap, classes=['a', 'b']) for ap in episodes]}
    m = _over_episodes(by_shots, 'ap') | dict(balanced=_over_episodes(by_shots, 'balanced'), no_support=40.0)
    return json.loads(json.dumps(as_json(dict(methods=dict(CoOp=m), data='world 0', seeds=[0]))))


def test_one_episode_has_no_deviation_and_no_interval():
    one, two = (made_up([np.array(ap)]) for ap in ([[40.0, 60.0]], [[40.0, 60.0], [44.0, 60.0]]))
    assert one['methods']['CoOp']['std'] == {'1-shot': None}
    assert [*fewshot_table(one).loc['CoOp']] == ['40.0', '50.0', '50.0']
    assert [*fewshot_table(two).loc['CoOp']] == ['40.0', *['51.0 ± 1.4 [38.3, 63.7]'] * 2]
    for summary in (one, two):
        fig = plot_fewshot(summary, dict(CoOp='k'))
        assert fig.axes[0].get_title() == '1-shot' and len(episodes_table(summary)) in (1, 2)
        said = '1 episode' if summary is one else '2 episodes'
        assert fig.get_supxlabel() == f'mAP of the novel classes (%): world, 2 novel classes, {said}, 1 seed'
        plt.close(fig)


def test_a_method_without_a_colour_is_named():
    with pytest.raises(ValueError, match="^no colour for CoOp: hpdval.report.colours"):
        plot_fewshot(made_up([np.array([[40.0, 60.0]])]), dict(DVAL='k'))


LONG_TAILED = dict(methods=dict(CoOp=dict(mAP=dict(total=1.0), std=dict(total=None))), data='world 0')


@pytest.mark.parametrize('show', [fewshot_table, episodes_table, lambda s: plot_fewshot(s, {})])
@pytest.mark.parametrize(
    'summary, message',
    [
        (LONG_TAILED, '^CoOp has no episodes: results_table and plot_groups show runs on all classes$'),
        ({}, '^expected the summary of a comparison, got a dict without methods'),
        (None, 'got a NoneType without methods'),
    ],
)
def test_what_is_no_summary_of_few_shot_runs_is_refused_in_a_line(show, summary, message):
    with pytest.raises(ValueError, match=message):
        show(summary)
