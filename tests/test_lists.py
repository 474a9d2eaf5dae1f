"Properties of the list formats that hold for any content; the examples are in nbs/11_lists.ipynb."

import hashlib, http.server, json, random, threading

import numpy as np, pytest
from hypothesis import given, settings, strategies as st

from hpdval.lists import (
    Origin,
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
@given(st.text('abAB-_ é', min_size=1, max_size=6).filter(str.strip), st.sampled_from(['upper', 'title', 'swapcase']))
def test_spellings_of_a_name_have_one_key(name, case):
    assert class_key(name) == class_key(getattr(name, case)()) == class_key(f' {name.replace("_", "-")} ')


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


def test_fetch_shows_progress_and_places_the_file(tmp_path, monkeypatch, capsys):
    body = b'1.jpg 0\n' * 10000

    class Host(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sources = {'a.txt': Origin('o/r', 'c' * 40, 'a.txt', hashlib.sha256(body).hexdigest())}
        fetch_lists(tmp_path / 'new/folder', ['a.txt'], sources, f'http://127.0.0.1:{server.server_port}')
        server.shutdown()
    check_list(tmp_path / 'new/folder/a.txt', sources)
    assert 'a.txt' in capsys.readouterr().err


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
