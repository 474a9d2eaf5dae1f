"""Prediction: what has no answer is refused in one line, the batch changes nothing, heat maps of both embeddings of
patches, and a line where today's code is not that of the run."""

import functools, io, json, os, shutil, subprocess, sys
from pathlib import Path

import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch
import torch.nn.functional as F
from click.testing import CliRunner
from PIL import Image

from hpdval import core, experiment
from hpdval.align import JOINS
from hpdval.clip import LOCALS
from hpdval.command import LISTED, check_inputs, main, predicted, said_table
from hpdval.config import make_config
from hpdval.core import read_sealed, write_sealed
from hpdval.data import load_image
from hpdval.experiment import EXAMPLE, Result, load_benchmark, load_model, other_code, run
from hpdval.predict import Classifier, as_images, contact_sheet, example_scenes, join_names, plot_heatmap, run_folder
from hpdval.predict import template_texts, wanted
from hpdval.prompts import fixed_prompts
from hpdval.video import write_film


@pytest.fixture(scope='module')
def full():
    return load_benchmark(make_config('zero-shot', 'icon-voc-lt'), progress=False)


@pytest.fixture(scope='module')
def classifier(full, tmp_path_factory):
    "local -> the classifier of a run without training, on a few images."
    few = full._replace(train=full.train.at(range(48)), test=full.test.at(range(24)), digest='48-24')
    with pytest.MonkeyPatch.context() as m:
        m.setenv('HPDVAL_RUNS', str(tmp_path_factory.mktemp('runs')))

        @functools.cache
        def of(local, **more):
            own = dict(local=local, device='cpu', empty_classes='keep') | more
            r = run(make_config('zero-shot-dual', 'icon-voc-lt', **own), progress=False, data=few)
            return Classifier.load(r.folder, device='cpu')

        yield of


def picture(full, i):
    return full.test.images[i].permute(1, 2, 0).numpy()


REFUSED = [
    (dict(classes=[]), r'classes must be a list of names, at least one, got \[\]; None for those of the run'),
    (dict(classes=[1, 2]), r'classes must be a list of names, at least one, got \[1, 2\]'),
    (dict(classes=['']), r"classes must be a list of names, at least one, got \[''\]"),
    (dict(classes=[None]), 'classes must be a list of names'),
    (dict(classes='dog'), r"got the text 'dog': write \['dog'\] for one"),
    (dict(classes=['dog', 'cat', 'dog']), 'classes must stand once each, got twice: dog'),
    (dict(top=0), 'top must be a whole number of 1 or more, got 0'),
    (dict(top=1.5), 'top must be'),
    (dict(batch=0), 'batch must be a whole number of 1 or more, got 0'),
    (dict(batch=-1), 'batch must be a whole number of 1 or more, got -1'),
    (dict(batch='all'), "batch must be a whole number of 1 or more, got 'all'"),
    (dict(top=True), 'top must be a whole number of 1 or more, got True'),
    (dict(classes=5), 'classes must be a list of names, got a int; None for those of the run'),
    (dict(classes=pd.DataFrame(dict(dog=[1]))), 'classes must be a list of names, got a DataFrame'),
    (
        dict(classes=dict(dog=1)),
        r'classes must be a list of names, at least one, got \[1\]; a class of several names is',
    ),
    (dict(classes={}), r'classes must be a list of names, at least one, got \[\]'),
    (dict(classes=dict(dog=[])), r'at least one, got \[\[\]\]'),
    (dict(classes=[['dog', 'cat'], 'cat']), 'classes must stand once each, got twice: cat'),
    (dict(classes=[['dog', 1]]), 'classes must be a list of names'),
    (dict(classes=['piano', 'dog']), 'does not know piano: its text tower never learned these words'),
    (dict(classes=['dog', 'red dog']), 'does not know red: '),
    (dict(templates='a {}'), r"templates must be a list of texts, such as \['a photo of a \{\}.'\], got 'a \{\}'"),
    (dict(templates=[]), 'templates must be a list of texts'),
    (dict(templates=['a photo']), 'a template needs one {} where the class name goes'),
    (dict(templates=['a sculpture of a {}']), 'does not know sculpture, of the templates'),
    (dict(join='sum'), "unknown way to join names 'sum'"),
    (dict(unusable='ignore'), "unknown way to treat unusable pictures 'ignore'"),
    (dict(classes=['dog;cow']), r"classes must be single names, got 'dog;cow': write each on its own"),
    (dict(classes=['dog|cow', 'cat']), "single names, got 'dog|cow'"),
    (dict(classes=['dog\tcow']), 'single names'),
]


@pytest.mark.parametrize('asked, message', REFUSED, ids=[str(a) for a, _ in REFUSED])
def test_what_has_no_answer_is_refused_in_one_line(asked, message, classifier, full):
    with pytest.raises(ValueError, match=message) as e:
        classifier('tokens').predict(picture(full, 0), **asked)
    assert '\n' not in str(e.value)


def test_the_batch_changes_nothing(classifier, full):
    images = [picture(full, i) for i in range(5)]
    one, all_ = (classifier('tokens').predict(images, batch=n) for n in (1, np.int64(64)))
    assert len(one) == 5 * 20
    np.testing.assert_allclose(*(t.sort_values(['image', 'label']).probability for t in (one, all_)), atol=1e-6)


def test_a_comma_is_no_name_in_the_shell_either(classifier, tmp_path):
    Image.new('RGB', (64, 64)).save(tmp_path / 'a.png')
    folder = classifier('tokens').result.folder
    for classes, said in ((',', 'has an empty place between commas'), ('dog;cow', "got 'dog;cow'")):
        words = ['predict', folder, str(tmp_path / 'a.png'), '--classes', classes, '--device', 'cpu']
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 1 and said in done.output
        assert done.output.count('Error:') == 1 and 'Traceback' not in done.output


def forms(array, folder):
    "One picture in every form that means it: name -> form."
    im = Image.fromarray(array)
    im.save(folder / 'a.png')
    data = (folder / 'a.png').read_bytes()
    file = folder / 'a.png'
    tensor = torch.as_tensor(array)
    return {
        'path': file,
        'text': str(file),
        'picture': im,
        'array': array,
        'tensor': tensor.permute(2, 0, 1),
        'batch': array[None],
        'bytes': data,
        'bytearray': bytearray(data),
        'open file': io.BytesIO(data),
        'array of paths': np.array([str(file)]),
        'one in an array': np.array(str(file)),
        'array of objects': np.array([file], dtype=object),
        'series': pd.Series([str(file)]),
        'index': pd.Index([str(file)]),
        'generator': (f for f in [file]),
        'set': {file},
        'bytes in a list': [data],
        'open files': [open(file, 'rb')],
    }


def test_a_picture_in_every_form_has_one_answer(classifier, full, tmp_path):
    right = classifier('tokens').predict(picture(full, 3), top=5)
    for name, form in forms(picture(full, 3), tmp_path).items():
        found = classifier('tokens').predict(form, top=5)
        assert found.label.tolist() == right.label.tolist(), name
        np.testing.assert_allclose(found.probability, right.probability, atol=1e-6, err_msg=name)


def test_a_heat_map_of_what_can_be_read_once(classifier, full, tmp_path):
    every, label = forms(picture(full, 3), tmp_path), full.classes[int(full.scenes.labels[3][0])]
    right = classifier('tokens').heatmap(picture(full, 3), label)
    for name in ('path', 'bytes', 'open file', 'tensor'):
        np.testing.assert_allclose(classifier('tokens').heatmap(every[name], label), right, atol=1e-6)
    with pytest.raises((ValueError, TypeError), match='got list'):
        classifier('tokens').heatmap([every['path']], label)


def test_a_heat_map_is_of_one_picture_in_a_figure_too(classifier, full):
    one, label = picture(full, 3), full.classes[int(full.scenes.labels[3][0])]
    fig = plot_heatmap(classifier('tokens'), one, label)
    np.testing.assert_array_equal(fig.axes[0].images[0].get_array(), one)
    plt.close(fig)
    for several in ([one, one], [one], [], np.stack([one, one])):
        said = []
        for draw in (classifier('tokens').heatmap, functools.partial(plot_heatmap, classifier('tokens'))):
            with pytest.raises((ValueError, TypeError), match='got list|of a shape that is no picture') as e:
                draw(several, label)
            said.append(str(e.value))
        assert said[0] == said[1] and '\n' not in said[0]


NO_IMAGES = [
    (None, 'images must be a path, a picture, an array or a list of them, got None'),
    (7, 'images must be a path, .*, got 7'),
    (dict(a='a.png'), r'images must be a list, got a dict: hand over one of its parts \(a\)'),
    (pd.DataFrame(dict(path=['a.png'], label=['cat'])), r'got a DataFrame: hand over one of its parts \(path, label\)'),
    ([['a.png']], 'image 0: a picture is a path, a file object, a PIL.Image or an array; got list'),
    ([None], 'image 0: .* got NoneType'),
    ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 7))], 'image 1: the picture: of a shape that is no picture'),
    (b'no picture', 'image 0: the picture: in no format that Pillow knows'),
    (io.StringIO('a.png'), 'image 0: '),
]


@pytest.mark.parametrize('images, message', NO_IMAGES, ids=[repr(i)[:20] for i, _ in NO_IMAGES])
def test_what_are_no_images_is_one_line(images, message, classifier):
    with pytest.raises(ValueError, match=message) as e:
        classifier('tokens').predict(images)
    assert '\n' not in str(e.value)


def test_no_images_are_said(classifier, capsys):
    assert classifier('tokens').predict([]).empty
    assert capsys.readouterr().err == 'predict: there are no images, and so no rows\n'
    assert as_images(np.zeros((4, 4, 3)))[0].shape == (4, 4, 3)


def test_a_run_in_every_form_is_loaded(classifier, full):
    r = classifier('tokens').result
    right = classifier('tokens').predict(picture(full, 0))
    for form in (r, r.folder, Path(r.folder), f'{r.folder}/result.json', Path(r.folder) / 'model.safetensors'):
        assert Classifier.load(form, device='cpu').predict(picture(full, 0)).equals(right)


NO_RUN = [
    (None, 'give the folder of a run, or its Result, got NoneType'),
    ('', "got str ''"),
    ({}, 'got dict'),
    ([1], 'got list'),
    ('nowhere', 'no finished run in nowhere'),
]


@pytest.mark.parametrize('given, message', NO_RUN)
def test_what_is_no_run_is_one_line(given, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as e:
        Classifier.load(given)
    assert '\n' not in str(e.value)


def test_a_result_without_a_folder_and_one_of_another_method_are_refused(classifier):
    r = classifier('tokens').result
    with pytest.raises(ValueError, match="holds one run, of method 'zero-shot-dual', and not 'coop'"):
        Classifier.load(r, method='coop')
    bare = Result.load(r.folder)
    bare.folder = ''
    with pytest.raises(ValueError, match='never written to a folder'):
        Classifier.load(bare)


def test_a_damaged_result_is_named(tmp_path):
    for text in ('{', '[]', '{"methods": '):
        (tmp_path / 'result.json').write_text(text)
        with pytest.raises(ValueError, match='result.json is damaged') as e:
            Classifier.load(tmp_path)
        assert '\n' not in str(e.value)


def test_an_unchanged_install_says_nothing(classifier, capfd):
    "In this process, and in another with another hash seed."
    r = classifier('tokens').result
    capfd.readouterr()
    Classifier.load(r.folder, device='cpu')
    assert other_code(r) == '' and 'other code' not in capfd.readouterr().err
    code = 'from hpdval import Classifier; import sys; Classifier.load(sys.argv[1], device="cpu")'
    done = subprocess.run([sys.executable, '-c', code, r.folder], capture_output=True, text=True, check=True)
    assert 'other code' not in done.stderr


def test_a_run_by_other_code_is_said_with_what_changed(classifier, monkeypatch, capsys):
    r = classifier('tokens').result
    before = experiment.predict_scores

    def predict_scores(*args, **kwargs):
        return 2 * before(*args, **kwargs)

    monkeypatch.setattr(experiment, 'predict_scores', predict_scores)
    core._print_once.cache_clear()
    Classifier.load(r.folder, device='cpu')
    said = [line for line in capsys.readouterr().err.splitlines() if 'other code' in line]
    by = f'{r.folder} was made by other code than that of today'
    assert len(said) == 1 and said[0].startswith(f'{by} (changed: ') and 'predict_scores' in said[0]
    assert said[0].endswith(': its scores may not be those of the run')
    load_model(r, classifier('tokens').clip)
    assert 'other code' not in capsys.readouterr().err  # once in a process


def test_what_is_known_of_other_code(classifier):
    r = Result.load(classifier('tokens').result.folder)
    by = f'{r.folder} was made by other code than that of today'
    r.code, r.parts = 'older', {}
    assert other_code(r) == by  # nothing is known
    r.environment['commit'], r.environment['versions']['torch'] = 'c0ffee', '1.0'
    assert other_code(r) == (
        f'{by} (commit c0ffee then, {core.source_commit()} now; torch 1.0 then, {torch.__version__.split("+")[0]} now)'
    )
    r.config['score'] = 'mine'
    assert other_code(r) == f"{by} (not known here: 'mine')"
    with pytest.raises(ValueError, match=f"unknown score of {r.folder}: 'mine'"):
        Classifier.load(r, device='cpu')
    r.config['strange'] = 1
    with pytest.raises(ValueError, match='is of another version, strange is no parameter of this one: run again'):
        Classifier.load(r, device='cpu')


def test_a_result_that_decides_in_a_way_of_another_version_is_refused_when_it_is_read(tmp_path):
    said = read_sealed(EXAMPLE / 'result.json')
    write_sealed(tmp_path / 'result.json', said | dict(decision=said['decision'] | dict(newer=1)))
    with pytest.raises(ValueError, match=r"result.json is of another version \(.*'newer'\): delete its folder and run"):
        Result.load(tmp_path)


def hottest_on_the_object(c, full) -> list:  # of bool
    "Does the hottest place of a map lie on the object? Over all large objects of the images."
    found = []
    for i in range(24):
        for label, (x0, y0, x1, y1) in zip(full.scenes.labels[i], full.scenes.boxes[i]):
            heat = c.heatmap(picture(full, i), full.classes[label])
            assert heat.shape == (64, 64) and heat.dtype == np.float32
            assert -1 <= heat.min() < heat.max() <= 1
            y, x = np.unravel_index(heat.argmax(), heat.shape)
            if x1 - x0 > 24:
                found.append(x0 - 4 <= x < x1 + 4 and y0 - 4 <= y < y1 + 4)
    return found


def test_a_heat_map_by_values_is_hottest_on_the_object(classifier, full):
    "Patches embedded by values alone look where the object is; the tokens of the whole tower do not."
    values, tokens = (hottest_on_the_object(classifier(local), full) for local in ('values', 'tokens'))
    assert len(values) > 30
    assert np.mean(values) > 0.6 > 0.5 > np.mean(tokens)


def test_a_heat_map_by_values_is_that_of_the_model(classifier, full):
    c, label = classifier('values'), full.classes[int(full.scenes.labels[3][0])]
    with torch.no_grad():
        _, p = c.model.visual(c.pixels(full.test.images[3][None]))
        text = c.model.local_texts()[c.classes.index(label)]
    cosine = F.normalize(p[0].float(), dim=-1) @ F.normalize(text, dim=0)
    by_hand = F.interpolate(cosine.view(1, 1, *c.model.visual.grid), size=64, mode='bilinear')[0, 0]
    np.testing.assert_allclose(c.heatmap(picture(full, 3), label), by_hand, atol=1e-5)
    assert np.abs(classifier('tokens').heatmap(picture(full, 3), label) - by_hand.numpy()).max() > 0.05


ONE = 'abcdef012345'
ODD = [None, [], 'methods', 3, {}, dict(methods=None), dict(methods=[]), dict(methods={}), dict(methods=['CoOp'])]
ODD += [dict(methods=dict(CoOp=m)) for m in (None, [], 'x', {}, dict(hashes=[]), dict(hashes=ONE), dict(hashes=[3]))]
ODD += [dict(methods=dict(CoOp=dict(hashes=[h]))) for h in ('', '../elsewhere', ONE, 'ABCDEF012345', '.')]
ODD += [dict(config=c) for c in (None, [], 'x', {}, dict(method=None), dict(method=['dval']), dict(method='coop'))]


@pytest.mark.parametrize('said', [*map(json.dumps, ODD), '', '{', '\x00', '{"methods": {"CoOp": {"hashes": ["'])
@pytest.mark.parametrize('method', [None, 'coop', 'CoOp', 'dval'])
def test_an_odd_result_of_a_notebook_is_named(said, method, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path / 'runs'))
    file = tmp_path / 'notebook/result.json'
    file.parent.mkdir()
    file.write_text(said)
    with pytest.raises((ValueError, OSError)) as e:
        Classifier.load(file.parent, device='cpu', method=method)
    assert '\n' not in str(e.value) and str(file.parent) in str(e.value), e.value
    shown = tmp_path / 'a.png'
    Image.new('RGB', (8, 8)).save(shown)
    words = ['predict', str(file.parent), str(shown), *(['--method', method] if method else [])]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1 and 'Traceback' not in done.output and str(e.value)[:60] in done.output


def test_a_result_of_a_notebook_that_names_itself_ends(tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    (tmp_path / ONE).mkdir()
    (tmp_path / ONE / 'result.json').write_text(json.dumps(dict(methods=dict(CoOp=dict(hashes=[ONE])))))
    with pytest.raises(FileNotFoundError, match=f'names the run {tmp_path / ONE}, and there is none'):
        run_folder(tmp_path / ONE)


def similarities(heat, n):  # [S,S] -> [1,n*n,1]
    "What a heat map was enlarged from: the enlargement is linear, and taken back."
    line = F.interpolate(torch.eye(n, dtype=torch.double)[None], size=len(heat), mode='linear')[0]  # [n,S]
    back = torch.linalg.pinv(line)
    return (back.T @ torch.from_numpy(heat).double() @ back).reshape(1, -1, 1)


@pytest.mark.parametrize('local', LOCALS)
@pytest.mark.parametrize('join', JOINS)
def test_a_heat_map_holds_what_the_score_reads(join, local, classifier, full):
    "The local view's share of the score, in eq. 5, is that of the map: no other patches, no other prompt."
    c = classifier(local, join=join)
    alpha, n = c.model.cfg.alpha, c.model.visual.grid[0]
    text = F.normalize(c.model.texts()[0], dim=-1)
    for i in range(4):
        with torch.no_grad():
            whole = F.normalize(c.model.visual(c.pixels(full.test.images[i][None]))[0], dim=-1) @ text.T
        for k, label in enumerate(c.classes[:5]):
            sim = similarities(c.heatmap(picture(full, i), label), n)
            best = JOINS[join].fn(sim, c.model.topk, c.model.cfg.join_scale)
            score = alpha * whole[0, k] + (1 - alpha) * best[0, 0]
            assert abs(score - c.result.scores[i, k]) < 1e-4


def test_a_file_object_is_read_from_its_start_each_time():
    file = io.BytesIO()
    Image.new('RGB', (9, 9), 'red').save(file, 'PNG')  # it stands at its end now
    assert all((load_image(file, 8)[:, 0, 0] == (255, 0, 0)).all() for _ in range(2))


def test_a_result_nested_beyond_reading_is_damaged(tmp_path):
    (tmp_path / 'result.json').write_text('[' * 200_000)
    with pytest.raises(ValueError, match='result.json is damaged'):
        run_folder(tmp_path)
    with pytest.raises(ValueError, match='too many brackets within brackets'):
        Result.load(tmp_path)


TEMPLATES = ['a photo of a {}.', 'an icon of a {}.', 'there is a {} here.']


def images_of(full, n=6):
    return [picture(full, i) for i in range(n)]


def by_label(table, labels):
    "Probabilities [N,L] in the order of `labels`."
    return table.pivot(index='image', columns='label', values='probability')[labels].to_numpy()


@pytest.mark.parametrize('how, by_hand', [('max', np.max), ('mean', np.mean)])
def test_names_of_one_class_are_joined_by_their_scores(how, by_hand, classifier, full):
    c, names = classifier('tokens'), ['sofa', 'couch', 'dog']
    with torch.no_grad():
        g, p = c.model.visual(c.pixels(full.test.images[:6]))
        texts = fixed_prompts(c.clip, names)
        scores = c.model.score(g, p, (texts, texts)).numpy()
    joined = np.stack([by_hand(scores[:, :2], axis=1), scores[:, 2]], 1)
    plain = c.result.decisions._replace(thresholds=())
    right = plain.probabilities(c.model.logits(torch.from_numpy(joined)).numpy())
    for classes in ([['sofa', 'couch'], 'dog'], {'sofa': ('sofa', 'couch'), 'dog': 'dog'}):
        found = by_label(c.predict(images_of(full), classes=classes, join=how), ['sofa', 'dog'])
        np.testing.assert_allclose(found, right, atol=1e-5)


def test_an_ensemble_of_templates_by_hand(classifier, full):
    "The mean of unit vectors, and cosines with it."
    c = classifier('tokens')
    several = [F.normalize(fixed_prompts(c.clip, c.classes, t), dim=-1) for t in TEMPLATES]
    mean = F.normalize(torch.stack(several).mean(0), dim=-1)
    with torch.no_grad():
        g, p = c.model.visual(c.pixels(full.test.images[:6]))
        g, p = F.normalize(g, dim=-1), F.normalize(p, dim=-1)
        alpha = c.model.cfg.alpha
        best = (p @ mean.T).topk(c.model.topk, dim=1).values.mean(1)
        logits = c.model.logits(alpha * g @ mean.T + (1 - alpha) * best).numpy()
    right = c.result.decisions.probabilities(logits)
    np.testing.assert_allclose(by_label(c.predict(images_of(full), templates=TEMPLATES), c.classes), right, atol=1e-5)
    assert np.abs(right - by_label(c.predict(images_of(full)), c.classes)).max() > 1e-3


def test_asking_leaves_the_classifier_as_it_was(classifier, full):
    c = classifier('tokens')
    before = c.predict(images_of(full))
    c.predict(images_of(full), classes=['truck', ['sofa', 'couch']], templates=TEMPLATES)
    assert c.predict(images_of(full)).equals(before)


def test_own_names_keep_their_threshold_and_others_take_the_common_one(classifier, full, capsys):
    c = classifier('tokens')
    thresholds = tuple(np.linspace(0.1, 0.9, 20))
    chosen = c.result.decisions._replace(thresholds=thresholds, threshold=0.4)._asdict()
    with pytest.MonkeyPatch.context() as m:
        m.setattr(c.result, 'decision', chosen)
        core._print_once.cache_clear()
        capsys.readouterr()
        all_ = c.predict(images_of(full), decide='threshold').sort_values(['image', 'label'])
        assert 'not checked' not in capsys.readouterr().err
        back = c.predict(images_of(full), classes=c.classes[::-1], decide='threshold').sort_values(['image', 'label'])
        assert back.label.tolist() == all_.label.tolist() and 'not checked' not in capsys.readouterr().err
        mixed = ['truck', 'person', ['sofa', 'couch']]
        p = c.predict(images_of(full), classes=mixed).set_index(['image', 'label']).probability
        passes = dict(truck=0.4, person=thresholds[c.classes.index('person')], sofa=0.4)
        right = {key for key, value in p.items() if value >= passes[key[1]]}
        found = c.predict(images_of(full), classes=mixed, decide='threshold').dropna()
        assert set(zip(found.image, found.label)) == right
        said = [line for line in capsys.readouterr().err.splitlines() if 'not checked' in line]
        assert len(said) == 1 and '2 labels of these (truck, sofa)' in said[0]


def test_a_score_that_compares_the_names_makes_all_of_them_new(classifier, full, capsys):
    c = classifier('tokens', score='softmax')
    core._print_once.cache_clear()
    c.predict(images_of(full), classes=['person', 'dog'])
    assert '2 labels of these (person, dog)' in capsys.readouterr().err


def trained(full, folder, method, **fields):
    "A run of a few steps."
    few = full._replace(train=full.train.at(range(64)), test=full.test.at(range(24)), digest='64-24')
    own = dict(empty_classes='keep', device='cpu', epochs2=1, select='last', val_fraction=0.0, ema=0.0) | fields
    with pytest.MonkeyPatch.context() as m:
        m.setenv('HPDVAL_RUNS', str(folder))
        return Classifier.load(run(make_config(method, 'icon-voc-lt', **own), progress=False, data=few), device='cpu')


@pytest.mark.parametrize('method', ['coop', 'cocoop'])
def test_a_learned_prompt_stands_before_any_name_and_reads_no_template(method, full, tmp_path):
    c = trained(full, tmp_path, method, lr2=0.01)
    names = ['truck', 'dog', 'teddy bear']
    found = by_label(c.predict(images_of(full), classes=names), names)
    with torch.no_grad():
        prompts = c.model.prompts.for_classes(names)
        g, _ = c.model.visual(c.pixels(full.test.images[:6]))
        if method == 'coop':
            text = F.normalize(prompts.texts(c.model.text, None)[0], dim=-1)
            scores = F.normalize(g, dim=-1) @ text.T
            assert (text - F.normalize(fixed_prompts(c.clip, names), dim=-1)).abs().max() > 1e-3  # it was trained
        else:
            scores = prompts.score(c.model.text, g)
        right = c.result.decisions.common().probabilities(c.model.logits(scores).numpy())
    np.testing.assert_allclose(found, right, atol=1e-5)
    with pytest.raises(ValueError, match=f"templates have no effect on a run of '{method}'") as e:
        c.predict(images_of(full), templates=TEMPLATES)
    assert '\n' not in str(e.value)


def test_a_linear_probe_names_its_classes_only(full, tmp_path):
    c = trained(full, tmp_path, 'linear-probe')
    with pytest.raises(ValueError, match='a weight vector for each of its 20 classes and cannot name others') as e:
        c.predict(images_of(full), classes=['truck'])
    assert '\n' not in str(e.value) and len(c.predict(images_of(full))) == 6 * 20
    both = 'has a weight vector for each .* take a method with prompts; besides, mini .* does not know piano: its text'
    with pytest.raises(ValueError, match=both):
        c.predict(images_of(full), classes=['truck', 'piano'])


def test_a_name_of_the_run_is_known_though_its_words_are_not(full, tmp_path):
    "A run on classes whose names MiniCLIP never met answers for them."
    c = classifier_of_pianos(full, tmp_path)
    assert set(c.predict(images_of(full), classes=['piano', 'dog']).label) == {'piano', 'dog'}
    with pytest.raises(ValueError, match='does not know violin'):
        c.predict(images_of(full), classes=['piano', 'violin'])


@pytest.mark.parametrize('odd', ['a|b', 'a;b', 'a\tb', 'x, y', 'p=q'])
def test_a_class_of_the_run_is_one_name_whatever_is_written_in_it(odd, full, tmp_path):
    c = classifier_of_pianos(full, tmp_path, odd)
    assert set(c.predict(images_of(full)).label) == set(c.classes) and odd in c.classes
    assert c.predict(images_of(full), classes=[odd, 'dog'], decide='threshold').columns[1] == 'label'
    assert c.thresholds()[odd] == c.thresholds([odd])[odd] and c.heatmap(picture(full, 0), odd).shape == (64, 64)
    Image.fromarray(picture(full, 0)).save(tmp_path / 'a.png')
    words = ['predict', c.result.folder, str(tmp_path / 'a.png'), '--classes', odd, '--device', 'cpu', '--json']
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert [row['label'] for row in json.loads(done.stdout)] == [odd]
    with pytest.raises(ValueError, match="classes must be single names, got 'cat;dog'"):
        c.predict(images_of(full), classes=['cat;dog'])


def classifier_of_pianos(full, folder, called='piano'):
    names = tuple(called if n == 'person' else n for n in full.classes)
    own = full._replace(train=full.train._replace(classes=names), test=full.test._replace(classes=names), scenes=None)
    with pytest.MonkeyPatch.context() as m:
        m.setenv('HPDVAL_RUNS', str(folder))
        return Classifier.load(run(make_config('zero-shot', 'memory'), progress=False, data=own), device='cpu')


def test_pictures_that_cannot_be_read_are_left_out_where_that_is_asked(classifier, full, tmp_path, capsys):
    c = classifier('tokens')
    for i in range(2):
        Image.fromarray(picture(full, i)).save(tmp_path / f'{i}.png')
    (tmp_path / 'bad.png').write_bytes((tmp_path / '0.png').read_bytes()[:100])
    files = [tmp_path / f for f in ('bad.png', '0.png', 'none.png', '1.png')]
    with pytest.raises((ValueError, OSError)):
        c.predict(files)
    capsys.readouterr()
    for batch in (1, 64):
        found = c.predict(files, top=1, unusable='skip', batch=batch)
        assert found.image.tolist() == [str(files[1]), str(files[3])]
        said = capsys.readouterr().err.splitlines()
        assert [s.startswith('left out: ') for s in said] == [True, True] and 'bad.png' in said[0]
    assert c.predict(files[:1], unusable='skip').empty


def latin(file):
    "The file, called by a name that is not UTF-8."
    return file.rename(os.fsdecode(os.fsencode(file.parent) + b'/caf\xe9' + os.fsencode(file.suffix)))


def test_a_file_whose_name_is_not_utf8_is_named_and_keeps_no_answer_of_others_back(classifier, full, tmp_path, capsys):
    c, folder = classifier('tokens'), tmp_path / 'pictures'
    folder.mkdir()
    for name in ('a', 'b', 'd'):
        Image.fromarray(picture(full, 0)).save(folder / f'{name}.png')
    odd = latin(folder / 'b.png')
    with pytest.raises(
        ValueError, match=r'caf\\udce9.png: its name is not UTF-8, and a table cannot hold it: rename it'
    ):
        c.predict([folder / 'a.png', odd])
    said = CliRunner().invoke(
        main, ['predict', c.result.folder, str(folder), '--device', 'cpu', '--top', '1', '--json']
    )
    assert said.exit_code == 0 and r'caf\udce9.png: its name is not UTF-8' in said.stderr
    assert [row['image'] for row in json.loads(said.stdout)] == [str(folder / f'{n}.png') for n in 'ad']


def test_a_film_whose_name_is_not_utf8_is_named_before_any_is_looked_at(classifier, full, tmp_path):
    for name in ('a', 'b'):
        write_film(tmp_path / f'{name}.mp4', [picture(full, 0)] * 4)
    odd = str(latin(tmp_path / 'b.mp4'))
    c = classifier('tokens')
    assert len(predicted(c, [odd], 2, 'error', top=1)) == 2
    with pytest.raises(ValueError, match=r'caf\\udce9.mp4: its name is not UTF-8'):
        predicted(None, [str(tmp_path / 'a.mp4'), odd], 2, 'error', top=1)


def test_join_names_is_by_label():
    scores = torch.tensor([[1.0, -2.0, 3.0, -5.0]])
    assert join_names(scores, [1, 0, 1, 0]).tolist() == [[-2.0, 3.0]]
    assert join_names(scores, [1, 0, 1, 0], 'mean').tolist() == [[-3.5, 2.0]]


def test_templates_of_a_model_that_reads_them_in_one_view(full, tmp_path):
    "Table VI's prompts: the view with a learned prompt reads no template, the other does."
    c = trained(full, tmp_path, 'hp-dval', prompts='global', sc_on='global', epochs1=1)
    learned, fixed = template_texts(c.model, ['a photo of a {}.'])
    several = template_texts(c.model, TEMPLATES)
    torch.testing.assert_close(several[0], learned)
    assert (several[1] - fixed).abs().max() > 1e-3


def test_a_score_that_compares_names_needs_several_and_no_rivals_of_one_class(classifier, full, capsys):
    c = classifier('tokens', score='softmax')
    for asked, said in (
        (['dog'], "a score by 'softmax' compares names, and 'dog' alone would get the same in every image"),
        ([['tvmonitor', 'television'], 'dog'], "a score by 'softmax' shares 1 among all names"),
    ):
        with pytest.raises(ValueError, match=said):
            c.predict(picture(full, 0), classes=asked)
    assert len(c.predict(picture(full, 0), classes=['dog', 'cat'])) == 2
    own = c.predict(picture(full, 0)).set_index('label').probability
    turned = c.predict(picture(full, 0), classes=c.classes[::-1]).set_index('label').probability
    np.testing.assert_allclose(turned[own.index], own, atol=1e-6)
    assert 'not checked' not in capsys.readouterr().err.rpartition('2 labels')[2].partition('order')[2]


def test_a_label_with_another_name_has_no_threshold_of_its_own(classifier):
    "What the run chose for a class belongs to its name, not to a label that is written like it."
    c = classifier('tokens')
    assert c._chosen_for(wanted({'cat': 'dog', 'dog': 'cat', 'sofa': 'sofa'}), None) == {'sofa'}
    assert c._chosen_for(wanted([['cat', 'kitten'], 'dog']), None) == {'dog'}


@pytest.mark.parametrize('odd', ['a {0} {}', 'a {x} of a {}', 'a {{}}', None, 'a {} {}'])
def test_templates_with_other_braces_are_one_line(classifier, full, odd):
    with pytest.raises(ValueError, match='a template needs one {} where the class name goes, and no other braces'):
        classifier('tokens').predict(picture(full, 0), templates=['a {}', odd])
    with pytest.raises((ValueError, TypeError)) as e:
        make_config('zero-shot', template=odd)
    assert '\n' not in str(e.value)


@pytest.fixture
def photo(full, tmp_path):
    file = tmp_path / 'photo.png'
    Image.fromarray(full.test.images[0].permute(1, 2, 0).numpy()).save(file)
    return str(file)


def test_a_heat_map_is_written_by_the_shell(photo, tmp_path, monkeypatch):
    "Of the likeliest label, or of the one that was named, where `Classifier.heatmap` sees it."
    drawn = []
    monkeypatch.setattr('hpdval.predict.draw_heat', lambda ax, heat: drawn.append(heat) or ax.imshow(heat))
    c, file = Classifier.load('example'), tmp_path / 'map.png'
    first = c.predict(photo).label[0]
    for words, label in (
        ([], first),
        (['--heatmap-class', 'cow'], 'cow'),
        (['--classes', 'dog,cow', '--top', '1'], None),
    ):
        done = CliRunner().invoke(main, ['predict', 'example', photo, '--heatmap', str(file), *words])
        assert done.exit_code == 0, done.output
        label = label or done.stdout.splitlines()[1].split()[-2]
        np.testing.assert_array_equal(drawn.pop(), c.heatmap(photo, label))
        assert Image.open(file).size[0] > 300
        file.unlink()


HEAT = [
    (['--heatmap', 'map.jpg'], '--heatmap map.jpg: give the name of a PNG, such as heatmap.png'),
    (
        ['--heatmap', 'map.png', '--heatmap-class', 'unicorn'],
        'a class that is not of the run is asked for by --classes "unicorn,..."',
    ),
    (['--heatmap-class', 'dog'], '--heatmap-class dog needs --heatmap FILE.png'),
    (['--heatmap', 'map.png', '--template', 'a {}'], "by the run's own prompt: leave --template out"),
    (['example', '--heatmap', 'map.png'], 'no file or folder example: give pictures'),
    (['.', '--heatmap', 'map.png'], '--heatmap is for one picture, got 2: ask for one after the other'),
    (['--heatmap', 'photo.png'], '--heatmap photo.png would replace a picture that is looked at: give another name'),
    (['--sheet', './photo.png'], '--sheet ./photo.png would replace a picture that is looked at: give another name'),
    (['--sheet', 'map.png', '--heatmap', './map.png'], '--sheet and --heatmap are both map.png: give two names'),
    (['--sheet', 'folder.png/../map.png', '--heatmap', 'map.png'], 'are both folder.png/../map.png: give two names'),
    (['--heatmap', 'photo.png/map.png'], 'the folder of --heatmap photo.png/map.png is a file: give a folder'),
    (['--sheet', 'folder.png'], 'folder.png is a folder, and a file is written there: move it away'),
]


@pytest.mark.parametrize('words, said', HEAT, ids=[' '.join(w) for w, _ in HEAT])
def test_a_heat_map_that_cannot_be_drawn_is_refused_in_a_line(words, said, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'folder.png').mkdir()
    before = Path(photo).read_bytes()
    done = CliRunner().invoke(main, ['predict', 'example', photo, *words])
    assert done.exit_code == 1 and said in done.output.splitlines()[-1]
    assert not list(tmp_path.glob('map.*')) and Path(photo).read_bytes() == before


def invoked(line):
    "A command by its words: exit code, stdout, stderr."
    done = CliRunner().invoke(main, line.split())
    return done.exit_code, done.stdout, done.stderr


ASKED = [
    ('--top 0', '--top must be a whole number of 1 or more, got 0'),
    ('--parts 2', '--parts is for films, which are known by their ending, as .mp4, and none is there: leave it out'),
    ('--decide treshold', "unknown way to decide 'treshold': did you mean 'threshold'?"),
    ('--join sum', "unknown way to join names 'sum': known: max, mean"),
    ('--classes dog,cow,dog', 'classes must stand once each, got twice: dog'),
    ('--classes dog,cow --heatmap map.png --heatmap-class cat', "unknown class 'cat': known: dog, cow; a class"),
]


@pytest.mark.parametrize('words, said', ASKED, ids=[w for w, _ in ASKED])
def test_what_cannot_be_asked_for_is_said_alone_before_a_model_is_loaded(words, said, photo, monkeypatch):
    def loaded(*args, **kwargs):
        raise AssertionError('a model is loaded')

    monkeypatch.setattr('hpdval.predict.Classifier.load', loaded)
    code, out, err = invoked(f'predict example {photo} {words}')
    assert (code, out) == (1, '') and err.startswith(f'Error: {said}') and err.count('\n') == 1


def test_where_nothing_is_decided_the_nearest_label_is_said(photo, tmp_path):
    "By the ratio of probability and threshold; other pictures have their labels as ever."
    c = Classifier.load('example', device='cpu')
    cat = str(example_scenes()[2])
    ratio = {n: p / c.thresholds()[n] for n, p in c.predict(cat)[['label', 'probability']].itertuples(index=False)}
    nearest = max(('dog', 'cow', 'boat'), key=ratio.get)
    p, limit = ratio[nearest] * c.thresholds()[nearest], c.thresholds()[nearest]
    words = f'predict example {cat} --classes dog,cow,boat --decide threshold --device cpu'
    code, out, _ = invoked(words)
    small = '<0.001' if p < 0.001 else f'{p:.3f}'
    line = f'{cat}: no label reaches its threshold; the nearest is {nearest}, {small} of {limit:.3f}\n'
    assert (code, out) == (0, line)
    rows = json.loads(invoked(f'{words} --json')[1])
    assert rows == [dict(image=cat, label=None, probability=None)]
    code, out, _ = invoked(f'predict example {photo} {cat} --classes sofa,cow --decide threshold --device cpu')
    title, row, last = out.splitlines()
    assert title.split() == ['image', 'label', 'probability'] and row.split() == [photo, 'sofa', '0.933']
    assert last.startswith(f'{cat}: no label reaches') and 'NaN' not in out


def test_an_ensemble_of_templates_has_the_common_threshold(classifier, full):
    c, templates = classifier('tokens'), ['a photo of a {}.', 'an icon of a {}.']
    assert set(c.thresholds(templates=templates)) == {c.result.decisions.threshold}
    assert len(set(c.thresholds())) > 1


def test_a_film_without_a_decided_label_says_which_parts(tmp_path):
    frames = [np.asarray(Image.open(example_scenes()[2]))] * 4
    write_film(tmp_path / 'film.mkv', frames, fps=2, codec='ffv1', pixels='bgr0')
    code, out, _ = invoked(
        f'predict example {tmp_path}/film.mkv --classes dog,cow --decide threshold --parts 2 --device cpu'
    )
    assert (code, out) == (0, ''.join(f'{t} s: no label reaches its threshold\n' for t in ('0.250', '1.250')))


def test_a_small_probability_is_no_column_of_zeros():
    "That of a film begins at 0.000 s, though."
    rows = pd.DataFrame(dict(time=[0.0, 1.0], label=['dog', 'cow'], probability=[1e-4, 0.25]))
    assert [r.split() for r in said_table(rows, None, {}).splitlines()[1:]] == [
        ['0.000', 'dog', '<0.001'],
        ['1.000', 'cow', '0.250'],
    ]
    sheet = contact_sheet(pd.DataFrame(dict(image=[str(f) for f in example_scenes()], label='dog', probability=1e-4)))
    assert {ax.get_title() for ax in sheet.axes} == {'<0.01'}
    plt.close(sheet)


def test_what_the_command_drew_is_said_and_not_looked_at_again(photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = invoked('predict example photo.png --heatmap map.png --sheet sheet.png --top 1')
    assert code == 0 and 'wrote map.png\n' in err and 'wrote sheet.png\n' in err
    Image.open(photo).save('map2.png')  # a picture of somebody
    code, out, err = invoked('predict example . --top 1')
    assert code == 0 and 'left out: map.png, sheet.png, which hpdval predict wrote' in err
    assert [line.split()[0] for line in out.splitlines()[1:]] == ['map2.png', 'photo.png']
    assert invoked('predict example . --heatmap photo.png')[0] == 1  # a picture of somebody is not lost
    code, _, err = invoked('predict example . --sheet sheet.png --top 1')  # its own is drawn anew
    assert code == 0 and 'wrote sheet.png' in err
    assert len(invoked('predict example map.png --top 1')[1].splitlines()) == 2  # named, it is looked at


def test_a_folder_in_the_place_of_pictures_is_said(tmp_path):
    said = f"{tmp_path} is a folder: give its pictures, hpdval.pictures_in('{tmp_path}')"
    for given in (tmp_path, str(tmp_path), [str(tmp_path)]):
        with pytest.raises(ValueError) as e:
            Classifier.load('example', device='cpu').predict(given)
        assert str(e.value) == said


def test_no_runs_are_said_with_where_they_were_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path / 'runs'))
    assert invoked('list runs')[1] == f'no runs in {tmp_path}/runs (HPDVAL_RUNS names another folder)\n'
    assert invoked('list runs --json')[1] == '[]\n'


def test_the_headings_of_help_keep_their_capitals():
    out = invoked('run --help')[1]
    assert 'Scores, section III-B:' in out and 'Prompts, section III-C:' in out and 'iii' not in out


EMPTY = [
    ('predict example photo.png --heatmap', '--heatmap'),
    ('predict example photo.png --heatmap map.png --heatmap-class', '--heatmap-class'),
    ('predict example photo.png --sheet', '--sheet'),
    ('predict example photo.png --method', '--method'),
    ('predict example', 'IMAGES...'),
    ('predict example photo.png', 'IMAGES...'),
    ('export example', '[FOLDER]'),
    ('compare zero-shot --out', '--out'),
    ('tune coop --space', '--space'),
]


@pytest.mark.parametrize('words, which', EMPTY, ids=[w for w, _ in EMPTY])
def test_an_empty_text_is_refused_in_a_line(words, which, photo, tmp_path, monkeypatch):
    "As a variable of the shell gives it that nobody set: a picture would be all those below the folder."
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, [*words.split(), ''])
    said = f"Error: '{which}' is empty: write what is meant, or leave it out\n"
    assert (done.exit_code, done.output) == (1, said)
    assert [f.name for f in tmp_path.iterdir()] == ['photo.png']


def test_a_field_may_be_empty():
    done = CliRunner().invoke(main, 'run zero-shot --show --template'.split() + ['a {}', '--lists', ''])
    assert done.exit_code == 0 and 'zero-shot' in done.output


@pytest.mark.parametrize('words', ['predict example photo.png', 'export example there'])
def test_the_example_is_of_one_method(words, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = "example holds one run, of method 'hp-dval', and not 'coop': leave the method out"
    done = CliRunner().invoke(main, [*words.split(), '--method', 'coop'])
    assert (done.exit_code, done.output) == (1, f'Error: {said}\n')
    for own in ('hp-dval', 'HP-DVAL'):
        assert run_folder('example', own) == EXAMPLE
    with pytest.raises(ValueError, match="not 'coop'"):
        Classifier.load('example', method='coop')


def test_a_home_folder_is_read_in_a_path_of_every_form(photo, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    c = Classifier.load('example')
    found = [c.predict(im, top=1).to_dict('records') for im in (photo, '~/photo.png', Path('~/photo.png'))]
    assert found[0] == found[1] == found[2] and found[0][0]['image'] == photo
    np.testing.assert_array_equal(c.heatmap(Path('~/photo.png'), 'dog'), c.heatmap(photo, 'dog'))
    with pytest.raises(ValueError, match="nobody is called 'nosuchuser'"):
        c.predict(Path('~nosuchuser/photo.png'))


def test_a_missing_file_is_said_before_torch_is_loaded(tmp_path):
    code = (
        'import sys; from click.testing import CliRunner; from hpdval.command import main\n'
        "done = CliRunner().invoke(main, ['predict', *sys.argv[1:]])\n"
        "print(done.exit_code, done.output, 'torch' in sys.modules)"
    )
    for words, said in (
        ('example none.jpg', 'no file or folder none.jpg: give pictures'),
        ('nowhere x', 'folder nowhere'),
    ):
        command = [sys.executable, '-c', code, *words.split()]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.startswith('1 ') and said in done.stdout and done.stdout.strip().endswith('False')


def test_a_home_folder_is_read_in_what_is_given_and_one_of_nobody_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    Image.new('RGB', (8, 8)).save(tmp_path / 'a.png')
    (tmp_path / 'run').mkdir()
    check_inputs('~/run', ['~/a.png'])
    with pytest.raises(FileNotFoundError, match='no file or folder ~/b.png'):
        check_inputs('~/run', ['~/b.png'])
    for run, file in (('~/run', '~nosuchuser/a.png'), ('~nosuchuser/run', '~/a.png')):
        with pytest.raises(ValueError, match="nobody is called 'nosuchuser' here"):
            check_inputs(run, [file])


def test_a_list_fits_into_a_terminal_and_a_file_gets_all_of_it(monkeypatch):
    whole = CliRunner().invoke(main, ['list', 'clips']).output
    monkeypatch.setattr('hpdval.command.width_of_terminal', lambda: 80)
    for what in LISTED:
        lines = CliRunner().invoke(main, ['list', what]).output.splitlines()
        assert what == 'methods' or max(map(len, lines)) <= 80
    cut = CliRunner().invoke(main, ['list', 'clips']).output
    assert 'openai, laion' in cut and ' ...' in cut and ' ...' not in whole
    assert len(cut.splitlines()) == len(whole.splitlines()) and max(map(len, whole.splitlines())) > 200


def test_a_folder_in_which_nothing_can_be_read_is_an_error_in_the_shell(tmp_path):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos/a.png').write_bytes(b'\x89PNG\r\n')
    done = CliRunner().invoke(main, ['predict', 'example', str(tmp_path / 'photos'), '--device', 'cpu'])
    assert done.exit_code == 1 and 'no picture could be read, of 1: nothing was predicted' in done.output


@pytest.mark.parametrize(
    'name,said',
    [
        ('a photo of a {}', 'is a template'),
        ('classes.txt', 'looks like a file'),
        ("['cat'", 'may be a piece of a list'),
    ],
)
def test_names_to_look_for_are_names(name, said):
    with pytest.raises(ValueError, match=said):
        wanted([name])
    assert wanted(['M&M', 'M', 'dog/cat', 'dog', 'cat', 'drake, duck', 'drake', 'duck', 'Jr.', '4 - 6']).labels


def test_a_name_that_stdout_cannot_hold_is_no_reason_to_say_nothing(tmp_path, monkeypatch):
    "As a pipe of Windows, whose letters are those of one language."
    scene = next(EXAMPLE.glob("*.png"))
    shutil.copy(scene, tmp_path / '\u732b.png')
    pipe = io.TextIOWrapper(io.BytesIO(), encoding='cp1252')
    with pytest.raises(UnicodeEncodeError):
        pipe.write('\u732b')
    monkeypatch.setattr(sys, 'stdout', pipe)
    main(['predict', 'example', str(tmp_path / '\u732b.png')], standalone_mode=False)
    pipe.flush()
    assert rb'\u732b.png' in pipe.buffer.getvalue()
