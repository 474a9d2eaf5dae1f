"""Photographs from a host that misbehaves: a server on this machine, with drawn pictures, and with the 205 real ones of
the folder with photographs where that is there."""

import collections, hashlib, http.server, io, json, multiprocessing, os, pickle, signal, subprocess, sys, tarfile
import threading, time, zipfile
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from hpdval import fetch as fetching
from hpdval.command import main
from hpdval import fewshot, photographs as benchmarks
from hpdval.config import make_config
from hpdval.data import open_image
from hpdval.experiment import load_benchmark
from hpdval.fetch import AGENT, Manifest, Remote
from hpdval.labels import COCO_CLASSES, COCO_NOVEL, readable
from hpdval.lists import OFFICIAL
from hpdval.photographs import long_tailed, official_lists

root = Path(__file__).resolve().parents[1]
MOODS = ('drop', 'cut', 'busy', 'wrong', 'half', 'slow')  # what a request may meet with, once for a path


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        host, path = self.server.host, urlsplit(self.path).path
        with host.open(path, self.headers):
            self.answer(host.files.get(path), host.mood(path))

    def answer(self, data, mood):
        time.sleep(self.server.host.pause + (0.3 if mood == 'slow' else 0))
        if mood == 'drop':
            self.close_connection = True
            return
        if data is None or mood == 'busy':
            self.send_response(404 if data is None else 503)
            self.send_header('Retry-After', '1')
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        if mood == 'wrong':
            data = b'<html>Please log in to the network of this hotel</html>'
        if mood == 'half':
            data = data[: len(data) // 2]  # and a length that agrees
        self.send_response(200)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if mood == 'cut' else data)
        if mood == 'cut':
            self.close_connection = True

    def log_message(self, *args):
        pass


class Host:
    "What is served, how, and what was asked."

    def __init__(self):
        self.files, self.moods, self.pause, self.at_once = {}, {}, 0, 0
        self.asked, self.agents, self.open_now = collections.defaultdict(list), set(), 0
        self.lock = threading.Lock()
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.host, self.server.daemon_threads = self, True
        self.address = f'http://127.0.0.1:{self.server.server_port}'
        self.server.handle_error = lambda *who: None  # a killed process hangs up
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def mood(self, path):
        with self.lock:
            return self.moods.pop(path, None)

    @fetching.contextmanager
    def open(self, path, headers):
        with self.lock:
            self.asked[path].append(time.monotonic())
            self.agents.add(headers['User-Agent'])
            self.open_now += 1
            self.at_once = max(self.at_once, self.open_now)
        try:
            yield
        finally:
            with self.lock:
                self.open_now -= 1

    @property
    def requests(self):
        return sum(map(len, self.asked.values()))


@pytest.fixture
def host(tmp_path, monkeypatch):
    host = Host()
    monkeypatch.setenv('HPDVAL_MIRROR', host.address)
    monkeypatch.setenv('HPDVAL_DATA', str(tmp_path / 'data'))
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    benchmarks._FOUND.clear()
    yield host
    host.server.shutdown()
    host.server.server_close()


def picture(seed):
    "A drawn JPEG."
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, 'JPEG')
    return out.getvalue()


def serve(host, folder, pictures):
    "Serve pictures {path: bytes} and write lists that name them; the folder of the lists."
    host.files |= {f'/{p}': data for p, data in pictures.items()}
    folder.mkdir(exist_ok=True)
    for split in ('train', 'val'):
        lines = [f'{p} {i % 80}\n' for i, p in enumerate(pictures) if p.startswith(split)]
        (folder / f'{split}2017.txt').write_text(''.join(lines))
    return str(folder)


REAL = pytest.param('real', marks=pytest.mark.thorough)


@pytest.fixture(params=['drawn', REAL])
def lists(request, host, tmp_path):
    "A folder of lists whose pictures are served."
    if request.param == 'drawn':
        names = [f'{s}2017/{i:012d}.jpg' for s in ('train', 'val') for i in range(24)]
        return serve(host, tmp_path / 'lists', {n: picture(i) for i, n in enumerate(names)})
    real = request.getfixturevalue('bench') / 'coco_real'
    if not real.is_dir():
        pytest.skip(f'no photographs at {real}')
    found = {f.relative_to(real).as_posix(): f.read_bytes() for f in sorted(real.glob('*2017/*.jpg'))}
    return serve(host, tmp_path / 'lists', found)


def wrong(host, folder):
    "Pictures under the folder that are not what is served."
    pictures = Path(folder).glob('*/*.jpg')
    return [f.name for f in pictures if f.read_bytes() != host.files[f'/{f.relative_to(folder).as_posix()}']]


def test_a_host_that_misbehaves(host, lists, tmp_path):
    "Everything comes, checked and written down; the next call asks nobody."
    paths = sorted(host.files)
    few = paths[:: max(2, len(paths) // 60)]  # so that it takes seconds
    host.moods = {p: MOODS[i % len(MOODS)] for i, p in enumerate(few)}
    busy = [p for p in few if host.moods[p] == 'busy']
    _, folder = long_tailed('coco-lt', lists, progress=False)
    assert folder == str(tmp_path / 'data/coco') and not host.moods
    assert len(list(Path(folder).glob('*/*.jpg'))) == len(paths) and not wrong(host, folder)
    known = json.loads((Path(folder) / 'manifest.json').read_text())
    said = {f'/{p}': (size, sha) for p, (size, sha) in known.items()}
    assert said == {p: (len(d), hashlib.sha256(d).hexdigest()) for p, d in host.files.items()}
    assert sorted(f.name for f in Path(folder).iterdir()) == ['.lock', 'manifest.json', 'train2017', 'val2017']
    assert all(host.asked[p][1] - host.asked[p][0] >= 1 for p in busy)  # Retry-After
    assert host.agents == {AGENT} and host.at_once <= 4
    again = host.requests
    benchmarks._FOUND.clear()
    long_tailed('coco-lt', lists, progress=False)
    assert host.requests == again


def start(environment, lists):
    os.environ |= environment
    long_tailed('coco-lt', lists, progress=False)


def test_killed_in_between(host, lists, tmp_path):
    "Ten times; what has a picture's name is whole every time, and nothing is fetched twice without need."
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['pytest', 'hpdval.experiment', 'hpdval.fewshot'])
    names = ('HPDVAL_MIRROR', 'HPDVAL_DATA', 'no_proxy')
    environment, folder, host.pause = {n: os.environ[n] for n in names}, tmp_path / 'data/coco', 0.01
    for kill in range(10):
        job = context.Process(target=start, args=(environment, lists))
        before = host.requests
        job.start()
        while job.is_alive() and host.requests < before + 4 + len(host.files) // 20:
            time.sleep(0.003)
        os.kill(job.pid, signal.SIGKILL)
        job.join()
        assert not wrong(host, folder)
    got = len(list(folder.glob('*/*.jpg')))
    assert 0 < got < len(host.files)  # it was killed in between
    long_tailed('coco-lt', lists, progress=False)
    assert len(list(folder.glob('*/*.jpg'))) == len(host.files) and not wrong(host, folder)
    assert sorted(f.name for f in folder.iterdir()) == ['.lock', 'manifest.json', 'train2017', 'val2017']
    assert len(Manifest(folder).known) == len(host.files)
    assert host.requests <= len(host.files) + 10 * 8  # at most the four under way, and the four after them


def test_two_at_once_fetch_once(host, tmp_path):
    lists = serve(
        host, tmp_path / 'lists', {f'{s}2017/{i}.jpg': picture(i) for s in ('train', 'val') for i in range(9)}
    )
    host.pause = 0.02
    jobs = [threading.Thread(target=long_tailed, args=('coco-lt', lists, True, False)) for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert host.requests == 18 and not wrong(host, tmp_path / 'data/coco')


def test_what_does_not_exist_is_named_and_the_rest_is_kept(host, tmp_path):
    pictures = {f'{s}2017/{i}.jpg': picture(i) for s in ('train', 'val') for i in range(6)}
    lists = serve(host, tmp_path / 'lists', pictures)
    del host.files['/val2017/3.jpg']
    with pytest.raises(OSError, match=r'1 of 12 files could not be fetched \(.*/val2017/3.jpg: HTTP Error 404') as e:
        long_tailed('coco-lt', lists, progress=False)
    assert '\n' not in str(e.value) and len(list((tmp_path / 'data/coco').glob('*/*.jpg'))) == 11


def test_a_host_that_is_gone_is_not_asked_thousands_of_times(host, tmp_path, monkeypatch):
    pictures = {f'{s}2017/{i}.jpg': b'' for s in ('train', 'val') for i in range(500)}
    lists = serve(host, tmp_path / 'lists', pictures)
    host.files.clear()
    with pytest.raises(OSError, match='gave up after 20 failures in a row'):
        long_tailed('coco-lt', lists, progress=False)
    assert host.requests < 200  # of 1,000: twenty, and those that other threads had begun


def test_no_means_no(host, tmp_path):
    "A run that may not fetch asks nobody, says what to do, and takes what is there."
    lists = serve(
        host, tmp_path / 'lists', {f'{s}2017/{i}.jpg': picture(i) for s in ('train', 'val') for i in range(3)}
    )
    where = dict(benchmark='coco-lt', empty_classes='keep')
    for cfg, says in (
        (make_config(fetch=False, **where), 'no coco_lt_train.txt, coco_lt_test.txt in .*set `lists` to a folder'),
        (make_config(fetch=False, lists=lists, **where), '6 photographs of coco-lt are not in .*set `image_root` to'),
    ):
        with pytest.raises(FileNotFoundError, match=says):
            load_benchmark(cfg, 32, progress=False)
    assert host.requests == 0
    data = load_benchmark(make_config(lists=lists, **where), 32, progress=False)
    assert (len(data.train.paths), host.requests) == (3, 6)
    benchmarks._FOUND.clear()
    assert load_benchmark(make_config(fetch=False, lists=lists, **where), 32, progress=False).digest == data.digest
    assert host.requests == 6


def test_a_folder_of_ones_own_is_left_alone(host, tmp_path):
    "With `image_root`, the lists may come from the net, pictures never."
    lists = serve(host, tmp_path / 'lists', {'train2017/1.jpg': picture(1), 'val2017/2.jpg': picture(2)})
    (tmp_path / 'mine').mkdir()
    cfg = make_config(benchmark='coco-lt', lists=lists, image_root=str(tmp_path / 'mine'), empty_classes='keep')
    with pytest.raises(ValueError, match='1 missing'):
        load_benchmark(cfg, 32, progress=False)
    assert host.requests == 0 and not list((tmp_path / 'mine').iterdir())


def test_a_disk_that_is_full(host, tmp_path, monkeypatch):
    lists = serve(host, tmp_path / 'lists', {'train2017/1.jpg': picture(1), 'val2017/2.jpg': picture(2)})
    monkeypatch.setattr(fetching.shutil, 'disk_usage', lambda path: type('Usage', (), dict(free=1000)))
    with pytest.raises(OSError, match='coco-lt needs 327 kB in .*, 1 kB are free: make room, or set HPDVAL_DATA'):
        long_tailed('coco-lt', lists, progress=False)
    assert host.requests == 0


def test_proxies_of_the_environment_are_used(host, tmp_path, monkeypatch):
    lists = serve(host, tmp_path / 'lists', {'train2017/1.jpg': picture(1), 'val2017/2.jpg': picture(2)})
    monkeypatch.setenv('http_proxy', host.address)
    monkeypatch.setenv('HPDVAL_MIRROR', 'http://pictures.invalid')
    long_tailed('coco-lt', lists, progress=False)
    assert host.requests == 2 and not wrong(host, tmp_path / 'data/coco')


@pytest.mark.parametrize('process', ['the same', 'another'])
def test_a_picture_that_changed_is_fetched_again(host, tmp_path, process):
    lists = serve(
        host, tmp_path / 'lists', {f'{s}2017/{i}.jpg': picture(i) for s in ('train', 'val') for i in range(3)}
    )
    _, folder = long_tailed('coco-lt', lists, progress=False)
    (Path(folder) / 'val2017/1.jpg').write_bytes(picture(77))  # whole, but another
    (Path(folder) / 'val2017/2.jpg').write_bytes(picture(2)[:-50])
    (Path(folder) / 'train2017/2.jpg').unlink()
    if process == 'another':
        benchmarks._FOUND.clear()
    long_tailed('coco-lt', lists, progress=False)
    assert host.requests == 6 + 3 and not wrong(host, folder)


def test_a_folder_in_the_place_of_a_picture_is_named(host, tmp_path):
    lists = serve(host, tmp_path / 'lists', {f'{s}2017/1.jpg': picture(1) for s in ('train', 'val')})
    (tmp_path / 'data/coco/val2017/1.jpg').mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match='data/coco/val2017/1.jpg is a folder, .*: move it away'):
        long_tailed('coco-lt', lists, progress=False)
    assert not host.requests


def archive(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_voc_from_its_archives(host, tmp_path, monkeypatch):
    "Only the listed members are written, an archive that breaks off is resumed or begun anew, and it is removed."
    old, new = ('VOCdevkit/VOC2012/JPEGImages/2008_{:06d}.jpg', 'VOCdevkit/VOC2007/JPEGImages/{:06d}.jpg')
    members = {f.format(i): picture(i) for f in (old, new) for i in range(1, 6)}
    links = {'../../evil.jpg': b'E', 'VOCdevkit/VOC2007/Annotations/000001.xml': b'<a/>'}
    remotes = []
    for year, path in (('VOC2012', 'voc2012/a.tar'), ('VOC2007', 'voc2007/b.tar')):
        data = archive(links | {n: d for n, d in members.items() if year in n})
        host.files[f'/{path}'] = data
        remotes.append(Remote('', path, len(data), f'md5:{hashlib.md5(data).hexdigest()}'))
    held = {'VOCdevkit/VOC2012/': remotes[:1], 'VOCdevkit/VOC2007/': remotes[1:]}
    voc = benchmarks.PHOTOGRAPHS['voc-lt']._replace(archives=held)
    monkeypatch.setitem(benchmarks.PHOTOGRAPHS, 'voc-lt', voc)
    (tmp_path / 'lists').mkdir()
    for which, form in (('train', old), ('test', new)):
        (tmp_path / f'lists/voc_lt_{which}.txt').write_text(''.join(f'{form.format(i)} {i}\n' for i in (1, 3)))
    host.moods = {'/voc2012/a.tar': 'cut', '/voc2007/b.tar': 'wrong'}
    _, folder = long_tailed('voc-lt', str(tmp_path / 'lists'), progress=False)
    got = {f.relative_to(folder).as_posix(): f.read_bytes() for f in Path(folder).rglob('*.*') if f.suffix == '.jpg'}
    assert got == {f.format(i): members[f.format(i)] for f in (old, new) for i in (1, 3)}
    assert not list(tmp_path.rglob('*.tar')) and not list(tmp_path.rglob('evil*'))
    before = host.requests
    benchmarks._FOUND.clear()
    long_tailed('voc-lt', str(tmp_path / 'lists'), progress=False)
    assert host.requests == before
    (tmp_path / 'lists/voc_lt_test.txt').write_text(f'{new.format(9)} 1\n')
    with pytest.raises(OSError, match='1 photographs of voc-lt are not in its archives'):
        long_tailed('voc-lt', str(tmp_path / 'lists'), progress=False)


def made_up_coco_2014(host, monkeypatch):
    "Annotations, episodes and pictures of a COCO 2014 with 160 images, one class in each."
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, 'w') as z:
        for split in ('train', 'val'):
            images = [dict(id=i, file_name=f'COCO_{split}2014_{i:012d}.jpg') for i in range(160)]
            boxes = [dict(id=i, image_id=i, category_id=i % 80 + 1, bbox=[0, 0, 9, 9], area=81) for i in range(160)]
            categories = [dict(id=c + 1, name=readable(n)) for c, n in enumerate(COCO_CLASSES)]
            said = dict(images=images, annotations=boxes, categories=categories)
            z.writestr(f'annotations/instances_{split}2014.json', json.dumps(said))
            z.writestr(f'annotations/captions_{split}2014.json', '{}')
            host.files |= {f"/{split}2014/{im['file_name']}": picture(im['id']) for im in images}
    data = packed.getvalue()
    remote = Remote('', 'annotations/a.zip', len(data), f'sha256:{hashlib.sha256(data).hexdigest()}')
    monkeypatch.setattr(benchmarks, 'COCO_2014', remote)
    host.files['/annotations/a.zip'] = data
    for name in benchmarks.LASO:
        said = {c: {c} for c in COCO_NOVEL} if 'Class' in name else set(COCO_NOVEL)
        host.files[f'/{benchmarks.LASO_AT}/{name}'] = pickle.dumps(said)


def test_coco_few_shot(host, tmp_path, monkeypatch):
    "Annotations from the zip, LaSO's episodes, and of the pictures those that are read."
    made_up_coco_2014(host, monkeypatch)
    fs = fewshot.Fewshot('coco-fsl', shots=1, published=False)
    tables, lists, folder = fewshot.tables_and_photographs(fs, progress=False)
    assert sorted(os.listdir(lists)) == ['.lock', 'data_for_augmentation', *benchmarks.INSTANCES, 'manifest.json']
    assert (len(tables.base[0]), len(tables.test[0]), len(tables.episodes)) == (128, 32, 10)
    assert len(list(Path(folder).glob('train2014/*.jpg'))) == 128 + 16
    assert len(list(Path(folder).glob('val2014/*.jpg'))) == 32
    before = host.requests
    cfg, fs = fewshot.fewshot_config('hp-dval', 0, 'coco-fsl', shots=1, published=False, fetch=False)
    data = fewshot.load_fewshot(cfg, fs, 32, progress=False)
    assert (len(data.base.paths), len(data.supports), host.requests) == (128, 10, before)
    with pytest.raises(ValueError, match="does not hold LaSO's episodes"):
        fewshot.fetch_fewshot('coco-fsl', progress=False)


def test_the_official_lists(host, bench, tmp_path):
    "From their pinned commit; with another byte they are refused."
    for name in benchmarks.PHOTOGRAPHS['voc-fsl'].lists:
        at = on_github(name)
        host.files[at] = (bench / 'lists/voc_fsl' / name).read_bytes()
    folder = official_lists('voc-fsl', progress=False)
    assert len(os.listdir(folder)) == host.requests == 24
    assert official_lists('voc-fsl', False, progress=False) == folder and host.requests == 24
    host.files |= {on_github(n): b'1.jpg 0\n' for n in benchmarks.PHOTOGRAPHS['voc-lt'].lists}
    with pytest.raises(OSError, match=r'could not fetch .*voc_lt_train.txt \(sha256 of what came is not'):
        official_lists('voc-lt', progress=False)


def on_github(name):
    "Where a list is on GitHub."
    return f'/{OFFICIAL[name].repo}/{OFFICIAL[name].commit}/{OFFICIAL[name].path}'


def test_the_command(host, tmp_path):
    "`hpdval fetch` says where things are, or in one line why they are not."
    done = CliRunner().invoke(main, ['fetch', 'coco-lt', '--quiet'])
    (line,) = done.stderr.splitlines()
    assert (
        done.exit_code == 1
        and line.startswith('Error: could not fetch ')
        and line.endswith(str(tmp_path / 'data/lists'))
    )


def serve_coco_lt(host, bench):
    "The official lists, and for each of their 6,909 pictures one of the 205."
    real = sorted((bench / 'coco_real').glob('*2017/*.jpg'))
    if not real:
        pytest.skip('no photographs')
    data = [f.read_bytes() for f in real]
    for name in benchmarks.PHOTOGRAPHS['coco-lt'].lists:
        text = (bench / 'lists' / name).read_text()
        host.files[on_github(name)] = (bench / 'lists' / name).read_bytes()
        host.files |= {f'/{line.split()[0]}': data[i % len(data)] for i, line in enumerate(text.splitlines())}


@pytest.mark.thorough
def test_all_of_coco_lt(host, bench, tmp_path):
    "The official lists whole, every sixth picture with a fault."
    serve_coco_lt(host, bench)
    paths = [p for p in host.files if p.endswith('.jpg')]
    host.moods = {p: MOODS[i % len(MOODS)] for i, p in enumerate(paths[::6])}
    lists, folder = long_tailed('coco-lt', progress=False)
    assert len(paths) == len(list(Path(folder).glob('*/*.jpg'))) == 6909 and not wrong(host, folder)
    before = host.requests
    benchmarks._FOUND.clear()
    long_tailed('coco-lt', fetch=False, progress=False)
    assert host.requests == before


@pytest.mark.thorough
def test_from_nothing_to_a_result(host, bench, tmp_path):
    "The run notebook with nothing but a name: lists cut to the pictures that are there, ViT-B/32 with random weights."
    import open_clip, torch

    torch.manual_seed(0)
    weights = tmp_path / 'random.pt'
    torch.save(open_clip.create_model('ViT-B-32-quickgelu').state_dict(), weights)
    real = sorted((bench / 'coco_real').glob('*2017/*.jpg'))
    host.files |= {f'/{f.parent.name}/{f.name}': f.read_bytes() for f in real}
    (tmp_path / 'lists').mkdir()
    lines = [
        f'{line}\n' for n in ('train', 'val') for line in (bench / f'coco_real/{n}2017.txt').read_text().splitlines()
    ]
    (tmp_path / 'lists/train2017.txt').write_text(''.join(lines[:140]))
    (tmp_path / 'lists/val2017.txt').write_text(''.join(lines[140:]))
    said = dict(benchmark='coco-lt', lists=tmp_path / 'lists', clip='ViT-B-32-quickgelu', pretrained=weights)
    said |= dict(epochs1=1, epochs2=1, empty_classes='keep', out=tmp_path / 'out')
    command = [sys.executable, '-m', 'papermill', root / 'nbs/run_coco_lt.ipynb', tmp_path / 'out.ipynb']
    for name, value in said.items():
        command += ['-p', name, str(value)]
    env = os.environ | dict(HPDVAL_RUNS=str(tmp_path / 'runs'))
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / 'out/result.json').read_text())
    assert set(result['methods']) == {'Zero-shot CLIP', 'CoOp', 'HP-DVAL, stage 1 only', 'HP-DVAL'}
    assert host.requests == 205 and not wrong(host, tmp_path / 'data/coco')
    assert all(np.isfinite(m['mAP']['total']) for m in result['methods'].values())


def test_every_mood_is_noticed(tmp_path):
    "The check that a picture has to pass: `half` and `wrong` do not, a whole one does."
    data = picture(0)
    for name, content, whole in (
        ('whole', data, True),
        ('half', data[: len(data) // 2], False),
        ('wrong', b'<html>', False),
    ):
        (tmp_path / name).write_bytes(content)
        if whole:
            assert open_image(tmp_path / name).size == (50, 40)
            continue
        with pytest.raises(ValueError):
            open_image(tmp_path / name)
