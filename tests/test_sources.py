"Sources as their users have them: a Hugging Face data set, pairs in memory, folders, a validation split of one's own."

import io, json
from pathlib import Path

import numpy as np, pandas as pd, pytest, torch
from PIL import Image

import hpdval
from hpdval import core
from hpdval.config import make_config
from hpdval.data import Split
from hpdval.experiment import config_clip, load_benchmark, run
from hpdval.sources import Source, once

NAMES = ['apple', 'car', 'dog']
COLOURS = dict(apple=(200, 40, 40), car=(40, 60, 200), dog=(40, 180, 60))
TINY = dict(loss='bce', augment='none', epochs1=2, batch_size=16, lr1=1e-3, device='cpu')


def pictures(n, seed):
    "Pairs of a picture and the names of the coloured squares in it."
    rng = np.random.default_rng(seed)
    out = []
    for i in range(n):
        shown = [name for k, name in enumerate(NAMES) if rng.random() < 0.5 or i % 3 == k]
        a = rng.integers(90, 160, (64, 64, 3)).astype(np.uint8)
        for k, name in enumerate(NAMES):
            if name in shown:
                a[4 + 20 * k : 20 + 20 * k, 10:50] = COLOURS[name]
        out.append((Image.fromarray(a), shown))
    return out


def hugging_face(pairs):
    "The same as a data set with an image column and a column of class labels."
    datasets = pytest.importorskip('datasets')
    features = datasets.Features(image=datasets.Image(), labels=datasets.Sequence(datasets.ClassLabel(names=NAMES)))
    rows = []
    for im, shown in pairs:
        file = io.BytesIO()
        im.save(file, 'png')
        rows.append(dict(image=dict(bytes=file.getvalue()), labels=[NAMES.index(s) for s in shown]))
    return datasets.Dataset.from_list(rows, features=features)


@pytest.fixture(scope='module')
def splits():
    return pictures(48, 0), pictures(24, 1), pictures(12, 2)


def test_a_hugging_face_data_set_and_pairs_are_the_same_data(splits, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    train, test, _ = splits
    cfg = make_config('dval', 'memory', **TINY)
    pairs = hpdval.from_samples(train, test)
    rows = hpdval.from_samples(hugging_face(train), hugging_face(test))
    a, b = (load_benchmark(cfg, data=source, progress=False) for source in (pairs, rows))
    assert a.digest == b.digest and a.classes == tuple(NAMES)
    r = run(cfg, progress=False, data=pairs)
    assert run(cfg, progress=False, data=rows).seconds == r.seconds  # found, not run again
    assert list(tmp_path.iterdir()) and not list(tmp_path.rglob('*.png'))  # nothing else was written


def as_files(folder, splits):
    "The same pictures in a folder for each split, one class per picture."
    for name, pairs in zip(('train', 'test', 'val'), splits):
        for i, (im, shown) in enumerate(pairs):
            (folder / name / shown[0]).mkdir(parents=True, exist_ok=True)
            im.save(folder / name / shown[0] / f'{i}.png')


def test_folders_with_a_validation_split_of_their_own(splits, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path / 'runs'))
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    as_files(tmp_path / 'pictures', splits)
    cfg = make_config('dval', 'folder', image_root=str(tmp_path / 'pictures'), **TINY)
    r = run(cfg, progress=False)
    assert sum(r.counts) == 48  # none of them is held out
    data = load_benchmark(cfg, progress=False)
    assert len(data.val.targets) == 12 and all(h['mAP'] > 0 for h in r.history)


def test_tables_with_a_validation_split_of_their_own(splits, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    for name, pairs in zip(('train', 'test', 'val'), splits):
        lines = ['path,labels']
        for i, (im, shown) in enumerate(pairs):
            im.save(tmp_path / f'{name}{i}.png')
            lines.append(f"{name}{i}.png,{';'.join(shown)}")
        (tmp_path / f'{name}.csv').write_text('\n'.join(lines) + '\n')
    where = dict(lists=str(tmp_path), image_root=str(tmp_path))
    with_val = load_benchmark(make_config('dval', 'own', **where, **TINY), progress=False)
    assert [len(s.targets) for s in (with_val.train, with_val.val, with_val.test)] == [48, 12, 24]
    with pytest.raises(ValueError, match='so val_fraction has no effect'):
        load_benchmark(make_config('dval', 'own', **where, **TINY | dict(val_fraction=0.4)), progress=False)
    (tmp_path / 'val.csv').unlink()
    without = load_benchmark(make_config('dval', 'own', **where, **TINY), progress=False)
    assert without.val is None and without.digest != with_val.digest


def test_other_pixels_are_other_data(splits, tmp_path, monkeypatch):
    "Equal names and labels, another folder of pictures: another name, in one process."
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    digests = set()
    for folder, change in (('a', lambda im: im), ('b', lambda im: Image.new('RGB', im.size))):
        changed = [[(change(im), shown) for im, shown in pairs] for pairs in splits[:2]]
        as_files(tmp_path / folder, changed)
        cfg = make_config('zero-shot', 'folder', image_root=str(tmp_path / folder), device='cpu')
        digests.add(load_benchmark(cfg, progress=False).digest)
    assert len(digests) == 2


def test_two_test_sets_of_one_name_do_not_share_a_run(splits, tmp_path, monkeypatch):
    "The name of hand-made data is a text: what they hold stands behind it."
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    cfg = make_config('zero-shot', 'memory', device='cpu')
    size = config_clip(cfg).visual.size
    data = hpdval.from_samples(*splits[:2])(cfg, size)
    runs = []
    for test in (data.test, data.test.at(range(12)), data.test._replace(images=255 - data.test.images)):
        runs.append(run(cfg, progress=False, data=hpdval.Data(data.train, test, 'mine')))
    assert len({r.hash for r in runs}) == 3 and [len(r.scores) for r in runs] == [24, 12, 24]
    made = lambda cfg, size, progress: hpdval.Data(data.train, data.test, 'mine')  # a source of the user's own
    assert run(cfg, progress=False, data=made).hash == runs[0].hash
    monkeypatch.setitem(hpdval.SOURCES, 'made', Source(made, 'a source in the registry'))
    assert load_benchmark(make_config("zero-shot", "made", device="cpu"), progress=False).digest == runs[0].data


def said_of(folder, benchmark, monkeypatch):
    "The data in a folder, and what was said of them, without the folder."
    said = []
    monkeypatch.setattr('hpdval.sources.say', lambda line, once=False: said.append(line.replace(f'{folder}/', '')))
    monkeypatch.setenv('HPDVAL_CACHE', str(folder / 'cache'))
    where = dict(image_root=str(folder)) | (dict(lists=str(folder)) if benchmark == 'own' else {})
    data = load_benchmark(make_config('zero-shot', benchmark, device='cpu', **where), progress=True)
    return data, said


@pytest.mark.parametrize('known', [False, True])  # are the pictures decoded already?
def test_copies_of_training_images_are_said(known, splits, tmp_path, monkeypatch):
    as_files(tmp_path, splits)
    first = {s: sorted(f for f in (tmp_path / s).rglob('*.png'))[0] for s in ('train', 'test', 'val')}
    copies = 'test/dog/copy 1.png', 'test/dog/copy 2.png', 'val/dog/copy.png', 'train/dog/zz.png'
    for name in copies:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(first['train'].read_bytes())
    (tmp_path / 'test/apple/val.png').write_bytes(first['val'].read_bytes())
    for _ in range(1 + known):
        _, said = said_of(tmp_path, 'folder', monkeypatch)
    a, b = (str(first[s].relative_to(tmp_path)) for s in ('train', 'val'))
    twice = [line for line in said if ' is ' in line]
    assert twice == [
        f'train: 1 image there twice, with other labels (train/dog/zz.png is {a})',
        f'2 of 27 images of test are in train too (test/dog/copy 1.png is {a})',
        f'1 of 13 images of val are in train too (val/dog/copy.png is {a})',
        f'3 of 27 images of test are in val too (test/apple/val.png is {b})',
    ]


def test_a_record_of_an_older_version_is_made_again(splits, tmp_path, monkeypatch):
    as_files(tmp_path, splits[:2])
    data, _ = said_of(tmp_path, 'folder', monkeypatch)
    for record in (tmp_path / 'cache').glob('*.json'):
        old = json.loads(record.read_text())
        del old['files']
        record.write_text(json.dumps(old))
    again, _ = said_of(tmp_path, 'folder', monkeypatch)
    assert again.digest == data.digest and again.test.files == data.test.files and len(data.test.files) == 24


def test_what_is_no_picture_of_a_class_is_left_out(splits, tmp_path, monkeypatch):
    as_files(tmp_path, splits[:2])
    right, _ = said_of(tmp_path, 'folder', monkeypatch)
    for hidden in (
        '.ipynb_checkpoints/1.png',
        'car/.ipynb_checkpoints/1.png',
        '__MACOSX/._x.png',
        'car/._1.png',
        '.a.png',
    ):
        (tmp_path / 'train' / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / 'train' / hidden).write_bytes(b'')
    (tmp_path / 'train/car/Thumbs.db').write_bytes(b'')
    data, _ = said_of(tmp_path, 'folder', monkeypatch)
    assert data.classes == right.classes == tuple(NAMES) and data.digest == right.digest


def test_pictures_that_a_table_does_not_name_are_counted(splits, tmp_path, monkeypatch):
    as_files(tmp_path, splits[:2])
    named = sorted(f.relative_to(tmp_path / 'train').as_posix() for f in (tmp_path / 'train').rglob('*.png'))
    lines = [f'{p},{p.split("/")[0]}' for p in named[3:]]
    (tmp_path / 'train/metadata.csv').write_text('\n'.join(['file_name,labels', *lines]))
    data, said = said_of(tmp_path, 'folder', monkeypatch)
    assert f'train: 3 pictures left out, not in metadata.csv ({", ".join(named[:3])})' in said
    assert len(data.train.paths) == 45


def test_test_images_that_are_training_images_are_said_of_tables_and_of_samples(splits, tmp_path, monkeypatch):
    train, test, _ = splits
    for name, pairs in (('train', train[:6]), ('test', [*test[:3], train[0]])):
        for i, (im, _) in enumerate(pairs):
            im.save(tmp_path / f'{name}{i}.png')
        lines = [f'{name}{i}.png,{";".join(shown)}' for i, (_, shown) in enumerate(pairs)]
        (tmp_path / f'{name}.csv').write_text('\n'.join(['path,labels', *lines]))
    _, said = said_of(tmp_path, 'own', monkeypatch)
    assert said[-1] == '1 of 4 images of test.csv are in train.csv too (test3.png is train0.png)'
    said.clear()
    samples = hpdval.from_samples(train[:6], [*test[:3], train[0]])
    load_benchmark(make_config('zero-shot', 'memory', device='cpu'), data=samples, progress=True)
    assert said[-1] == '1 of 4 images of test are in train too (test/00003 is train/00000)'
    assert said[0].startswith('train: 6 images, 3 classes (apple ')


MEMORY = dict(benchmark='memory', device='cpu')


def as_rows(pairs):
    return [dict(image=im, labels=shown) for im, shown in pairs]


class Indexed:
    "A data set as torch has them: a length, and a pair for each number."

    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        return self.pairs[i]


SAMPLES = {
    'pairs': list,
    'a tuple of pairs': tuple,
    'a generator': iter,
    'rows': as_rows,
    'a DataFrame': lambda pairs: pd.DataFrame(as_rows(pairs)),
    'a data set': Indexed,
    'zip': lambda pairs: zip([im for im, _ in pairs], [y for _, y in pairs]),
}


@pytest.mark.parametrize('form', SAMPLES.values(), ids=SAMPLES)
def test_samples_in_every_form_are_the_same_data(form, splits):
    cfg = make_config('zero-shot', **MEMORY)
    right = load_benchmark(cfg, data=hpdval.from_samples(*splits[:2]), progress=False)
    found = load_benchmark(cfg, data=hpdval.from_samples(*map(form, splits[:2])), progress=False)
    assert found.digest == right.digest and found.classes == tuple(NAMES)


def test_a_table_of_samples_may_name_its_columns_and_its_pictures(splits, tmp_path):
    splits = splits[0][:30], splits[1]
    tables = []
    for k, pairs in enumerate(splits):
        for i, (im, _) in enumerate(pairs):
            im.save(tmp_path / f'{k}-{i}.png')
        rows = [dict(path=str(tmp_path / f'{k}-{i}.png'), seen=shown, note=i) for i, (_, shown) in enumerate(pairs)]
        tables.append(pd.DataFrame(rows))
    with pytest.raises(ValueError, match='which column holds the images. Say image=...; there are path, seen, note'):
        hpdval.from_samples(*tables)
    cfg = make_config('zero-shot', **MEMORY)
    found = load_benchmark(cfg, data=hpdval.from_samples(*tables, image='path', label='seen'), progress=False)
    assert found.digest == load_benchmark(cfg, data=hpdval.from_samples(*splits), progress=False).digest


X, Y = torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.eye(2)
NO_SAMPLES = [
    ('train.csv', "samples are .image, labels., got 'train.csv': a table or a folder is benchmark='own' or 'folder'"),
    (Path('train'), "benchmark='own' or 'folder'"),
    ((X, Y), r'these are all images and all labels: hand over list\(zip\(images, labels\)\)'),
    ([X.numpy(), Y.numpy()], 'these are all images and all labels'),
    (Split(X, Y, ('a', 'b'), ['', '']), r'a Split is not made of samples: hand Data over as it is'),
    (3, r'samples must be a sequence of \(image, labels\), got a int'),
    ([], 'there are no samples'),
    (pd.DataFrame(dict(image=[], label=[])), 'there are no samples'),
    (pd.DataFrame(dict(cat=[1], dog=[0])), 'which column holds the images'),
    (X, 'sample 0 must be a pair'),
    (dict(train=[], test=[]), 'these are several splits'),
]


@pytest.mark.parametrize('given, message', NO_SAMPLES, ids=[type(g).__name__ for g, _ in NO_SAMPLES])
def test_what_are_no_samples_is_one_line(given, message):
    with pytest.raises(ValueError, match=message) as e:
        hpdval.from_samples(given, given)
    assert '\n' not in str(e.value)


NO_DATA = [
    (hpdval.Data, r'got the class Data: give an object, such as Data\(train, test, digest\) or from_samples'),
    (dict, 'got the class dict'),
    ('data/', 'data must be `Data` or a source, which gives `Data`, got str'),
    (([], []), r'got tuple: from_samples\(train, test\) makes a source'),
    (pd.DataFrame(), 'got DataFrame'),
    (lambda cfg, size, progress: None, 'got NoneType'),
]


@pytest.mark.parametrize('data, message', NO_DATA)
@pytest.mark.parametrize('call', [run, lambda cfg, **how: hpdval.compare(['zero-shot'], **MEMORY, **how)])
def test_what_are_no_data_is_one_line(call, data, message):
    cfg = make_config('zero-shot', **MEMORY)
    with pytest.raises(ValueError, match=message) as e:
        call(cfg, progress=False, data=data)
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('benchmark, fields', [('own', ('lists', 'image_root')), ('folder', ('image_root',))])
def test_folders_beside_data_in_memory_are_refused(benchmark, fields, splits, tmp_path):
    source = hpdval.from_samples(*splits[:2])
    data = source(make_config('zero-shot', **MEMORY), 64, False)
    cfg = make_config('zero-shot', benchmark, device='cpu', **{k: str(tmp_path) for k in fields})
    for given in (source, data):
        with pytest.raises(ValueError, match=f"handed over, so {' and '.join(sorted(fields)[::-1])} would not be read"):
            load_benchmark(cfg, data=given, progress=False)
    seen = []
    own = lambda cfg, size, progress: seen.append(cfg.image_root) or data  # a source of one's own may read them
    load_benchmark(cfg, data=own, progress=False)
    assert seen == [str(tmp_path)]


def test_data_that_a_config_made_are_taken_back_and_it_is_said(splits, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    as_files(tmp_path, splits)
    cfg = make_config('zero-shot', 'folder', image_root=str(tmp_path), device='cpu')
    data = load_benchmark(cfg, progress=False)
    capsys.readouterr()
    core._print_once.cache_clear()
    again = load_benchmark(cfg, data=data, progress=False)
    assert again.digest.startswith(data.digest)
    assert f'the data are handed over ({data.digest}): image_root is not read again\n' in capsys.readouterr().err


def test_data_in_memory_under_the_name_of_a_folder_are_said(splits, capsys):
    core._print_once.cache_clear()
    load_benchmark(make_config('zero-shot', 'own', device='cpu'), data=hpdval.from_samples(*splits[:2]), progress=False)
    said = "data were handed over, so those of benchmark='own' are not read; 'memory' is its name\n"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize('kind', ['folder', 'memory'])
def test_data_of_another_transform_are_refused(kind, splits, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    wide = [[(im.resize((96, 64)), shown) for im, shown in pairs] for pairs in splits]
    as_files(tmp_path, wide)
    where = dict(image_root=str(tmp_path)) if kind == 'folder' else {}
    source = hpdval.from_samples(*wide) if kind == 'memory' else None
    data = {}
    for transform in ('clip', 'squash', 'pad', 'official'):
        cfg = make_config('zero-shot', kind, device='cpu', transform=transform, **where)
        data[transform] = load_benchmark(cfg, data=source, progress=False)
    for made, d in data.items():
        for wanted in data:
            cfg = make_config('zero-shot', kind, device='cpu', transform=wanted, **where)
            if made == wanted:
                assert load_benchmark(cfg, data=d, progress=False).digest.startswith(d.digest)
                continue
            part = d._replace(test=d.test.at(range(12)), val=None)  # a part of it is of the same making
            for given in (d, part):
                with pytest.raises(ValueError, match=f"made with transform='{made}', and the config has '{wanted}'"):
                    load_benchmark(cfg, data=given, progress=False)
    if source:  # a source makes them anew
        cfg = make_config('zero-shot', kind, device='cpu', transform='pad')
        assert load_benchmark(cfg, data=source, progress=False).digest == data['pad'].digest


def test_images_of_another_size_are_refused(splits):
    cfg = make_config('zero-shot', **MEMORY)
    data = hpdval.from_samples(*splits[:2])(cfg, 32, False)
    with pytest.raises(ValueError, match='the train images are 32 px, and mini takes 64 px: hand over a source'):
        run(cfg, progress=False, data=data)


def counted(splits):
    "A source of samples, and for which sizes and transforms it was asked."
    source, asked = hpdval.from_samples(*splits[:2]), []

    def load(cfg, size, progress=True):
        asked.append((size, cfg.transform))
        return source(cfg, size, progress)

    load.reads = source.reads
    return load, asked


def test_a_comparison_reads_samples_once(splits, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    source, asked = counted(splits)
    summary, _ = hpdval.compare(['zero-shot', 'zero-shot-dual'], [0, 1], False, source, **MEMORY)
    assert asked == [(64, 'clip')]
    single = run(make_config('zero-shot', **MEMORY), False, hpdval.from_samples(*splits[:2]))
    assert summary['methods']['Zero-shot CLIP']['hashes'][0] == single.hash
    assert summary['counts'] == dict(zip(single.classes, single.counts))


def test_a_source_of_ones_own_is_asked_for_every_run(splits, tmp_path, monkeypatch):
    "It may read the seed, for all that is known."
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    source, asked = counted(splits)
    seeds = []

    def own(cfg, size, progress=True):
        seeds.append(cfg.seed)
        return source(cfg, size, progress)

    hpdval.compare(['zero-shot'], [3, 4], False, own, **MEMORY)
    assert {3, 4} <= set(seeds)


def test_once_keeps_one_transform_and_reads_another_anew(splits):
    source, asked = counted(splits)
    kept = once(source)
    clip, squash = (make_config('zero-shot', transform=t, **MEMORY) for t in ('clip', 'squash'))
    a, b = kept(clip, 64), kept(clip, 64)
    assert a is b and kept(squash, 64).train.transform == 'squash' and kept(clip, 64).train.transform == 'clip'
    assert asked == [(64, 'clip'), (64, 'squash'), (64, 'clip')]
    assert once(hpdval.Data) is hpdval.Data and once(None) is None
