"""The trained run that is part of the package: `python scripts/example.py` trains it, or finds it in runs/, rounds its
weights to float16, measures it anew with those, and writes hpdval/example, with its first three test images. `--check`
only measures what lies there."""

import argparse, sys
from dataclasses import replace

import numpy as np
from PIL import Image
from safetensors.torch import save

from hpdval import experiment
from hpdval.config import Config, make_config
from hpdval.core import atomic_write, file_digest, get_device, write_json
from hpdval.experiment import EXAMPLE, Result, config_clip, load_benchmark, load_model, run
from hpdval.model import model_state
from hpdval.train import Pixels, predict_scores

CONFIG = make_config('hp-dval', 'icon-voc-lt', mode='recommended', seed=0, device='cpu')
HALF = ('visual', 'prompts')  # parts whose numbers are rounded; scale and centre stay as they are


def rounded(model):
    "The model with its weights as float16 holds them, and its tensors in that form."
    state = {k: v.half() if k.split('.')[0] in HALF else v for k, v in model_state(model).items()}
    model.load_state_dict(state, strict=False)
    return state


def write_scenes(data):
    "The first three test images, as PNG."
    for i, pixels in enumerate(data.test.images[:3].permute(0, 2, 3, 1).numpy(), 1):
        with atomic_write(EXAMPLE / f'scene{i}.png') as f:
            Image.fromarray(pixels).save(f, format='png', optimize=True)


def write(result: Result, progress=False):
    "hpdval/example from a run: rounded, and measured with what was rounded."
    clip, data = config_clip(CONFIG), load_benchmark(CONFIG, progress=progress)
    model = load_model(result, clip)
    state = rounded(model)
    said, scores = experiment._measured(CONFIG, result.hash, clip, data, model, get_device('cpu'), progress)
    with atomic_write(EXAMPLE / 'model.safetensors') as f:
        f.write(save(state))
    with atomic_write(EXAMPLE / 'scores.npy') as f:
        np.save(f, scores)
    write_json(EXAMPLE / 'images.json', list(data.test.paths))
    write_scenes(data)
    said |= {k: getattr(result, k) for k in ('code', 'parts', 'environment', 'seconds', 'before', 'history')}
    packed = replace(Result(**said), files={f: file_digest(EXAMPLE / f) for f in sorted(result.files)})
    packed.save(EXAMPLE)
    far = np.abs(scores - result.scores).max()
    print(f"mAP {result.mAP['total']:.3f}, rounded {packed.mAP['total']:.3f}; scores differ by {far:.1e} at most")


def check() -> float:
    "How far scores by the code of today are from those that lie in hpdval/example, at most."
    result, clip, data = Result.load(EXAMPLE), config_clip(CONFIG), load_benchmark(CONFIG, progress=False)
    assert Config(**result.config) == CONFIG and result.data.startswith(data.digest)  # fields since are at their start
    scores = predict_scores(load_model(result, clip), data.test.images, Pixels(clip, CONFIG, 'cpu')).numpy()
    return float(np.abs(scores - result.scores).max())


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.split(':')[0])
    parser.add_argument('--check', action='store_true', help='exit with 1 if scores are others by the code of today')
    if not parser.parse_args().check:
        write(run(CONFIG))
    elif (far := check()) > 1e-5:
        sys.exit(f'{EXAMPLE} gives other scores by the code of today (by {far:.1e}): run python scripts/example.py')
