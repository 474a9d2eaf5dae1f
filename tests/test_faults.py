"""Killed at every kind of moment, without room on the disk, with damaged files: a run ends with the bytes of one that
nothing happened to, or says what is wrong. `pytest -m faults` kills thirty times more, at moments drawn at random."""

import contextlib, hashlib, json, multiprocessing, os, shutil, signal, sys, time, warnings
from pathlib import Path

import numpy as np, pytest

import hpdval.experiment  # noqa: F401  # so that the processes have it

CHILD = '''
import functools, json, os, resource, signal, sys, traceback
import numpy as np
import torch

torch.set_num_threads(1)
sys.moment, sys.nth = None, 0


def passing(name):
    # the process dies when it passes the moment for the nth time. Both are kept in a library's module:
    # values and variables of the environment would be part of the code's fingerprint
    if name == sys.moment:
        sys.nth -= 1
        if sys.nth == 0:
            os.kill(os.getpid(), 9)


def hooked(fn, name_before=None, name_after=None):
    def call(*args):
        if name_before:
            passing(name_before(*args))
        out = fn(*args)
        if name_after:
            passing(name_after(*args))
        return out

    return call


def kind(path):
    "Files are told apart by their last parts: .model.safetensors.<random> is model.safetensors."
    name = os.path.basename(str(path))
    return name[1:].rpartition('.')[0] if name.startswith('.') else name


def written(fd):
    name = kind(os.readlink(f'/proc/self/fd/{fd}'))
    return 'writing ' + ('features' if name.startswith('features') else name)


os.fsync = hooked(os.fsync, name_before=written)
os.replace = hooked(os.replace, name_after=lambda a, b: 'after ' + os.path.basename(str(b)))
import hpdval.train as train
from hpdval import experiment
from hpdval.config import make_config, stage1_config
from hpdval.experiment import config_clip, load_benchmark, load_model, run
from hpdval.labels import VOC_CLASSES
from hpdval.sources import from_samples

train.train_step = hooked(train.train_step, name_before=lambda *a: 'step')
rng = np.random.default_rng(0)
names = VOC_CLASSES[:4]


def drawn(n):
    "Noise in which a class is a bright quarter."
    y = rng.random((n, 4)) < 0.4
    y[:, 0] |= ~y.any(1)
    images = rng.integers(0, 120, (n, 32, 32, 3))
    for c in range(4):
        images[y[:, c], 16 * (c // 2) : 16 * (c // 2) + 16, 16 * (c % 2) : 16 * (c % 2) + 16] += 100
    return [(im.astype(np.uint8), [names[c] for c in np.flatnonzero(row)]) for im, row in zip(images, y)]


small = dict(batch_size=8, lr1=1e-3, lr2=1e-2, epochs1=3, epochs2=3, val_fraction=0.25, device='cpu', loss='db-focal')
small['image_size'] = 32
small['ema'] = 0.5  # the paper's is longer than nine steps, which would be said into a log that may be full
cfg = make_config('hp-dval', benchmark='memory', copies=1, **small)
data = from_samples(drawn(32), drawn(16), classes=names)
clip = config_clip(cfg)
load_benchmark(cfg, progress=False, data=data)  # what is said of the data is said here, once
experiment.run_code, experiment.code_parts = map(functools.cache, (experiment.run_code, experiment.code_parts))
for c in (cfg, stage1_config(cfg)):
    experiment.code_of(c)  # and the code is read once


def perform(room):
    "The run, with room for files of so many bytes."
    if room:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    try:
        r = run(cfg, progress=False, data=data)
        load_model(r, clip)
        r.table()
    except (OSError, ValueError) as e:
        sys.exit(f'{type(e).__name__}: {e}')


print('ready', flush=True)
for line in sys.stdin:  # each run in a process of its own, forked from here
    folder, moment, nth, room, said = json.loads(line)
    pid = os.fork()
    if not pid:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        os.environ |= dict(HPDVAL_RUNS=f'{folder}/runs', HPDVAL_CACHE=f'{folder}/cache')
        sys.moment, sys.nth = moment, nth
        code = 1
        try:
            perform(room)
            code = 0
        except SystemExit as e:
            print(e, file=sys.stderr, flush=True)
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
'''
MOMENTS = [  # one after the other, in one run: each starts where the one before died
    ('step', 2),
    ('writing stage1.pt', 1),
    ('after stage1.pt', 1),
    ('step', 1),
    ('writing stage1.pt', 2),
    ('writing model.safetensors', 1),
    ('writing result.json', 1),
    ('writing features', 1),
    ('after stage2.pt', 1),
    ('step', 4),
    ('after scores.npy', 1),
]


def serve(requests, answers, *others):
    "`CHILD` in a copy of this process, between two pipes whose other ends are the parent's."
    for end in others:
        os.close(end)
    sys.stdin, sys.stdout = os.fdopen(requests), os.fdopen(answers, 'w')
    sys.stderr = open(2, 'w', buffering=1, closefd=False)
    warnings.simplefilter('ignore')
    exec(compile(CHILD, 'child', 'exec'), dict(__name__='__main__'))


@pytest.fixture(scope='module')
def child(tmp_path_factory):
    "A function that runs once more in a folder: exit code (-9 = killed) and what was said."
    (requests, ask), (told, answers) = os.pipe(), os.pipe()
    server = multiprocessing.get_context('fork').Process(target=serve, args=(requests, answers, ask, told))
    server.start()
    os.close(requests)
    os.close(answers)
    asked, told = os.fdopen(ask, 'w'), os.fdopen(told)
    assert told.readline() == 'ready\n'
    log = tmp_path_factory.mktemp('said') / 'stderr'

    def again(folder, moment='', nth=0, room=0, kill_after=None):
        log.write_text('')
        asked.write(json.dumps([str(folder), moment, nth, room, str(log)]) + '\n')
        asked.flush()
        pid = int(told.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):  # it was done before
                os.kill(pid, signal.SIGKILL)
        return int(told.readline()), log.read_text().strip()

    yield again
    asked.close()
    server.join()
    told.close()


def kept(folder) -> dict:
    "What a finished run left: digests of scores and models, and all that its records say but times."
    out = {}
    for file in sorted(Path(folder, 'runs').rglob('*')):
        if file.suffix in ('.npy', '.safetensors'):
            out[str(file.relative_to(folder))] = hashlib.sha256(file.read_bytes()).hexdigest()
        if file.name == 'result.json':
            r = json.loads(file.read_text())
            epochs = [{k: v for k, v in epoch.items() if k != 'seconds'} for epoch in r.pop('history')]
            plain = {k: v for k, v in r.items() if k not in ('seconds', 'before', 'check')}
            out[str(file.relative_to(folder))] = plain, epochs
    return out


@pytest.fixture(scope='module')
def whole(child, tmp_path_factory) -> Path:
    "The folder of a run that nothing happened to."
    folder = tmp_path_factory.mktemp('whole')
    code, err = child(folder)
    assert code == 0, err
    assert len(kept(folder)) == 6  # two runs: scores, model, record
    return folder


def test_killed_at_every_kind_of_moment(child, whole, tmp_path):
    for moment, nth in MOMENTS:
        code, err = child(tmp_path, moment, nth)
        assert code == -signal.SIGKILL, (moment, nth, err)
    code, err = child(tmp_path)
    assert code == 0, err
    assert kept(tmp_path) == kept(whole)


@pytest.mark.parametrize('room', [200, 100_000, 6_000_000])
def test_a_full_disk_is_said_and_harms_nothing(child, whole, tmp_path, room):
    code, err = child(tmp_path, room=room)
    assert code == 1 and err.splitlines()[-1].startswith('OSError') and 'free' in err, err
    assert not [f for f in tmp_path.rglob('.*') if f.is_file()], 'a temporary file stayed'
    code, err = child(tmp_path)
    assert code == 0, err
    assert kept(tmp_path) == kept(whole)


def damage(file: Path):
    "Other bits in the middle of a file."
    raw = bytearray(file.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 4] = bytes(b ^ 0xFF for b in raw[middle : middle + 4])
    file.write_bytes(raw)


DAMAGED = [  # a moment at which the run is stopped, the file that is damaged then, what is said
    (('after stage1.pt', 2), 'runs/*/stage1.pt', 'is damaged'),
    (('after stage2.pt', 2), 'runs/*/stage2.pt', 'is damaged'),
    (('after stage2.pt', 1), 'cache/features-*.npy', 'is damaged'),
    (('after stage2.pt', 1), 'cache/features-*.json', 'is damaged'),
]


@pytest.mark.parametrize('moment, pattern, said', DAMAGED)
def test_what_can_be_made_again_is_named_and_made_again(child, whole, tmp_path, moment, pattern, said):
    assert child(tmp_path, *moment)[0] == -signal.SIGKILL
    files = [*tmp_path.glob(pattern)]
    assert files
    for file in files:
        damage(file)
    code, err = child(tmp_path)
    assert code == 0 and said in err and files[0].stem in err, err
    assert kept(tmp_path) == kept(whole)


SAID = {
    'result.json': 'is damaged',
    'images.json': 'is not what the run wrote',
    'scores.npy': 'is not what the run wrote',
    'model.safetensors': 'is not what the run',
}


@pytest.mark.parametrize('name', SAID)
def test_a_damaged_result_is_named(child, whole, tmp_path, name):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    for file in tmp_path.glob(f'runs/*/{name}'):
        damage(file)
    code, err = child(tmp_path)
    assert code == 1 and err.splitlines()[-1].startswith('ValueError') and SAID[name] in err, err


@pytest.mark.faults
def test_thirty_kills(child, whole, tmp_path):
    rng = np.random.default_rng(0)
    kills = 0
    start = time.time()
    child(tmp_path / 'timed')
    takes = time.time() - start
    while kills < 30:
        folder = tmp_path / str(kills)
        for _ in range(3):  # killed up to three times, then left to its end
            kills += child(folder, kill_after=takes * rng.uniform(0.05, 0.9))[0] == -signal.SIGKILL
        code, err = child(folder)
        assert code == 0, err
        assert kept(folder) == kept(whole), kills
