"""bfloat16 against float32: `python scripts/precision.py` trains stage 1 (`dval`) and both stages (`hp-dval`) on the
embedded worlds with three seeds in both precisions, and prints mAP in percent and the difference."""

import argparse

import numpy as np

from hpdval import compare
from hpdval.config import METHODS, method_label, parse_names, parse_seeds
from hpdval.icons import ICON_BENCHMARKS
from hpdval.paper import said_difference


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--methods', default='dval,hp-dval')
    parser.add_argument('--seeds', default='0,1,2')
    parser.add_argument('--worlds', default='icon-voc-lt,icon-coco-lt')
    parser.add_argument('--epochs', type=int, help='of each stage, if not those of the preset')
    parser.add_argument('--device', default='auto')
    given = parser.parse_args()
    methods, seeds = parse_names(given.methods, METHODS, 'method'), parse_seeds(given.seeds)
    changes = dict(device=given.device)
    changes |= {} if given.epochs is None else dict(epochs1=given.epochs, epochs2=given.epochs)
    print('| world | method | fp32 | bf16 | bf16 less fp32 |\n|---|---|---|---|---|')
    for world in parse_names(given.worlds, ICON_BENCHMARKS, 'world'):
        found = {
            p: compare(methods, seeds, False, benchmark=world, precision=p, **changes)[1] for p in ('fp32', 'bf16')
        }
        for m in methods:
            fp32, bf16 = ([r.mAP['total'] for r in found[p][m]] for p in ('fp32', 'bf16'))
            said = f'{np.mean(fp32):.2f} | {np.mean(bf16):.2f} | {said_difference(bf16, fp32)}'
            print(f'| {world} | {method_label(m)} | {said} |', flush=True)


if __name__ == '__main__':
    main()
