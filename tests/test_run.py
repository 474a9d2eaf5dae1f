"""The run notebook as its users start it: papermill, from another folder, with wrong and with right parameters."""

import json, os, subprocess, sys
from pathlib import Path

import pytest

root = Path(__file__).resolve().parents[1]


def papermill(tmp_path, *parameters):
    "Run run_coco_lt in a process of its own; its exit code and everything it printed."
    command = [sys.executable, '-m', 'papermill', root / 'nbs/run_coco_lt.ipynb', tmp_path / 'out.ipynb']
    parameters = ('out', tmp_path / 'result', *parameters)
    for name, value in zip(parameters[::2], parameters[1::2]):
        command += ['-p', name, str(value)]
    env = os.environ | dict(PYTHONWARNINGS='ignore', HPDVAL_DATA=str(tmp_path / 'data'))
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=env, timeout=600)
    return done.returncode, done.stdout + done.stderr


def test_a_parameter_that_is_not_known_stops_papermill(tmp_path):
    code, printed = papermill(tmp_path, 'alhpa', 0.3)
    assert code != 0 and "did you mean 'alpha'" in printed, printed[-2000:]
    assert not (tmp_path / 'result').exists()


@pytest.mark.parametrize(
    'parameters, message',
    [
        (dict(alhpa=0.3), "did you mean 'alpha'"),
        (dict(alpha=1.5), 'alpha must be a number in 0..1, got 1.5'),
        (dict(topk=65, methods='hp-dval'), 'topk=65 is more than the 64 patches'),
        (dict(benchmark='coco-lt', fetch='no'), 'set `lists` to a folder with the lists of coco-lt'),
        (dict(clip='ViT-B-16', pretrained='nowhere.safetensors'), "unknown file, nor a tag of ViT-B-16"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(notebook, tmp_path, monkeypatch, parameters, message):
    monkeypatch.setenv('HPDVAL_DATA', str(tmp_path / 'data'))
    with pytest.raises((ValueError, OSError)) as e:
        notebook('run_coco_lt', out=str(tmp_path / 'result'), **parameters)
    assert message in str(e.value) and '\n' not in str(e.value)
    assert not (tmp_path / 'result').exists()


def test_real_photographs(notebook, tmp_path, monkeypatch, bench):
    "The same notebook on photographs, from real lists: five training images, so most classes have none."
    photos = bench / 'coco_real'
    given = dict(benchmark='coco-lt', image_root=str(photos), lists=str(photos))
    monkeypatch.setenv('HPDVAL_DATA', str(tmp_path / 'data'))
    with pytest.raises(ValueError, match="classes have no training image.*empty_classes='keep'"):
        notebook('run_coco_lt', out=str(tmp_path / 'none'), **given, methods='zero-shot', seeds='0')
    notebook('run_coco_lt', out=str(tmp_path / 'result'), **given, empty_classes='keep', smoke=True)
    result = json.loads((tmp_path / 'result/result.json').read_text())
    assert set(result['methods']) == {'Zero-shot CLIP', 'CoOp', 'HP-DVAL, stage 1 only', 'HP-DVAL'}
    for m in result['methods'].values():
        assert len(m['ap']) == 80 and 0 <= m['mAP']['total'] <= 100
