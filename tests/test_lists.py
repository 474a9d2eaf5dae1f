"Properties of the list formats that hold for any content, and many files with what each is answered."

import contextlib, csv, gzip, hashlib, http.server, json, random, re, threading
from functools import partial

import numpy as np, pytest
from hypothesis import given, settings, strategies as st

from hpdval.lists import (
    COCO_IDS,
    Origin,
    _any_scattered,
    _scattered,
    check_list,
    class_key,
    cut_longtail,
    fetch_lists,
    normal_path,
    overlap,
    read_captions,
    read_coco_json,
    read_csv,
    read_jsonl,
    read_list,
    reference_counts,
    restrict,
    usable_paths,
    visiting_order,
    write_list,
)

few = settings(max_examples=60, deadline=None)
names = st.text('abcXYZ019_-./äß,"', min_size=1, max_size=12).filter(
    lambda s: not s.startswith('/') and normal_path(s).split('/')[0] != '..'
)
labels = st.integers(1, 6).flatmap(
    lambda c: st.lists(st.lists(st.booleans(), min_size=c, max_size=c), min_size=1, max_size=8)
)


@few
@given(st.data())
def test_a_list_reads_back_as_written(tmp_path_factory, data):
    Y = np.array(data.draw(labels), np.uint8)
    paths = data.draw(st.lists(names, min_size=len(Y), max_size=len(Y), unique_by=normal_path))
    file = tmp_path_factory.mktemp('lists') / 'a.txt'
    write_list(file, paths, Y)
    got_paths, got = read_list(file, Y.shape[1])
    assert got_paths == paths and (got == Y).all()


@few
@given(labels)
def test_names_and_columns_say_the_same(tmp_path_factory, rows):
    Y = np.array(rows, np.uint8)
    classes = [f'class {i}' for i in range(Y.shape[1])]
    d = tmp_path_factory.mktemp('csv')
    csv = lambda head, cells: head + '\n' + ''.join(f'{i} x.jpg,{cells(y)}\n' for i, y in enumerate(Y))
    (d / 'names.csv').write_text(csv('path,labels', lambda y: '; '.join(c for c, v in zip(classes, y) if v)))
    (d / 'columns.csv').write_text(csv(','.join(['path', *classes]), lambda y: ','.join(map(str, y))))
    a, b = read_csv(d / 'names.csv', classes), read_csv(d / 'columns.csv')
    assert a[0] == b[0] and a[2] == b[2] == classes and (a[1] == Y).all() and (b[1] == Y).all()


@few
@given(st.lists(st.lists(st.sampled_from(['cat', 'hot dog', 'cow']), unique=True, max_size=3), min_size=1, max_size=6))
@pytest.mark.parametrize('sep', [';', '|', ', '])
@pytest.mark.parametrize('delimiter', [',', ';', '\t'])
def test_any_separators_give_the_same_labels(tmp_path_factory, sep, delimiter, rows):
    file = tmp_path_factory.mktemp('csv') / 'a.csv'
    lines = [f'{i}.jpg{delimiter}"{sep.join(r)}"' for i, r in enumerate(rows)]
    file.write_text('\n'.join([f'path{delimiter}tags', *lines]))
    names = sorted({n for r in rows for n in r})
    if not names:
        with pytest.raises(ValueError, match='names no class'):
            read_csv(file)
        return
    for paths, Y, classes in (read_csv(file), read_csv(file, sep=sep.strip(), delimiter=delimiter, labels='tags')):
        assert classes == names and paths == [f'{i}.jpg' for i in range(len(rows))]
        assert [[names[c] for c in np.flatnonzero(y)] for y in Y] == [sorted(r) for r in rows]


@few
@given(st.lists(st.text('abABé', min_size=1, max_size=3), min_size=1, max_size=3), st.sampled_from(['upper', 'title']))
def test_spellings_of_a_name_have_one_key(words, case):
    name = '_'.join(words)
    others = getattr(name, case)(), f' {"-".join(words)} ', ' '.join(words), ''.join(words), f'({name})', f'{name}.'
    assert {class_key(n) for n in others} == {class_key(name)}


@few
@given(st.lists(names, min_size=1, max_size=6), st.lists(names, min_size=1, max_size=6))
def test_overlap_compares_normal_paths(train, test):
    common = overlap([f'./{p}' for p in train], [p.replace('/', '\\') for p in test])
    assert sorted(map(normal_path, common)) == sorted(
        q for p in test if (q := normal_path(p)) in map(normal_path, train)
    )


@few
@given(st.text('ab./\\', min_size=1, max_size=10).filter(str.strip))
def test_a_usable_path_stays_in_its_folder(tmp_path_factory, path):
    try:
        (kept,) = usable_paths('a.txt', [path])
    except ValueError as e:
        assert '\n' not in str(e) and 'a.txt: 1 of 1 lines' in str(e)
        return
    root = tmp_path_factory.getbasetemp()
    assert root.joinpath(kept).resolve().is_relative_to(root.resolve())


@few
@given(st.lists(st.sampled_from(['3', '-1', 'x', '1e3', '٣x', '0.0']), min_size=1, max_size=25))
def test_every_bad_line_is_counted_and_ten_are_named(tmp_path_factory, bad):
    file = tmp_path_factory.mktemp('bad') / 'a.txt'
    file.write_text('good.jpg 0\n' + ''.join(f'{i}.jpg 1 {t}\n' for i, t in enumerate(bad)))
    with pytest.raises(ValueError) as e:
        read_list(file, 3)
    assert (
        f'{len(bad)} of {len(bad) + 1} lines' in str(e.value) and str(e.value).count('; line') == min(len(bad), 10) - 1
    )
    assert '\n' not in str(e.value)


@few
@given(st.integers(0, 10**6))
def test_a_long_tail_is_cut_without_repeats_and_ends_on_its_curve(seed):
    g = np.random.default_rng(seed)
    c = g.integers(2, 10)
    Y = (g.random((int(g.integers(30, 300)), c)) < g.uniform(0.02, 0.5, c)).astype(np.uint8)
    Y[:c] |= np.eye(c, dtype=np.uint8)
    rows = cut_longtail(Y, 50, random.Random(seed))
    last = visiting_order(Y)[-1]
    assert len(set(rows)) == len(rows) and Y[rows].any(1).all()
    assert Y[rows].sum(0)[last] == min(reference_counts(c, 50)[-1], Y.sum(0)[last])


@few
@given(labels, st.data())
def test_restrict_keeps_what_shows_a_kept_class(rows, data):
    Y = np.array(rows, np.uint8)
    columns = data.draw(st.lists(st.integers(0, Y.shape[1] - 1), min_size=1, unique=True))
    paths, got = restrict([str(i) for i in range(len(Y))], Y, columns)
    assert got.any(1).all() and (got == Y[[int(p) for p in paths]][:, columns]).all()
    assert len(paths) == Y[:, columns].any(1).sum()


class Host(http.server.BaseHTTPRequestHandler):
    "The place where a list is published: it fails some times, then gives the same bytes for one path."

    fail, asked, body, path_of_it = 0, 0, b'', '/o/r/' + 'c' * 40 + '/a.txt'

    def do_GET(self):
        Host.asked += 1
        Host.fail -= 1
        ok = Host.fail < 0 and self.path == self.path_of_it
        self.send_response(200 if ok else 503)
        self.send_header('Content-Length', str(len(self.body) * ok))
        self.end_headers()
        self.wfile.write(self.body * ok)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def published(body, folder, monkeypatch):
    "What `fetch_lists` does with a list of these bytes, and what it knows of it."
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    Host.fail, Host.asked, Host.body = 0, 0, body
    sources = {'a.txt': Origin('o/r', 'c' * 40, 'a.txt', hashlib.sha256(body).hexdigest())}
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield partial(fetch_lists, folder, ['a.txt'], sources, f'http://127.0.0.1:{server.server_port}'), sources
        server.shutdown()


def test_fetch_shows_progress_and_places_the_file(tmp_path, monkeypatch, capsys):
    with published(b'1.jpg 0\n' * 10000, tmp_path / 'new/folder', monkeypatch) as (fetch, sources):
        fetch()
    check_list(tmp_path / 'new/folder/a.txt', sources)
    assert 'a.txt' in capsys.readouterr().err


def test_fetch_tries_three_times_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    body, file = b'1.jpg 0\n2.jpg 1 2\n', tmp_path / 'got/a.txt'
    with published(body, tmp_path / 'got', monkeypatch) as (fetch, _):
        fetch = partial(fetch, pause=0.01, progress=False)
        Host.fail = 2
        fetch()
        assert (file.read_bytes(), Host.asked) == (body, 3)
        fetch()
        assert Host.asked == 3  # what is there is not asked for again
        file.unlink()
        Host.fail = 9
        with pytest.raises(OSError, match=r'\(HTTP Error 503 Service Unavailable, 3 tries\)'):
            fetch()
        Host.fail, Host.body = 0, b'1.jpg 7\n'  # tampered with
        with pytest.raises((OSError, ValueError), match=r'\(sha256 of what came is not'):
            fetch()
        assert not list((tmp_path / 'got').iterdir())
    with pytest.raises(OSError, match='check the connection, or put a.txt into'):
        fetch()


def test_coco_annotations_say_what_pycocotools_says(tmp_path):
    "On a file as COCO's own are: the same classes in every image."
    coco = pytest.importorskip('pycocotools.coco')
    rng = np.random.default_rng(0)
    images = [dict(id=int(i), file_name=f'{i}.jpg') for i in rng.permutation(30)]
    categories = [dict(id=c, name=f'class {c}') for c in (1, 2, 5, 9)]
    annotations = []
    for k in range(90):
        image, category = int(rng.integers(30)), int(rng.choice([1, 2, 5, 9]))
        annotations.append(dict(id=k, image_id=image, category_id=category, bbox=[0, 0, 9, 9], area=81, iscrowd=0))
    file = tmp_path / 'a.json'
    file.write_text(json.dumps(dict(images=images, categories=categories, annotations=annotations)))
    paths, targets, classes = read_coco_json(file)
    theirs = coco.COCO(file)
    for path, row in zip(paths, targets):
        ids = theirs.getAnnIds(imgIds=[int(path.split('.')[0])])
        names = {theirs.loadCats(a['category_id'])[0]['name'] for a in theirs.loadAnns(ids)}
        assert {c.replace('_', ' ') for c, y in zip(classes, row) if y} == names


def test_several_captions_of_an_image_are_joined_and_said(tmp_path, capsys):
    file = tmp_path / 'captions.txt'
    file.write_text('a.jpg a cat.\nb.jpg one dog\n./a.jpg on a sofa.\na.jpg a cat.\nc.jpg an owl\n')
    assert read_captions(file, ['b.jpg', 'a.jpg']) == ['one dog', 'a cat. on a sofa.']
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f'{file}: the captions of 1 image joined into one each (a.jpg)',
        f'{file}: captions of 1 other image not read',
    ]


@pytest.mark.parametrize(
    'rows, targets',
    [
        ("1.png,{'cat'}\n2.png,set()\n", [[1], [0]]),
        ("1.png,frozenset({'cat'})\n2.png,\"{'dog', 'cat'}\"\n", [[1, 0], [1, 1]]),
        ('1.png,="cat"\n="2.png","=""dog"""\n', [[1, 0], [0, 1]]),
        ('1.png,cat\npath,labels\n2.png,dog\n', [[1, 0], [0, 1]]),
    ],
)
def test_what_programs_write_around_a_name_is_read(rows, targets, tmp_path):
    "Sets as pandas prints them, texts as Excel protects them, and two tables one after the other."
    (tmp_path / 'a.csv').write_text(f'path,labels\n{rows}')
    paths, got, classes = read_csv(tmp_path / 'a.csv')
    assert paths == ['1.png', '2.png'] and got.tolist() == targets and classes == ['cat', 'dog'][: len(targets[0])]


def test_names_of_other_scripts_are_read(tmp_path):
    names = ['кот', 'собака', 'Ｔシャツ', 'TGFβ']
    (tmp_path / 'a.csv').write_text('path,labels\n' + ''.join(f'{n}.png,{n}\n' for n in names), encoding='utf-8')
    assert read_csv(tmp_path / 'a.csv')[2] == sorted(names)


@pytest.mark.parametrize(
    'said, shown',
    [
        (dict(iscrowd='0'), True),
        (dict(iscrowd='1'), False),
        (dict(ignore=1), False),
        (dict(bbox=[1, 1, 0, 0]), False),
        (dict(bbox=[1, 1, 0, 0], num_keypoints=3), True),
    ],
)
def test_flags_and_keypoints_of_an_annotation(said, shown, tmp_path):
    "Crowds left out: is the cat of the first image there?"
    images = [dict(id=i, file_name=f'{i}.png') for i in (1, 2)]
    seen = [dict(image_id=1, category_id=1) | said, dict(image_id=2, category_id=1)]
    file = tmp_path / 'a.json'
    file.write_text(json.dumps(dict(images=images, categories=[dict(id=1, name='cat')], annotations=seen)))
    assert read_coco_json(file, crowd='exclude').targets.tolist() == [[shown], [1]]


@pytest.mark.parametrize(
    'line, message',
    [
        ('{"file_name": "a.png", "labels": ["cat"], "labels": ["dog"]}', "the key 'labels' stands in it twice"),
        ('{"file_name": ["a.png"], "labels": ["cat"]}', "'file_name' in line 1 is no text"),
        ('[' * 200_000, 'no JSON object'),
    ],
)
def test_lines_of_json_that_are_refused(line, message, tmp_path):
    (tmp_path / 'a.jsonl').write_text(line)
    with pytest.raises(ValueError, match=message):
        read_jsonl(tmp_path / 'a.jsonl')


@pytest.fixture
def as_csv(tmp_path):
    "A function (text, ...): what `read_csv` makes of it."

    def read(text, **how):
        (tmp_path / 'case.csv').write_text(text)
        return read_csv(tmp_path / 'case.csv', **how)

    return read


CHEXPERT = 'Path,No Finding,Edema\na.png,1.0,\nb.png,,1.0\nc.png,0,-1\n'
TWO = 'path,labels\na.png,cat\nb.png,dog\n'
PLUS = 'path,labels\na.png,cat+dog\nb.png,owl\n'
SHINY = 'path,cat,dog,shiny\na.png,1,0,0\nb.png,0,1,1\n'
PAIR = ['cat', 'dog']


@pytest.mark.parametrize(
    'text, how, message',
    [
        (CHEXPERT, {}, "3 of 3 lines cannot be used (line 2: a blank: '' in column 'Edema'"),
        (CHEXPERT, {}, 'write 0 if a blank means'),
        (CHEXPERT, dict(blanks=0), '1 of 3 lines cannot be used (line 4: -1'),
        (CHEXPERT, dict(blanks='0'), "blanks must be 0, 1 or None, got '0'"),
        ('path,labels\na.png,Cat\nb.png,cat\n', {}, "1 class in two ways ('Cat' and 'cat')"),
        ('path,labels\na.png,0 1 0\nb.png,1 0 0\n', {}, '2 of 2 cells look like a 0/1 vector'),
        ('path,labels\na.png,cat\nb.png,nan\n', {}, "line 3: 'nan' stands for no value"),
        ('image_name,tags\na,haze primary\nb,primary\n', {}, "tell whether 'haze primary' in line 2 is one class"),
        (TWO, dict(classes={'cat', 'dog'}), 'a set has no order'),
        (PLUS, {}, "'cat+dog' may be several names"),
        (SHINY, dict(classes=PAIR, others='error'), "shows 1 class not among the 2 given ('shiny' in 1 image)"),
    ],
)
def test_what_a_table_may_not_mean(text, how, message, as_csv):
    with pytest.raises(ValueError) as e:
        as_csv(text, **how)
    assert message in str(e.value)


@pytest.mark.parametrize(
    'text, how, targets, classes',
    [
        ('path,labels\na.png,cat\nb.png,nan\n', dict(blanks=0), [[1], [0]], ['cat']),
        (TWO, dict(classes={'dog': 0, 'cat': 1}), [[0, 1], [1, 0]], ['dog', 'cat']),
        (TWO, dict(classes=['dog', 'cat']), [[0, 1], [1, 0]], ['dog', 'cat']),
        (PLUS, dict(sep='+'), [[1, 1, 0], [0, 0, 1]], ['cat', 'dog', 'owl']),
        (PLUS, dict(classes=['cat+dog', 'owl']), [[1, 0], [0, 1]], ['cat+dog', 'owl']),
        ('path,cat,fold\na.png,1,0\nb.png,0,1\n', dict(classes=['fold', 'cat']), [[0, 1], [1, 0]], ['fold', 'cat']),
    ],
)
def test_what_a_table_means_once_it_is_said(text, how, targets, classes, as_csv):
    read = as_csv(text, **how)
    assert read[1].tolist() == targets and read[2] == classes


SPLITS = [
    ('is_valid', 'True', 'False'),
    ('split', 'train', 'test'),
    ('IsTrain', '1', '0'),
    ('fold', '0', '1'),
    ('cv_fold_2', '0', '4'),
    ('set', 'Train', 'val'),
]


@pytest.mark.parametrize('labels', ['labels', 'cat'])
@pytest.mark.parametrize('column, one, other', SPLITS)
def test_a_table_of_several_splits_is_refused(column, one, other, labels, as_csv):
    first = 1 if labels == 'cat' else 'cat'
    with pytest.raises(ValueError, match=f"column '{column}' says that its lines are of several splits"):
        as_csv(f'path,{labels},{column}\na.png,{first},{one}\nb.png,0,{other}\n')


def test_a_column_that_names_one_split_is_no_class(as_csv):
    read = as_csv('path,cat,dog,fold\na.png,1,0,1\nb.png,0,1,1\n')
    assert (read[2], read.notes) == (PAIR, ('1 column left out, which names a split (fold)',))


LINE, NEXT = dict(file_name='a.png', labels=PAIR), dict(file_name='b.png', labels=['dog'])


def as_jsonl(tmp_path, *rows):
    "What `read_jsonl` makes of these objects, or texts, as lines."
    file = tmp_path / 'metadata.jsonl'
    file.write_text('\n'.join(r if isinstance(r, str) else json.dumps(r) for r in rows) + '\n')
    return read_jsonl(file)


def test_lines_of_json_without_labels_and_with_a_comma_in_a_name(tmp_path):
    assert as_jsonl(tmp_path, LINE, NEXT, dict(file_name='c.png', labels=None))[1].tolist() == [[1, 1], [0, 1], [0, 0]]
    assert as_jsonl(tmp_path, LINE, NEXT, dict(file_name='c.png', labels=['a, b']))[2] == ['a, b', *PAIR]


@pytest.mark.parametrize(
    'rows, message',
    [
        ([LINE, '{'], '1 of 2 lines cannot be used (line 2: no JSON object)'),
        ([LINE, dict(file_name='b.png')], 'line 2: another list of keys than in line 1'),
        ([LINE, NEXT | dict(labels='dog')], "'labels' holds lists in some lines and texts in others"),
        ([LINE, NEXT | dict(labels=[3])], "'labels' in line 2 holds something else than names"),
        ([LINE, NEXT | dict(labels=dict(name='cat'))], "'labels' in line 2 holds something else than names"),
        ([LINE, NEXT | dict(labels=['Cat'])], "1 class in two ways ('cat' and 'Cat')"),
        ([''], 'has no lines'),
        ([dict(name='a.png', labels=['cat'])], 'has no paths (name, labels)'),
        ([dict(file_name='a.png', text='a cat', width=9)], 'cannot be used (line 1: a value other than 0 and 1'),
    ],
)
def test_objects_that_are_no_labels(rows, message, tmp_path):
    with pytest.raises(ValueError) as e:
        as_jsonl(tmp_path, *rows)
    assert message in str(e.value)


IMAGES = [dict(id=7, file_name='7.jpg'), dict(id=3, file_name='3.jpg')]
CATEGORIES = [dict(id=90, name='hair drier'), dict(id=2, name='cat')]


def ann(image_id, category_id, w=9, **more):
    "An annotation without an id."
    return dict(image_id=image_id, category_id=category_id, bbox=[0, 0, w, 9], area=9 * w) | more


UNKNOWN = '2 of 3 annotations cannot be used (annotation 2: unknown image 8; annot'
SECOND = 'Cat', ' cat', 'hair_drier', 'HAIR-DRIER'  # names of a category that there is


@pytest.mark.parametrize(
    'parts, message',
    [
        (([ann(7, 2), ann(8, 2), ann(7, 3)],), UNKNOWN),
        (([ann(7, 2, bbox=[1, 2])],), 'annotation 1: its box is not [x, y, width, height]'),
        (([],), 'is not a COCO detection file: no annotations'),
        (([ann(7, 2, w=0)],), '1 annotation, and every box is empty'),
        (([ann(7, 2)], [*IMAGES, dict(id=7, file_name='b/7.jpg')]), "1 image id for two entries each (7: '7.jpg'"),
        (([ann(7, 2)], [*IMAGES, dict(id=8, file_name='./7.jpg')]), '1 file under two image ids each (7.jpg)'),
        (([ann(7, 2)], [dict(id=7)]), '1 of 1 images cannot be used (image 1: no id or no file_name)'),
        *[
            (([ann(7, 2)], IMAGES, [*CATEGORIES, dict(id=5, name=n)]), '1 name for two categories each (')
            for n in SECOND
        ],
    ],
)
def test_annotations_that_are_refused(parts, message, tmp_path):
    annotations, images, categories = [*parts, *(IMAGES, CATEGORIES)[len(parts) - 1 :]]
    said = dict(images=images, categories=categories, annotations=annotations)
    (tmp_path / 'coco.json').write_text(json.dumps(said))
    with pytest.raises(ValueError) as e:
        read_coco_json(tmp_path / 'coco.json')
    assert message in str(e.value)


def test_a_file_that_is_cut_off_is_no_json(tmp_path):
    (tmp_path / 'coco.json').write_text('{"images": [')
    with pytest.raises(ValueError, match=r'coco.json is no JSON \(line 1, column 13'):
        read_coco_json(tmp_path / 'coco.json')


NO_NAMES = {  # a column of labels -> what is said of one of them
    '#N/A': 'stands for no value',
    '\\N': 'stands for no value',
    'unlabeled': 'stands for no label',
    'No label': 'stands for no label',
    'cat?;cat': "two ways ('cat?' and 'cat')",
    '#NAME?': 'is an error of a spreadsheet',
    '#DIV/0!': 'is an error of a spreadsheet',
    'dog.;dog': "two ways ('dog.' and 'dog')",
    '(dog);dog': "two ways ('(dog)' and 'dog')",
    'hotdog;hot dog': "two ways ('hotdog' and 'hot dog')",
    '1;01': "two ways ('1' and '01')",
    '1.0;1;2': "two ways ('1.0' and '1')",
    'cat 0.95;dog 0.80': 'has a number behind the name',
    'cat (0.95)': 'has a number behind the name',
    'cat@0.9': 'has a number behind the name',
    '0 0.5 0.5 0.1 0.1': 'may be several names',
    '51 616 734;9': 'may be several names',
    'cat &amp': 'holds a piece of HTML',
    'A dog in the fog.': 'is a sentence',
    "\"tensor([1, 0])\"": 'may be a piece of a list',
    "\"array(['cat', 'dog'], dtype=object)\"": 'may be a piece of a list',
    '"[\'cat\', \'dog\']"\nc.png,cat': 'may be a piece of a list',
    'haze primary\nc.png,agriculture clear primary water\nd.png,clear primary': 'cannot tell whether',
}


def refusal(folder, text) -> str:
    "What is said of a table that is refused, in one line."
    file = folder / 'a.csv'
    file.write_text(text)
    with pytest.raises(ValueError, match=r'^[^\n]*$') as e:
        read_csv(file)
    return str(e.value)


@pytest.mark.parametrize('cells,why', NO_NAMES.items())
def test_what_is_no_name_of_a_class(cells, why, tmp_path):
    assert why in refusal(tmp_path, f'path,labels\na.png,owl\nb.png,{cells}\n')


NAMES = (
    "e-mail|4-6|46|A320|C|C++|C#|St. Bernard|Dr. Pepper|dog (animal)|no finding|bird's nest|7up|1984|naïve|猫|Route 66|"
    'Quercus robur L.|Robert Downey Jr.|4 - 6|25 - 32|24 7|USB 1.0|Ford Focus 1.0|Colt .45|[Fe]|cat {tabby}|A*|1) cat|'
    'HER2|HER2-|ER+|level 1|level -1|grade|grade -|Who Framed Roger Rabbit?|2012 BMW M3|M&M|#LOVE!|Canis lupus|'
    'Canis lupus familiaris|Parus major|Parus major major|polar bear|small polar bear|Mr.|T-shirt'
)


def test_unusual_names_are_names(tmp_path):
    file = tmp_path / 'a.csv'
    file.write_text(f'path,labels\na.png,{NAMES}\nb.png,dog\n', encoding='utf-8')
    assert read_csv(file).classes == sorted([*NAMES.split('|'), 'dog'])


NAMELESS = {  # a table -> what is said of it
    'path,label_cat,label_dog\na.png,1,0\n': "all its columns begin with 'label': take that off their names",
    'path,cat|dog,dog\na.png,1,0\n': "'cat|dog' may be several names",
    'path,"cat, dog",dog,cat\na.png,1,0,0\n': "'cat, dog' may be several names",
    'path,cat,nan\na.png,1,0\n': "'nan' stands for no value",
    'path,cat,#N/A\na.png,1,0\n': "'#N/A' stands for no value",
    'file_name,text\na.png,"A cat, on a mat."\nb.png,A dog in the fog.\n': "column 'text' may hold captions",
    'image,caption\na.png,cat\n': "column 'caption' may hold captions",
    'path,labels\na.png,[1 2 3]\n': "'1 2 3' may be several names",
    'path,labels\na.png,"[0, 2, 1]"\nb.png,"[1, 0, 0]"\n': "lists such as ['0', '2', '1'] look like a value for each",
    'path,labels\na.png,"[0.9, 0.1]"\n': "lists such as ['0.9', '0.1'] look like a value for each class",
}


@pytest.mark.parametrize('text,why', NAMELESS.items())
def test_tables_that_name_no_classes(text, why, tmp_path):
    assert why in refusal(tmp_path, text)


PLACES = {  # a table whose paths do not stand first -> its labels
    'cat,path,dog\n1,a.png,0\n0,b.png,1\n': [['cat'], ['dog']],
    'cat,dog,path\n1,0,a.png\n0,1,b.png\n': [['cat'], ['dog']],
    'labels,path\ncat,a.png\ndog,b.png\n': [['cat'], ['dog']],
    'label,image_id,verified\ncat,a.png,1\ndog,b.png,0\n': [['cat'], ['dog']],
    'id,path,cat,dog\n0,a.png,1,0\n1,b.png,0,1\n': [['cat'], ['dog']],
    'image_id,file_name,labels\n7,a.png,cat\n9,b.png,dog\n': [['cat'], ['dog']],
    'image_id,filename,cat,dog\n7,a.png,1,0\n9,b.png,0,1\n': [['cat'], ['dog']],
    'patient,path,cat,dog\nx,a.png,1,0\ny,b.png,0,1\n': [['cat'], ['dog']],
}


@pytest.mark.parametrize('text,right', PLACES.items())
def test_labels_before_and_behind_the_paths_are_read(text, right, tmp_path):
    file = tmp_path / 'a.csv'
    file.write_text(text)
    paths, Y, classes = read_csv(file)
    assert paths == ['a.png', 'b.png']
    assert [[classes[c] for c in np.flatnonzero(y)] for y in Y] == right


OF_NOTHING = dict(bbox=[0, 0, 9, 9], area=0), dict(segmentation=[[1, 1, 5, 5, 1, 5]], area=0), dict(bbox=[0.1] * 4)


@pytest.mark.parametrize('fields', OF_NOTHING)
def test_annotations_of_ones_own_with_the_ids_of_coco_are_counted(fields, tmp_path):
    categories = [dict(id=i, name=f'class {i}') for i in COCO_IDS]
    content = dict(
        images=[dict(id=1, file_name='mine.png')],
        categories=categories,
        annotations=[dict(image_id=1, category_id=3, **fields)],
    )
    file = tmp_path / 'a.json'
    file.write_text(json.dumps(content))
    assert read_coco_json(file).targets.sum() == 1


HEADERS_OF_CLASSES = (
    'Class A,Class B',
    'species_a,species_b',
    'Tag cloud,Tag line',
    'Genre.Action,Genre.Drama',
    'HER2,HER2-,ER+',
    '"1,2-dimethyl",Fe',
    'label_0,label_1',
)


@pytest.mark.parametrize('header', HEADERS_OF_CLASSES)
def test_headers_that_name_classes(header, tmp_path):
    file = tmp_path / 'a.csv'
    classes = next(csv.reader([header]))
    file.write_text(f'path,{header}\na.png{",1" * len(classes)}\n')
    assert read_csv(file).classes == classes


def test_a_mark_that_is_said_to_separate_leaves_others_within_names(tmp_path, capsys):
    file = tmp_path / 'a.csv'
    file.write_text('path,labels\na.png,"drake, duck"\nb.png,drake\nc.png,duck\n')
    assert read_csv(file, sep='|').classes == ['drake', 'drake, duck', 'duck']
    assert "no cell holds '|', so each is one name" in capsys.readouterr().err


def test_what_is_dropped_may_be_no_name(tmp_path):
    file = tmp_path / 'a.csv'
    file.write_text('path,labels\na.png,cat\nb.png,unlabeled\n')
    assert read_csv(file, classes=['cat'], others='drop').targets.tolist() == [[1], [0]]


def test_names_in_quotes_are_no_values(tmp_path):
    file = tmp_path / 'a.csv'
    file.write_text("path,labels\na.png,\"['1.5', '2.5']\"\nb.png,\"['3.5', '1.5']\"\n")
    assert read_csv(file).classes == ['1.5', '2.5', '3.5']


def test_yes_and_no_are_names_or_refused(tmp_path):
    file = tmp_path / 'a.csv'
    file.write_text('path,label\na.png,Yes\nb.png,No\n')
    assert read_csv(file).classes == ['No', 'Yes']
    file.write_text('path,cat,dog\na.png,yes,No\nb.png,no,YES\n')
    with pytest.raises(ValueError, match='write 1 and 0 in the place of yes and no'):
        read_csv(file)


def test_addresses_in_the_place_of_names(tmp_path):
    lvis = tmp_path / 'a.json'
    image = dict(id=3, coco_url='http://images.cocodataset.org/val2017/000000397133.jpg')
    cat = dict(id=1, name='cat')
    lvis.write_text(json.dumps(dict(images=[image], categories=[cat], annotations=[dict(image_id=3, category_id=1)])))
    labels = read_coco_json(lvis)
    assert labels.paths == ['val2017/000000397133.jpg']
    assert labels.notes == ('1 file name from coco_url, such as val2017/000000397133.jpg',)


def test_classes_of_coco_may_have_spaces(tmp_path):
    file = tmp_path / 'a.json'
    kinds = [dict(id=1, name='fire truck'), dict(id=2, name='dog')]
    content = dict(images=[dict(id=3, file_name='a.png')], categories=kinds)
    file.write_text(json.dumps(content | dict(annotations=[dict(image_id=3, category_id=1)])))
    assert read_coco_json(file, classes=['dog', 'fire truck']).classes == ['dog', 'fire_truck']


@pytest.mark.parametrize('mark', [' ', ' and ', ' & ', '/'])
@pytest.mark.parametrize('again', ['', 'b.png,cat\n', 'b.png,cat\nc.png,dog\nc.png,dog\n'])
def test_a_repeated_line_is_no_long_format(mark, again, tmp_path):
    table = f'path,labels\na.png,cat{mark}dog\nb.png,cat\n{again}c.png,dog\nd.png,bird\n'
    assert f"cannot tell whether 'cat{mark}dog' in line 2 is one class" in refusal(tmp_path, table)


def test_a_space_is_part_of_a_name_in_the_long_format(as_csv):
    assert as_csv('path,labels\na.png,polar bear\na.png,bear\nb.png,bear\n').targets.tolist() == [[1, 1], [1, 0]]


RECOMBINED = [
    ['16 0', '7 1', '5 3', '1 2'],
    ['16 0', '7'],
    ['1.0 2.0', '3.0 4.0'],
    *([f'cat{mark}dog', f'cat{mark}bird', f'dog{mark}bird', 'owl'] for mark in (' ', '/', ' & ', ':', ' and ')),
]
OF_WORDS = [
    ['24 7', 'dog'],
    ['red car', 'blue car', 'red bus', 'blue bus'],
    ['apple/healthy', 'apple/scab', 'corn/healthy', 'corn/scab'],
    ['bison bison', 'bison bison athabascae'],
    ['4-6', '8-12', '12-4'],
]


@pytest.mark.parametrize('cells', RECOMBINED, ids=str)
def test_names_that_recur_in_other_company_and_numbers_alone_are_doubtful(cells, tmp_path):
    lines = [f'{i}.png,{c}\n' for i, c in enumerate(cells)]
    assert f'cannot tell whether {cells[0]!r}' in refusal(tmp_path, 'path,labels\n' + ''.join(lines))


@pytest.mark.parametrize('cells', OF_WORDS, ids=str)
def test_names_of_several_words_are_names(cells, as_csv):
    lines = [f'{i}.png,{c}\n' for i, c in enumerate(cells)]
    assert as_csv('path,labels\n' + ''.join(lines)).classes == sorted(cells)


WORDS = [
    ('result', 'negative', 'positive'),
    ('Finding status', 'Absent', 'PRESENT'),
    ('status', 'no', 'yes'),
    ('seen', 'False', 'True'),
    ('x', 'neg', 'pos'),
    ('x', 'uncertain', 'positive'),
    ('value', 'N', 'Y'),
]


@pytest.mark.parametrize('column, absent, there', WORDS)
@pytest.mark.parametrize('more', ['', 'c.png,mass,\n'])
def test_words_that_deny_a_label(column, absent, there, more, tmp_path):
    table = f'path,finding,{column}\na.png,edema,{absent}\na.png,mass,{there}\nb.png,edema,{there}\n{more}'
    told = refusal(tmp_path, table)
    assert f"column '{column}' may say whether a label holds ('{absent}' in line 2): keep the lines" in told


def test_a_status_denies_labels_of_images_with_one_line_too(tmp_path):
    table = 'path,finding,status\na.png,edema,absent\nb.png,mass,present\n'
    assert "column 'status' may say whether a label holds ('absent' in line 2)" in refusal(tmp_path, table)


@pytest.mark.parametrize(
    'column, cells',
    [
        ('Smoker', 'no no yes'),
        ('HER2', 'negative negative positive'),
        ('status', '0 0 1'),
        ('status', 'done open done'),
    ],
)
def test_what_is_said_of_a_patient_denies_no_label(column, cells, as_csv):
    labels = 'a.png,edema', 'a.png,mass', 'b.png,edema'
    lines = [f'{label},{c}\n' for label, c in zip(labels, cells.split())]
    assert as_csv(f'path,finding,{column}\n' + ''.join(lines)).targets.tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize(
    'text, what',
    [
        ('cat,dog\n1,0\n0,1\n', "'cat' holds 0 and 1"),
        ('No finding,orchid\n1,0\n0,1\n', "'No finding' holds 0 and 1"),
        ('orchid,dog\n1,0\n0,1\n', "'orchid' holds 0 and 1"),
        ('cat,dog\ntrue,false\nfalse,true\n', "'cat' holds 0 and 1"),
        ('label,cat,dog\n1,0,1\n1,1,0\n', "'label' holds 0 and 1"),
        ('class,a.png,b.png\ncat,1,0\ndog,0,1\n', 'its header names pictures (a.png, b.png)'),
        (',x/a.jpg,b.jpg\ncat,1,0\ndog,0,1\n', 'its header names pictures (x/a.jpg, b.jpg)'),
    ],
)
def test_a_table_without_paths_is_refused(text, what, tmp_path):
    assert f'a.csv: no column of paths: {what}: ' in refusal(tmp_path, text)


@pytest.mark.parametrize('first', ['', 'id', 'image', 'name', 'nr', 'img_id', 'ImageNumber', 'Sample ID'])
def test_images_may_be_called_by_numbers(first, as_csv):
    assert as_csv(f'{first},cat,dog\n0,1,0\n1,0,1\n').paths == ['0', '1']


BOXES = [
    'xmin,ymin,xmax,ymax',
    'XMin,XMax,YMin,YMax',
    'xc,yc,w,h',
    'x_center,y_center,width,height',
    'x1,y1,x2,y2',
    'left,top,right,bottom',
    'bbox_x,bbox_y,bbox_w,bbox_h',
    'cx,cy,width,height',
    'xtl,ytl,xbr,ybr',
]


@pytest.mark.parametrize('names', BOXES)
@pytest.mark.parametrize('cells', [('.1,.2,.3,.4', '0,0,1,1'), ('10,20,30,40', '0,0,50,50')])
def test_boxes_beside_the_labels(names, cells, as_csv):
    a, b = cells
    read = as_csv(f'filename,class,{names},IsOccluded\na.png,cat,{a},0\na.png,dog,{b},1\na.png,dog,{a},1\n')
    assert (read.targets.tolist(), read.classes) == ([[1, 1]], PAIR)


def test_confidence_keeps_its_meaning_beside_boxes(as_csv, tmp_path):
    table = 'ImageID,LabelName,Confidence,XMin,XMax\na,cat,1,.1,.2\na,dog,0,.1,.2\nb,dog,1,.1,.2\n'
    assert as_csv(table).targets.tolist() == [[1, 0], [0, 1]]
    assert "'Confidence' may say" in refusal(tmp_path, table.replace('dog,0', 'dog,0.3'))


@pytest.mark.parametrize('names', ['left,right', 'x,size', 'a,b,c,d'])
def test_what_may_be_no_box_stays_doubtful(names, tmp_path):
    n = names.count(',')
    cells = ',1' * n + '\na.png,dog,1' + ',0' * n
    assert 'may say whether a label holds' in refusal(tmp_path, f'path,label,{names}\na.png,cat,0{cells}\n')


def test_names_in_brackets_are_trimmed(as_csv):
    read = as_csv("ImageID,Labels\na.png,\"[' cardiomegaly', 'copd ']\"\nb.png,['cardiomegaly']\n")
    assert (read.targets.tolist(), read.classes) == ([[1, 1], [1, 0]], ['cardiomegaly', 'copd'])


FIGURES = [  # two cells, and what is to be replaced
    ('yes', 'no', '1 and 0 in the place of yes and no'),
    ('WAHR', 'FALSCH', '1 and 0 in the place of WAHR and FALSCH'),
    ('T', 'F', '1 and 0 in the place of T and F'),
    ('N', 'Y', '1 and 0 in the place of Y and N'),
    ('pos', 'neg', '1 and 0 in the place of pos and neg'),
    ('100%', '0%', '1 and 0 in the place of 100% and 0%'),
    ('"1,0"', '"0,0"', '1 and 0 in the place of 1,0 and 0,0'),
    ('x', '', '1 and 0 in the place of x and blanks'),
    ('X', '0', '1 in the place of X'),
    ('\u2713', '', '1 and 0 in the place of \u2713 and blanks'),
    ('yes', '', '1 and 0 in the place of yes and blanks'),
    ('1', 'no', '0 in the place of no'),
]


@pytest.mark.parametrize('a, b, what', FIGURES)
def test_words_for_0_and_1_are_to_be_written_as_figures(a, b, what, tmp_path):
    assert refusal(tmp_path, f'path,cat,dog\na.png,{a},{b}\nb.png,{b},{a}\n').endswith(f'): write {what}')


@pytest.mark.parametrize('column', ['note,x,y', 'sex,F,M', 'sex,F,F', 'width,640,480'])
def test_other_columns_are_to_be_taken_out(column, tmp_path):
    name, a, b = column.split(',')
    told = refusal(tmp_path, f'path,cat,{name}\na.png,1,{a}\nb.png,0,{b}\n')
    assert told.endswith('): take out the columns that are no classes, or name the one with names `labels`')


def test_words_beside_a_column_that_is_no_class(tmp_path):
    told = refusal(tmp_path, 'path,cat,width\na.png,yes,640\nb.png,no,480\n')
    assert told.endswith('write 1 and 0 in the place of yes and no, and take out the columns that are no classes')


BYTE_BY_BYTE = ['cp1252', 'latin-1', 'iso-8859-15', 'cp1250', 'cp1251', 'cp437', 'koi8-r', 'mac-roman']


@pytest.mark.parametrize('encoding', BYTE_BY_BYTE)
@pytest.mark.parametrize('name', ['Käse', 'Кот', '猫'])
def test_an_encoding_of_single_bytes_is_not_believed_of_utf_8(encoding, name, tmp_path):
    (tmp_path / 'a.csv').write_text(f'path,labels\na.png,{name}\n', encoding='utf-8')
    with pytest.raises(ValueError, match=r"^[^\n]*a.csv is (UTF-8, not|not) "):
        read_csv(tmp_path / 'a.csv', encoding=encoding)


@pytest.mark.parametrize(
    'name, encoding',
    [
        ('Käse', 'cp1252'),
        ('Кот', 'cp1251'),
        ('猫', 'gbk'),
        ('猫', 'shift-jis'),
        ('cat', 'cp1252'),
        ('рак', 'cp866'),
        ('Käse', 'utf8'),
    ],
)
def test_an_encoding_that_is_that_of_the_file_is_believed(name, encoding, tmp_path):
    (tmp_path / 'a.csv').write_text(f'path,labels\na.png,{name}\n', encoding=encoding)
    assert read_csv(tmp_path / 'a.csv', encoding=encoding).classes == [name]


DENIED = [
    'negated\nTrue\nFalse',
    'is_negated\n1\n1',
    'absent\n1\n0',
    'certainty\nnegative\npositive',
    'negation\nyes\nno',
]


@pytest.mark.parametrize('cells', DENIED)
def test_a_column_that_denies_is_refused_with_one_row_an_image(cells, tmp_path):
    head, first, second = cells.split('\n')
    file = tmp_path / 'a.csv'
    file.write_text(f'path,label,{head}\na.jpg,pneumonia,{first}\nb.jpg,edema,{second}\n')
    with pytest.raises(ValueError, match=f"column '{head}' may say whether a label holds \\('{first}' in line 2\\)"):
        read_csv(file)


def test_a_column_that_denies_nothing_is_no_label(tmp_path):
    file = tmp_path / 'a.csv'
    file.write_text('path,label,negated,area_fraction\na.jpg,dog,0,.2\na.jpg,cat,0,\nb.jpg,cat,0,.4\n')
    assert read_csv(file)[1].tolist() == [[1, 1], [1, 0]]


def test_boxes_of_one_class_an_image_are_long_format(tmp_path):
    file = tmp_path / 'a.csv'
    rows = 'a.jpg,1,2,3,4,fire truck\na.jpg,5,6,7,8,fire truck\nb.jpg,1,2,3,4,truck\nc.jpg,1,2,3,4,truck\n'
    file.write_text('filename,xmin,ymin,xmax,ymax,class\n' + rows)
    assert read_csv(file)[2] == ['fire truck', 'truck']


QUOTED = {  # cells -> names
    ("\"'Pepper,_bell', 'Potato'\"", "'Potato'"): ['Pepper,_bell', 'Potato'],
    ('"""rice, raw"",""bean"""', '"""bean"", ""pea"""'): ['bean', 'pea', 'rice, raw'],
    ("\"'Pepper, bell',\n'Potato'\"", "'Potato'"): ['Pepper, bell', 'Potato'],
    ("\"'a', 'b'\"", "'a'"): ['a', 'b'],
    ('"dogs\',cats\'"', "dogs'"): ["cats'", "dogs'"],
}


@pytest.mark.parametrize('cells,names', QUOTED.items())
def test_what_stands_in_quotation_marks_is_one_name(cells, names, tmp_path):
    file = tmp_path / 'a.csv'
    file.write_text(table_of(cells))
    assert read_csv(file).classes == names


def test_an_underscore_first_is_a_name_where_it_stands_alone_or_is_asked_for(tmp_path):
    file = tmp_path / 'a.csv'
    file.write_text('path,labels\na.png,"person,_ignore"\nb.png,_ignore\n')
    assert read_csv(file).classes == ['_ignore', 'person']
    file.write_text('path,labels\na.png,"person,_ignore"\nb.png,person\n')
    assert read_csv(file, classes=['person', '_ignore']).classes == ['person', '_ignore']
    assert read_csv(file, sep=',').classes == ['_ignore', 'person']
    assert read_csv(file, sep=';').classes == ['person', 'person,_ignore']


NAMES_ALL_THE_SAME = [  # cells, names; what asks for them
    (["['']", "['cat']"], ['cat'], dict(classes=['cat'], others='drop')),
    (['dog;oneway=yes', 'cat;oneway=no'], ['cat', 'dog'], dict(classes=['cat', 'dog'], others='drop')),
    (['"cat,_ignore"', 'dog'], ['cat', 'dog'], dict(classes=['cat', 'dog'], others='drop')),
    (["'nduja;caffe'", 'pizza'], ["'nduja", "caffe'", 'pizza'], {}),
    (["'Fuji' apple;Rosa 'Peace'", 'dog'], ["'Fuji' apple", "Rosa 'Peace'", 'dog'], {}),
    (['"[""\'nduja"", ""caffe\'""]"', '"[""pizza""]"'], ["'nduja", "caffe'", 'pizza'], {}),
    (['sign:no entry', 'sign:y-junction', 'sign:stop'], ['sign:no entry', 'sign:stop', 'sign:y-junction'], {}),
    (['bicycle=no', 'oneway:bicycle=yes'], ['bicycle=no', 'oneway:bicycle=yes'], {}),
    (['command:yes', 'command:no', 'command:go'], ['command:go', 'command:no', 'command:yes'], {}),
    (['letter:N', 'letter:A'], ['letter:A', 'letter:N'], {}),
    (['"_cat,_dog"', '_cat'], ['_cat', '_dog'], {}),
    (['"person,_ignore"', '"car,_ignore"'], ['_ignore', 'car', 'person'], {}),
    (['"[cat,_ignore]"', '[cat]'], ['_ignore', 'cat'], {}),
]


@pytest.mark.parametrize('cells,names,how', NAMES_ALL_THE_SAME)
def test_names_that_look_strange_are_names(cells, names, how, tmp_path):
    file = tmp_path / 'a.csv'
    file.write_text(table_of(cells))
    assert read_csv(file, **how).classes == names


def test_the_advice_of_a_refusal_is_followed(tmp_path):
    assert '"[""a, b"", ""c""]"' in refusal(tmp_path, 'path,labels\na.png,"a,_b"\n')
    file = tmp_path / 'a.csv'
    file.write_text('path,labels\na.png,"[""a, b"", ""c""]"\nb.png,"[""c""]"\n')
    assert read_csv(file).classes == ['a, b', 'c']


def test_columns_may_be_called_yes(tmp_path):
    file = tmp_path / 'a.csv'
    file.write_text('path,smoker=yes,smoker=no\na.png,1,0\nb.png,0,1\n')
    assert read_csv(file).classes == ['smoker=yes', 'smoker=no']


def test_a_text_may_begin_as_a_parquet_table_does(tmp_path):
    file = tmp_path / 'a.csv'
    file.write_text('PAR1,labels\na.png,cat\nb.png,dog\n')
    assert read_csv(file).classes == ['cat', 'dog']


OTHERWISE = {  # cells of labels -> what is said of them
    ('"Pepper,_bell___healthy"',): "cannot tell whether 'Pepper,_bell___healthy' in line 2 is one class or several",
    ('horse', '"Pepper,_bell_(green)"'): "cannot tell whether 'Pepper,_bell_(green)' in line 3",
    ('"Pepper,_bell,Tomato"', '"Tomato,Potato"'): "cannot tell whether 'Pepper,_bell,Tomato' in line 2",
    ("\"'Pepper, bell', Potato\"",): 'cannot tell whether "\'Pepper, bell\', Potato" in line 2',
    ('“Pepper, bell”, “Potato”',): 'cannot tell whether',
    ("\"'cat, 0.9', 'dog, 0.1'\"",): 'cannot tell whether',
    ('cat:yes;dog:no', 'cat:no;dog:yes'): "'cat:yes' and 'cat:no' answer whether a class is there",
    ("\"'cat,','dog'\"", "'bird'"): 'cannot tell whether',
    ("\"['cat', '']\"", "['cat']"): "'' stands for no value",
    ('cat = True', 'cat = False'): "'cat = True' and 'cat = False' answer",
}


def table_of(cells):
    return ''.join(f'{line}\n' for line in ('path,labels', *(f'{i}.png,{c}' for i, c in enumerate(cells))))


@pytest.mark.parametrize('cells,why', OTHERWISE.items())
def test_cells_that_may_be_read_otherwise_are_refused(cells, why, tmp_path):
    table = table_of([f'"{c}"' if ',' in c and c[0] not in '"' else c for c in cells])
    assert why in refusal(tmp_path, table)


@pytest.mark.parametrize(
    'cell',
    ['cat,__background__', 'cat,_other_', 'answer:now', 'a_b,c_d', 'building=yes', 'lang:no,lang:ja', 'l\'eau,d\'or'],
)
def test_what_looks_like_it_and_is_none_is_read(cell, tmp_path):
    file = tmp_path / 'a.csv'
    file.write_text(f'path,labels\na.png,"{cell}"\nb.png,horse\n')
    assert read_csv(file).classes == sorted([*cell.split(','), 'horse'])


@pytest.mark.parametrize(
    'data,why',
    [
        (gzip.compress(b'path,labels\na.png,cat\n', mtime=0), 'is no text but a file compressed by gzip: unpack it'),
        (b'PAR1\x15\x04\x00PAR1', 'is no text but a Parquet table: save it as CSV (UTF-8)'),
    ],
)
def test_a_table_of_another_kind_is_named(data, why, tmp_path):
    file = tmp_path / 'a.csv'
    file.write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(why)):
        read_csv(file)


def test_words_of_a_cell_within_another_are_found_as_by_all_pairs():
    draw = random.Random(0)
    for _ in range(300):
        words = 'abcdefgh'[: draw.randint(2, 8)]
        cells = {' '.join(draw.choices(words, k=draw.randint(2, 4))) for _ in range(draw.randint(1, 6))}
        by_pairs = any(_scattered(a, b) for a in cells for b in cells)
        assert _any_scattered(cells) == by_pairs, cells
