"Sources as their users have them: a Hugging Face data set, pairs in memory, folders, a validation split of one's own."

import enum, io, json
from collections import UserDict, namedtuple
from types import SimpleNamespace
from pathlib import Path

import numpy as np, pandas as pd, pytest, torch
from PIL import Image, features
from scipy.sparse import csr_array, csr_matrix

import hpdval, hpdval.data
from hpdval import core
from hpdval.config import make_config
from hpdval.data import Split
from hpdval.experiment import config_clip, load_benchmark, run
from hpdval.sources import Data, Source, check_data, from_samples, load_data, once, pictures_in

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


TURNED = ['dog', 'apple', 'car']


class Folderlike(list):
    "Pairs with class numbers, as torchvision's data sets are."

    classes = NAMES
    class_to_idx = {c: i for i, c in enumerate(NAMES)}


def as_iterable(pairs):
    return hugging_face(pairs).to_iterable_dataset()


def as_part(pairs):
    return torch.utils.data.Subset(hugging_face([*pairs, *pairs]), range(len(pairs)))


def as_folderlike(pairs):
    return Folderlike((im, [NAMES.index(c) for c in shown]) for im, shown in pairs)


def as_vectors(pairs):
    return Folderlike((im, [float(c in shown) for c in NAMES]) for im, shown in pairs)


def as_two(pairs):
    half = len(pairs) // 2
    return torch.utils.data.ConcatDataset([as_folderlike(pairs[:half]), as_folderlike(pairs[half:])])


FORMS = [hugging_face, as_iterable, as_part, as_folderlike, as_vectors, as_two]


@pytest.mark.parametrize('form', FORMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize('classes', [None, NAMES, TURNED, [*TURNED, 'owl'], dict(zip(TURNED, range(3)))])
def test_a_class_number_means_the_class_of_its_data_set(form, classes, splits):
    "In whatever order the names are asked for: as if the labels had been names."
    train, test, _ = splits
    cfg = make_config('zero-shot', 'memory', device='cpu')
    right, got = (
        hpdval.from_samples(*pair, classes=classes)(cfg, 8) for pair in ((train, test), (form(train), form(test)))
    )
    assert got.classes == right.classes == tuple(classes or NAMES)
    for a, b in ((got.train, right.train), (got.test, right.test)):
        assert torch.equal(a.targets, b.targets) and a.targets.any()


def test_what_is_put_in_another_order_is_said(splits, monkeypatch):
    said = []
    monkeypatch.setattr('hpdval.sources.say', lambda line, once=False: said.append(line))
    train, test, _ = splits
    hpdval.from_samples(hugging_face(train), hugging_face(test), classes=TURNED)
    assert said == ['class numbers of train and test are those of the data set, put in the order of classes=']
    hpdval.from_samples(hugging_face(train), hugging_face(test), classes=NAMES)
    assert len(said) == 1


def test_a_table_of_pandas_is_rows(splits):
    table = lambda pairs: pd.DataFrame(dict(image=[im for im, _ in pairs], labels=[y for _, y in pairs]))
    cfg = make_config('zero-shot', 'memory', device='cpu')
    a, b = (hpdval.from_samples(*parts)(cfg, 8) for parts in (splits[:2], map(table, splits[:2])))
    assert torch.equal(a.train.targets, b.train.targets) and torch.equal(a.test.images, b.test.images)


def test_numbers_without_names_of_their_own_are_those_of_classes(splits):
    "A column that calls its classes '0', '1' and '2' says nothing of them; nor does one that was changed since."
    datasets = pytest.importorskip('datasets')
    cfg = make_config('zero-shot', 'memory', device='cpu')
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(num_classes=3))
    rows = datasets.Dataset.from_list([dict(image=im, label=i) for i, (im, _) in enumerate(splits[0][:3])], features)
    changed = Folderlike((im, i) for i, (im, _) in enumerate(splits[0][:3]))
    changed.target_transform = lambda y: (y + 1) % 3
    for items in (rows, changed):
        data = hpdval.from_samples(items, items, classes=TURNED)(cfg, 8)
        assert data.classes == tuple(TURNED) and torch.equal(data.train.targets, torch.eye(3, dtype=torch.uint8))
        with pytest.raises(ValueError, match='labels are numbers: give the class names'):
            hpdval.from_samples(items, items)


def lights(folder, factors):
    "The same grey ramp in 16 bits (floats: .tif), in less and less light, as a data set of one class per picture."
    ramp = np.arange(256).reshape(16, 16)
    for name, split, factor in factors:
        where = folder / split / name.split('.')[0]
        where.mkdir(parents=True, exist_ok=True)
        kind = np.uint16 if name.endswith('.png') else np.float32
        Image.fromarray((ramp * factor).astype(kind)).save(where / name)
    return ramp


DEEP = [  # pictures of a data set (name, split, factor) -> what their brightest pixel must be
    (
        [('day.png', 'train', 257), ('dusk.png', 'train', 16), ('day.png', 'test', 257), ('dusk.png', 'test', 16)],
        255,
        15,
    ),
    ([('day.png', 'train', 257), ('dusk.png', 'train', 16), ('day.png', 'test', 16), ('dusk.png', 'test', 1)], 255, 15),
    ([('day.png', 'train', 16), ('dusk.png', 'train', 1), ('day.png', 'test', 16), ('dusk.png', 'test', 1)], 255, 15),
    (
        [('day.png', 'train', 1), ('dusk.png', 'train', 0.1), ('day.png', 'test', 1), ('dusk.png', 'test', 0.05)],
        255,
        25,
    ),
    (
        [('day.tif', 'train', 1), ('dusk.tif', 'train', 1 / 255), ('day.tif', 'test', 1), ('dusk.tif', 'test', 0.1)],
        255,
        1,
    ),
    (
        [
            ('day.tif', 'train', 1 / 255),
            ('dusk.tif', 'train', 1e-3),
            ('day.tif', 'test', 2e-3),
            ('dusk.tif', 'test', 1),
        ],
        1,
        0,
    ),
]


@pytest.mark.parametrize('pictures, day, dusk', DEEP)
def test_pictures_of_a_data_set_have_one_scale(pictures, day, dusk, tmp_path, monkeypatch):
    "Whatever a dark picture, or a split of dark ones, would say of itself."
    lights(tmp_path, pictures)
    for _ in range(2):  # the second time from the cache
        data, said = said_of(tmp_path, 'folder', monkeypatch)
        assert data.train.images.amax((1, 2, 3)).tolist() == [day, dusk]
    samples = [
        [(str(tmp_path / s / n.split('.')[0] / n), n[:3]) for n, t, _ in pictures if t == s] for s in ('train', 'test')
    ]
    handed = hpdval.from_samples(*samples)(make_config('zero-shot', 'memory', device='cpu'), 64)
    for a, b in ((handed.train, data.train), (handed.test, data.test)):
        assert torch.equal(a.images, b.images)
    assert data.peak == handed.peak != hpdval.data.Peak()


def test_how_pictures_of_16_bits_are_scaled_is_said(tmp_path, monkeypatch):
    lights(tmp_path, DEEP[0][0])
    said = []
    monkeypatch.setattr('hpdval.data.say', lambda line, once=False: said.append(line))
    said_of(tmp_path, 'folder', monkeypatch)
    rule = 'whole numbers up to 65535, divided by 256 (16 bits)'
    wide = f'2 of 2 images under {tmp_path} with more than 8 bits, all by one rule: {rule}'
    assert said == [f'{wide}; 1 image darker than alone ({s}/dusk/dusk.png)' for s in ('train', 'test')]


def test_splits_that_were_decoded_apart_are_refused_where_their_scales_differ(tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    lights(tmp_path, [('a.png', 'train', 257), ('a.png', 'test', 16)])
    cfg = make_config('zero-shot', 'memory', device='cpu')
    size = config_clip(cfg).visual.size
    decode = hpdval.data.decode_split
    train, test = (decode(['a/a.png'], [[1]], ['a'], tmp_path / s, size, progress=False) for s in ('train', 'test'))
    with pytest.raises(
        ValueError, match=r'the test images were scaled by whole numbers up to 4080, divided by 16'
    ) as e:
        load_benchmark(cfg, data=hpdval.Data(train, test, 'mine'))
    assert '\n' not in str(e.value)
    again = decode(['a/a.png'], [[1]], ['a'], tmp_path / 'test', size, progress=False, peak=train.peak)
    assert load_benchmark(cfg, data=hpdval.Data(train, again, 'mine'), progress=False).test.images.max() == 15


def test_a_prediction_has_the_scale_of_the_training(tmp_path, monkeypatch, capsys):
    "A dark picture of 16 bits is not brightened because it comes alone."
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path / 'runs'))
    ramp = np.arange(256).reshape(16, 16)
    deep = [((ramp * f).astype(np.uint16), c) for f, c in ((257, 'dog'), (100, 'car'))]
    r = run(make_config('zero-shot', 'memory', device='cpu'), progress=False, data=hpdval.from_samples(deep, deep))
    model = hpdval.Classifier.load(r.folder, device='cpu')
    assert r.peak == [65535, 0.0] and model._image((ramp * 16).astype(np.uint16)).max() == 15
    assert model.predict([(ramp * 16).astype(np.uint16)]).equals(model.predict([(ramp // 16).astype(np.uint8)]))


def moved(tmp_path, splits, change):
    "The folders of `as_files` under another form: `change(folder of a split)` makes it."
    as_files(tmp_path, splits[:2])
    for split in ('train', 'test'):
        change(tmp_path / split, tmp_path / 'elsewhere' / split)


def without_endings(folder, _):
    for f in sorted(folder.rglob('*.png')):
        f.rename(f.with_suffix('') if int(f.stem) % 2 else f.with_suffix('.0001'))


def linked_class(folder, elsewhere):
    elsewhere.mkdir(parents=True)
    (folder / 'dog').rename(elsewhere / 'other name')
    (folder / 'dog').symlink_to(elsewhere / 'other name')


def linked_below(folder, elsewhere):
    "Half of a class's pictures lie in a folder that is a link."
    elsewhere.mkdir(parents=True)
    for f in sorted((folder / 'dog').iterdir())[::2]:
        f.rename(elsewhere / f.name)
    (folder / 'dog/more').symlink_to(elsewhere)


def linked_files(folder, elsewhere):
    elsewhere.mkdir(parents=True)
    for f in sorted(folder.rglob('*.png')):
        f.rename(elsewhere / f.name)
        f.symlink_to(elsewhere / f.name)


def linked_whole(folder, elsewhere):
    elsewhere.parent.mkdir(exist_ok=True)
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)


def by_date(folder, _):
    "In each class a folder for each of two years."
    for f in sorted(folder.rglob('*.png')):
        (f.parent / f'202{int(f.stem) % 2}').mkdir(exist_ok=True)
        f.rename(f.parent / f'202{int(f.stem) % 2}' / f.name)


def table_of(folder, table):
    named = sorted(f.relative_to(folder).as_posix() for f in folder.rglob('*.png'))
    rows = [dict(file_name=p, label=p.split('/')[0]) for p in named]
    (folder / table).write_text(
        pd.DataFrame(rows).to_csv(index=False) if table.endswith('csv') else '\n'.join(map(json.dumps, rows))
    )


def in_lines_of_json(folder, _):
    table_of(folder, 'metadata.jsonl')


def in_a_table(folder, _):
    table_of(folder, 'metadata.csv')


LAYOUTS = [
    without_endings,
    linked_class,
    linked_below,
    linked_files,
    linked_whole,
    by_date,
    in_lines_of_json,
    in_a_table,
]


@pytest.mark.parametrize('layout', LAYOUTS, ids=lambda f: f.__name__)
def test_a_folder_of_pictures_in_any_form_gives_the_same_data(layout, splits, tmp_path, monkeypatch):
    (tmp_path / 'plain').mkdir()
    as_files(tmp_path / 'plain', splits[:2])
    right, _ = said_of(tmp_path / 'plain', 'folder', monkeypatch)
    (tmp_path / 'other').mkdir()
    moved(tmp_path / 'other', splits, layout)
    data, _ = said_of(tmp_path / 'other', 'folder', monkeypatch)
    of = lambda s: {f: s.classes[y.argmax()] for f, y in zip(s.files, s.targets)}
    assert data.classes == right.classes
    for a, b in ((data.train, right.train), (data.test, right.test)):
        assert of(a) == of(b) and len(a.paths) == len(b.paths)


def test_what_is_left_out_of_a_folder_is_said(splits, tmp_path, monkeypatch):
    as_files(tmp_path, splits[:2])
    right, _ = said_of(tmp_path, 'folder', monkeypatch)
    first = sorted((tmp_path / 'train/dog').iterdir())[0]
    first.rename(first.with_suffix(''))
    (tmp_path / 'train/dog/notes.txt').write_text('BM of a dog')
    (tmp_path / 'train/LICENSE').write_text('free')
    (tmp_path / 'train/dog/Thumbs.db').write_bytes(b'')
    for name in ('unlabeled', 'results'):
        (tmp_path / name).mkdir()
    (tmp_path / 'unlabeled/a.png').write_bytes((first.with_suffix('')).read_bytes())
    (tmp_path / 'results/log.txt').write_text('')
    (tmp_path / 'classes.csv').write_text('')
    data, said = said_of(tmp_path, 'folder', monkeypatch)
    assert sum(data.train.counts()) == sum(right.train.counts())
    assert f'train: 1 file without an ending read as pictures (dog/{first.stem})' in said
    assert 'train: 2 files left out, no pictures (LICENSE, dog/notes.txt)' in said
    assert f'{tmp_path}: classes.csv, unlabeled/ left out, beside train, test' in said


def test_tables_beside_the_lists_are_said(splits, tmp_path, monkeypatch):
    for name, pairs in (('train', splits[0][:6]), ('test', splits[1][:4])):
        for i, (im, _) in enumerate(pairs):
            im.save(tmp_path / f'{name}{i}.png')
        lines = [f'{name}{i}.png,{";".join(shown)}' for i, (_, shown) in enumerate(pairs)]
        (tmp_path / f'{name}.csv').write_text('\n'.join(['path,labels', *lines]))
    for beside in ('extra.csv', 'captions.json', 'train.txt', 'notes.txt'):
        (tmp_path / beside).write_text('')
    _, said = said_of(tmp_path, 'own', monkeypatch)
    assert f'{tmp_path}: captions.json, extra.csv left out, beside train.csv, test.csv, val.csv' in said


LINKS = [
    ('train/dog/a.png', 'nowhere.png', 'train/dog/a.png is a link to nothing'),
    ('train/owl', 'nowhere', 'train/owl is a link to nothing'),
    ('train/dog/up', 'train', 'train/dog/up is a link to a folder that it lies in'),
]


@pytest.mark.parametrize('link, target, message', LINKS)
def test_a_link_that_leads_nowhere_or_back_is_refused(link, target, message, splits, tmp_path, monkeypatch):
    as_files(tmp_path, splits[:2])
    (tmp_path / link).symlink_to(tmp_path / target)
    with pytest.raises(ValueError, match=message) as e:
        said_of(tmp_path, 'folder', monkeypatch)
    assert '\n' not in str(e.value)


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


@pytest.mark.parametrize('label', [b'cow', [b'cow'], np.array([b'cow']), np.bytes_(b'cow'), bytearray(b'cow')])
def test_labels_in_bytes_are_names(label):
    "As HDF5 and NumPy's 'S' arrays hold them; as numbers they would be 99, 111 and 119."
    im = np.full((9, 9, 3), 90, np.uint8)
    data = hpdval.from_samples([(im, label), (im, 'ant')], [(im, label)])(make_config('zero-shot', **MEMORY), 8)
    assert data.classes == ('ant', 'cow') and data.train.targets.tolist() == [[0, 1], [1, 0]]


def test_a_list_with_capitals_in_its_name_is_named(tmp_path):
    (tmp_path / 'train.CSV').write_text('path,labels\n')
    with pytest.raises(FileNotFoundError, match='train.CSV is not read under this name: rename it train.csv'):
        hpdval.sources.find_lists(tmp_path, 'own')


def test_captions_beside_tables_of_ones_own_are_read(tmp_path):
    "captions.txt beside train.csv, a line for each picture, in any order."
    for split in ('train', 'test'):
        lines = ['path,dog,cat']
        for i in range(4):
            Image.new('RGB', (64, 64), (60 * i, 9, 9 if split == 'train' else 99)).save(tmp_path / f'{split}{i}.png')
            lines.append(f'{split}{i}.png,{i % 2},{1 - i % 2}')
        (tmp_path / f'{split}.csv').write_text('\n'.join(lines))
    said = [f'train{i}.png picture number {i}' for i in (2, 0, 3, 1)]
    (tmp_path / 'captions.txt').write_text('\n'.join(said))
    cfg = make_config('zero-shot', 'own', lists=str(tmp_path), image_root=str(tmp_path))
    data = load_benchmark(cfg, 64, progress=False)
    assert data.train.captions == [f'picture number {i}' for i in range(4)]


def test_absolute_paths_inside_the_image_folder_are_read(splits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    photos = tmp_path / 'photos'
    photos.mkdir()
    (tmp_path / 'link').symlink_to(photos)
    for k, name in enumerate('abcd'):
        Image.fromarray(np.full((9, 9, 3), 20 * k, np.uint8)).save(photos / f'{name}.png')
    front = {'train': f'{photos}//', 'test': ''}
    for split, names in dict(train='ab', test='cd').items():
        rows = [f'{front[split]}{name}.png,{label}' for name, label in zip(names, ('cat', 'dog'))]
        (tmp_path / f'{split}.csv').write_text('\n'.join(['path,labels', *rows, '']))
    for root in ('photos', str(photos), 'link', 'photos/../photos'):
        cfg = make_config('zero-shot', 'own', lists=str(tmp_path), image_root=root)
        assert load_data(cfg, 8, progress=False).train.paths == ['a.png', 'b.png']
    cfg = make_config('zero-shot', 'own', lists=str(tmp_path), image_root=str(tmp_path / 'cache'))
    with pytest.raises(ValueError, match="a.png' is an absolute path"):
        load_data(cfg, 8, progress=False)


@pytest.mark.parametrize('end,kind', [('.avif', 'avif'), ('.jp2', 'jpg_2000')])
def test_what_this_pillow_reads_is_a_picture_in_a_folder_too(end, kind, tmp_path):
    if not features.check(kind):
        pytest.skip(f'a Pillow without {kind}')
    Image.new('RGB', (8, 8), 'red').save(tmp_path / f'a{end}')
    (tmp_path / f'a{end}').replace(tmp_path / 'b')  # told by its content
    Image.new('RGB', (8, 8), 'red').save(tmp_path / f'a{end}')
    found = [f.name for f in pictures_in(tmp_path)]
    assert found == ([f'a{end}', 'b'] if kind == 'avif' else [f'a{end}'])


def test_one_class_may_be_told_by_0_and_1():
    pairs = [(np.full((9, 9, 3), k, np.uint8), [y]) for k, y in enumerate((1, 0, 1))]
    data = from_samples(pairs, pairs, classes=['cat'])(SimpleNamespace(transform='clip'), 8, False)
    assert data.train.targets.tolist() == [[1], [0], [1]]


def test_counts_of_classes_are_no_class_numbers():
    pairs = [(np.full((9, 9, 3), k, np.uint8), y) for k, y in enumerate(([0, 2, 1], [1, 0, 2], [0, 0, 2]))]
    with pytest.raises(ValueError, match='may be counts of 3 classes'):
        from_samples(pairs, pairs, classes=['a', 'b', 'c'])
    assert from_samples(pairs, pairs, classes=['a', 'b', 'c'], form='ids')


def test_rows_may_be_any_mapping():
    rows = [dict(image=np.full((9, 9, 3), k, np.uint8), labels=[y]) for k, y in enumerate(('cat', 'dog', 'cat'))]
    wrapped = [UserDict(row) for row in rows]
    plain, read = (from_samples(r, r)(SimpleNamespace(transform='clip'), 8, False) for r in (rows, wrapped))
    assert read.classes == plain.classes and torch.equal(read.train.targets, plain.train.targets)
    with pytest.raises(ValueError, match='these are several splits .train, test.: hand over one'):
        from_samples(UserDict(train=rows, test=rows), rows)


def test_a_table_is_no_label():
    pairs = [(np.full((9, 9, 3), k, np.uint8), pd.DataFrame({'cat': [1], 'dog': [0]})) for k in range(2)]
    with pytest.raises(ValueError, match='labels must be class names, class numbers or 0/1 vectors'):
        from_samples(pairs, pairs, classes=['cat', 'dog'])


def test_reading_is_for_tables_alone(splits, tmp_path):
    for split in ('train', 'test'):
        for name in ('cat', 'dog'):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new('RGB', (8, 8), 'red').save(tmp_path / split / name / '0.png')
    cfg = make_config('zero-shot', 'folder', image_root=str(tmp_path), reading='blanks=0')
    with pytest.raises(ValueError, match="has no table that reading='blanks=0' could be for"):
        load_data(cfg, 8, progress=False)


def test_folders_called_otherwise_than_classes_are_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    core.say.cache_clear() if hasattr(core.say, 'cache_clear') else None
    for split in ('train', 'test'):
        for k, name in enumerate(('Pepper,_bell___healthy', 'none', 'Class A')):
            (tmp_path / 'd' / split / name).mkdir(parents=True)
            Image.new('RGB', (8, 8), (9 * k, 0, 0)).save(tmp_path / 'd' / split / name / f'{split}.png')
    cfg = make_config('zero-shot', 'folder', image_root=str(tmp_path / 'd'))
    assert load_data(cfg, 8, progress=False).classes == ('Class A', 'Pepper,_bell___healthy', 'none')
    assert "'none' stands for no value" in capsys.readouterr().err


# Labels in every form


ROWS = pd.DataFrame([[1, 0, 1], [0, 1, 0], [0, 0, 1]], columns=['cat', 'dog', 'car'])
RIGHT = ROWS.to_numpy().tolist()


class Pet(enum.IntEnum):
    "Class numbers with names, as programs hold them."

    CAT, DOG, CAR = range(3)


def read_labels(labels, **how):
    "The targets of three pictures with these labels."
    pairs = [(np.full((9, 9, 3), 50 * k, np.uint8), y) for k, y in enumerate(labels)]
    how = dict(classes=['cat', 'dog', 'car']) | how
    return from_samples(pairs, pairs, **how)(SimpleNamespace(transform='clip'), 8, False).train.targets.tolist()


FORMS = {
    'rows of a table': [ROWS.loc[i] for i in range(3)],
    'rows in another order': [ROWS[['car', 'dog', 'cat']].loc[i] for i in range(3)],
    'rows of truth values': [ROWS[['dog', 'cat', 'car']].astype(bool).loc[i] for i in range(3)],
    'rows with numbers': [ROWS.set_axis([5, 3, 1], axis=1).loc[i] for i in range(3)],  # by their places
    'rows with numbers in order': [ROWS.set_axis([1, 2, 3], axis=1).loc[i] for i in range(3)],
    'class numbers of a filtered column': [pd.Series(c, list(range(len(c)))[::-1]) for c in ([0, 2], [1], [2])],
    'named tuples': list(ROWS[['dog', 'car', 'cat']].itertuples(index=False)),
    'records': list(ROWS[['dog', 'car', 'cat']].to_records(index=False)),
    'names with an index': [
        pd.Series(ROWS.columns[ROWS.loc[i] == 1], [f'label{k}' for k in range(ROWS.loc[i].sum())]) for i in range(3)
    ],
    'sparse tensors': [torch.tensor(r).to_sparse() for r in RIGHT],
    'sparse rows': [csr_matrix(RIGHT)[i] for i in range(3)],
    'sparse arrays': [csr_array(RIGHT)[i] for i in range(3)],
    'an enumeration': [[Pet.CAT, Pet.CAR], Pet.DOG, [Pet.CAR]],
    'numbers of torch': [[torch.tensor(0), torch.tensor(2)], torch.tensor(1), [torch.tensor(2)]],
}


@pytest.mark.parametrize('labels', FORMS.values(), ids=FORMS)
def test_labels_in_every_form_are_the_same_targets(labels):
    assert read_labels(labels) == RIGHT


def test_a_set_of_classes_has_no_order():
    split = Split(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), torch.tensor(RIGHT), {'cat', 'dog', 'car'}, list('abc'))
    with pytest.raises(ValueError, match='^the classes of the train split are a set, which has no order: give a list$'):
        check_data(Data(split, split, 'mine'), SimpleNamespace(transform='clip', empty_classes='keep'), 8)


def test_classes_whose_names_are_numbers_are_found_by_an_index_of_numbers():
    years = [pd.Series(r, [2020, 2021, 2019]) for r in RIGHT]
    assert read_labels(years, classes=['2020', '2021', '2019']) == RIGHT
    assert read_labels(years, classes=['2019', '2020', '2021']) == [[r[2], r[0], r[1]] for r in RIGHT]


def test_class_numbers_that_repeat_are_read_where_rows_differ_in_length():
    "As the boxes of pictures have them."
    assert read_labels([[0, 0, 2], [1], [2, 2]]) == RIGHT
    assert read_labels([[0, 2, 2], [1, 1, 1], [2, 2, 2]], form='ids') == RIGHT


def test_a_series_of_names_is_read_by_its_places():
    "Sorted by something else it has numbers of its own, which matter where labels are numbers."
    names = pd.Series(['car', 'cat', 'dog'], [2, 0, 1])
    for classes in (names.reset_index(drop=True), names.set_axis([4, 7, 9]), pd.Series(list(names), list('xyz'))):
        assert read_labels([[0, 2], 1, 2], classes=classes) == RIGHT
    assert read_labels([['car', 'dog'], ['cat'], ['dog']], classes=names) == RIGHT
    with pytest.raises(ValueError, match=r'^the index of classes= has other numbers \(2, 0, 1\) than the places'):
        read_labels([[0, 2], 1, 2], classes=names)


def test_named_tuples_of_numbers_are_numbers():
    pair = namedtuple('pair', 'coarse fine')
    assert read_labels([pair(0, 2), pair(1, 1), pair(2, 2)], form='ids') == RIGHT
    assert read_labels([pair(0, 2), pair(1, 3)], classes=list('abcd')) == [[1, 0, 1, 0], [0, 1, 0, 1]]


def test_a_split_may_show_one_class_alone():
    shown = [pd.Series([1], [i]) for i in (5, 6)]
    train = [(np.full((9, 9, 3), 90, np.uint8), y) for y in (pd.Series([0], [3]), *shown)]
    data = from_samples(train, train[1:], classes=['cat', 'dog'])(SimpleNamespace(transform='clip'), 8, False)
    assert data.test.targets.tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize('name', ['(background)', '[unknown]', '(left) lung (right)', '{x}'])
def test_a_name_in_brackets_is_a_name(name):
    assert sorted(read_labels([name, 'cat'], classes=None)) == [[0, 1], [1, 0]]


def test_an_index_that_names_the_classes_says_that_these_are_vectors():
    "Two classes, of which each picture shows one: as plain lists they may be class numbers too."
    two = [pd.Series(values, ['dog', 'cat']) for values in ([0, 1], [1, 0], [0, 1])]
    assert read_labels(two, classes=['cat', 'dog']) == [[1, 0], [0, 1], [1, 0]]
    with pytest.raises(ValueError, match="say form='ids' or form='vectors'"):
        read_labels([[0, 1], [1, 0], [0, 1]], classes=['cat', 'dog'])


NO_LABELS = [
    ([ROWS.rename(columns=dict(car='van')).loc[i] for i in range(3)], {}, r"other classes than classes= \('van'\)"),
    (
        [ROWS[['cat', 'dog']].loc[i] for i in range(3)],
        {},
        r"other classes than classes= \('car'\): give each class once",
    ),
    ([(2 * ROWS).loc[i] for i in range(3)], {}, 'must be 0 and 1, got 2'),
    (list(ROWS.itertuples()), {}, r"names other classes than classes= \('Index'\)"),
    ([[1, 2, 0, 0], [2, 0, 0, 0]], dict(classes=list('abcde')), r'such as \[1, 2, 0, 0\] may be filled up: hand over'),
    ([[1, 0], [0, 1], [1, 0]], {}, r'such as \[1, 0\] look like 0/1 vectors of 2 classes, and there are 3: say'),
    (
        [ROWS.set_axis([7, 8, 9], axis=1).loc[i][lambda r: r > 0] for i in range(3)],
        {},
        'all labels are 1, in rows with',
    ),
    ([pd.Series(r, [0, 1, 2]) for r in RIGHT], dict(classes=list('201')), r'in another order \(0, 1, 2\)'),
    ([[r] for r in np.array(RIGHT)], {}, 'labels must be'),
    ([np.array([r]) for r in RIGHT], {}, r'have one axis, got the shape \[1, 3\]: labels\[0\]'),
    (
        ["['cat']", "['dog']", "['car']"],
        dict(classes=None),
        r'train: "\[\'cat\'\]" is a list as text: hand over the list',
    ),
    (['100', '010', '001'], dict(classes=None), "train: '100' may be 0 and 1 of the classes as text"),
    (
        ['Cat', 'dog', 'car'],
        {},
        r"^train: no class: 1 label .*; there are 3 classes, one of them spelled 'cat', not 'Cat'$",
    ),
    (['Caf\u00e9', 'dog'], dict(classes=['Cafe\u0301', 'dog']), r"one of them spelled 'Cafe\\u0301', not 'Caf\\xe9'$"),
    ([ROWS.set_axis([1, 2, 0], axis=1).loc[i] for i in range(3)], {}, r'in another order \(1, 2, 0\): hand over'),
    ([ROWS.set_axis([3, 2, 1], axis=1).loc[i] for i in range(3)], dict(form='vectors'), r'another order \(3, 2, 1\)'),
    ([ROWS.astype('Int64').mask(ROWS == 1).loc[i] for i in range(3)], {}, 'must be 0 and 1, got <NA>'),
    ([['cat', None], ['dog'], ['car']], {}, r'got None: leave it out, an image of no class has the labels \[\]'),
    ([['cat', pd.NA], ['dog'], ['car']], {}, 'got <NA>: leave it out'),
    ([['cat', np.nan], ['dog'], ['car']], dict(form='names'), 'got nan: leave it out'),
    ([np.ma.array(r, mask=[0, 1, 0]) for r in RIGHT], {}, 'got None: leave it out'),
    ([['cat'], [1], []], {}, "must be all names or all numbers, got 'cat' and 1"),
    ([['cat'], [1], []], dict(form='names'), "not all names, got 1: leave form='names' out"),
    ([[0, 1, -1], [1, 0, 0], [0, 0, 1]], {}, r'\[0, 1, -1\] have -1, which may mean unknown, or no: write 0 or 1'),
    ([[0.0, 1.0, -1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], {}, 'have -1, which may mean unknown'),
    ([[1, 1, -1], [1, -1, -1], [-1, -1, 1]], {}, 'have -1, which may mean unknown'),
    ([[0, 1, -1], [1, 0, 0], [0, 0, 1]], dict(form='vectors'), 'have -1, which may mean unknown'),
]


@pytest.mark.parametrize('labels, how, message', NO_LABELS)
def test_what_are_no_labels_is_one_line(labels, how, message):
    with pytest.raises(ValueError, match=message) as e:
        read_labels(labels, **how)
    assert '\n' not in str(e.value)


def test_samples_in_a_series_are_taken_by_their_places():
    pairs = [(np.full((9, 9, 3), 50 * k, np.uint8), [n]) for k, n in enumerate(('cat', 'dog', 'owl'))]
    wanted = from_samples(pairs, pairs)(SimpleNamespace(transform='clip'), 8, False)
    given = pd.Series(pairs, [7, 0, 5])
    found = from_samples(given, given)(SimpleNamespace(transform='clip'), 8, False)
    assert torch.equal(found.train.images, wanted.train.images) and found.classes == wanted.classes


ODD_ROWS = [
    ([dict(image=X[0], label='cat'), dict(image=X[0])], "sample 1 has no 'label', as the first has"),
    ([dict(image=X[0], label='cat'), dict(label='dog')], "sample 1 has no 'image', as the first has"),
    ([dict(image=X[0], label='cat'), (X[0], 'dog')], 'sample 1 must be a row with image and label, got tuple'),
    (pd.Series([*X.numpy()], ['cat', 'dog']), r'sample 0 must be a pair \(image, labels\)'),
    (pd.Series(['a.png', 'b.png'], ['cat', 'dog']), r"sample 0 must be a pair \(image, labels\), got str 'a.png'"),
]


@pytest.mark.parametrize('given, message', ODD_ROWS)
def test_rows_that_are_not_alike_are_one_line(given, message):
    with pytest.raises(ValueError, match=message) as e:
        from_samples(given, given)
    assert '\n' not in str(e.value)


def a_split(**changes):
    "Two pictures, one of each class."
    plain = dict(images=X, targets=torch.tensor([[1, 0], [0, 1]]), classes=('cat', 'dog'), paths=['a.png', 'b.png'])
    return Split(**plain | changes)


TAKEN = [
    dict(targets=torch.eye(2).to_sparse()),
    dict(targets=csr_array(np.eye(2, dtype=int))),
    dict(paths=np.array(['a.png', 'b.png'])),
    dict(paths=pd.Index(['a.png', 'b.png'])),
    dict(paths=pd.Series(['a.png', 'b.png'], [1, 0])),
    dict(captions=np.array(['a cat', 'a dog']), files=('1', '2')),
]


@pytest.mark.parametrize('changes', TAKEN)
def test_a_split_of_other_containers_is_taken(changes):
    cfg = make_config('zero-shot', **MEMORY)
    wanted, found = (load_data(cfg, 8, False, hpdval.Data(s, s, 'x')) for s in (a_split(), a_split(**changes)))
    assert found.digest == wanted.digest and found.train.paths == ['a.png', 'b.png']
    assert found.train.captions == (['a cat', 'a dog'] if 'captions' in changes else None)
    assert found.train.at([1]).paths == ['b.png']


@pytest.mark.parametrize('paths', ['ab', {'a.png', 'b.png'}, {'a.png': 1, 'b.png': 2}, 3, iter('ab')])
def test_paths_without_a_place_for_each_image_are_refused(paths):
    s = a_split(paths=paths)
    with pytest.raises(ValueError, match='the train paths must be a list with one for each image, got'):
        load_data(make_config('zero-shot', **MEMORY), 8, False, hpdval.Data(s, s, 'x'))


def test_an_image_of_no_class_beside_labels_that_name_theirs():
    picture, classes = np.zeros((64, 64, 3), np.uint8), ['cat', 'dog']
    a, b = (pd.Series(values, ['dog', 'cat']) for values in ([1, 0], [0, 1]))
    pairs = [(picture, label) for label in (a, b, [])]
    cfg = make_config('zero-shot', 'memory', image_size=32)
    data = from_samples(pairs, pairs, classes=classes)(cfg, 32, progress=False)
    assert data.train.targets.tolist() == data.test.targets.tolist() == [[0, 1], [1, 0], [0, 0]]
