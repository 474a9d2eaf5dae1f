"""What is kept of many images lies in files, and parts of it are computed at a time: the numbers are those of the plain
form. (How much memory it takes is measured by scripts/scale.py.)"""

import re
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from test_data import labels

from hpdval import metrics, train
from hpdval.clip import load_clip
from hpdval.config import make_config
from hpdval.data import Split, holdout
from hpdval.experiment import load_benchmark, run
from hpdval.lists import read_list
from hpdval.losses import bce
from hpdval.metrics import average_precision, bootstrap_ci, threshold_metrics
from hpdval.train import Ahead, FeatureFeed, Feed, Kept, Pixels, batches, fit_logits, is_whole, save_array, save_rows
from hpdval.train import seeded

CPU = torch.device('cpu')


def rss_anon():
    "Anonymous memory of this process in MB: what a system cannot take back by writing a file."
    with open('/proc/self/status') as f:
        return int(re.search(r'RssAnon:\s+(\d+) kB', f.read())[1]) / 1e3


@pytest.fixture
def on_disk(monkeypatch, tmp_path):
    "Nothing is small enough to stay in memory."
    monkeypatch.setattr(train, 'IN_MEMORY', 0)
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def filled(n=50, half=True):
    "Rows of two arrays, kept in batches, and the arrays."
    g = seeded(3)
    right = torch.rand(n, 7, generator=g), torch.rand(n, 3, 5, generator=g)
    kept = Kept(n, 'rows', half=half)
    for idx in batches(n, 8):
        kept.fill(idx, [r[idx] for r in right])
    return kept.full(), right


def test_what_is_small_stays_as_it_is():
    kept, right = filled()
    idx = torch.tensor([7, 0, 49, 7])
    assert not kept.on_disk and all(torch.equal(a, b[idx]) for a, b in zip(kept(idx), right))


def test_what_is_large_lies_in_a_file_that_goes_with_the_process(on_disk):
    kept, right = filled()
    assert kept.on_disk and [*on_disk.iterdir()] == []  # mapped, and no longer named
    for idx in ([7, 0, 49, 7], [3], range(50)):
        for a, b in zip(kept(torch.tensor([*idx])), right):
            assert torch.equal(a, b[[*idx]].half())


def test_a_disk_without_room_is_one_line(on_disk):
    with pytest.raises(OSError, match=r'rows need 800,000,000,000.0 MB in .*cache, .* MB are free'):
        Kept(10**14, 'rows').fill(torch.arange(2), [torch.zeros(2, 2000)])
    assert [*on_disk.iterdir()] == []


def test_a_gigabyte_is_said(on_disk, capsys, monkeypatch):
    monkeypatch.setattr('hpdval.data.reserve', lambda f, n, what: f.truncate(n))
    Kept(10**6, 'features of 1,000,000 images', half=True).fill(torch.arange(2), [torch.zeros(2, 600)])
    said = capsys.readouterr().err
    assert re.fullmatch(r'features of 1,000,000 images: 1\.2 GB in .*cache, [\d.]+ GB are free\n', said)


def test_reading_ahead_gives_the_rows_that_are_asked_for(on_disk):
    kept, right = filled()
    order = lambda epoch: batches(50, 8, seeded(5, epoch))
    ahead, reads = Ahead(CPU, order), []
    read = ahead._read
    ahead._read = lambda k, idx: reads.append(idx) or read(k, idx)
    asked = [(e, s, idx) for e in range(2) for s, idx in enumerate(order(e))]
    asked += [(2, 4, order(2)[4]), (2, 0, torch.arange(3)), (2, 1, order(2)[1])]  # resumed; not of the order
    for epoch, step, idx in asked:
        assert torch.equal(ahead(kept, idx, epoch, step)[0], right[0][idx].half())
    ahead.thread.shutdown()
    assert len(reads) == 14 + 5  # each once, but for the last, that nobody asked for


@pytest.fixture(scope='module')
def few():
    data = load_benchmark(make_config('dval', 'icon-voc-lt'), progress=False)
    rows = sorted({int(i) for c in range(20) for i in np.flatnonzero(data.train.targets[:, c])[:3]})
    return data._replace(train=data.train.at(rows), test=data.test.at(range(40)), scenes=None, digest='few')


def embeddings(few, copies, patches=True):
    clip = load_clip('mini', '')
    cfg = make_config('hp-dval', 'icon-voc-lt', copies=copies)
    feed = FeatureFeed(few.train.images, clip.visual, Pixels(clip, cfg, CPU), patches)
    return [
        torch.cat(rows) for rows in zip(*(feed(idx, e) for e in range(2) for idx in batches(len(few.train.paths), 9)))
    ]


@pytest.mark.parametrize('patches', [True, False])
def test_features_in_a_file_are_those_in_memory(few, on_disk, monkeypatch, patches):
    disk = embeddings(few, 0, patches)
    monkeypatch.setattr(train, 'IN_MEMORY', 2**28)
    for a, b in zip(disk, embeddings(few, 0, patches), strict=True):
        assert torch.equal(a, b.half().float())


def test_a_named_file_holds_the_features_of_its_copies(few, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path))
    first = embeddings(few, 2)
    assert len([*tmp_path.glob('features-*.npy')]) == 2
    assert all(torch.equal(a, b) for a, b in zip(first, embeddings(few, 2)))  # read again
    for a, b in zip(first, embeddings(few, 0)):  # variants 0 and 1 are those of epochs 0 and 1
        assert torch.equal(a, b.half().float())


def test_kept_views_in_a_file_are_those_in_memory(few, on_disk, monkeypatch):
    clip = load_clip('mini', '')
    pixels = Pixels(clip, make_config('dval', 'icon-voc-lt', copies=2), CPU)

    def views():
        feed, idx = Feed(few.train.images, pixels, lambda x: clip.visual(x)), torch.tensor([5, 0, 9])
        return [feed(idx, e, 0) for e in range(3)]

    disk = views()
    monkeypatch.setattr(train, 'IN_MEMORY', 2**28)
    for (x, t), (x0, t0) in zip(disk, views()):
        assert torch.equal(x, x0) and all(torch.equal(a, b) for a, b in zip(t, t0))
    assert not torch.equal(disk[0][0], disk[1][0]) and torch.equal(disk[0][0], disk[2][0])


@pytest.mark.parametrize('copies, exact', [(0, False), (1, True)])
def test_a_run_from_files_is_the_run_in_memory(few, tmp_path, monkeypatch, copies, exact):
    "Views of stage 1 are kept as they are, features of stage 2 in float16; those of copies are so in any case."
    scores = []
    for most in (2**28, 0):
        monkeypatch.setattr(train, 'IN_MEMORY', most)
        monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path / f'runs{most}'))
        cfg = make_config('hp-dval', 'memory', epochs1=1, epochs2=2, select='last', device='cpu', copies=copies)
        scores.append(run(cfg, progress=False, data=few).scores)
    assert np.array_equal(*scores) if exact else 0 < np.abs(scores[0] - scores[1]).max() < 1e-3


def test_a_score_in_parts_selects_as_the_whole(few, monkeypatch):
    clip, cfg = load_clip('mini', ''), make_config('hp-dval', 'icon-voc-lt', select='test')
    model = train.DualView(clip, few.classes, cfg, seeded(0))
    pixels, whole = Pixels(clip, cfg, CPU), None
    for at_once in (2**25, 64 * 128 * 7):  # all, and seven images at a time
        monkeypatch.setattr(train, 'AT_ONCE', at_once)
        mAP = train.selection(model, few.test, pixels, False, frozen=True)()
        assert whole is None or mAP == pytest.approx(whole, abs=0.02)
        whole = mAP


def test_a_fit_in_parts_is_the_fit(monkeypatch):
    score = torch.rand(400, 5, generator=seeded(1))
    truth = (torch.rand(400, 5, generator=seeded(2)) < torch.sigmoid(8 * (score - 0.7))).byte()
    whole = torch.stack(fit_logits(score, truth, bce))
    monkeypatch.setattr(train, 'PAIRS', 5 * 70)
    assert torch.stack(fit_logits(score, truth, bce)).tolist() == pytest.approx(whole.tolist(), rel=1e-3)


def naive_holdout(Y, fraction, seed):
    "Image by image."
    Y = np.c_[Y, ~Y.any(1)].astype(bool)
    n = Y.sum(0)
    quota = [min(max(round(fraction * k), 1), k - 1) if k > 1 and fraction else 0 for k in n.tolist()]
    have, val = [0] * len(n), set()
    for c in sorted(range(len(n)), key=lambda c: n[c]):
        rows = [i for i in np.random.default_rng(seed).permutation(len(Y)) if Y[i, c]]
        while have[c] < quota[c]:
            free = [i for i in rows if i not in val and not any(have[k] >= n[k] - 1 for k in np.flatnonzero(Y[i]))]
            if not free:
                break
            i = min(free, key=lambda i: sum(1 / max(quota[k], 1) for k in np.flatnonzero(Y[i]) if have[k] >= quota[k]))
            val.add(i)
            have = [h + int(y) for h, y in zip(have, Y[i])]
    return sorted(val)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.integers(0, 3))
def test_holdout_is_that_which_looks_at_every_image_each_time(seed, fraction, again):
    Y = labels(seed)
    assert holdout(Y, fraction, again)[1].tolist() == naive_holdout(Y, fraction, again)


def test_metrics_in_parts_are_the_metrics(monkeypatch):
    g = np.random.default_rng(0)
    scores, targets = g.normal(size=(60, 17)).round(1).astype(np.float32), g.random((60, 17)) < 0.2
    found = []
    for at_once in (2**22, 130, 1):
        monkeypatch.setattr(metrics, 'AT_ONCE', at_once)
        some = [average_precision(scores, targets, ties) for ties in metrics.TIES]
        some += [[*threshold_metrics(scores, targets, top=top, kind='logits').values()] for top in (None, 3)]
        some += [np.ravel([*bootstrap_ci(scores, targets, targets.sum(0), 20).values()])]
        found.append(np.concatenate(some))
    assert np.array_equal(found[0], found[1], equal_nan=True) and np.array_equal(found[0], found[2], equal_nan=True)
    scores[3, 4] = scores[50, 2] = np.nan
    with pytest.raises(ValueError, match='^2 of 1020 scores are NaN'):
        average_precision(scores, targets)


def test_a_list_is_what_a_line_by_line_reading_gives(tmp_path):
    g = np.random.default_rng(0)
    rows = [sorted(g.choice(30, g.integers(0, 5), replace=False).tolist()) for _ in range(3000)]
    paths = [
        f'train/a-b.{i % 7}/{i:05d}.jpg' if i % 3 else f'./x y{i}/../{i}.jpg'.replace(' ', '_') for i in range(3000)
    ]
    ends = ['\n', '\r\n', '\r', '\n\n  \n']
    lines = [' '.join([p, *map(str, ids)]) + ends[i % 4] for i, (p, ids) in enumerate(zip(paths, rows))]
    (tmp_path / 'list.txt').write_bytes(''.join(lines).encode())
    read = read_list(tmp_path / 'list.txt', 30)
    right = np.zeros((3000, 30), np.uint8)
    for i, ids in enumerate(rows):
        right[i, ids] = 1
    assert read.paths == paths and np.array_equal(read.targets, right)


def test_a_part_of_a_split_copies_no_pixels(tmp_path):
    "150 MB in a file: the parts that a run makes of it take next to nothing."
    pixels = np.lib.format.open_memmap(tmp_path / 'pixels.npy', 'w+', np.uint8, (1000, 3, 224, 224))
    pixels[::50] = 7
    pixels.flush()
    images = torch.from_numpy(np.load(tmp_path / 'pixels.npy', mmap_mode='c'))
    split = Split(images, torch.ones(1000, 1, dtype=torch.uint8), ('a',), [''] * 1000)
    before = rss_anon()
    parts = [split.at(np.arange(0, 1000, 2)), split.at(range(100, 900))]
    parts += [p.at(torch.arange(len(p.paths) - 1, -1, -1)) for p in parts]
    bright = [sum(int(x.amax((1, 2, 3)).sum()) for x in p.images.split(16)) // 7 for p in parts]
    assert rss_anon() - before < 20
    assert bright == [20, 16, 20, 16]
    assert torch.equal(parts[2].images[:3], images[[998, 996, 994]])


def test_more_images_than_torch_draws_from_are_drawn_in_proportion():
    n = 2**24 + 1
    weights = torch.ones(n, dtype=torch.float64)
    weights[: n // 2] = 3  # the first half three times as often
    weights[-1] = n / 10
    order = torch.cat(batches(n, 10**6, seeded(0), weights))
    shares = torch.tensor([(order < n // 2).sum(), (order == n - 1).sum()]) / n
    total = 3 * (n // 2) + (n // 2) + n / 10
    assert len(order) == n and shares.tolist() == pytest.approx([3 * (n // 2) / total, n / 10 / total], abs=2e-3)


def test_a_mask_names_rows():
    images = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 2, 2).contiguous()
    split = Split(images, torch.eye(3, dtype=torch.uint8), ('a', 'b', 'c'), ['x', 'y', 'z'])
    for mask in (np.array([True, False, True]), torch.tensor([True, False, True]), slice(0, None, 2), [0, 2]):
        part = split.at(mask)
        assert part.paths == ['x', 'z'] and part.targets.tolist() == [[1, 0, 0], [0, 0, 1]]
        assert part.images[:, 0, 0, 0].tolist() == [0, 2] and len(part.at([]).paths) == 0
    with pytest.raises(ValueError, match=r'^a mask of shape \(2,\) for 3 rows: give it one entry for each$'):
        split.at(np.array([True, False]))


@pytest.mark.parametrize('rows', [False, True], ids=['whole', 'rows'])
def test_who_looks_while_features_are_written_throws_nothing_away(tmp_path, monkeypatch, rows):
    file, array, seen = tmp_path / 'features-a-0.npy', np.ones((4, 2), np.float16), []
    write = train.write_json

    def looked_at(path, data):
        seen.append(is_whole(file))
        write(path, data)
        seen.append(is_whole(file))

    monkeypatch.setattr(train, 'write_json', looked_at)
    save_rows(file, 4, iter([array]), 'x') if rows else save_array(file, array)
    assert seen == [False, False] and is_whole(file) and np.array_equal(np.load(file), array)


@pytest.mark.parametrize('error', [OSError(12, 'Cannot allocate memory'), MemoryError(), PermissionError(13, 'no')])
def test_features_that_cannot_be_read_now_stay(tmp_path, monkeypatch, error):
    file = tmp_path / 'features-a-0.npy'
    save_array(file, np.ones(3))

    def fails(*_, **__):
        raise error

    with monkeypatch.context() as m, pytest.raises(type(error)):
        m.setattr(np, 'load', fails)
        is_whole(file)
    assert is_whole(file)
    file.with_suffix('.json').unlink()  # of an older version, or half removed
    assert not is_whole(file) and not file.exists()
