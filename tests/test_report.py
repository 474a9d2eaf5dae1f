"""What stands under a table: whatever was changed is named, and another table is not replaced without a word."""

import json, os, subprocess, sys
from dataclasses import asdict
from types import SimpleNamespace
from typing import NamedTuple

import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch

from hpdval import core
from hpdval.config import METHODS, TYPES, make_config, method_config
from hpdval.experiment import _mean_std
from hpdval.fewshot import fewshot_config
from hpdval.metrics import bootstrap_ci
from hpdval.paper import (
    box_masks,
    claims,
    jobs,
    localise,
    plot_curve,
    plot_rows,
    quoted,
    scatter,
    sweep,
    table_configs,
    view_scores,
)
from hpdval.report import (
    benchmark_shown,
    changed,
    colours,
    decided_table,
    is_trial,
    linear,
    palette,
    plot_curves,
    plot_groups,
    plot_heatmaps,
    plot_per_class,
    provenance,
    results_table,
    save_figure,
    save_table,
    seeds_said,
    settings_said,
    visibility_table,
)

WHERE = dict(
    data='DATA',
    weights='WEIGHTS',
    seeds=[0],
    code='c0de',
    environment=dict(device='cpu', package='c0de', commit='c0ffee'),
)


def summary(*methods, **params):
    "What `compare` says of its conditions: the config is that of the last method."
    configs = {METHODS[m].label: asdict(method_config(m, 0, **params)) for m in methods}
    return WHERE | dict(config=[*configs.values()][-1], methods=dict.fromkeys(configs))


CHANGES = dict(
    lr1=0.1, loss='bce', ema=0.5, alpha=0.7, select='last', topk=3, batch_size=8, epochs1=3, val_fraction=0.2, kd='l2'
)


@pytest.mark.parametrize('name', CHANGES)
def test_every_changed_setting_is_named(name):
    own = asdict(make_config())[name]
    said = provenance(summary('zero-shot', 'hp-dval', **{name: CHANGES[name]}))
    assert f'{name}={CHANGES[name]} for {own}' in said
    assert f'{name}=' not in provenance(summary('zero-shot', 'hp-dval')) or name == 'epochs1'


@pytest.mark.parametrize('mode', ['paper', 'official'])
@pytest.mark.parametrize('method', METHODS)
def test_nothing_is_named_of_a_config_without_changes(method, mode):
    config = asdict(method_config(method, 3, mode=mode, device='cpu'))
    assert changed(config) == {} and not is_trial(config)
    assert 'changed' not in provenance(summary(method, mode=mode))


def test_epochs_are_named_and_what_is_left_out_of_many_is_counted():
    assert '(epochs1=16, epochs2=6), cpu' in provenance(summary('hp-dval'))
    said = settings_said(summary('hp-dval', **CHANGES))
    assert said.startswith('epochs1=3 for 16, epochs2=6; changed: ') and said.endswith(' and 4 more')
    assert said.count(' for ') == 6


def test_epochs_that_are_said_already_are_not_said_twice():
    said = provenance(summary('hp-dval', epochs1=3, loss='bce'), also='epochs: 3 of stage 1, 6 of stage 2')
    assert said.count('epochs') == 2 and 'epochs1=3 for 16' in said and 'loss=bce for' in said


TRIAL = dict(epochs1=1, epochs2=1, batch_size=256)


@pytest.mark.parametrize('method', [m for m in METHODS if not m.startswith('zero-shot')])
def test_a_trial_is_called_one(method):
    assert 'a trial and no measurement' in provenance(summary('zero-shot', method, **TRIAL))
    assert 'trial' not in provenance(summary(method, **TRIAL | dict(batch_size=64)))


def test_a_few_shot_table_names_its_settings():
    def of(**params):
        cfg, fs = fewshot_config('hp-dval', 0, 'icon-voc-fsl', **params)
        own = asdict(cfg) | asdict(fs) | dict(shots=[1, 5])
        return provenance(WHERE | dict(config=own, configs={'HP-DVAL': own}, methods={'HP-DVAL': None}), '10 episodes')

    assert '(epochs1=10, epochs2=6, adapt_epochs1=8, adapt_epochs2=4), cpu' in of()
    assert 'adapt_epochs2=1 for 4; changed: draws=9 for 64)' in of(adapt_epochs2=1, draws=9)


def test_epochs_that_differ_by_row_are_all_named():
    rows = {m: asdict(make_config(m, 'icon-coco-lt')) for m in ('lm-clip', 'hp-dval', 'coop', 'zero-shot')}
    stage1 = sorted({rows[m]['epochs1'] for m in ('lm-clip', 'hp-dval')})
    labels = {METHODS[m].label: config for m, config in rows.items()}
    said = settings_said(WHERE | dict(config=rows['coop'], configs=labels, methods=dict.fromkeys(labels)))
    assert stage1 == [8, 16] and said == f"epochs1=8 or 16, epochs2={rows['coop']['epochs2']}"


def test_a_few_shot_table_of_a_method_that_does_not_adapt_names_no_epochs():
    cfg, fs = fewshot_config('zero-shot', 0, 'icon-voc-fsl-smoke')
    own = asdict(cfg) | asdict(fs)
    said = settings_said(WHERE | dict(config=own, configs={'CLIP': own}, methods={'CLIP': None}))
    assert said == 'a trial and no measurement'  # the world is small


def test_of_rows_that_are_settings_what_they_share_is_named():
    rows = {loss: asdict(make_config(loss=loss, epochs1=3)) for loss in ('bce', 'asl')}
    said = settings_said(WHERE | dict(config=rows['asl'], configs=rows, methods=dict.fromkeys(rows)))
    assert said == 'epochs1=3 for 16, epochs2=6'
    assert settings_said(WHERE | dict(config=rows['asl'], methods=dict.fromkeys(rows))) == ''  # not known of all rows


def test_the_loss_is_named_where_all_rows_share_it():
    assert ', loss db-focal, (epochs1' in provenance(summary('zero-shot', 'hp-dval'))
    assert ', loss bce, ' in provenance(summary('hp-dval', loss='bce'))
    assert 'loss' not in provenance(summary('zero-shot'))  # nothing is trained
    for rows in ([dict(loss='bce'), dict(loss='asl')], [dict(loss='bce'), dict(loss='bce', loss2='asl')]):
        configs = {str(r): asdict(make_config(**r)) for r in rows}
        said = provenance(WHERE | dict(config=configs[str(rows[-1])], configs=configs, methods=dict.fromkeys(configs)))
        assert ', loss ' not in said


def test_a_summary_of_a_method_that_is_not_known_here_has_a_caption():
    own = dict(
        mode='paper', method='mine', benchmark='squares', **dict.fromkeys(set(TYPES) - {'mode', 'method', 'benchmark'})
    )
    assert provenance(WHERE | dict(config=own, methods={'Mine': None})).startswith('Measured on DATA with WEIGHTS')


A = pd.DataFrame(dict(total=['1.00', '2.00']), index=['CoOp', 'HP-DVAL'])
NOTE = 'Measured on x, seeds [0], (epochs1=16), cpu, code 0123456789ab, commit c0ffee-dirty.'
OTHERS = [
    (A, NOTE, ''),
    (A * 2, NOTE, ''),  # the same, measured anew
    (A, NOTE.replace('0123', '4567').replace('c0ffee-dirty', 'not recorded'), ''),
    (A, NOTE.replace('epochs1=16', 'epochs1=1'), f'held the same rows measured otherwise ({NOTE[:-46]}'),
    (A.iloc[:1], NOTE, 'held other rows and is replaced'),
    (A.rename(dict(CoOp='LMPT')), NOTE, 'held other rows and is replaced'),
    (A.rename(columns=dict(total='head')), NOTE, 'held other columns and is replaced'),
]


@pytest.mark.parametrize('table, note, said', OTHERS)
def test_another_table_is_not_replaced_without_a_word(table, note, said, tmp_path, capsys):
    save_table(A, tmp_path, 'table', NOTE)
    assert capsys.readouterr().err == ''
    save_table(table, tmp_path, 'table', note)
    told = capsys.readouterr().err
    assert said in told and told.count('\n') == bool(said)
    assert pd.read_csv(tmp_path / 'table.csv', index_col=0, dtype=str).equals(table)


GROUP = dict(total=50.0, head=50.0, medium=50.0, tail=50.0)
NAMES = ['cat', 'dog', 'cow', 'owl']
COUNTS = [300, 40, 7, 120]


def compared(counts=COUNTS, order=NAMES, **aps):
    "A summary of methods whose APs are given."
    aps = aps or dict(CoOp=[10.0, 20.0, 30.0, 40.0])
    methods = {n: dict(mAP=GROUP, std=dict.fromkeys(GROUP), ap=dict(zip(order, a))) for n, a in aps.items()}
    known = dict(counts=dict(zip(NAMES, counts))) if counts else {}
    return WHERE | dict(config=asdict(make_config()), methods=methods) | known


def shown(fig):
    "What a figure of classes shows: the names at the axis, the APs of the first line, the counts."
    top, _, bottom = fig.axes
    names = [t.get_text() for t in bottom.get_xticklabels()]
    return names, top.lines[0].get_ydata().tolist(), [b.get_height() for b in bottom.patches]


RIGHT = ['cat', 'owl', 'dog', 'cow'], [10.0, 40.0, 20.0, 30.0], [300, 120, 40, 7]
FORMS = {
    'those of the summary': None,
    'a list': COUNTS,
    'an array': np.array(COUNTS),
    'a tensor': torch.tensor(COUNTS),
    'a dictionary': dict(zip(NAMES[::-1], COUNTS[::-1])),
    'a series in another order': pd.Series(COUNTS, NAMES)[['owl', 'cat', 'cow', 'dog']],
}


@pytest.mark.parametrize('counts', FORMS.values(), ids=FORMS)
@pytest.mark.parametrize('known', [COUNTS, None])
def test_counts_stand_below_their_classes_in_every_form(counts, known):
    if counts is None and known is None:
        with pytest.raises(ValueError, match='this summary has no counts: give the training images of each class'):
            plot_per_class(compared(known))
        return
    assert shown(plot_per_class(compared(known), counts)) == RIGHT
    plt.close('all')


def test_the_methods_of_a_figure_are_taken_by_the_names_of_classes():
    one = compared(A=[10.0, 20.0, 30.0, 40.0])
    one['methods']['B'] = compared(order=NAMES[::-1], B=[40.0, 30.0, 20.0, 10.0])['methods']['B']
    top = plot_per_class(one).axes[0]
    dots = [line.get_ydata().tolist() for line in top.lines if line.get_marker() == '.']
    assert dots == [RIGHT[1], RIGHT[1]]
    plt.close('all')


NO_COUNTS = [
    (COUNTS[:3], r'counts must be one for each of the 4 classes, got \(3,\)'),
    ([*COUNTS, 1], r'one for each of the 4 classes, got \(5,\)'),
    ([COUNTS], r'one for each of the 4 classes, got \(1, 4\)'),
    (COUNTS[::-1], 'counts are not those of the summary, or in another order: cat has 300, not 120; leave them out'),
    (
        pd.Series(COUNTS, ['cat', 'dog', 'cow', 'cows']),
        "counts have other classes .'cows', .... than the methods: did you",
    ),
    (pd.Series([*COUNTS, 1], [*NAMES, 'cat']), 'counts have other classes'),
    (dict(cat=300, dog=40, cow=7), "counts have other classes .'owl'"),
    ([300, 40, 7, np.nan], 'counts must be numbers of images, 0 or more each'),
    ([300, 40, 7, -1], 'counts must be numbers of images, 0 or more each'),
]


@pytest.mark.parametrize('counts, message', NO_COUNTS)
def test_counts_of_other_classes_are_refused(counts, message):
    with pytest.raises(ValueError, match=message) as e:
        plot_per_class(compared(), counts)
    assert '\n' not in str(e.value)


def test_methods_with_other_classes_are_refused():
    one = compared(A=[10.0, 20.0, 30.0, 40.0])
    one['methods']['B'] = compared(order=['cat', 'dog', 'cow', 'ant'], B=[1.0, 2.0, 3.0, 4.0])['methods']['B']
    with pytest.raises(ValueError, match="APs of B have other classes .'ant', .... than the methods"):
        plot_per_class(one)


class Model(NamedTuple):
    use_learned = False
    cfg: object = SimpleNamespace(
        join='topk', score='cosine', scoring='same', ensemble='none', topk=0, topk_share=0.2, alpha_on='global'
    )
    visual: object = SimpleNamespace(grid=(8, 8))


SCENES = SimpleNamespace(boxes=[[(0, 0, 4, 4)]] * 3, labels=[[0]] * 3, images=torch.zeros(3, 3, 8, 8))
QUOTES = pd.DataFrame(dict(total=dict(CoOp=1.0)))
TARGETS = np.eye(3)[[0, 1, 2, 0, 1, 2]]


def result(seed=0, **config):
    scores = np.random.default_rng(0).random((6, 3)) + TARGETS
    own = asdict(make_config('coop', seed=seed)) | config
    about = dict(mAP=GROUP, scores=scores, counts=[200, 50, 3], var_population=1.0, data='world 1')
    return SimpleNamespace(config=own, **about)


def other(seed=0):
    "A result on other data."
    r = result(seed)
    r.data = 'world 2'
    return r


EMPTY = torch.zeros(2, 4, 4)
ODD = [
    (
        lambda: results_table((1, 2)),
        'expected the summary of a comparison, got a tuple without methods: summary, results',
    ),
    (lambda: results_table({}), 'expected the summary of a comparison, got a dict without methods'),
    (lambda: decided_table(None), 'got a NoneType'),
    (lambda: plot_groups([]), 'got a list'),
    (
        lambda: results_table(dict(methods=dict(CoOp=dict(mAP={'1-shot': 1.0})))),
        'CoOp has no mAP by group: fewshot_table',
    ),
    (lambda: visibility_table({}, None), 'these data have no scenes'),
    (lambda: plot_per_class(compared(), window=0), 'window must be a whole number of 1 or more, got 0'),
    (lambda: plot_curves({}), r'results must be \{method: \[Result per seed\]\}'),
    (lambda: plot_curves([result()]), 'results must be'),
    (lambda: plot_curves(dict(coop=result())), 'results must be'),
    (lambda: plot_curves(dict(coop=[])), 'results must be'),
    (lambda: plot_heatmaps({}, None, DATA, [0], per_image=0), 'per_image must be a whole number of 1 or more, got 0'),
    (lambda: plot_heatmaps({}, None, DATA, [9]), 'an image must be a whole number in 0..1, got 9'),
    (lambda: plot_heatmaps({}, None, DATA, [-1]), 'an image must be .*, got -1'),
    (lambda: plot_heatmaps({}, None, DATA, 0), 'give a list in which every image stands once, got 0'),
    (lambda: plot_heatmaps({}, None, DATA, [1]), r'the images \[1\] show no class'),
    (lambda: linear([255, 0, 0]), r'colours must lie in 0\.\.1, got 0 to 255: divide bytes by 255'),
    (lambda: linear([np.nan]), 'colours must lie in'),
    (lambda: palette(-1), 'n must be a whole number of 0 or more, got -1'),
    (lambda: palette(2.5), 'n must be .*, got 2.5'),
    (lambda: colours('CoOp'), "labels must be a list, got the text 'CoOp'"),
    (lambda: seeds_said(0), 'the number of seeds must be a whole number of 1 or more, got 0'),
    (lambda: save_table([1], 'x', 'table'), 'table: expected a DataFrame, got a list'),
    (lambda: quoted('table1', 'coco_lt'), "unknown benchmark 'coco_lt': did you mean 'coco-lt'"),
    (lambda: scatter([], TARGETS), 'every seed must stand once, at least one'),
    (lambda: scatter([result(0), result(0)], TARGETS), 'every seed must stand once'),
    (
        lambda: scatter([result(0), result(1, lr2=1.0)], TARGETS),
        'results of one config are wanted, and lr2 is .* in one',
    ),
    (lambda: scatter([result(0), result(1)], TARGETS[:5]), r'got \(6, 3\) and \(5, 3\)'),
    (lambda: claims(dict(CoOp=[result()]), [('CoOpp', 'CoOp', 'total')], QUOTES), "did you mean 'CoOp'"),
    (
        lambda: claims(dict(A=[result()], B=[result()]), [('A', 'B', 'totl')], QUOTES),
        "unknown group or variance 'totl'",
    ),
    (
        lambda: claims(dict(A=[result()], B=[result(1)]), [('A', 'B', 'total')], QUOTES),
        r'A has the seeds \[0\], B \[1\]',
    ),
    (
        lambda: claims(dict(A=[result()], B=[other()]), [('A', 'B', 'total')], QUOTES),
        'of different data, world 1 and world 2: compare those of one',
    ),
    (lambda: scatter([result(0), other(1)], TARGETS), 'of different data, world 1 and world 2'),
    (lambda: view_scores(Model(), None, None, [0]), r'k must be a whole number in 1\.\.64, got 0'),
    (lambda: view_scores(Model(), None, None, [65]), r'in 1\.\.64, got 65'),
    (lambda: view_scores(Model(), None, None, []), 'every k must stand once, at least one'),
    (lambda: sweep(Model(), None, None, [1.5], [0.1]), r'alpha must be a number in 0\.\.1, got 1.5'),
    (lambda: sweep(Model(), None, None, [0.5], [12]), r'share must be a number in 0\.\.1, got 12'),
    (lambda: box_masks(SCENES, 3, 8), r'i must be a whole number in 0\.\.2, got 3'),
    (lambda: box_masks(SCENES, -1, 8), 'i must be .*, got -1'),
    (lambda: localise(EMPTY, torch.ones(2, 3, 4) > 0), r'maps and masks must be numbers \[n,S,S\], got'),
    (lambda: localise(EMPTY / 0, torch.ones(2, 4, 4) > 0), 'a map has NaN'),
    (lambda: localise(EMPTY, EMPTY > 0), 'a mask is empty'),
    (lambda: plot_curve(CURVE, CURVE.rename({0.5: 0.6}), QUOTES, 'x'), 'mean and std must have the same settings'),
    (lambda: plot_curve(CURVE[['total']], CURVE, QUOTES, 'x'), 'mean and std must have the same settings'),
    (lambda: jobs([0], ['tabel1']), "did you mean 'table1'"),
    (lambda: jobs([0], 'table1'), "give a list in which every table stands once, got 'table1'"),
    (lambda: jobs([0], ['table1'], ['icon-coco']), "unknown embedded benchmark 'icon-coco'"),
    (lambda: table_configs('table3', [0], 'BCE'), "give a list in which every row stands once, got 'BCE'"),
    (lambda: table_configs('table3', [0], ['BCE', 'BCE']), 'every row must stand once'),
]
DATA = SimpleNamespace(test=SimpleNamespace(targets=torch.tensor([[1, 0], [0, 0]]), images=torch.zeros(2, 3, 8, 8)))
CURVE = pd.DataFrame({k: [1.0, 2.0] for k in GROUP}, index=[0.0, 0.5])


@pytest.mark.parametrize('call, message', ODD)
def test_what_a_report_cannot_show_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as e:
        call()
    assert '\n' not in str(e.value)


def test_a_summary_is_the_same_when_it_is_read_back(tmp_path):
    "In a file NaN is null: a group without a class, the deviation of one seed."
    nan = float('nan')
    worth = dict(ECE_before=0.4, ECE=0.01, plain_OF1=10.0, OF1=50.0, plain_CF1=12.3, CF1=nan)
    m = dict(mAP=GROUP | dict(tail=nan), std=dict.fromkeys(GROUP, nan), var_population=3.0, var_between_groups=nan)
    m |= dict(ap=dict(a=50.0, b=nan), reported=[{}], decided=worth, decided_std=dict.fromkeys(worth, nan))
    here = dict(methods=dict(CoOp=m), seeds=[0], data='d', counts=dict(a=200, b=3))
    core.write_json(tmp_path / 'result.json', here)
    there = json.loads((tmp_path / 'result.json').read_text())
    assert there['methods']['CoOp']['mAP']['tail'] is None
    for table in (results_table, decided_table):
        assert table(there).equals(table(here))
    assert results_table(there).loc['CoOp', ['tail', 'var (groups)']].tolist() == ['–', '–']
    assert decided_table(there).loc['CoOp', ['OF1', 'CF1']].tolist() == ['50.0', '–']
    for s in (here, there):
        labels = plot_groups(s).axes[0].texts
        assert [t.get_text() for t in labels] == ['50', '50', '50', '']
        assert np.isfinite([t.xy for t in labels[:3]]).all()
        plot_per_class(s)
        plot_rows(s, pd.DataFrame(columns=list(GROUP)))
    plt.close('all')


def test_one_seed_has_no_deviation_and_it_is_said(capsys):
    core._print_once.cache_clear()
    table = scatter([result()], TARGETS)
    assert table[['seeds', 'low', 'high']].isna().all(axis=None) and table['test images'].notna().all()
    assert 'one seed has no deviation: give results of two or more\n' in capsys.readouterr().err


def test_scatter_has_the_groups_of_its_results():
    "With other limits, the bootstrap is of other groups too."
    usual, own = (scatter([result(s, **c) for s in (0, 1)], TARGETS) for c in ({}, dict(head_from=250, tail_below=100)))
    ap = bootstrap_ci(result().scores, TARGETS, [200, 50, 3], limits=(250, 100))
    assert own.loc['medium', 'test images'] == (ap['medium'][1] - ap['medium'][0]) / 2
    assert np.isnan(own.loc['head', 'test images']) and usual.loc['head', 'test images'] >= 0


def test_a_seed_whose_measure_is_nan_is_not_left_out_of_the_mean():
    "No label said right has no F1: the mean of the other seeds alone would be too high."
    mean, std = _mean_std([dict(OF1=np.nan, CF1=40.0), dict(OF1=50.0, CF1=42.0)])
    assert np.isnan(mean['OF1']) and np.isnan(std['OF1'])
    assert mean['CF1'] == 41 and std['CF1'] == pytest.approx(2**0.5)


def test_a_table_is_written_in_utf_8_whatever_the_locale(tmp_path):
    "Of a class that no locale but UTF-8 can write, and of the sign of a deviation."
    program = "import pandas as pd; from hpdval.report import save_table; import sys\n"
    program += "save_table(pd.DataFrame({'mAP': ['1 \\u00b1 2']}, index=['\\u72ac']), sys.argv[1], 't', '\\u2013')"
    env = os.environ | dict(LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0')
    subprocess.run([sys.executable, '-c', program, str(tmp_path)], env=env, check=True)
    assert '犬' in (tmp_path / 't.md').read_text(encoding='utf-8')
    assert '1 ± 2' in (tmp_path / 't.csv').read_text(encoding='utf-8')
    assert b'\r' not in (tmp_path / 't.md').read_bytes() + (tmp_path / 't.csv').read_bytes()


def test_colours_takes_what_can_be_read_once():
    assert colours(name for name in ('CoOp', 'mine')) == colours(['CoOp', 'mine'])


def test_a_group_without_a_class_is_not_measured():
    a, b = result(), result()
    a.mAP = b.mAP = GROUP | dict(tail=np.nan)
    table = claims(dict(A=[a], B=[b]), [('A', 'B', 'tail'), ('A', 'B', 'total')], QUOTES)
    assert table.verdict.tolist() == ['not measured', 'open'] and table.here.tolist()[0] == '–'


def test_a_trial_with_settings_of_its_own_is_called_one():
    "Of the config alone it could not be told: the notebook says it in the summary."
    one = summary('hp-dval', epochs1=3, epochs2=2, batch_size=64)
    assert 'a trial' not in provenance(one | dict(trial=False)) and 'a trial' not in provenance(one)
    assert 'a trial and no measurement' in provenance(one | dict(trial=True))


def test_a_figure_names_what_it_was_measured_on_where_no_panel_is(tmp_path):
    fig, axs = plt.subplots(1, 2)
    save_figure(fig, tmp_path, 'f', benchmark_shown('icon-coco-lt', [0, 1, 2]))
    (said,) = fig.texts
    assert said.get_text() == 'icon-coco-lt, 3 seeds'
    assert not any(said.get_window_extent().overlaps(ax.get_tightbbox()) for ax in axs)
    save_figure(plt.figure(), tmp_path, 'g')
    assert not plt.gcf().texts
    plt.close('all')


def test_a_notebook_shows_the_file_and_does_not_draw_again(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr('IPython.display.display', lambda picture: shown.append(picture.data))
    for backend, expected in (('agg', 0), ('module://matplotlib_inline.backend_inline', 1)):
        fig = plt.figure()
        fig.add_subplot().plot([0, 1])
        monkeypatch.setattr(plt, 'get_backend', lambda: backend)
        save_figure(fig, tmp_path, 'v1.5')
        assert plt.fignum_exists(fig.number) == (not expected) and len(shown) == expected
    assert shown == [(tmp_path / 'v1.5.png').read_bytes()]
    assert (tmp_path / 'v1.5.pdf').is_file()
    plt.close('all')
