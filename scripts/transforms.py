"""Crop, squash or pad? Embedded scenes drawn 4:3 and 3:4, scored by MiniCLIP: `python scripts/transforms.py` prints a
table of mAP in percent. `--methods zero-shot,dval` trains, `--seeds 0,1,2` repeats (the scenes are drawn anew, too)."""

import argparse

import numpy as np

from hpdval import compare, from_samples
from hpdval.config import METHODS, parse_names, parse_seeds
from hpdval.data import TRANSFORMS
from hpdval.icons import ICON_BENCHMARKS, World, draw_labels, render

RATIOS = (4 / 3, 3 / 4)
SIZE = 128  # px, the shorter side; MiniCLIP takes 64


def pictures(name, split, seed, most=None) -> list:  # of (picture, names of its classes)
    "A split of an embedded benchmark (its first images), one half of its scenes wide, the other half high."
    b = ICON_BENCHMARKS[name]
    Y = render(name, split, World(size=8), seed=seed).targets.numpy()[:most]  # the labels alone are used
    images, labels = [], []
    for k, ratio in enumerate(RATIOS):
        scenes = draw_labels(b, Y[k::2], (seed, 7, k), World(size=SIZE, ratio=ratio))
        images += [im.permute(1, 2, 0).numpy() for im in scenes.images]
        labels += [[b.classes[c] for c in np.flatnonzero(y)] for y in Y[k::2]]
    return list(zip(images, labels))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--methods', default='zero-shot,zero-shot-dual')
    parser.add_argument('--seeds', default='0')
    parser.add_argument('--worlds', default='icon-voc-lt,icon-coco-lt')
    parser.add_argument('--images', type=int, help='the first ones of each split alone, for a trial')
    given = parser.parse_args()
    methods = parse_names(given.methods, METHODS, 'method')
    seeds = parse_seeds(given.seeds)
    print(f'| world | method | {" | ".join(TRANSFORMS)} |')
    print('|---' * (2 + len(TRANSFORMS)) + '|')
    for world in parse_names(given.worlds, ICON_BENCHMARKS, 'world'):
        found = {}
        for seed in seeds:
            train, test = (pictures(world, split, seed, given.images) for split in ('train', 'test'))
            data = from_samples(train, test, classes=ICON_BENCHMARKS[world].classes)
            for t in TRANSFORMS:
                how = dict(benchmark='memory', transform=t, augment='icons', ctx_init='words', data=data)
                how |= dict(empty_classes='keep') if given.images else {}
                said, _ = compare(methods, [seed], progress=False, **how)
                for label, m in said['methods'].items():
                    found.setdefault((label, t), []).append(m['mAP']['total'])
        for label in dict.fromkeys(label for label, _ in found):
            cells = [f'{np.mean(found[label, t]):.2f}' for t in TRANSFORMS]
            print(f'| {world} | {label} | {" | ".join(cells)} |', flush=True)


if __name__ == '__main__':
    main()
