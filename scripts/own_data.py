"""Own data against a preset: `python scripts/own_data.py` writes the pictures of the embedded worlds as files with
tables, trains on them as on anybody's data, and prints mAP in percent beside that of the world's own preset."""

import argparse, csv, tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from hpdval import compare
from hpdval.config import METHODS, method_label, parse_names, parse_seeds
from hpdval.icons import ICON_BENCHMARKS, load_icons
from hpdval.paper import said_difference


def write(folder: Path, world: str):
    "Pictures as PNG, and for each split a table with a column per class."
    classes = ICON_BENCHMARKS[world].classes
    for split in ('train', 'test'):
        scenes = load_icons(world, split, progress=False)
        (folder / split).mkdir()
        with open(folder / f'{split}.csv', 'w', newline='') as f:
            table = csv.writer(f)
            table.writerow(['path', *classes])
            for i, (image, row) in enumerate(zip(scenes.images, scenes.targets.tolist())):
                path = f'{split}/{i:05d}.png'
                Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / path)
                table.writerow([path, *row])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--methods', default='dval')
    parser.add_argument('--seeds', default='0,1,2')
    parser.add_argument('--worlds', default='icon-voc-lt,icon-coco-lt')
    parser.add_argument('--mode', default='recommended', help='of the preset; own data has its own, recommended')
    parser.add_argument('--augment', help='of the own data, if not that of its preset')
    given = parser.parse_args()
    methods = parse_names(given.methods, METHODS, 'method')
    seeds = parse_seeds(given.seeds)
    changes = dict(augment=given.augment) if given.augment else {}
    print('| world | method | preset | own data | own less preset |\n|---|---|---|---|---|')
    for world in parse_names(given.worlds, ICON_BENCHMARKS, 'world'):
        with tempfile.TemporaryDirectory() as d:
            write(Path(d), world)
            _, own = compare(methods, seeds, False, benchmark='own', lists=d, image_root=d, **changes)
        _, preset = compare(methods, seeds, False, benchmark=world, mode=given.mode)
        for m in methods:
            a, b = ([r.mAP['total'] for r in rs[m]] for rs in (own, preset))
            said = f'{np.mean(b):.2f} | {np.mean(a):.2f} | {said_difference(a, b)}'
            print(f'| {world} | {method_label(m)} | {said} |', flush=True)


if __name__ == '__main__':
    main()
