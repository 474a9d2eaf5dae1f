"""What stands under a table: whatever was changed is named, and another table is not replaced without a word."""

from dataclasses import asdict

import pandas as pd, pytest

from hpdval.config import METHODS, TYPES, make_config, method_config
from hpdval.fewshot import fewshot_config
from hpdval.report import changed, is_trial, provenance, save_table, settings_said

WHERE = dict(data='DATA', weights='WEIGHTS', seeds=[0], code='c0de', environment=dict(device='cpu', commit='c0ffee'))


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
    assert name not in provenance(summary('zero-shot', 'hp-dval')) or name == 'epochs1'


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
