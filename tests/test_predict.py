"""Prediction: what has no answer is refused in one line, the batch changes nothing, and heat maps of both embeddings of
patches."""

import json

import numpy as np, pytest
from click.testing import CliRunner

from hpdval.command import main
from hpdval.config import make_config
from hpdval.experiment import load_benchmark, run
from hpdval.predict import Classifier, run_folder


@pytest.fixture(scope='module')
def full():
    return load_benchmark(make_config('zero-shot', 'icon-voc-lt'), progress=False)


@pytest.fixture(scope='module')
def classifier(full, tmp_path_factory):
    "local -> the classifier of a run without training, on a few images."
    few = full._replace(train=full.train.at(range(48)), test=full.test.at(range(24)), digest='48-24')
    with pytest.MonkeyPatch.context() as m:
        m.setenv('HPDVAL_RUNS', str(tmp_path_factory.mktemp('runs')))

        def of(local):
            own = dict(local=local, device='cpu', empty_classes='keep')
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
    from PIL import Image

    Image.new('RGB', (64, 64)).save(tmp_path / 'a.png')
    folder = classifier('tokens').result.folder
    done = CliRunner().invoke(main, ['predict', folder, str(tmp_path / 'a.png'), '--classes', ',', '--device', 'cpu'])
    assert done.exit_code == 1 and 'classes must be a list of names, at least one' in done.output
    assert done.output.count('Error:') == 1 and 'Traceback' not in done.output


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
    import torch
    import torch.nn.functional as F

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
    done = CliRunner().invoke(main, ['predict', str(file.parent), 'a.png', *(['--method', method] if method else [])])
    assert done.exit_code == 1 and 'Traceback' not in done.output and str(e.value)[:60] in done.output


def test_a_result_of_a_notebook_that_names_itself_ends(tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    (tmp_path / ONE).mkdir()
    (tmp_path / ONE / 'result.json').write_text(json.dumps(dict(methods=dict(CoOp=dict(hashes=[ONE])))))
    with pytest.raises(FileNotFoundError, match=f'names the run {tmp_path / ONE}, and there is none'):
        run_folder(tmp_path / ONE)
