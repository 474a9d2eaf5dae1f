"What a person would mean is read in every form; what could mean nothing, or two things, is one line."

import json, math, os, re, subprocess, sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np, pandas as pd, pytest, torch
from click.testing import CliRunner
from PIL import Image

from hpdval import command, core
from hpdval.clip import load_clip
from hpdval.config import TRIAL, as_seeds, check_folder, make_config, out_folder, parse_seeds, trial
from hpdval.core import atomic_write, get_device, read_sealed, write_json
from hpdval.data import decode_split
from hpdval.decide import Decision, reliability
from hpdval.experiment import EXAMPLE, Result, compare, compare_configs, launch, run
from hpdval.export import export_run, onnx_file
from hpdval.fetch import Manifest, Web, fetch_file
from hpdval.fewshot import Fewshot, balanced_draws, compare_fewshot, draw_support, fewshot_trial
from hpdval.lists import fetch_lists, read_coco_episodes, read_coco_json, read_csv, read_list
from hpdval.losses import LOSSES, Loss, bce, make_loss
from hpdval.metrics import mean_interval, threshold_metrics
from hpdval.paper import TABLES, jobs, kept_maps, page, table_configs
from hpdval.predict import Classifier, as_images, run_folder
from hpdval.report import save_table
from hpdval.sources import find_lists, from_samples, pictures_in
from hpdval.train import load_checkpoint
from hpdval.video import film_length, write_film
from hpdval.weights import load_weights, read_weights

ROOT = Path(__file__).resolve().parents[1]


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


NOBODY = [
    lambda p: make_config('dval', benchmark='own', lists=p),
    lambda p: make_config('dval', benchmark='own', image_root=p),
    lambda p: make_config('dval', pretrained=p),
    lambda p: load_clip('mini', p),
    load_weights,
    read_weights,
    Result.load,
    Classifier.load,
    run_folder,
    onnx_file,
    lambda p: export_run(Result.load(EXAMPLE), p),
    lambda p: read_list(p, 3),
    read_csv,
    read_coco_json,
    pictures_in,
    as_images,
    lambda p: decode_split(["a.jpg"], np.ones((1, 1)), ["a"], p, 8),
    film_length,
    lambda p: write_film(p, []),
    lambda p: out_folder(p, 'x'),
    lambda p: check_folder(p, '--out'),
    lambda p: save_table(pd.DataFrame(), p, 'table'),
    lambda p: write_json(p, {}),
    read_sealed,
    fetch_lists,
    lambda p: fetch_file('nowhere:', p, '', Web()),
    Manifest,
    lambda p: find_lists(p, 'own'),
    lambda p: read_coco_episodes(p, 1),
]


@pytest.mark.parametrize('read', NOBODY)
@pytest.mark.parametrize('path', ['~nosuchuser/a.jpg', '~nosuchuser'])
def test_the_home_folder_of_nobody_is_refused_where_a_path_is_given(read, path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as e:
        read(path)
    assert str(e.value) == f"{path}: nobody is called 'nosuchuser' here, so there is no such home folder"
    assert not list(tmp_path.iterdir())


def test_pictures_handed_over_may_lie_at_home(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    colours = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    for i, colour in enumerate(colours):
        Image.fromarray(colour).save(tmp_path / f'{i}.png')
    cfg = make_config('zero-shot', 'memory')
    found = []
    for home in ('~', Path('~'), tmp_path):
        samples = [(type(home)(f'{home}/{i}.png'), ['dog' if i % 2 else 'cat']) for i in range(4)]
        found.append(from_samples(samples, samples)(cfg, 16).test.images.permute(0, 2, 3, 1).numpy())
        np.testing.assert_array_equal(found[-1], colours)
    with pytest.raises(ValueError, match="train sample 0: ~nosuchuser/a.png: nobody is called 'nosuchuser' here"):
        from_samples([('~nosuchuser/a.png', ['cat'])], [(colours[0], ['cat'])])(cfg, 16)


@pytest.mark.parametrize('variable', ['HPDVAL_RUNS', 'HPDVAL_CACHE', 'HPDVAL_DATA'])
def test_folders_of_the_environment_may_start_at_home(variable, monkeypatch, tmp_path):
    folder = dict(HPDVAL_RUNS=core.runs_dir, HPDVAL_CACHE=core.cache_dir, HPDVAL_DATA=core.data_dir)[variable]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.setenv(variable, '~/there')
    assert folder() == tmp_path / 'home/there'
    monkeypatch.setenv(variable, '~nosuchuser/there')
    with pytest.raises(ValueError, match="nobody is called 'nosuchuser' here"):
        folder()
    assert [f.name for f in tmp_path.iterdir()] == ['home']


@pytest.mark.parametrize(
    'words',
    [
        'predict example ~nosuchuser/a.jpg',
        'export example ~nosuchuser',
        'export ~nosuchuser/x y',
        'predict ~nosuchuser a',
    ]
    + [f'{c} --out ~nosuchuser/x' for c in ('compare zero-shot', 'tune dval')],
)
def test_a_command_says_so_in_one_line(words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command.main, words.split())
    assert done.exit_code == 1 and "nobody is called 'nosuchuser' here" in done.output.splitlines()[-1]
    assert not list(tmp_path.iterdir())


TWICE = [
    ('predict example a.png --classes cat --classes dog', '--classes'),
    ('run dval --seed 0 --seed 1', '--seed'),
    ('run dval --val_fraction .1 --val-fraction .2', '--val-fraction'),
    ('compare zero-shot --out a --out b', '--out'),
    ('tune dval --trials=2 --trials=2', '--trials'),
    ('clean --older 1d --older 2d', '--older'),
    ('export example --method hp-dval --method coop', '--method'),
]


@pytest.mark.parametrize('words, option', TWICE, ids=[o for _, o in TWICE])
def test_an_option_of_one_value_is_given_once(words, option):
    done = CliRunner().invoke(command.main, words.split())
    assert done.exit_code == 2
    assert done.output.splitlines()[-1] == f"Error: '{option}' is given 2 times and has one value"


def test_help_is_given_whatever_else_is_said():
    done = CliRunner().invoke(command.main, ['run', 'dval', '--seed', '1', '--seed', '2', '--help'])
    assert done.exit_code == 0 and done.output.startswith('Usage: ')


def test_what_may_be_given_twice():
    "Options of several values, and those without any."
    done = CliRunner().invoke(command.main, ['run', 'zero-shot', '--show', '--json', '--show', '--json'])
    assert done.exit_code == 0 and json.loads(done.stdout)[0]['field'] == 'method'
    words = ['predict', 'example', 'none.jpg', '--template', 'a {}', '--template', 'the {}']
    assert 'no file or folder none.jpg' in CliRunner().invoke(command.main, words).output


@pytest.mark.parametrize('names', ['=cat', 'cat=', 'cat,dog==puppy', '='])
def test_an_empty_name_of_a_class_is_said_in_the_words_of_the_shell(names):
    message = f"--classes '{names}' has an empty place beside ="
    with pytest.raises(ValueError, match=re.escape(message)):
        command.names_of(names)


@pytest.mark.parametrize('names', ['dval,', ',dval', 'coop,,dval', 'coop, ,dval'])
def test_an_empty_place_between_methods_is_said_as_between_classes(names):
    done = CliRunner().invoke(command.main, ['compare', names])
    said = f"Error: methods '{names}' have an empty place between commas: leave it out\n"
    assert (done.exit_code, done.output) == (1, said)


@pytest.mark.skipif(os.name == 'nt', reason='a shell of its own')
@pytest.mark.parametrize('words', ['list methods', 'run zero-shot'])
def test_a_closed_stdout_is_said(words, tmp_path):
    line = f'exec "{sys.executable}" -m hpdval.command {words} >&-'
    done = subprocess.run(['sh', '-c', line], capture_output=True, text=True, cwd=tmp_path)
    said = 'Error: stdout is closed, where the answer goes: send it to a file, or to /dev/null\n'
    assert (done.returncode, done.stderr) == (1, said)
    assert not [*tmp_path.iterdir()]


def test_a_file_that_is_called_like_a_home_folder_is_itself(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path('~$a').mkdir()
    Image.new('RGB', (8, 8)).save('~$a/b.png')
    assert as_images(pictures_in('~$a')) == [Path('~$a/b.png')] and as_images('~$a/b.png') == ['~$a/b.png']


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
        (dict(epochs1=-1), r'epochs1 must be a whole number in 0\.\.1000000, got -1'),
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
    'shots': (lambda v: draw_support(np.eye(3), v, np.random.default_rng(0)), 'a whole number of 1 or more', 1),
    'n': (lambda v: balanced_draws(np.eye(3), v), 'a whole number of 1 or more', np.int64(2)),
    'alpha': (lambda v: make_config(alpha=v), 'a number in 0..1', 1),
    'batch_size': (lambda v: make_config(batch_size=v), r'a whole number in 1\.\.1000000', np.int32(2)),
    'lr1': (lambda v: make_config(lr1=v), r'a number in 0\.\.1e\+30', np.float64(0.1)),
}


@pytest.mark.parametrize('name', NUMBERS)
def test_numbers_are_refused_in_one_form(name):
    "Of `make_config`, what is of another type than the field is a `TypeError`."
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


GIVEN = dict(epochs1=3, epochs2=2, batch_size=16, episodes=4, draws=9, adapt_epochs1=2, adapt_epochs2=5, resample=70)


@pytest.mark.parametrize('name', GIVEN)
def test_a_trial_keeps_what_the_user_gave(name, monkeypatch, capsys):
    monkeypatch.delenv('IN_TEST', raising=False)
    plain, _ = trial(dict(smoke=True), fewshot_trial('icon-voc-fsl'))
    assert f' {name}={plain[name]}' in capsys.readouterr().err
    own, small = trial({'smoke': True, name: GIVEN[name]}, fewshot_trial('icon-voc-fsl'))
    assert small and own == plain | {name: GIVEN[name]}
    assert f' {name}=' not in capsys.readouterr().err
    assert trial({name: GIVEN[name]}, fewshot_trial('icon-voc-fsl')) == ({name: GIVEN[name], 'seeds': [0]}, False)


def test_a_trial_of_several_seeds_and_rows_keeps_them(monkeypatch):
    monkeypatch.delenv('IN_TEST', raising=False)
    tried = page(dict(benchmark='icon-voc-lt', smoke=True, seeds='0,2,3', rows='BCE; DB; ASL'), 'x', TABLES['table3'])
    assert tried.seeds == [0, 2, 3] and tried.rows == ['BCE', 'DB', 'ASL'] and tried.small
    assert page(dict(smoke=True), 'x', TABLES['table3']).rows == ['BCE', 'DB*']


@pytest.mark.parametrize('file', sorted((ROOT / 'nbs').glob('*.ipynb')), ids=lambda f: f.stem)
def test_a_notebook_leaves_open_what_a_trial_fills_in(file):
    "A value in the cell of parameters cannot be told from one that the user gave."
    cells = json.loads(file.read_text(encoding='utf-8'))['cells']
    cells = [''.join(c['source']) for c in cells if 'parameters' in c['metadata'].get('tags', [])]
    filled = {*TRIAL, *fewshot_trial('icon-voc-fsl'), *'trials folds fresh scenes steps_text'.split()} - {'benchmark'}
    for cell in cells:
        found = dict(re.findall(r'^(\w+) = (\S+)', cell, re.MULTILINE))
        assert 'smoke' not in found or not {k: v for k, v in found.items() if k in filled and v != 'None'}


SEEDS = [[0, 1, 2], (0, 1, 2), '0,1,2', '0, 1, 2', range(3), np.arange(3), torch.arange(3), (i for i in range(3))]


@pytest.mark.parametrize('seeds', SEEDS, ids=lambda s: type(s).__name__)
def test_seeds_in_every_form(seeds):
    found = as_seeds(seeds)
    assert found == [0, 1, 2] and {type(s) for s in found} == {int}


def test_a_seed_of_numpy_is_a_seed():
    summary, results = compare(['zero-shot'], [np.int64(3)], False, benchmark='icon-voc-lt')
    assert summary['seeds'] == [3] and results['zero-shot'][0].config['seed'] == 3
    assert type(results['zero-shot'][0].config['seed']) is int


NO_SEEDS = [
    (3, r'seeds=3 may be a seed or a number of seeds: write a list, \[3\] or \[0, 1, 2\]'),
    (np.int64(3), 'seeds=3 may be'),
    (None, 'give a list in which every seed stands once, got None'),
    (True, 'give a list in which every seed stands once, got True'),
    (2.0, 'give a list in which every seed stands once, got 2.0'),
    ({0: 1}, 'every seed must stand once, at least one'),
    (b'0', 'give a list in which every seed stands once'),
    ([], 'every seed must stand once, at least one'),
    ([0, 0], 'every seed must stand once'),
    ([0, None], 'seed must be a whole number in 0..4294967295, got None'),
    (['0', '1'], "seed must be a whole number in 0..4294967295, got '0'"),
    ([[0, 1]], r'got \[0, 1\]'),
    ([-1], 'got -1'),
    ([0.5], 'got 0.5'),
    ([True], 'got True'),
    ('three', "seeds must be whole numbers with commas between them, such as 0,1,2; got 'three'"),
    ('0;1', "got '0;1'"),
]


@pytest.mark.parametrize('seeds, message', NO_SEEDS, ids=[repr(s) for s, _ in NO_SEEDS])
def test_what_are_no_seeds_is_one_line(seeds, message):
    for call in (
        lambda: compare(['zero-shot'], seeds, benchmark='icon-voc-lt'),
        lambda: compare_fewshot(['zero-shot'], seeds, [1]),
        lambda: table_configs('table6', seeds),
        lambda: jobs(seeds, ['table6']),
    ):
        with pytest.raises(ValueError, match=message) as e:
            call()
        assert '\n' not in str(e.value)


@pytest.mark.parametrize('given', [3, '3', ' 3'])
def test_one_number_in_the_place_of_seeds_is_said_to_be_a_seed(given, capsys):
    core._print_once.cache_clear()
    assert parse_seeds(given) == [3]
    assert capsys.readouterr().err == 'seeds=3 is one run, with this seed; several are written 0,1,2\n'
    assert parse_seeds('0') == [0] and parse_seeds('3,4') == [3, 4]
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize('processes', [0, -1, 1.5, '2', None])
def test_processes_are_a_number(processes):
    with pytest.raises(ValueError, match='processes must be a whole number of 1 or more, got'):
        launch(make_config('zero-shot', 'icon-voc-lt'), processes, False)


UNHASHABLE = [['coop'], {}, [['coop']], {'coop'}]


@pytest.mark.parametrize('odd', UNHASHABLE, ids=map(repr, UNHASHABLE))
def test_a_list_in_the_place_of_a_name_is_one_line(odd):
    for call in (lambda: make_config(odd), lambda: compare([odd]), lambda: make_config(benchmark=odd)):
        with pytest.raises((ValueError, TypeError), match='unknown (method|benchmark) ') as e:
            call()
        assert '\n' not in str(e.value)


@pytest.mark.parametrize('methods', [None, 3, b'coop', {}, [], ['coop', 'coop'], 'coop,coop', 'coop;dval'])
def test_what_are_no_methods_is_one_line(methods):
    for call in (lambda: compare(methods, [0]), lambda: compare_fewshot(methods, [0], [1])):
        with pytest.raises(ValueError, match='method') as e:
            call()
        assert '\n' not in str(e.value)


@pytest.mark.parametrize('name', ['batch_size', 'copies', 'image_size', 'lr1'])
def test_sizes_and_rates_beyond_any_use_are_refused(name):
    with pytest.raises(ValueError, match=rf'{name} must be a (whole )?number in [01]\.\.'):
        make_config('hp-dval', 'icon-voc-lt', **{name: 1e308 if name == 'lr1' else 10**19})


def test_a_device_without_numbers_is_refused():
    with pytest.raises(ValueError, match="device 'meta' holds no numbers"):
        get_device('meta')


def test_a_folder_below_a_file_is_refused_before_anything_is_trained():
    with pytest.raises(ValueError, match='--out /dev/null/x cannot be made, /dev/null is a file: give a folder'):
        check_folder('/dev/null/x', '--out /dev/null/x')


ONES = dict(epoch=1, params=[torch.ones(2)], ema=[torch.ones(2)])


@pytest.mark.parametrize(
    'other', [dict(a=1), [1], ONES | dict(params=[torch.ones(1)]), ONES | dict(ema=[1.0]), ONES | dict(ema=[])]
)
def test_another_file_in_the_place_of_a_checkpoint_is_named_and_thrown_away(other, tmp_path, capsys):
    torch.save(other, tmp_path / 'stage1.pt')
    assert load_checkpoint(tmp_path / 'stage1.pt', ONES) is None
    assert 'stage1.pt is damaged' in capsys.readouterr().err and not (tmp_path / 'stage1.pt').exists()


def test_a_folder_in_the_place_of_a_file_is_refused_with_advice(tmp_path):
    with pytest.raises(IsADirectoryError, match='is a folder, and a file is written there: move it away'):
        with atomic_write(tmp_path):
            pass


def test_weights_that_are_not_there_are_named():
    with pytest.raises(FileNotFoundError, match='no file /nowhere/none.pt: give the file or the folder'):
        load_clip('mini', '/nowhere/none.pt')


@pytest.mark.parametrize('age', ['³d', '٣', 'd', '-1d', '1.5d'])
def test_an_age_that_is_no_number_is_one_line(age):
    done = CliRunner().invoke(command.main, ['clean', '--older', age])
    assert done.exit_code == 2 or isinstance(done.exception, (SystemExit, ValueError))
    assert f'an age is a number and d, h or m, such as 30d; got {age!r}' in done.output + str(done.exception)


def test_only_what_the_package_wrote_is_cleaned(tmp_path, monkeypatch):
    "A file of the user's own beside a result stays, whatever it is called; so does a run that is not finished."
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    for folder in ('finished', 'running'):
        (tmp_path / folder).mkdir()
        for name in ('stage1.pt', 'stage2.pt', 'joint.pt', 'my_model.pt', 'stage1.pt.bak'):
            (tmp_path / folder / name).touch()
    (tmp_path / 'finished/result.json').touch()
    gone = (tmp_path / 'gone.pt', tmp_path / 'finished/stage1.pt')
    assert command._used_since(gone[0], 0) and not command._used_since(gone[1], 2**40)  # removed by another process
    done = CliRunner().invoke(command.main, ['clean', '--older', '0d', '--yes'])
    assert done.exit_code == 0, done.output
    assert sorted(f.name for f in (tmp_path / 'finished').iterdir()) == ['my_model.pt', 'result.json', 'stage1.pt.bak']
    assert len([*(tmp_path / 'running').iterdir()]) == 5


@pytest.mark.parametrize('damage', [False, True])
def test_a_comparison_does_not_take_the_place_of_a_run(damage, tmp_path):
    core.write_sealed(tmp_path / 'result.json', dict(mAP=1.0))
    if damage:
        (tmp_path / 'result.json').write_bytes(b'\xff{"mAP"')
    before = (tmp_path / 'result.json').read_bytes()
    done = CliRunner().invoke(command.main, ['compare', 'zero-shot', '--out', str(tmp_path)])
    assert done.exit_code == 1 and 'is the folder of a run, whose result.json would be lost' in done.output
    assert (tmp_path / 'result.json').read_bytes() == before


def test_a_table_is_of_one_benchmark():
    configs = {b: [make_config('zero-shot', b)] for b in ('icon-coco-lt', 'icon-voc-lt')}
    with pytest.raises(ValueError, match='a table is of one benchmark, got icon-coco-lt and icon-voc-lt: make one'):
        compare_configs(configs)


def test_jobs_takes_what_can_be_read_once():
    assert jobs((0,), ['zero-shot'], (b for b in ['icon-voc-lt'])) == jobs((0,), ['zero-shot'], ['icon-voc-lt'])


def test_maps_of_other_data_than_those_of_the_run_are_refused():
    result, data = SimpleNamespace(data='a 1', folder='runs/x'), SimpleNamespace(digest='b 2')
    with pytest.raises(ValueError, match='runs/x was made on a 1, and the data are b 2: load those'):
        kept_maps(result, data)


def test_a_file_that_another_program_removes_is_not_old(tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path))
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    for name in ('images-a.npy', 'images-b.npy'):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    is_file = Path.is_file

    def removed(file):
        there = is_file(file)
        if file.name == 'images-b.npy':
            file.unlink()
        return there

    monkeypatch.setattr(Path, 'is_file', removed)
    assert command.old_files(60) == [tmp_path / 'images-a.npy']
