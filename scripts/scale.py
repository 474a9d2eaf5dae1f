"""How much memory a run takes of how many images, and how long decoding takes: `python scripts/scale.py` generates
photographs, runs HP-DVAL on them with a small CLIP of random weights, one epoch a stage, each size in a process of its
own, and prints the peak of its anonymous memory. `--decode 2000` compares decoding with Pillow alone instead, and
`--film 250` reading a film with PyAV alone."""

import argparse, json, os, re, statistics, subprocess, sys, tempfile, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

TOWER = dict(layers=2, width=64, head_width=32, patch_size=16)
TEXT = dict(context_length=77, vocab_size=49408, width=64, heads=2, layers=2)
SIZE = 224  # px, of the tower


def photograph(rng, width, height) -> Image.Image:
    "A soft picture with some noise, as large as a file of a photograph."
    soft = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    noise = rng.integers(-12, 13, (height // 4, width // 4, 1), dtype=np.int16).repeat(4, 0).repeat(4, 1)
    return Image.fromarray(np.clip(np.asarray(soft) + noise, 0, 255).astype(np.uint8))


def write(folder: Path, n: int, classes: int, width=296, height=224):
    "Photographs as JPEG, and tables of them: of `n` training images and of some to test on."
    rng = np.random.default_rng(0)
    for split, number in (('train', n), ('test', max(8, n // 20))):
        (folder / split).mkdir()
        rows = []
        for i in range(number):
            path = f'{split}/{i:06d}.jpg'
            photograph(rng, width, height).save(folder / path, quality=85)
            labels = {i % classes, *rng.integers(0, classes, 2).tolist()}
            rows.append(f'{path},{";".join(f"object {c}" for c in sorted(labels))}')
        (folder / f'{split}.csv').write_text('\n'.join(['path,labels', *rows]) + '\n')


def rss_anon() -> float:  # MB
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


def child(folder: Path, options: dict):
    "One run; what it took, as JSON."
    import open_clip, torch
    from safetensors.torch import save_file

    from hpdval import run
    from hpdval.config import make_config

    config = dict(embed_dim=64, vision_cfg=TOWER | dict(image_size=SIZE), text_cfg=TEXT)
    (folder / 'small-vit.json').write_text(json.dumps(config))
    open_clip.add_model_config(folder / 'small-vit.json')
    torch.manual_seed(0)
    save_file(open_clip.create_model('small-vit').state_dict(), folder / 'random.safetensors')
    options |= dict(clip='small-vit', pretrained=str(folder / 'random.safetensors'), device='cpu')
    cfg = make_config('hp-dval', 'own', lists=str(folder), image_root=str(folder), **options)
    start, before = time.time(), rss_anon()
    with Peak() as peak:
        run(cfg, progress=False)
    print(json.dumps(dict(before=before, peak=peak.most, seconds=time.time() - start)))


def measured(n: int, classes: int, options: dict) -> dict:
    "What a run on `n` training images took, in a process and in folders of its own."
    with tempfile.TemporaryDirectory() as d:
        folder = Path(d)
        write(folder, n, classes)
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


def decoding(n: int, rounds: int):
    "Seconds of decoding by the package, and by Pillow alone, in turns."
    from hpdval.data import decode_split

    with tempfile.TemporaryDirectory() as d:
        folder = Path(d)
        os.environ['HPDVAL_CACHE'] = str(folder / 'cache')
        write(folder, n, 2, 640, 480)
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
    seconds = ' | '.join(f'{statistics.median(s):.2f}' for s in took.values())
    print('| images of 640 x 480 px | hpdval, s | Pillow alone, s | ratio |\n|---|---|---|---|')
    print(f'| {n} | {seconds} | {ratio:.2f} |')


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', default='2000,20000', help='training images')
    parser.add_argument('--classes', type=int, default=20)
    parser.add_argument('--copies', type=int, default=0, help='kept views of each image; 0 = a new one in each epoch')
    parser.add_argument('--epochs', type=int, default=1, help='of each stage')
    parser.add_argument('--decode', type=int, help='images to decode; nothing is trained')
    parser.add_argument('--film', type=int, help='frames of a film to read; nothing is trained')
    parser.add_argument('--rounds', type=int, default=3, help='of decoding')
    parser.add_argument('--width', type=int, default=1920, help='of the film, px; its height is 9/16 of it')
    parser.add_argument('--child', nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return child(Path(given.child[0]), json.loads(given.child[1]))
    if given.decode:
        return decoding(given.decode, given.rounds)
    if given.film:
        return reading(given.film, given.rounds, width=given.width, height=given.width * 9 // 16)
    options = dict(epochs1=given.epochs, epochs2=given.epochs, copies=given.copies)
    print('| training images | classes | views | after import, MB | peak, MB | seconds |\n|---|---|---|---|---|---|')
    for n in map(int, given.images.split(',')):
        m = measured(n, given.classes, options)
        views = given.copies or 'new'
        print(
            f'| {n} | {given.classes} | {views} | {m["before"]:.0f} | {m["peak"]:.0f} | {m["seconds"]:.0f} |',
            flush=True,
        )


if __name__ == '__main__':
    main()
