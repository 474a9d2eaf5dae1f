"""Scores of every method on a small config, as they were recorded (tests/recorded_scores.npz): a change of the house
must not change an answer. `python tests/test_same_scores.py` records them anew, for a change that means to.

On the machine kind and versions that they were recorded with, they are the same to the bit; elsewhere, to rounding and
what a few steps of training make of it."""

import json, os, platform, sys
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np, pytest, torch

from hpdval.config import METHODS, method_config
from hpdval.experiment import load_benchmark, run
from hpdval.fewshot import fewshot_config, run_fewshot

RECORDED = Path(__file__).parent / 'recorded_scores.npz'
SMALL = dict(benchmark='icon-voc-lt', epochs1=2, epochs2=2, batch_size=32, device='cpu', select='last')
OFFICIAL = dict(SMALL, mode='official', schedule_epochs=0)
known = [*np.load(RECORDED).files, *sys.argv[1:]]
CASES = {m: (m, {}) for m in METHODS if m in known}  # a new method is recorded when it is measured
CASES |= {
    'views': ('hp-dval', dict(copies=1)),
    'kd both, l2': ('dval', dict(kd_on='both', kd='l2')),
    'kd cosine patch': ('dval', dict(kd_on='patch', kd='cosine')),
    'text too': ('dval', dict(train_text=True)),
    'sc both': ('hp-dval', dict(sc_on='both')),
    'sc local': ('hp-dval', dict(sc_on='local')),
    'joint views': ('joint', dict(copies=1, sc_on='both')),
    'prompts local': ('hp-dval', dict(prompts='local', ctx_init='noise', sc_weight=0.0)),
    'prompts global': ('hp-dval', dict(prompts='global', ctx_init='noise', n_ctx=8)),
    'noise': ('hp-dval', dict(ctx_init='noise')),
    'shared': ('hp-dval', dict(prompts='shared')),
    'student': ('dval', dict(student='vit_tiny_patch16_224', student_weights='random', embedding='mlp')),
    'mlp': ('hp-dval', dict(embedding='mlp')),
    'val': ('hp-dval', dict(select='val')),
    'no ema': ('hp-dval', dict(ema=0.0)),
    'test': ('hp-dval', dict(select='test')),
    'loss2': ('hp-dval', dict(loss='asl', loss2='bce')),
    'from clip': ('hp-dval', dict(stage2_from='clip')),
    'softmax': ('zero-shot-dual', dict(score='softmax')),
    'l2 topk': ('zero-shot-dual', dict(score='l2', topk=3, alpha_on='local')),
    'scale': ('dval', dict(scale=20.0)),
    'onecycle': ('dval', dict(schedule='onecycle', schedule_epochs=4)),
    'db-star': ('dval', dict(loss='db-star')),
    'printed': ('dval', dict(loss='db', loss_mode='printed')),
    'lmpt db': ('lmpt', dict(loss='db-focal', lr2=2e-3)),
    'coop noise': ('coop', dict(ctx_init='noise', lr2=2e-3)),
}
OFFICIAL_METHODS = ('zero-shot-dual', 'coop', 'fine-tuning', 'dval', 'hp-dval', 'joint', 'linear-probe')
FEWSHOT = ('zero-shot', 'coop', 'hp-dval', 'dval')


def few_images(train=64, test=32, **changes):
    "The first images of the embedded VOC-LT."
    full = load_benchmark(method_config('zero-shot', 0, benchmark='icon-voc-lt', **changes), progress=False)
    parts = dict(train=full.train.at(range(train)), test=full.test.at(range(test)))
    return full._replace(**parts, digest=f'voc-lt-{train}-{test}')


def scores_of(name, data):
    "The scores of one case."
    method, changes = CASES[name]
    cfg = method_config(method, 0, empty_classes='keep', **SMALL | changes)
    return run(cfg, progress=False, data=data).scores


def official_scores_of(method, data):
    "The scores of a method in mode 'official'."
    return run(method_config(method, 0, empty_classes='keep', **OFFICIAL), progress=False, data=data).scores


def fewshot_ap_of(method):
    "AP of the episodes of a small few-shot run, on both test sets."
    few = dict(shots=1, episodes=2, draws=16, resample=300, adapt_epochs1=2, adapt_epochs2=2)
    own = dict(epochs1=1, epochs2=1, batch_size=64, device='cpu')
    r = run_fewshot(*fewshot_config(method, 0, 'icon-voc-fsl-smoke', for_all=True, **few, **own), progress=False)
    return np.stack([r.ap, r.balanced])


def environment():
    "What a bit may depend on."
    cpu = Path('/proc/cpuinfo').read_text() if Path('/proc/cpuinfo').is_file() else ''
    cpu = next((line.split(':')[1].strip() for line in cpu.splitlines() if line.startswith('model name')), '')
    versions = {p: version(p) for p in ('torch', 'numpy', 'timm')}
    instructions = torch.backends.cpu.get_cpu_capability()
    return versions | dict(machine=platform.machine(), cpu=cpu, instructions=instructions)


def everything(data, wanted=()):
    "name -> scores, of all cases, or of those that are wanted."
    kinds = {n: partial(scores_of, n, data) for n in CASES}
    kinds |= {f'official {m}': partial(official_scores_of, m, data) for m in OFFICIAL_METHODS}
    kinds |= {f'few-shot {m}': partial(fewshot_ap_of, m) for m in FEWSHOT}
    return {name: kind() for name, kind in kinds.items() if name in wanted or not wanted}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "The images, with runs in a folder of their own and one thread."
    before = {k: os.environ.get(k) for k in ('HPDVAL_RUNS',)}, torch.get_num_threads()
    os.environ['HPDVAL_RUNS'] = str(tmp_path_factory.mktemp('runs'))
    torch.set_num_threads(1)
    yield few_images()
    torch.set_num_threads(before[1])
    for k, v in before[0].items():
        os.environ.pop(k)
        os.environ |= {k: v} if v else {}


def compare(name, got, tolerance=1e-4):  # 2e-5 at most between two sets of kernels of one processor
    "Equal to the bit where they were recorded on such a machine, else to rounding."
    z = np.load(RECORDED)
    if json.loads(str(z['environment'])) == environment():
        tolerance = 0.0
    assert np.abs(got - z[name]).max() <= tolerance


@pytest.mark.parametrize('name', CASES)
def test_a_case(name, data, one_code):
    compare(name, scores_of(name, data))


@pytest.mark.parametrize('method', OFFICIAL_METHODS)
def test_a_method_in_official_mode(method, data, one_code):
    compare(f'official {method}', official_scores_of(method, data))


@pytest.mark.parametrize('method', FEWSHOT)
def test_few_shot(method, data):
    compare(f'few-shot {method}', fewshot_ap_of(method), tolerance=1e-2)  # in percent


if __name__ == '__main__':  # names of cases whose right scores are others now; without any, all are recorded anew
    torch.set_num_threads(1)
    recorded = dict(np.load(RECORDED)) if sys.argv[1:] else {}
    recorded |= everything(few_images(), sys.argv[1:])
    recorded.pop('environment', None)
    np.savez_compressed(RECORDED, environment=json.dumps(environment()), **recorded)
    sys.exit(f'{len(recorded)} cases written')
