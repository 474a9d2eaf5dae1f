"""The run in the package is what its card says; what is exported computes the same, or is refused in a line."""

import copy, hashlib, json, os, pickle, re, runpy, shutil, signal, sys, time
from pathlib import Path
from types import SimpleNamespace

import numpy as np, pandas as pd, pytest, torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

from hpdval import Classifier, core, example_scenes
from hpdval.clip import load_clip
from hpdval.command import main
from hpdval.config import learns, make_config
from hpdval.core import read_sealed, write_sealed
from hpdval.data import open_image
from hpdval.decide import Decision
from hpdval.experiment import EXAMPLE, Result, load_benchmark, run
from hpdval.export import ASIDE, CLOSE, Baked, Exported, _aside, _move, as_onnx, check_exportable, check_target
from hpdval.export import export_run, largest_difference, onnx_session, probe
from hpdval.metrics import average_precision
from hpdval.model import build_model

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def data():
    return load_benchmark(make_config('zero-shot', 'icon-voc-lt'), progress=False)


@pytest.fixture(scope='module')
def example():
    return Classifier.load('example', device='cpu')


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    "The run in the package, exported by the command."
    folder = tmp_path_factory.mktemp('exported') / 'here'
    done = CliRunner().invoke(main, ['export', 'example', str(folder), '--json'])
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)['files']) == {'README.md', 'model.json', 'model.onnx', 'model.safetensors'}
    return folder


def pictures(data, n=None):
    return list(data.test.images[:n].permute(0, 2, 3, 1).numpy())


def by_image(table, classes, column='probability'):
    return table.pivot(index='image', columns='label', values=column)[classes].to_numpy()


# The run in the package


def test_its_card_says_what_lies_there():
    card, r = (EXAMPLE / 'README.md').read_text(encoding='utf-8'), Result.load(EXAMPLE)
    digest = hashlib.sha256((EXAMPLE / 'model.safetensors').read_bytes()).hexdigest()
    assert f'`{digest}`' in card and r.file('model.safetensors') and r.file('scores.npy')
    assert f"| {r.mAP['total']:.1f} % |" in card
    assert ' / '.join(f'{r.mAP[g]:.1f}' for g in ('head', 'medium', 'tail')) + ' %' in card
    assert f"| {r.decided['ECE_before']:.3f}, {r.decided['ECE']:.3f} |" in card
    assert f"| {r.decided['OF1']:.1f}, {r.decided['CF1']:.1f} % |" in card
    assert f"classes is {r.decided['OP']:.0f} %" in card and f"those {r.decision['images']} images" in card
    assert (r.config['method'], r.config['benchmark'], r.config['seed']) == ('hp-dval', 'icon-voc-lt', 0)
    assert sum(f.stat().st_size for f in EXAMPLE.iterdir()) < 5_000_000
    assert {t.dtype for k, t in load_file(EXAMPLE / 'model.safetensors').items() if '.' in k} == {torch.float16}


def test_its_scenes_are_the_first_test_images_and_its_card_says_what_is_found(example, data):
    "What is in them, and what is decided."
    card, found = (EXAMPLE / 'README.md').read_text(encoding='utf-8'), example_scenes()
    assert [f.name for f in found] == ['scene1.png', 'scene2.png', 'scene3.png']
    for i, file in enumerate(found):
        np.testing.assert_array_equal(np.asarray(Image.open(file)), pictures(data, 3)[i])
        there = [n for n, y in zip(data.classes, data.test.targets[i]) if y]
        said = example.predict(file, decide='threshold')
        decided = [f'{n} {p:.3f}' for n, p in zip(said.label, said.probability)]
        assert f"| `{file.name}` | {', '.join(there)} | {', '.join(decided)} |" in card


def test_its_numbers_come_out_again(example, data, capfd):
    "Pictures in, and the mAP of its card comes out; by today's code, whatever made it."
    probabilities = by_image(example.predict(pictures(data)), example.classes)
    np.testing.assert_allclose(probabilities, example.result.probabilities, atol=1e-4)
    ap = 100 * average_precision(probabilities, data.test.targets)
    assert ap.mean() == pytest.approx(example.result.mAP['total'], abs=0.1)
    assert 'other code' not in capfd.readouterr().err


def test_the_script_finds_the_same(monkeypatch, capsys):
    names = runpy.run_path(str(ROOT / 'scripts/example.py'))
    assert names['check']() < 1e-5
    monkeypatch.setattr('sys.argv', ['scripts/example.py', '--check'])
    runpy.run_path(str(ROOT / 'scripts/example.py'), run_name='__main__')
    assert capsys.readouterr().out == ''


def test_a_folder_called_example_is_another(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'example').mkdir()
    assert Classifier.load('example', device='cpu').result.folder == str(EXAMPLE)
    assert "'example' is the run in the package; for the folder of this name write ./example" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match='no finished run in example'):
        Classifier.load('./example')


def test_a_damaged_file_in_the_package_is_named_with_its_cure(tmp_path, monkeypatch):
    for f in EXAMPLE.iterdir():
        (tmp_path / f.name).write_bytes(f.read_bytes())
    for name in ('model.safetensors', 'result.json'):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
        with monkeypatch.context() as m:
            m.setattr('hpdval.experiment.EXAMPLE', tmp_path)
            m.setattr('hpdval.predict.EXAMPLE', tmp_path)
            with pytest.raises(ValueError, match=f'{name} is .*: install hpdval again'):
                Classifier.load(tmp_path.name)


# An exported run


def test_it_scores_the_test_images_as_the_run_does(exported, example, data):
    c = Classifier.load(exported / 'model.onnx', device='cpu')
    probabilities = by_image(c.predict(pictures(data)), c.classes)
    np.testing.assert_allclose(probabilities, example.result.probabilities, atol=CLOSE)
    graph = Exported(exported)
    np.testing.assert_allclose(graph(data.test.images), example.result.scores, atol=CLOSE)
    np.testing.assert_allclose(graph.run('probabilities', data.test.images), example.result.probabilities, atol=CLOSE)
    with pytest.raises(ValueError, match='unknown output of .*: .score.'):
        graph.run('score', data.test.images[:1])


def test_it_can_be_copied_and_sent_to_another_process(exported, data, tmp_path, monkeypatch):
    there = tmp_path / 'there'
    shutil.copytree(exported, there)
    monkeypatch.chdir(tmp_path)
    c, few = Classifier.load('there', device='cpu'), pictures(data, 3)
    wanted = c.predict(few, top=3)
    kept = pickle.dumps(c)
    monkeypatch.chdir(exported)  # a process may start elsewhere
    for again in (copy.deepcopy(c), pickle.loads(kept)):
        pd.testing.assert_frame_equal(again.predict(few, top=3), wanted)
        assert again.model.session is not c.model.session
    said = read_sealed(there / 'model.json')
    (there / 'model.json').unlink()
    write_sealed(there / 'model.json', {k: v for k, v in said.items() if k != 'check'} | dict(note='another'))
    with pytest.raises(ValueError, match='is another export than the one that was copied: load it anew'):
        pickle.loads(kept)


def test_it_answers_whatever_it_is_asked(exported, example, data, tmp_path):
    wide = Image.fromarray(np.hstack(pictures(data, 2)))
    wide.save(tmp_path / 'a.png')
    c = Classifier.load(exported)
    for asked in (dict(top=3), dict(decide='threshold'), dict(decide='top-k'), dict(classes=['dog', ['cat', 'sofa']])):
        here, there = (one.predict([tmp_path / 'a.png', *pictures(data, 5)], **asked) for one in (example, c))
        assert there[['image', 'label']].equals(here[['image', 'label']])
        np.testing.assert_allclose(there.probability, here.probability, atol=CLOSE)
    for label in ('person', 'cow'):
        np.testing.assert_allclose(c.heatmap(wide, label), example.heatmap(wide, label), atol=CLOSE)
    with pytest.raises(ValueError, match="unknown class 'crow': did you mean 'cow'"):
        c.heatmap(wide, 'crow')


def test_of_a_score_that_shares_one_it_refuses_rivals_of_one_class_as_the_run_does(data, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path / 'runs'))
    few = data._replace(train=data.train.at(range(48)), test=data.test.at(range(24)), digest='48-24')
    own = dict(score='softmax', device='cpu', empty_classes='keep')
    r = run(make_config('zero-shot-dual', 'icon-voc-lt', **own), progress=False, data=few)
    here = Classifier.load(r, device='cpu')
    there = Classifier.load(export_run(r, tmp_path / 'exported'), device='cpu')
    first, second, *others = here.classes
    pairs, said = [[first, second], *others], []
    for c in (here, there):
        with pytest.raises(ValueError, match="a score by 'softmax' shares 1 among all names") as e:
            c.predict(pictures(data, 1), classes=pairs)
        said.append(str(e.value))
        assert len(c.predict(pictures(data, 1), classes=here.classes[::-1])) == 20
    assert said[0] == said[1]


def test_the_command_reads_it(exported, data, tmp_path):
    Image.fromarray(pictures(data, 1)[0]).save(tmp_path / 'a.png')
    answers = []
    for run in ('example', str(exported), str(exported / 'model.onnx')):
        done = CliRunner().invoke(
            main, ['predict', run, str(tmp_path / 'a.png'), '--device', 'cpu', '--decide', 'threshold']
        )
        assert done.exit_code == 0, done.output
        answers.append(done.stdout)
    assert len(set(answers)) == 1 and 'sofa' in answers[0]


def test_its_card_has_data_weights_settings_results_and_limits(exported):
    card, r = (exported / 'README.md').read_text(encoding='utf-8'), Result.load(EXAMPLE)
    for heading in ('Use', 'Data and weights', 'Results', 'Limits', 'Settings'):
        assert f'\n## {heading}\n' in card
    seen = 'It sees the middle square of a picture; outside it a map of `Classifier.heatmap` is NaN.'
    for said in (
        r.hash,
        r.data,
        r.weights,
        f"{r.mAP['tail']:.1f} %",
        "'db-focal'",
        'of photographs it says little',
        seen,
    ):
        assert said in card, said
    assert re.search(r'\| cow +\| 4 +\| 70.0 +\|', card)


def test_its_card_says_what_the_classifier_does_with_a_picture_and_where_the_thresholds_are(exported):
    card, said = (exported / 'README.md').read_text(encoding='utf-8'), json.loads((exported / 'model.json').read_text())
    for word in (
        'EXIF',
        'transparent lies on white',
        'up to 4095 are divided by 16',
        '`run.decision` has `slope` and `shift`',
    ):
        assert word in card
    decision = said['run']['decision']
    assert len(decision['thresholds']) == len(said['classes']) and {'slope', 'shift', 'threshold'} <= decision.keys()
    sideways = Image.new('RGBA', (4, 2), (0, 0, 0, 0))
    exif = sideways.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    sideways.save(file := exported.parent / 'sideways.png', exif=exif)
    assert open_image(file).size == (2, 4) and open_image(file).getextrema() == ((255, 255),) * 3
    for value, expected in ((200, 200), (4095, 255), (65535, 255)):
        assert open_image(np.full((2, 2), value, np.uint16)).getpixel((0, 0)) == (expected,) * 3


def copied(exported, folder):
    folder.mkdir()
    for f in exported.iterdir():
        (folder / f.name).write_bytes(f.read_bytes())
    return folder


def test_a_file_that_was_changed_is_not_read(exported, tmp_path):
    folder = copied(exported, tmp_path / 'a')
    whole = (folder / 'model.onnx').read_bytes()
    (folder / 'model.onnx').write_bytes(whole[:-100])
    with pytest.raises(ValueError, match='model.onnx is not the file that model.json belongs to'):
        Classifier.load(folder)
    (folder / 'model.onnx').write_bytes(whole)
    said = (folder / 'model.json').read_text()
    (folder / 'model.json').write_text(said.replace('"slope": ', '"slope": 1'))
    with pytest.raises(ValueError, match='model.json is damaged'):
        Classifier.load(folder)
    sealed = json.loads(said) | dict(format=2)
    sealed.pop('check')
    write_sealed(folder / 'model.json', sealed)
    with pytest.raises(ValueError, match='model.json is of another version'):
        Classifier.load(folder)
    known = json.loads(said)
    decision = known['run']['decision'] | dict(newer=1)
    others = [dict(run=known['run'] | dict(newer=1)), dict(run=known['run'] | dict(decision=decision))]
    for other in (*others, dict(size=None), dict(run=[]), dict(files={})):
        write_sealed(
            folder / 'model.json', {k: v for k, v in (known | other).items() if v is not None and k != 'check'}
        )
        with pytest.raises(ValueError, match='is of another version|is not the file'):
            Classifier.load(folder)
    (folder / 'model.json').unlink()
    with pytest.raises(FileNotFoundError, match='no file .*model.json: an export is model.onnx and model.json'):
        Classifier.load(folder / 'model.onnx')


def test_it_has_its_weights_and_its_method(exported, tmp_path):
    with pytest.raises(ValueError, match='was exported with its weights: leave pretrained out'):
        Classifier.load(exported, pretrained='a.pt')
    with pytest.raises(ValueError, match="holds one run, of method 'hp-dval', and not 'coop'"):
        Classifier.load(exported, method='coop')
    with pytest.raises(ValueError, match="device 'mps': ONNX Runtime has no such device here"):
        Classifier.load(exported, device='mps')
    for name in ('a.onnx', 'a.json'):
        (tmp_path / name).write_bytes((exported / f'model{name[1:]}').read_bytes())
    assert Classifier.load(tmp_path / 'a.onnx').classes[0] == 'aeroplane'  # renamed, both alike
    for name in ('a.onnx', 'a.json'):
        (tmp_path / name).rename(tmp_path / name.replace('.onnx', '.ONNX'))
    assert Classifier.load(tmp_path / 'a.ONNX').classes[0] == 'aeroplane'
    assert Classifier.load(copied(exported, tmp_path / 'folder.onnx')).classes[0] == 'aeroplane'


class Runtime:
    "ONNX Runtime with CUDA and one GPU, and as it falls back: of a device that it cannot use it takes the CPU, unsaid."

    def __init__(self, gpus=1):
        self.gpus, self.asked = gpus, None

    SessionOptions = SimpleNamespace

    def get_available_providers(self):
        return ['CUDAExecutionProvider', 'CPUExecutionProvider']

    def InferenceSession(self, file, options, providers):
        self.asked = providers
        (_, own), *rest = providers if len(providers) > 1 else [('', {}), *providers]
        works = own.get('device_id', 99) < self.gpus
        return SimpleNamespace(get_providers=lambda: ['CUDAExecutionProvider'] * works + rest)


def test_the_gpu_that_is_asked_for_is_taken_or_it_is_said(monkeypatch, capsys):
    monkeypatch.delenv('HPDVAL_DEVICE', raising=False)
    core._print_once.cache_clear()
    for device, gpus, taken in (
        ('cpu', 2, None),
        ('auto', 2, 0),
        ('cuda', 2, 0),
        ('cuda:1', 2, 1),
        (torch.device('cuda', 1), 2, 1),
    ):
        runtime = Runtime(gpus)
        monkeypatch.setitem(sys.modules, 'onnxruntime', runtime)
        onnx_session('a.onnx', device)
        gpu = [] if taken is None else [('CUDAExecutionProvider', dict(device_id=taken))]
        assert runtime.asked == [*gpu, 'CPUExecutionProvider']
    assert not capsys.readouterr().err
    for device, gpus in (('cuda', 0), ('cuda:1', 1)):
        monkeypatch.setitem(sys.modules, 'onnxruntime', Runtime(gpus))
        with pytest.raises(ValueError, match=f"^device '{device}': ONNX Runtime cannot use it here: take device=cpu$"):
            onnx_session('a.onnx', device)
    for device in ('cuda:', 'cuda:x', 'cudas', 'mps'):
        with pytest.raises(ValueError, match=f"^device '{device}': ONNX Runtime has no such device here"):
            onnx_session('a.onnx', device)
    assert onnx_session('a.onnx', 'auto')
    monkeypatch.setitem(sys.modules, 'onnxruntime', Runtime(0))
    assert onnx_session('a.onnx', 'auto').get_providers() == ['CPUExecutionProvider']
    assert capsys.readouterr().err == 'ONNX Runtime has CUDA and cannot use a GPU here: it computes on the CPU\n'


def test_what_lies_there_is_not_overwritten(exported, tmp_path):
    r = Result.load(EXAMPLE)
    (tmp_path / 'thesis.docx').write_text('')
    with pytest.raises(ValueError, match='holds something else than an export of this run'):
        export_run(r, tmp_path)
    for place in ('thesis.docx', 'thesis.docx/a/b'):
        with pytest.raises(ValueError, match='an export in .*thesis.docx is a file: give a folder'):
            export_run(r, tmp_path / place)
    other = copied(exported, tmp_path / 'other')
    sealed = read_sealed(other / 'model.json')
    write_sealed(other / 'model.json', sealed | dict(run=sealed['run'] | dict(hash='0' * 12)))
    with pytest.raises(ValueError, match='holds something else than an export of this run'):
        export_run(r, other)


def killed(folder):
    with _aside(folder) as made:
        (made / 'model.onnx').write_text('half')
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_export_leaves_nothing_that_blocks_the_next(tmp_path, in_a_copy):
    assert in_a_copy(killed, tmp_path / 'a').returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert ASIDE.fullmatch(left.name) and [f.name for f in left.iterdir()] == ['model.onnx']
    check_target(tmp_path / 'a', Result.load(EXAMPLE))
    for mine in ('.export.notes', '.export.0123456789ab.txt'):
        (tmp_path / mine).mkdir()

    def next_one():
        with _aside(tmp_path / 'a') as made:
            (made / 'model.json').write_text('{}')

    next_one()
    assert left.exists() and (tmp_path / 'a/model.json').exists()  # it may be at work
    for f in (left / 'model.onnx', left):
        os.utime(f, (0, time.time() - 4000))
    next_one()
    assert {f.name for f in tmp_path.iterdir()} == {'a', '.export.notes', '.export.0123456789ab.txt'}


@pytest.mark.parametrize('moved', range(4))
@pytest.mark.parametrize('first', [True, False])
def test_an_export_that_is_killed_while_it_moves_can_be_made_again(exported, tmp_path, monkeypatch, moved, first):
    r, folder = Result.load(EXAMPLE), tmp_path / 'a'
    if first:
        folder.mkdir()  # there, so that it cannot be moved as a whole
    else:
        copied(exported, folder)
        (folder / 'model.onnx').write_bytes(b'of an earlier export')
    replaced, calls = os.replace, []

    def until(source, target):
        calls.append(target)
        if len(calls) > moved:
            raise KeyboardInterrupt
        replaced(source, target)

    def written(replace):
        with monkeypatch.context() as m, _aside(folder) as made:
            for f in exported.iterdir():
                (made / f.name).write_bytes(f.read_bytes())
            m.setattr(os, 'replace', replace)
            _move(made, folder)

    with pytest.raises(KeyboardInterrupt):
        written(until)
    if moved < 2:  # the graph is not there yet, or not the new one
        with pytest.raises((ValueError, FileNotFoundError), match='no finished run|no file|is not the file that'):
            Classifier.load(folder, device='cpu')
    check_target(folder, r)
    written(replaced)
    assert Classifier.load(folder, device='cpu').result.hash == r.hash
    assert {f.name for f in folder.iterdir()} == {f.name for f in exported.iterdir()}


def test_numbers_that_differ_are_not_left_behind(tmp_path, monkeypatch):
    "Here the file is written from other pixels than those that it is compared on."
    forward = Baked.forward

    def changed(self, images):
        first, *more = forward(self, images)
        return first + 2e-4 * torch.compiler.is_exporting(), *more

    monkeypatch.setattr(Baked, 'forward', changed)
    with pytest.raises(ValueError, match='as ONNX, scores of 1 pictures differ from torch'):
        export_run(Result.load(EXAMPLE), tmp_path / 'a')
    assert not list(tmp_path.iterdir())


def baked(method, **settings):
    "A model whose prompts or head are not those of the start."
    cfg, generator = make_config(method, 'icon-voc-lt', **settings), torch.Generator().manual_seed(0)
    model = build_model(cfg, load_clip(), ['dog', 'cat', 'person', 'sofa'], 'cpu')
    model.use_learned = learns(cfg)
    for name, p in model.named_parameters():
        if name.startswith(('prompts', 'head')) or name.endswith('.B'):
            p.data += 0.05 * torch.randn(p.shape, generator=generator)
    check_exportable(model, 'runs/a')
    return Baked(model, Decision(slope=2.0, shift=-1.0, images=100))


KINDS = [
    ('linear-probe', dict()),  # a head
    ('dualcoop', dict()),  # prompts that score themselves
    ('dval-lora', dict(scoring='softmax', ensemble='mirror')),  # thin matrices, several views
    ('label-graph-adapter', dict()),  # adapters, prompts of a graph
]


@pytest.mark.parametrize('method, settings', KINDS, ids=[k[0] for k in KINDS])
def test_methods_of_every_kind(method, settings, tmp_path):
    b, images = baked(method, **settings), probe(64)
    as_onnx(b, images[:2], '{}').save(tmp_path / 'a.onnx', external_data=False)
    assert largest_difference(b, onnx_session(tmp_path / 'a.onnx', 'cpu'), images, (1, 5)) < 2 * CLOSE
    with torch.no_grad():
        x = (images.float() / 255 - b.mean) / b.std
        np.testing.assert_allclose(b(images)[0], b.model(x), atol=1e-5)


def test_prompts_that_need_the_picture_are_refused():
    with pytest.raises(ValueError, match="runs/a: prompts='conditional' are made anew for every picture"):
        baked('cocoop')
