"""What the main job takes beside the work of its towers: `python scripts/main_job.py` runs HP-DVAL on an embedded
benchmark from nothing, counts every pass through a tower, and times the same passes bare; then the same request again,
which is answered by the memo, and a page of which all runs are there. With `--before COMMIT` that commit runs in turns
with this one. Each run is a process of its own. Wall time counts where the machine does nothing else, processor time
where it does."""

import argparse, io, json, os, resource, statistics, subprocess, sys, tarfile, tempfile, time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPEATS = 5  # of each bare pass
SMALL = dict(epochs1=1, epochs2=1, batch_size=256, image_size=32)


def clocks() -> tuple:
    "Seconds of the wall, and of this process on all cores."
    return time.perf_counter(), time.process_time()


class Took:
    "What the block takes."

    def __enter__(self):
        self.start = clocks()
        return self

    def __exit__(self, *error):
        self.wall, self.processor = (b - a for a, b in zip(self.start, clocks()))


def image_pass(tower, shape, learns, precision):  # -> a function that does it
    "A batch through the image tower, and back where it learns."
    import torch

    from hpdval.core import autocast

    x = torch.randn(shape)

    def run():
        with torch.set_grad_enabled(learns), autocast(x.device, precision):
            g, p = tower(x)
        if learns:
            (g.sum() + p.sum()).backward()

    return run


def text_pass(tower, shape, learns, precision):
    "Token embeddings through the text tower, and back to them where they learn."
    import torch

    from hpdval.core import autocast

    x = torch.randn(shape).requires_grad_(learns)
    end = torch.full((shape[0],), shape[1] - 1)

    def run():
        with torch.set_grad_enabled(learns), autocast(x.device, precision):
            t = tower.encode_embeddings(x, end)
        if learns:
            t.sum().backward()

    return run


def floors(tally: Counter, clip, precision) -> dict:
    "All passes of a run, each kind timed bare: medians times their number."
    import copy

    student = copy.deepcopy(clip.visual).requires_grad_(True)
    wall, processor, kinds = 0.0, 0.0, []
    for (kind, shape, learns), times in tally.items():
        tower = (student if learns else clip.visual) if kind == 'image' else clip.text
        work = (image_pass if kind == 'image' else text_pass)(tower, shape, learns, precision)
        work()
        took = []
        for _ in range(REPEATS):
            with Took() as t:
                work()
            took.append((t.wall, t.processor))
        one = [statistics.median(s) for s in zip(*took)]
        wall, processor = wall + times * one[0], processor + times * one[1]
        kinds.append((kind, ' x '.join(map(str, shape)), 'forward and back' if learns else 'forward', times, *one))
    return dict(floor_wall=wall, floor_processor=processor, kinds=kinds)


def counted(clip) -> Counter:  # (image | text, shape, does it learn?) -> passes; filled from now on
    "How often which batch goes through which tower."
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook

    from hpdval.clip import ImageTower

    tally = Counter()

    def look(module, inputs):
        if isinstance(module, ImageTower):
            learns = torch.is_grad_enabled() and next(module.parameters()).requires_grad
            tally['image', tuple(inputs[0].shape), learns] += 1
        if module is clip.text.ln_final:  # once in every pass through the text tower
            tally['text', tuple(inputs[0].shape), inputs[0].requires_grad] += 1

    register_module_forward_pre_hook(look)
    return tally


def child(what: str, options: dict):
    "Draw the data, or run, or run and time the floors; what it took, as JSON."
    from hpdval.experiment import cached_clip, load_benchmark, make_config, run  # the same names in older commits

    cfg, tally = make_config('hp-dval', **options), Counter()
    if what == 'data':
        load_benchmark(cfg, cached_clip(cfg.clip, cfg.pretrained).visual.size, progress=False)
    if what == 'floors':
        from hpdval.experiment import config_clip

        clip = config_clip(cfg)
        tally = counted(clip)
    with Took() as t:
        result = None if what == 'data' else run(cfg, progress=False)
    said = dict(wall=t.wall, processor=t.processor, mAP=result and result.mAP['total'])
    print(json.dumps(said | (floors(tally, clip, cfg.precision) if tally else {})))


def called(command: list, place: dict) -> str:
    "What a program prints, with an environment of its own."
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | place, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return done.stdout


def measured(what: str, options: dict, place: dict) -> dict:
    "`child` in a process."
    words = [sys.executable, __file__, '--child', what, json.dumps(options)]
    return json.loads(called(words, place).splitlines()[-1])


def page(options: dict, place: dict, folder: Path) -> dict:
    "The page of the main job through papermill, and its cells alone."
    name = options['benchmark'].removeprefix('icon-').replace('-', '_')
    notebook, out = f'nbs/run_{name}.ipynb', folder / 'out.ipynb'
    given = options | dict(methods='zero-shot,hp-dval', out=str(folder / 'page'))
    words = [word for k, v in given.items() for word in ('-p', k, str(v))]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with Took() as t:
        called(['papermill', notebook, str(out), *words], place)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    cells = json.loads(out.read_text(encoding='utf-8'))['cells']
    reads = next(i for i, c in enumerate(cells) if 'compare(methods' in ''.join(c['source']))  # imports stand above
    after = sum(c['metadata']['papermill']['duration'] or 0 for c in cells[reads:])
    return dict(wall=t.wall, processor=now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime, after_imports=after)


def unpacked(commit: str, folder: Path) -> Path:
    "The package as it was."
    archive = subprocess.run(['git', 'archive', commit, 'hpdval'], capture_output=True, check=True, cwd=ROOT).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as t:
        t.extractall(folder, filter='data')
    return folder


def in_turns(versions: dict, rounds: int, folder: Path) -> dict:  # name -> (environment, options); -> name -> list
    "A run from nothing by each version of the package in turn, whose data are drawn before."
    found = {name: [] for name in versions}
    for place, options in versions.values():
        measured('data', options, place)
    for k in range(rounds):
        for name, (place, options) in versions.items():
            runs = dict(HPDVAL_RUNS=str(folder / f'runs-{name}-{k}'))
            found[name].append(measured('run', options, place | runs))
    return found


def show_turns(before: str, turns: dict):
    "A row for each version, and their ratio."
    print('\n| commit | wall, s | processor, s | mAP |\n|---|---|---|---|')
    for name, runs in turns.items():
        wall, processor, mAP = (statistics.median(r[k] for r in runs) for k in ('wall', 'processor', 'mAP'))
        print(f'| {name} | {wall:.1f} | {processor:.1f} | {mAP:.2f} |')
    pairs = [*zip(turns['now'], turns[before])]
    ratios = (statistics.median(a[k] / b[k] for a, b in pairs) for k in ('wall', 'processor'))
    print('| now / {} | {:.3f} | {:.3f} | |'.format(before, *ratios))


def arguments() -> argparse.Namespace:
    "The words of the command."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--benchmark', default='icon-coco-lt')
    parser.add_argument('--epochs', type=int, default=0, help="of each stage; 0 = the benchmark's own")
    parser.add_argument('--small', action='store_true', help='one epoch of images of 32 px, to try it')
    parser.add_argument('--precision', default='fp32', help='of this commit; an older one has fp32')
    parser.add_argument('--before', help='a commit that runs in turns with this one')
    parser.add_argument('--rounds', type=int, default=1, help='of the turns')
    parser.add_argument('--child', nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    given = arguments()
    if given.child:
        return child(given.child[0], json.loads(given.child[1]))
    epochs = dict(epochs1=given.epochs, epochs2=given.epochs) if given.epochs else {}
    options = dict(benchmark=given.benchmark, device='cpu') | epochs | (SMALL if given.small else {})
    ours = options | dict(precision=given.precision)
    with tempfile.TemporaryDirectory() as d:
        folder = Path(d)
        here = dict(PYTHONPATH=str(ROOT), HPDVAL_CACHE=str(folder / 'cache'), HPDVAL_RUNS=str(folder / 'runs'))
        measured('data', ours, here)
        whole, memo = measured('floors', ours, here), measured('run', ours, here)
        _, again = page(ours, here, folder), page(ours, here, folder)
        print('| | wall, s | processor, s |\n|---|---|---|')
        rows = {
            'run, after import': (whole['wall'], whole['processor']),
            'its passes through towers, bare': (whole['floor_wall'], whole['floor_processor']),
            'the same from the memo': (memo['wall'], memo['processor']),
            'page, all runs there': (again['wall'], again['processor']),
        }
        for name, (wall, processor) in rows.items():
            print(f'| {name} | {wall:.2f} | {processor:.2f} |')
        print(f"| that page behind its imports | {again['after_imports']:.2f} | |")
        over = (whole[k] / whole[f'floor_{k}'] for k in ('wall', 'processor'))
        print('| run over its passes | {:.3f} | {:.3f} |'.format(*over), flush=True)
        print('\n| tower | input | pass | times | wall, s | processor, s |\n|---|---|---|---|---|---|')
        for *kind, wall, processor in sorted(whole['kinds'], key=lambda k: -k[3] * k[5]):
            print(f"| {' | '.join(map(str, kind))} | {kind[3] * wall:.2f} | {kind[3] * processor:.2f} |", flush=True)
        if given.before:
            there = unpacked(given.before, folder / 'before')
            before = dict(PYTHONPATH=str(there), HPDVAL_CACHE=str(folder / 'cache-before'))
            versions = {given.before: (before, options), 'now': (here, ours)}
            show_turns(given.before, in_turns(versions, given.rounds, folder))


if __name__ == '__main__':
    main()
