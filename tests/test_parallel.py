"Two processes, started by `accelerate launch`, give what one gives, losses and scores, whatever the last batch is."

import multiprocessing, os, runpy, socket, subprocess, sys, time
from datetime import timedelta
from pathlib import Path

import numpy as np, pytest, torch
from PIL import Image

from hpdval import train
from hpdval.config import TYPES, make_config, method_config
from hpdval.experiment import Result, run
from hpdval.parallel import group, is_main, machine, main_first, wait

ROOT = Path(__file__).resolve().parents[1]
COLOURS = dict(cat=(200, 40, 40), dog=(40, 180, 60), car=(40, 60, 200))  # names that MiniCLIP tells apart
# Measured: L_kd differs by at most 1.8e-5 of its value (an L1 that starts on its kink), the other losses by 6e-7,
# scores (cosines) by 7.4e-6.
TOLERANCE = 5e-5
# Of the 17 training images the last batch of 8 has one, and the second process nothing but its repetition.
CONFIGS = dict(
    # both stages
    stages='method=hp-dval select=last kd_weight=.1 kd_on=both sc_weight=.01',
    # one focal factor for the whole batch
    batch='method=dval select=last loss=db-focal loss_mode=official augment=official',
    # kept copies, an epoch selected
    joint='method=joint copies=1 augment=icons sc_on=both sc_weight=.01 kd_weight=.01',
    # prompts made from images
    cocoop='method=cocoop select=last',
    # both towers, rare images more often, images and sentences
    towers='method=lm-clip select=last',
    # what is kept lies in files: one process writes them, both read
    files='method=hp-dval select=val kd_weight=.2 kept=files',
    copies_in_files='method=hp-dval copies=1 select=last kd_weight=.2 kd_on=both kept=files',
)
TINY = (
    'benchmark=own mode=paper augment=clip epochs1=2 epochs2=2 batch_size=8 lr1=2e-4 lr2=2e-3 ema=.5 val_fraction=.2 '
    'device=cpu'
)


def images(folder, rng):
    "Noisy pictures with one, two or three coloured squares, and their labels."
    for split, n in (('train', 21), ('test', 11)):
        lines = ['path,' + ','.join(COLOURS)]
        for i in range(n):
            seen = [i % 7 == 0 or (i + k) % 3 == 0 for k in range(3)]
            a = rng.integers(90, 160, (64, 64, 3)).astype(np.uint8)
            for k, (there, colour) in enumerate(zip(seen, COLOURS.values())):
                if there:
                    a[4 + 20 * k : 20 + 20 * k, 8 * (i % 5) : 8 * (i % 5) + 16] = colour
            Image.fromarray(a).save(folder / f'{split}{i}.png')
            lines.append(f'{split}{i}.png,' + ','.join(str(int(s)) for s in seen))
        (folder / f'{split}.csv').write_text('\n'.join(lines) + '\n')


MOST = train.IN_MEMORY


def run_all(*configs):
    "Runs every config, and the command with the first of them, whose result is there: the folders, line by line."
    for words in configs:
        given = dict(w.split('=') for w in words.split())
        train.IN_MEMORY = 0 if given.pop('kept', '') else MOST
        params = {k: TYPES[k](v) for k, v in given.items()}
        result = run(method_config(params.pop('method'), 0, **params))
        if is_main():
            print(f"{result.folder} mAP {result.mAP['total']:.2f}", flush=True)
    train.IN_MEMORY = MOST  # it is in the name of a run
    method, *options = [w.split('=') for w in configs[0].split()]
    sys.argv = ['hpdval', 'run', method[1], *(f'--{name}={value}' for name, value in options)]
    runpy.run_module('hpdval.command', run_name='__main__')  # the command itself


TWO = ('accelerate.commands.launch', *'--multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0'.split())


def place(data, runs):
    "What a process finds in its environment."
    own = dict(HPDVAL_RUNS=str(runs), HPDVAL_CACHE=str(data / 'cache'), OMP_NUM_THREADS='1', ACCELERATE_USE_CPU='true')
    return own | dict(PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / 'tests')]))


def one_process(data, *words):
    os.chdir(data)
    os.environ |= place(data, data / 'one')
    torch.set_num_threads(1)
    run_all(*words)


def lines(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.fixture(scope='module')
def folders(tmp_path_factory, in_a_copy):
    "Every config in one process and in two: name -> the two result folders."
    data = tmp_path_factory.mktemp('images')
    images(data, np.random.default_rng(0))
    words = [f'{c} {TINY} image_root={data} lists={data}' for c in CONFIGS.values()]
    (data / 'run_all.py').write_text('import sys, test_parallel\ntest_parallel.run_all(*sys.argv[1:])\n')
    command = [sys.executable, '-m', *TWO, 'run_all.py', *words]
    how = dict(capture_output=True, text=True, cwd=data, env=os.environ | place(data, data / 'two'), timeout=900)
    one = lines(in_a_copy(one_process, data, *words))
    two = lines(subprocess.run(command, **how))
    assert len(one) == len(two) == len(words) + 1  # only the main process prints
    assert one.pop() == one[0] and two.pop() == two[0]
    assert not [*data.glob('**/.features-*')]  # they go with the processes
    return {name: [Path(line.split()[0]) for line in pair] for name, *pair in zip(CONFIGS, one, two)}


@pytest.mark.parametrize('name', CONFIGS)
def test_two_processes_give_what_one_gives(folders, name):
    one, two = [Result.load(f) for f in folders[name]]
    assert one.hash == two.hash  # a result has one name, however it was computed
    assert 'processes' not in one.environment and two.environment['processes'] == 2
    for a, b in zip(one.history, two.history, strict=True):
        assert (a['phase'], a['epoch'], a['reported']) == (b['phase'], b['epoch'], b['reported'])
        for k in {'loss', 'cls', 'kd', 'sc', 'contrast'} & {k for k in a if a[k] is not None}:
            assert b[k] == pytest.approx(a[k], rel=TOLERANCE), k
    assert abs(one.history[-1]['loss'] - one.history[-2]['loss']) > 10 * TOLERANCE  # it did learn
    assert np.abs(one.scores - two.scores).max() < TOLERANCE


def _as_rank(rank, port, of_machine, job, folder):
    "What a launcher does before it starts a process."
    os.environ |= dict(
        WORLD_SIZE=str(len(of_machine)), RANK=str(rank), LOCAL_RANK=str(of_machine[:rank].count(of_machine[rank]))
    )
    os.environ |= dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=port, ACCELERATE_USE_CPU='true')
    torch.set_num_threads(1)
    job(rank, Path(folder))


def processes(job, folder, *of_machine):  # the machine of each process
    "Call `job(rank, folder)` in processes of this machine, which is all the machines that there are."
    with socket.create_server(('127.0.0.1', 0)) as s:
        port = str(s.getsockname()[1])
    context = multiprocessing.get_context('fork')
    all_ = [context.Process(target=_as_rank, args=(r, port, of_machine, job, folder)) for r in range(len(of_machine))]
    for p in all_:
        p.start()
    for p in all_:
        p.join(120)
        p.kill()
    assert [p.exitcode for p in all_] == [0] * len(all_)


def _decodes(rank, folder):
    group()
    torch.distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=1))  # 30 minutes, for a test
    with main_first(), open(folder / 'log', 'a') as log:
        print('in', rank, file=log, flush=True)
        made = folder / f'cache of {machine()}'
        if not made.exists():
            time.sleep(3 if rank == 0 else 0.5)
            made.touch()
            print('made', rank, file=log, flush=True)
        print('out', rank, file=log, flush=True)
    wait()


def test_others_wait_as_long_as_one_process_of_each_machine_decodes(tmp_path):
    processes(_decodes, tmp_path, 0, 0, 1, 1)
    log = (tmp_path / 'log').read_text().splitlines()
    assert log[:6] == ['in 0', 'made 0', 'out 0', 'in 2', 'made 2', 'out 2']
    assert sorted(log[6:]) == ['in 1', 'in 3', 'out 1', 'out 3']


def _goes_on(rank, folder):
    params = [torch.nn.Parameter(torch.zeros(2))]
    t = train.Training(params, 1, 0.1, make_config(), None)
    if rank == 0:
        train.save_checkpoint(folder / 'a.pt', t.state() | dict(epoch=3))
    wait()
    t.go_on(folder / 'a.pt')
    assert t.epoch == 3
    if rank == 1:  # whose disk has an older one
        train.load_checkpoint = lambda *_: t.state() | dict(epoch=2)
    with pytest.raises(RuntimeError, match=r'a.pt was not the same for all processes \(epochs \[3, 2\]\): start all'):
        t.go_on(folder / 'a.pt')


def test_processes_that_would_go_on_from_other_epochs_are_refused(tmp_path):
    processes(_goes_on, tmp_path, 0, 0)
