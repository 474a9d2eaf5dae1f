"""Memory and time of steps of stage 2 with many classes: `python scripts/many_classes.py --classes 1203` trains prompts
on noise with a CLIP of random weights, and prints the peak of anonymous memory (pages of mapped files, which the system
can take back, do not count) and the processor time of a step. `--plain` holds everything, as without chunks."""

import argparse, json, time

import open_clip, torch

import hpdval.core
from hpdval.clip import as_clip, load_clip
from hpdval.config import make_config
from hpdval.data import Split
from hpdval.labels import COCO_CLASSES
from hpdval.model import build_model
from hpdval.train import Training, stage2_losses
from scale import Peak, rss_anon

KINDS = '''red blue green old new small large wooden metal broken toy wild young wet empty painted plastic striped tiny
round square heavy dark pale burnt'''.split()
MB = 1024e3  # bytes of what `rss_anon` counts in


def noise(classes: int, images: int, size: int) -> Split:
    "Images of noise, a label each at least."
    names = [f'{kind} {c}'.strip() for kind in ('', *KINDS) for c in COCO_CLASSES][:classes]
    if len(names) < classes:
        raise ValueError(f'there are names for {len(names)} classes, not for {classes}')
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8, generator=rng)
    targets = (torch.rand(images, classes, generator=rng) < 3 / classes).to(torch.uint8)
    targets[torch.arange(images), torch.randint(classes, (images,), generator=rng)] = 1
    return Split(pixels, targets, tuple(names), [''] * images)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--clip', default='ViT-B-16')
    parser.add_argument('--classes', type=int, default=1203)
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--steps', type=int, default=2)
    parser.add_argument('--precision', default='fp32')
    parser.add_argument('--plain', action='store_true')
    parser.add_argument('--json', action='store_true', help='a line of JSON')
    given = parser.parse_args()
    if given.plain:
        hpdval.core.HELD = 1e18
    torch.manual_seed(0)
    small = given.clip == 'mini'
    clip = load_clip('mini') if small else as_clip(open_clip.create_model(given.clip), given.clip)
    train = noise(given.classes, given.batch, clip.visual.size)
    cfg = make_config(benchmark='coco-lt', clip=given.clip, batch_size=given.batch, precision=given.precision)
    with Peak() as peak:
        model = build_model(cfg, clip, train.classes, torch.device('cpu'))
        params, losses, _ = stage2_losses(model, clip, train, progress=False)
        training, before = Training(params, given.steps, 1e-4, cfg, None), MB * rss_anon()
        seconds = []
        for step in range(given.steps):
            start = time.process_time()
            loss = training.step(lambda: losses(torch.arange(given.batch), 0, step))
            seconds.append(time.process_time() - start)
    if given.json:
        said = dict(peak=MB * peak.most / 1e6, before=before / 1e6, processor=min(seconds))
        return print(json.dumps(dict(classes=given.classes) | said))
    way = 'plain' if given.plain else 'in chunks'
    print(f'{given.clip}, {given.classes} classes, batch {given.batch}, {given.precision}, {way}:', end=' ')
    print(f'{MB * peak.most / 1e9:.2f} GB at most, {before / 1e9:.2f} GB before the first step,', end=' ')
    print(f'{min(seconds):.1f} s of processor time a step, loss {sum(loss.values()).item():.4f}')


if __name__ == '__main__':
    main()
