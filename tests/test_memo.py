"An answer is never stale and never somebody else's: what a second reader broke, kept from breaking again."

import errno, importlib, json, os, shutil, signal, subprocess, sys, threading, types
from dataclasses import replace

import numpy as np, pytest, torch
from filelock import FileLock, Timeout
from PIL import Image
from test_parallel import images
from test_same_scores import few_images

import hpdval
from hpdval import experiment
from hpdval.clip import MINI_WEIGHTS
from hpdval.config import METHODS, Method, make_config, method_config, stages
from hpdval.data import AUGMENTS, TRANSFORMS, Split, decode_split
from hpdval.experiment import REGISTRIES, Result, compare, config_clip, load_benchmark, needs_captions, run, run_code
from hpdval.experiment import run_name, run_parts
from hpdval.fingerprint import Walk, _codes, code_digest
from hpdval.losses import LOSSES, TERMS
from hpdval.predict import Classifier
from hpdval.sources import Data
from hpdval.train import FeatureFeed, Pixels
from hpdval.weights import files_read

TINY = dict(benchmark='icon-voc-lt', epochs1=1, epochs2=1, batch_size=16, device='cpu', empty_classes='keep')
LOSS = '''
from hpdval.losses import Loss, bce

class helper:
    scale = 1.0

def mine(x, y):
    return FACTOR * helper.scale * bce(x, y)

def build(counts, n, params):
    return Loss(mine)
'''


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path / 'runs'))
    return tmp_path / 'runs'


@pytest.fixture(scope='module')
def data():
    "A few images of the embedded VOC-LT."
    return few_images(40, 16)


def test_the_code_that_runs_counts_and_not_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, 'dont_write_bytecode', True)
    file = tmp_path / 'own_loss.py'
    file.write_text(LOSS.replace('FACTOR', '1.0'))
    own = importlib.import_module('own_loss')
    monkeypatch.setitem(LOSSES, 'own', dict(paper=own.build))
    cfg = make_config('dval', loss='own', **{k: v for k, v in TINY.items() if k != 'epochs2'})
    first = run_code(cfg)
    file.write_text(LOSS.replace('FACTOR', '20.0'))
    assert run_code(cfg) == first  # saved, and not what runs
    importlib.reload(own)
    LOSSES['own'] = dict(paper=own.build)
    second = run_code(cfg)
    assert second != first
    own.helper.scale = 3.0  # an attribute of something that the loss names
    assert run_code(cfg) not in (first, second)


def test_fresh_does_not_go_on_from_what_was_left(data, runs):
    cfg = method_config('dval', 0, **TINY)
    first = run(cfg, progress=False, data=data)
    (runs / first.hash / 'stage1.pt').write_bytes(b'left by another training')
    again = run(cfg, progress=False, data=data, fresh=True)
    assert np.array_equal(again.scores, first.scores)


def test_a_result_that_was_changed_is_named(data, runs):
    r = run(method_config('zero-shot', 0, **TINY), progress=False, data=data)
    file = runs / r.hash / 'result.json'
    file.write_text(file.read_text().replace('"total": ', '"total": 1'))
    with pytest.raises(ValueError, match='is damaged'):
        Result.load(file.parent)


def test_two_methods_of_one_label_are_refused(monkeypatch):
    monkeypatch.setitem(METHODS, 'mine', Method('CoOp', METHODS['coop'].fixes, 'nowhere'))
    with pytest.raises(ValueError, match='label of a method'):
        compare(['coop', 'mine'])


def test_images_that_are_no_bytes_are_refused(data):
    floats = data._replace(test=data.test._replace(images=data.test.images / 255))
    with pytest.raises(ValueError, match='must be bytes'):
        run(method_config('zero-shot', 0, **TINY), progress=False, data=floats)


def test_a_transform_of_ones_own(data, monkeypatch):
    monkeypatch.setitem(TRANSFORMS, 'mine', lambda im, size: im.resize((size, size)))
    cfg = make_config('zero-shot', benchmark='icon-voc-lt', transform='mine', empty_classes='keep')
    assert run(cfg, progress=False, data=data).scores.shape == (16, 20)


def test_parts_that_number_their_classes_differently_are_refused():
    class Rows(list):
        pass

    a, b = Rows([dict(image=None, label=0)]), Rows([dict(image=None, label=0)])
    for rows, names in ((a, ['cat', 'dog']), (b, ['dog', 'cat'])):
        rows.features = dict(label=type('ClassLabel', (), dict(names=names)))
    with pytest.raises(ValueError, match='number their classes differently'):
        hpdval.from_samples(a, b)


def test_a_heat_map_from_a_path_and_from_a_picture(data, tmp_path):
    r = run(method_config('dval', 0, **TINY), progress=False, data=data)
    model = hpdval.Classifier.load(r.folder, device='cpu')
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8))
    picture.save(tmp_path / 'a.png')
    maps = [model.heatmap(im, 'dog') for im in (picture, tmp_path / 'a.png', np.asarray(picture))]
    assert maps[0].shape == (60, 90)
    for other in maps[1:]:
        assert np.array_equal(other, maps[0], equal_nan=True)


def test_logits_are_what_the_loss_saw(data):
    r = run(method_config('dval', 0, **TINY), progress=False, data=data)
    model = hpdval.Classifier.load(r.folder, device='cpu').model
    assert torch.allclose(torch.from_numpy(r.logits), model.logits(torch.from_numpy(r.scores)), atol=1e-5)


@pytest.fixture
def beside(tmp_path):
    "A folder of weights; the returned function writes what is said of their pixels beside them."
    folder = tmp_path / 'clip'
    folder.mkdir()
    shutil.copy(MINI_WEIGHTS, folder / 'open_clip_model.safetensors')

    def say(mean):
        said = dict(preprocess_cfg=dict(mean=[mean] * 3, std=[0.3] * 3))
        (folder / 'open_clip_config.json').write_text(json.dumps(said))
        return make_config('zero-shot', 'icon-voc-lt', pretrained=str(folder), empty_classes='keep', device='cpu')

    return say


def test_what_lies_beside_the_weights_is_in_the_name(data, beside):
    "The same kernel, the same weights: other pixels are another run, and the first is not loaded with them."
    one = run(beside(0.5), False, data)
    predicted = Classifier.load(one.folder).predict(data.test.images[:4].permute(0, 2, 3, 1).numpy())
    other = run(beside(0.2), False, data)
    assert one.hash != other.hash and not np.array_equal(one.scores, other.scores)
    with pytest.raises(ValueError, match='was trained with .* put the files back'):
        Classifier.load(one.folder)
    beside(0.5)
    again = Classifier.load(one.folder).predict(data.test.images[:4].permute(0, 2, 3, 1).numpy())
    assert again.equals(predicted)
    assert run(beside(0.5), False, data).hash == one.hash


@pytest.mark.parametrize('file', ['open_clip_model.safetensors', 'open_clip_config.json'])
def test_a_file_written_in_place_with_its_time_set_back_is_read_anew(data, beside, tmp_path, file):
    cfg = beside(0.5)
    before = config_clip(cfg)
    assert config_clip(cfg) is before
    path = tmp_path / 'clip' / file
    stat, body = path.stat(), bytearray(path.read_bytes())
    body[-40 if file.endswith('s') else body.index(b'0.5') + 2] ^= 1  # 0.5 becomes 0.4
    with open(path, 'r+b') as f:
        f.write(body)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = config_clip(cfg)
    assert (after.digest, after.settings) != (before.digest, before.settings)


def test_the_tokenizer_beside_the_weights_is_in_the_name(tmp_path):
    file = tmp_path / 'w.safetensors'
    file.touch()
    assert files_read(file) == [file]
    names = 'config.json preprocessor_config.json tokenizer.json tokenizer_config.json merges.txt'.split()
    for name in names:
        (tmp_path / name).write_text('{}')
    assert [f.name for f in files_read(file)][1:] == names


@pytest.mark.parametrize('handed', [True, False])
def test_stage_1_is_a_run_that_its_method_finds(data, runs, tmp_path, handed):
    "Whether the data were handed over or loaded: DVAL is HP-DVAL's stage 1, trained once."
    source, small = data, TINY
    if not handed:
        images(tmp_path, np.random.default_rng(0))
        source, small = None, TINY | dict(benchmark='own', lists=str(tmp_path), image_root=str(tmp_path))
    two = run(make_config('hp-dval', **small), False, source)
    one = run(make_config('dval', **{k: v for k, v in small.items() if k != 'epochs2'}), False, source)
    assert list(two.before) == [one.hash] and len(list(runs.glob('*/result.json'))) == 2


ELSEWHERE = {  # modules whose work another digest covers, or that change no number: why
    'config': 'its values are in the name',
    'core': 'files and messages',
    'fetch': 'the bytes that came are in the digest of the data',
    'fingerprint': 'it is the name',
    'icons': 'the pixels and labels drawn are in the digest of the data',
    'lists': 'what was read is in the digest of the data',
    'parallel': 'equal to one process, which test_parallel shows',
    'photographs': 'the bytes that came are in the digest of the data',
    'sources': 'what was read is in the digest of the data',
    'weights': 'the tensors and what was decided of them are in the digest of the weights',
}
NO_NUMBER = {  # functions that change no number: they check, count, write or load what has a digest
    'clip': '_adapted _asked _blank _clip _decide_activation _decide_pixels _from_file _has_twin _is_quick _known '
    'conv_stem fit_weights load_clip mini_clip unpack _misfits Clip.to',
    'data': 'Rows.__getitem__ Rows.__init__ Rows.__len__ Split.at Split.counts check_classes rows_of some_rows',
    'experiment': """Result.load Result.of Result.save Result.file Result.checked_folder Result.decisions alone
        _check_several _clip _decisions _found _given_back _made _say_unknown _taken
        _measured _or_nan _run _train _write builds_on cached_clip config_clip drop_checkpoints load_benchmark
        needs_captions run run_code run_name run_parts code_of code_parts _part_name _say_changed _say_missing _written
        settled with_short_average""",
    'train': 'let_go',
    'align': 'Head.__init__',
    'prompts': 'Prompts.__init__ Prompts.restart frame unknown_words',  # of prompts that are not used, and of a check
    'losses': 'parse_terms',
}


def functions_called(call) -> set:
    "The code objects of this package that are run."
    called = set()
    folder = os.path.dirname(hpdval.__file__)

    def note(frame, event, arg):
        if event == 'call' and os.path.dirname(frame.f_code.co_filename) == folder:
            called.add(frame.f_code)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return called


@pytest.mark.parametrize('method', METHODS)
def test_what_a_run_calls_is_in_its_name(data, method, one_code):
    cfg = small_config(method)
    handed = data._replace(train=data.train._replace(captions=['a dog'] * 40)) if needs_captions(cfg) else data
    called = functions_called(lambda: run(cfg, progress=False, data=handed))
    clip, walk = config_clip(cfg), Walk(REGISTRIES)
    walk.visit([*run_parts(cfg), *{type(m) for t in (clip.visual, clip.text) for m in t.modules()}])
    known = {c for f in walk.kept if isinstance(f, types.FunctionType) for c in _codes(f.__code__)}
    asked = [f for t in TERMS.values() for f in t if isinstance(f, types.FunctionType)]  # is a term active?
    known |= {f.__code__ for f in asked}
    missing = set()
    for code in called - known:
        module = os.path.basename(code.co_filename).removesuffix('.py')
        name = code.co_qualname.split('.<locals>')[0]
        if module not in ELSEWHERE and name not in NO_NUMBER.get(module, '').split():
            missing.add(f'{module}.{name}')
    assert not missing


@pytest.mark.parametrize('place, name', [('train', 'to_float'), ('data', 'to_rgb'), ('train', 'Pixels.__call__')])
@pytest.mark.parametrize('method', ['zero-shot', 'dval', 'hp-dval'])
def test_code_of_pixels_is_in_every_name(monkeypatch, method, place, name):
    cfg = small_config(method)
    before = run_code(cfg)
    owner = importlib.import_module(f'hpdval.{place}')
    for part in name.split('.')[:-1]:
        owner = getattr(owner, part)
    monkeypatch.setattr(owner, name.split('.')[-1], lambda *args, **more: None)
    assert run_code(cfg) != before


def test_code_of_layers_is_in_a_name(data, monkeypatch):
    cfg = small_config('zero-shot')
    clip = config_clip(cfg)
    before = run_name(cfg, clip, data.digest)
    monkeypatch.setattr(hpdval.clip._Residual, 'forward', lambda self, x: x)
    assert run_name(cfg, clip, data.digest) != before


def test_how_pictures_are_resized_is_in_the_cache_of_decoded_images(tmp_path, monkeypatch):
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(tmp_path / 'a.png')
    one = ['a.png'], [[1]], ('a',), tmp_path, 4, 'clip', False
    first = decode_split(*one).images
    monkeypatch.setitem(TRANSFORMS, 'clip', lambda im, size: Image.new('RGB', (size, size)))
    second = decode_split(*one).images
    assert first.any() and not second.any()


@pytest.mark.parametrize('what', ['augment', 'tower'])
def test_how_features_are_made_is_in_their_cache(data, monkeypatch, what):
    cfg = replace(small_config('coop'), copies=1)
    one = features(cfg, data)
    assert torch.equal(features(cfg, data), one)
    if what == 'augment':
        monkeypatch.setitem(AUGMENTS, cfg.augment, lambda batch, generator: batch // 2)
    else:
        monkeypatch.setattr(hpdval.clip._Residual, 'forward', lambda self, x: x)
    assert not torch.equal(features(cfg, data), one)


def test_data_and_clip_that_were_changed_in_place_answer_for_nobody(runs):
    cfg = make_config('zero-shot', 'icon-voc-lt', image_size=32, device='cpu')
    right = run(cfg, progress=False).mAP
    shutil.rmtree(runs)
    changed = load_benchmark(cfg, progress=False)
    changed.test.targets[:, 0] = 1 - changed.test.targets[:, 0]
    changed.test.images.zero_()
    with torch.no_grad():
        for p in config_clip(cfg).visual.parameters():
            p.mul_(0.5)
    assert run(cfg, progress=False).mAP == right


def test_pictures_of_16_bits_of_two_scales_are_two_data_sets(runs):
    ramp = np.arange(192, dtype=np.uint16).reshape(8, 8, 3)
    cfg = make_config('zero-shot', 'memory', device='cpu')
    made = []
    for factor in (16, 256):
        pairs = [(ramp * factor, ['a']), (ramp[::-1] * factor, ['b'])]
        made.append(run(cfg, progress=False, data=hpdval.from_samples(pairs, pairs)))
    assert made[0].hash != made[1].hash and made[0].peak != made[1].peak


def features(cfg, data):
    "Global embeddings of the training images, as stage 2 gets them."
    clip = config_clip(cfg)
    feed = FeatureFeed(data.train.images, clip.visual, Pixels(clip, cfg, torch.device('cpu')), patches=False)
    return feed(torch.arange(40), 0)[0]


def small_config(method):
    "A config of one epoch a stage, as far as the method has stages."
    started = make_config(method, 'icon-voc-lt')
    one, two = stages(started)
    epochs = dict(epochs1=1) if one else {}
    epochs |= dict(epochs2=1) if two else {}
    trained = dict(batch_size=600 if method == 'tai-dpt' else 16) if epochs else {}  # of 1,800 sentences
    return make_config(method, 'icon-voc-lt', device='cpu', empty_classes='keep', **epochs, **trained)


def test_a_package_is_a_library_wherever_it_was_installed(tmp_path, monkeypatch):
    "With `pip install --target` too. Your own file beside it is not, nor one in a folder that is called so."
    folders = tmp_path / 'target', tmp_path / 'my-packages'
    for folder in folders:
        (folder / 'far_library').mkdir(parents=True)
        (folder / 'far_library/__init__.py').write_text('WORD = 1\ndef word(): return WORD\n')
        (folder / 'my_loss.py').write_text('WORD = 1\ndef word(): return WORD\n')
    listed = folders[0] / 'far_library-1.0.dist-info'
    listed.mkdir()
    (listed / 'METADATA').write_text('Metadata-Version: 2.1\nName: far-library\nVersion: 1.0\n')
    (listed / 'RECORD').write_text('far_library/__init__.py,,\n')
    source = folders[1] / 'far_library.egg-info'  # what an editable installation leaves beside the source
    source.mkdir()
    (source / 'PKG-INFO').write_text('Metadata-Version: 2.1\nName: far-library\nVersion: 1.0\n')
    (source / 'SOURCES.txt').write_text('far_library/__init__.py\nmy_loss.py\n')
    for folder in folders:
        with monkeypatch.context() as m:
            m.setattr(sys, 'path', [str(folder), *sys.path])
            for name in ('far_library', 'my_loss'):
                module = importlib.import_module(name)
                before = code_digest(module.word)
                module.WORD = 2
                ours = folder == folders[1] or name == 'my_loss'
                assert (code_digest(module.word) != before) == ours, (folder.name, name)
                del sys.modules[name]


def test_your_code_in_the_name_space_of_a_library_is_yours(tmp_path, monkeypatch):
    "What an installation put into a folder is known file by file."
    for part in ('far', 'mine'):
        (tmp_path / 'firm' / part).mkdir(parents=True)
        (tmp_path / 'firm' / part / '__init__.py').write_text('WORD = 1\ndef word(): return WORD\n')
    listed = tmp_path / 'far-1.0.dist-info'
    listed.mkdir()
    (listed / 'METADATA').write_text('Metadata-Version: 2.1\nName: far\nVersion: 1.0\n')
    (listed / 'RECORD').write_text('firm/far/__init__.py,,\n')
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    for part in ('far', 'mine'):
        module = importlib.import_module(f'firm.{part}')
        before = code_digest(module.word)
        module.WORD = 2
        assert (code_digest(module.word) != before) == (part == 'mine')
        del sys.modules[f'firm.{part}']


def test_whoever_waited_and_who_comes_next_do_not_both_make_a_run(tmp_path, monkeypatch):
    "The file of a lock goes before the lock does: later it may be that of another program."
    place, held = tmp_path / '.abc.lock', []

    class Watched(FileLock):
        def release(self, force=False):
            super().release(force)
            if not held:
                held.append(FileLock(place))
                held[0].acquire(timeout=0)  # one who waited

    monkeypatch.setattr(experiment, 'FileLock', Watched)
    with experiment.alone(tmp_path / 'abc'):
        pass
    with pytest.raises(Timeout):
        FileLock(place).acquire(timeout=0)  # who comes next
    held[0].release()


def test_a_run_whose_maker_was_killed_is_made_by_who_waited(tmp_path, capsys):
    holds = f"""
import time
from filelock import FileLock
with FileLock({str(tmp_path / '.abc.lock')!r}):
    print('held', flush=True)
    time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, '-c', holds], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == 'held\n'
    threading.Timer(0.5, other.send_signal, [signal.SIGKILL]).start()
    with experiment.alone(tmp_path / 'abc'):
        assert other.wait() == -signal.SIGKILL
    assert capsys.readouterr().err == f'{tmp_path}/abc is being made by another program: waiting for it\n'
    assert not list(tmp_path.iterdir())


def test_processes_of_one_run_wait_together(tmp_path, monkeypatch):
    "The main one alone holds the lock; the others hear of it in steps, or they would give up."
    told = iter([False, False, True])
    monkeypatch.setattr(experiment, 'is_main', lambda: False)
    monkeypatch.setattr(experiment, 'from_main', lambda fn: next(told))
    with experiment.alone(tmp_path / 'abc'):
        assert next(told, None) is None
    assert not list(tmp_path.iterdir())


def test_a_disk_without_locks_is_said(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(FileLock, 'acquire', refuse)
    with pytest.raises(OSError, match=r'cannot be locked \(No locks available\): set HPDVAL_RUNS'):
        with experiment.alone(tmp_path / 'abc'):
            pass


@pytest.mark.parametrize('score', ['softmax', 'l2'])
def test_one_class_alone_needs_a_score_that_compares_no_classes(score, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    images = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8)
    targets = torch.tensor([[0], [1]] * 4, dtype=torch.uint8)
    split = Split(images, targets, ('dog',), [f'{i}' for i in range(8)])
    data = Data(split, split, 'one class')
    with pytest.raises(ValueError, match="'dog' alone would get the same in every image: set score='cosine'"):
        run(make_config('zero-shot', 'own', score=score), progress=False, data=data)
    assert run(make_config('zero-shot', 'own'), progress=False, data=data).mAP['total'] > 0


@pytest.mark.parametrize('field', ['loss', 'loss2'])
def test_one_class_alone_cannot_be_ranked(field, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    images = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8)
    split = Split(images, torch.tensor([[0], [1]] * 4, dtype=torch.uint8), ('dog',), [f'{i}' for i in range(8)])
    cfg = make_config('coop', 'own', **{field: 'ranking'})
    with pytest.raises(ValueError, match=f"{field}='ranking' sets classes against each other, and 'dog' is alone"):
        run(cfg, progress=False, data=Data(split, split, 'one class'))


def test_the_loss_of_clip_needs_a_batch_of_several():
    with pytest.raises(ValueError, match='contrast_weight compares the images of a batch'):
        make_config('lm-clip', 'icon-voc-lt', batch_size=1)
