"""How much memory a run takes of how many images, and how long decoding takes: `python scripts/scale.py` generates
photographs, runs HP-DVAL on them with a small CLIP of random weights, one epoch a stage, each size in a process of its
own, and prints the peak of its anonymous memory. `--decode 2000` compares decoding with Pillow alone instead, and
`--film 250` reading a film with PyAV alone.
`--steps 3` is a rehearsal: all that is kept of the images has its full size, but only so many steps of an epoch are
run, and only so many batches of a pass without gradients go through the image tower, the others get the last one's
output; what was left out is added by proportion, in processor time."""

import argparse, json, math, os, re, statistics, subprocess, sys, tempfile, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

TOWER = dict(layers=2, width=64, head_width=32, patch_size=16)
TEXT = dict(context_length=77, vocab_size=49408, width=64, heads=2, layers=2)
SMALL = 'small-vit'  # the CLIP of these towers
SIZE = 224  # px, of a tower
EPOCHS = 20, 10  # of both stages, as the paper has them
PASS = 128  # images of a batch without gradients
HELD_OUT = 0.1  # of the training images


def photograph(rng, width, height) -> Image.Image:
    "A soft picture with some noise, as large as a file of a photograph."
    soft = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    noise = rng.integers(-12, 13, (height // 4, width // 4, 1), dtype=np.int16).repeat(4, 0).repeat(4, 1)
    return Image.fromarray(np.clip(np.asarray(soft) + noise, 0, 255).astype(np.uint8))


def write(folder: Path, n: int, n_test: int, classes: int, width=296, height=224):
    "Photographs as JPEG, and tables of them."
    rng = np.random.default_rng(0)
    for split, number in (('train', n), ('test', n_test)):
        (folder / split).mkdir()
        rows = []
        for i in range(number):
            path = f'{split}/{i:06d}.jpg'
            photograph(rng, width, height).save(folder / path, quality=85)
            labels = {i % classes, *rng.integers(0, classes, 2).tolist()}
            rows.append(f'{path},{";".join(f"object {c}" for c in sorted(labels))}')
        (folder / f'{split}.csv').write_text('\n'.join(['path,labels', *rows]) + '\n')


def rss_anon() -> float:  # MB, of 1,024,000 bytes
    "What the system cannot take back by writing a file."
    return int(re.search(r'RssAnon:\s+(\d+) kB', Path('/proc/self/status').read_text())[1]) / 1e3


class Peak:
    "The largest `rss_anon` while the block runs."

    def __enter__(self):
        self.most, self.going = 0.0, True
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def _look(self):
        while self.going:
            self.most = max(self.most, rss_anon())
            time.sleep(0.02)

    def __exit__(self, *error):
        self.going = False
        self.thread.join()


class Few:
    "Only the first steps of an epoch and the first batches of a pass are computed, and timed, in processor time."

    def __init__(self, steps: int):
        import torch

        from hpdval import experiment, train
        from hpdval.clip import ImageTower

        self.steps, self.computed, self.passed, self.in_passes, self.took = steps, 0, 0, 0.0, []
        order, step, forward, last = train.epoch_batches, train.train_step, ImageTower.forward, {}

        def timed_step(*how):
            start, passes = time.process_time(), self.in_passes
            losses = step(*how)
            self.took.append(time.process_time() - start - (self.in_passes - passes))
            return losses

        def look(tower, x, *how):
            if torch.is_grad_enabled() or len(x) < PASS:  # a step, or the rest of a pass
                return forward(tower, x, *how)
            self.passed += len(x)
            key = id(tower), *x.shape
            if key in last and self.computed >= steps * PASS:
                return last[key]
            start = time.process_time()
            last[key] = forward(tower, x, *how)
            self.in_passes += time.process_time() - start
            self.computed += len(x)
            return last[key]

        train.epoch_batches = lambda *how: order(*how)[:steps]
        train.train_step, ImageTower.forward = timed_step, look
        experiment.run_code = experiment.network_code = lambda *parts, **how: 'rehearsal'  # is in the name of a run

    def said(self, total: float) -> dict:
        "What an image of a pass and a step of each stage took, and how long everything else was, seconds."
        first, second = self.took[: self.steps], self.took[self.steps :]
        views = second[0] - min(second)  # augment and write the views of stage 2, without the tower
        rest = total - self.in_passes - sum(first) - sum(second)
        took = dict(forward=self.in_passes / self.computed, step1=min(first), step2=min(second), views=views)
        return took | dict(rest=rest, passed=self.passed)


def passes(n: int, n_test: int, epochs: tuple) -> int:
    "Images that a run looks at without gradients."
    held = round(HELD_OUT * n)
    trained = n - held
    stage1 = trained + (1 + epochs[0]) * held  # calibrate; judge the start and every epoch
    stage2 = (1 + epochs[1]) * trained + held  # calibrate; encode the views and the selection images
    return stage1 + stage2 + 2 * (n_test + held)  # test and decide, after each stage


def extrapolated(n: int, n_test: int, batch: int, took: dict) -> str:
    "A table of what the paper's epochs would take, from a rehearsal of one epoch a stage."
    steps = math.ceil((n - round(HELD_OUT * n)) / batch)
    expected = passes(n, n_test, (1, 1))
    if abs(took['passed'] - expected) > 12 * PASS:
        raise RuntimeError(f"the run looked at {took['passed']} images, {expected} were expected")
    rows = {
        'an image through the tower': (took['forward'], passes(n, n_test, EPOCHS)),
        'a step of stage 1': (took['step1'], EPOCHS[0] * steps),
        'a step of stage 2': (took['step2'], EPOCHS[1] * steps),
        'the views of an epoch of stage 2, without the tower': (took['views'], EPOCHS[1]),
        'all else, once': (took['rest'], 1),
    }
    lines = [f'| {name} | {s:.3g} | {k:,} | {s * k / 3600:.2f} |' for name, (s, k) in rows.items()]
    whole = sum(s * k for s, k in rows.values()) / 3600
    title = '| part | processor seconds | times | hours of a core |'
    return '\n'.join([title, '|---|---|---|---|', *lines, f'| whole run | | | {whole:.2f} |'])


def child(folder: Path, options: dict):
    "One run; what it took, as JSON."
    import open_clip, torch
    from safetensors.torch import save_file

    from hpdval import data, run, train
    from hpdval.config import make_config

    size, steps, kept = (options.pop(name) for name in ('size', 'steps', 'kept'))
    if options['clip'] == SMALL:
        config = dict(embed_dim=64, vision_cfg=TOWER | dict(image_size=size), text_cfg=TEXT)
        (folder / f'{SMALL}.json').write_text(json.dumps(config))
        open_clip.add_model_config(folder / f'{SMALL}.json')
    torch.manual_seed(0)
    save_file(open_clip.create_model(options['clip']).state_dict(), folder / 'random.safetensors')
    options |= dict(pretrained=str(folder / 'random.safetensors'), device='cpu')
    options |= dict(mode='paper') if steps else {}
    cfg = make_config('hp-dval', 'own', lists=str(folder), image_root=str(folder), **options)
    if kept:
        train.IN_MEMORY = data.IN_MEMORY = kept * 10**6
    few = Few(steps) if steps else None
    start, used, before = time.time(), time.process_time(), rss_anon()
    with Peak() as peak:
        run(cfg, progress=False)
    used = time.process_time() - used
    took = dict(before=before, peak=peak.most, seconds=time.time() - start, processor=used)
    print(json.dumps(took | (few.said(used) if few else {})))


def measured(n: int, n_test: int, classes: int, options: dict) -> dict:
    "What a run on `n` training images took, in a process and in folders of its own."
    with tempfile.TemporaryDirectory() as d:
        folder = Path(d)
        write(folder, n, n_test, classes, options['size'] * 4 // 3 // 4 * 4, options['size'])
        places = dict(HPDVAL_RUNS=str(folder / 'runs'), HPDVAL_CACHE=str(folder / 'cache'))
        command = [sys.executable, __file__, '--child', d, json.dumps(options)]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | places)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return json.loads(done.stdout.splitlines()[-1])


def bare(files, size: int):
    "Decoding and resizing by Pillow alone, by all cores."
    from hpdval.data import TRANSFORMS

    out = np.empty((len(files), size, size, 3), np.uint8)

    def one(i):
        out[i] = TRANSFORMS['clip'](Image.open(files[i]).convert('RGB'), size)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, range(len(files))))


def decoding(n: int, rounds: int) -> dict:
    "Seconds of decoding by the package, and by Pillow alone, in turns: medians, and that of the rounds' ratios."
    from hpdval.data import decode_split

    with tempfile.TemporaryDirectory() as d:
        folder = Path(d)
        os.environ['HPDVAL_CACHE'] = str(folder / 'cache')
        write(folder, n, 1, 2, 640, 480)
        paths = [f'train/{i:06d}.jpg' for i in range(n)]
        took = {'hpdval': [], 'Pillow alone': []}
        for _ in range(rounds):
            start = time.time()
            bare([folder / p for p in paths], SIZE)
            took['Pillow alone'].append(time.time() - start)
            for file in (folder / 'cache').glob('*'):
                file.unlink()
            start = time.time()
            decode_split(paths, np.ones((n, 1)), ['a'], folder, SIZE, progress=False)
            took['hpdval'].append(time.time() - start)
    ratio = statistics.median(a / b for a, b in zip(*took.values()))
    return dict(images=n, ratio=ratio) | {name: statistics.median(s) for name, s in took.items()}


def write_pan(file: Path, frames: int, width=1920, height=1080):
    "A camera that moves over a picture with grain, coded as `ffmpeg` does by default."
    from hpdval.video import write_film

    rng = np.random.default_rng(0)
    picture = np.asarray(photograph(rng, 2 * width, 2 * height), np.int16)
    grain = rng.normal(0, 4, (5, height, width, 1)).astype(np.int16)

    def seen(i):
        x, y = (8 * i) % width, (4 * i) % height
        return np.clip(picture[y : y + height, x : x + width] + grain[i % 5], 0, 255).astype(np.uint8)

    write_film(file, map(seen, range(frames)), options=dict(preset='medium', crf='23'))


def reading(n: int, rounds: int, **size):
    "CPU seconds of reading a film: by PyAV alone, as the codec holds it and in RGB, and by the package; in turns."
    import av

    from hpdval.video import each_frame

    def decoded(file):
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            stream.thread_type = 'AUTO'
            yield from container.decode(stream)

    ways = {
        'decoded, no more': decoded,
        'decoded, and `to_ndarray` of each': lambda file: (f.to_ndarray(format='rgb24') for f in decoded(file)),
        'each frame by `each_frame`': lambda file: each_frame(file, n),
        '16 frames by `each_frame`': lambda file: each_frame(file, 16),
    }
    took = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as d:
        file = Path(d) / 'film.mp4'
        write_pan(file, n, **size)
        for _ in range(rounds + 1):
            for way, read in ways.items():
                start = time.process_time()
                for _ in read(file):
                    pass
                took[way].append(time.process_time() - start)
    took = {way: seconds[1:] for way, seconds in took.items()}  # the first round sets up
    alone = took['decoded, no more']
    print(f'| {n} frames | CPU s | ratio | least | most |\n|---|---|---|---|---|')
    for way, seconds in took.items():
        ratios = [a / b for a, b in zip(seconds, alone)]
        cells = statistics.median(seconds), statistics.median(ratios), min(ratios), max(ratios)
        print('|', way, '|', ' | '.join(f'{x:.2f}' for x in cells), '|')


def arguments() -> argparse.Namespace:
    "The words of the command."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', default='2000,20000', help='training images')
    parser.add_argument('--test', type=int, default=0, help='test images; 0 = a twentieth, 8 at least')
    parser.add_argument('--classes', type=int, default=20)
    parser.add_argument('--copies', type=int, default=0, help='kept views of each image; 0 = a new one in each epoch')
    parser.add_argument('--epochs', type=int, default=1, help='of each stage')
    parser.add_argument('--clip', default=SMALL, help=f'an open_clip architecture of {SIZE} px, with random weights')
    parser.add_argument('--size', type=int, default=SIZE, help=f'side of the images of {SMALL}, px')
    parser.add_argument('--precision', default='fp32')
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--kept', type=float, default=0, help='MB that stay in memory; 0 = as the package has it')
    parser.add_argument('--steps', type=int, default=0, help='a rehearsal of so many steps an epoch; 0 = all')
    parser.add_argument('--json', action='store_true', help='a line of JSON for each size, no table')
    parser.add_argument('--decode', type=int, help='images to decode; nothing is trained')
    parser.add_argument('--film', type=int, help='frames of a film to read; nothing is trained')
    parser.add_argument('--rounds', type=int, default=3, help='of decoding')
    parser.add_argument('--width', type=int, default=1920, help='of the film, px; its height is 9/16 of it')
    parser.add_argument('--child', nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    given = arguments()
    if given.child:
        return child(Path(given.child[0]), json.loads(given.child[1]))
    if given.decode:
        m = decoding(given.decode, given.rounds)
        if given.json:
            return print(json.dumps(m))
        print('| images of 640 x 480 px | hpdval, s | Pillow alone, s | ratio |\n|---|---|---|---|')
        return print(f"| {given.decode} | {m['hpdval']:.2f} | {m['Pillow alone']:.2f} | {m['ratio']:.2f} |")
    if given.film:
        return reading(given.film, given.rounds, width=given.width, height=given.width * 9 // 16)
    options = dict(clip=given.clip, size=given.size, steps=given.steps, kept=given.kept, precision=given.precision)
    options |= dict(epochs1=given.epochs, epochs2=given.epochs, copies=given.copies, batch_size=given.batch)
    title = '| training images | classes | views | after import, MB | peak, MB | seconds |\n|---|---|---|---|---|---|'
    if not given.json:
        print(title)
    for n in map(int, given.images.split(',')):
        n_test = given.test or max(8, n // 20)
        m = measured(n, n_test, given.classes, options)
        if given.json:
            print(json.dumps(dict(images=n) | m), flush=True)
            continue
        said = n, given.classes, given.copies or 'new', *(f'{m[name]:.0f}' for name in ('before', 'peak', 'seconds'))
        print(f"| {' | '.join(map(str, said))} |", flush=True)
        if given.steps:
            print('', extrapolated(n, n_test, given.batch, m), sep='\n')


if __name__ == '__main__':
    main()
