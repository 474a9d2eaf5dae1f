"""The wheel and the sdist hold what the package needs, and run without the checkout; one version everywhere."""

import configparser, json, os, re, subprocess, sys, tarfile, zipfile
from importlib import metadata
from pathlib import Path

import fonticon_mdi7, pytest, yaml
from click.testing import CliRunner

import hpdval
from hpdval.command import main
from test_repo import tracked

ROOT = Path(__file__).resolve().parents[1]
# what somebody does who has the package and nothing else
USER = '''
import json, pkgutil, importlib, sys
from pathlib import Path
import numpy as np, hpdval
from PIL import Image
from hpdval import Classifier, example_scenes

modules = [importlib.import_module(f'hpdval.{m.name}') for m in pkgutil.iter_modules(hpdval.__path__)]
from hpdval import core, lists, paper

pixels = (np.indices((64, 96)).sum(0) * 1.5).astype(np.uint8)
Image.fromarray(np.stack([pixels] * 3, -1)).save('picture.png')
c = Classifier.load('example', device='cpu')
print(json.dumps(dict(
    file=hpdval.__file__,
    version=hpdval.__version__,
    modules=len(modules),
    doc=hpdval.__doc__,
    best=c.predict('picture.png', top=1).label[0],
    scenes=list(c.predict(example_scenes(), top=1).label),
    heat=list(c.heatmap('picture.png', 'dog').shape),
    card=(Path(hpdval.__file__).parent / 'example/README.md').read_text()[:1],
    checksums=len(lists.OFFICIAL),
    quoted=len(paper.printed_elsewhere('coco-lt')),
    commit=core.source_commit(),
    mAP=c.result.mAP['total'],
)))
'''


def test_one_version_everywhere():
    "settings.ini is where it is set; `nbdev_export` writes it into the package."
    settings = configparser.ConfigParser()
    settings.read(ROOT / 'settings.ini')
    version = settings['DEFAULT']['version']
    cited = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))['version']
    newest = re.search(r'^## \[(.+?)\]', (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8'), re.M)[1]
    assert [hpdval.__version__, cited, newest] == [version] * 3
    assert CliRunner().invoke(main, ['--version']).stdout == f'hpdval, version {version}\n'


def test_the_notice_is_of_the_font_that_is_drawn_with():
    notice, version = (ROOT / 'NOTICE').read_text(encoding='utf-8'), metadata.version('fonticon-materialdesignicons7')
    pinned = f'fonticon-materialdesignicons7=={version}'
    assert pinned in (ROOT / 'pyproject.toml').read_text(encoding='utf-8') and pinned.replace('==', ' ') in notice
    font = Path(fonticon_mdi7.__file__).parent / 'fonts/LICENSE'
    said = font.read_text(encoding='utf-8').split('\n# ')[1:3]
    assert all(line.strip() in notice for part in said for line in part.splitlines())


def test_a_file_of_data_has_its_source():
    folder = ROOT / 'hpdval/data'
    page = (folder / 'README.md').read_text(encoding='utf-8')
    assert [f.name for f in folder.iterdir() if f.name != 'README.md' and f'| `{f.name}` |' not in page] == []


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    "A folder with the sdist, and the wheel that was built from it; from tracked files alone, away from the checkout."
    tmp = tmp_path_factory.mktemp('built')
    for file in tracked():
        copy = tmp / 'source' / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    words = [sys.executable, '-m', 'build', '--no-isolation', '--outdir', str(tmp / 'dist'), str(tmp / 'source')]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return tmp / 'dist'


def of_the_package():
    return {str(f.relative_to(ROOT)) for f in tracked() if f.relative_to(ROOT).parts[0] == 'hpdval'}


def test_both_hold_every_file_of_the_package(built):
    wheel, sdist = next(built.glob('*.whl')), next(built.glob('*.tar.gz'))
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {n for n in names if '.dist-info/' not in n} == of_the_package()
    texts = {n.partition('.dist-info/licenses/')[2] for n in names if '.dist-info/licenses/' in n}
    assert texts == {'LICENSE', 'NOTICE', 'LICENSES/Apache-2.0.txt'}
    held = {'/'.join(Path(n).parts[1:]) for n in tarfile.open(sdist).getnames()}
    assert of_the_package() | {'pyproject.toml', 'README.md', 'CHANGELOG.md', 'CITATION.cff'} | texts <= held
    assert not [n for n in names | held if n.endswith('.ipynb') or n.startswith('tests/')]
    assert max(f.stat().st_size for f in built.iterdir()) < 15_000_000


def test_it_runs_without_the_checkout(built, tmp_path):
    "Installed into a folder, run in another one, by a Python that sees no checkout."
    site, home = tmp_path / 'site', tmp_path / 'home'
    home.mkdir()
    wheel = next(built.glob('*.whl'))
    install = [
        sys.executable,
        '-m',
        'pip',
        'install',
        '-q',
        '--no-deps',
        '--no-index',
        '--target',
        str(site),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True, cwd=home)
    clean = {k: v for k, v in os.environ.items() if not k.startswith('HPDVAL') and k != 'IN_TEST'}
    clean |= dict(PYTHONPATH=os.pathsep.join([str(site), *added()]), PYTHONDONTWRITEBYTECODE='1', HPDVAL_DEVICE='cpu')
    done = subprocess.run([sys.executable, '-c', USER], capture_output=True, text=True, cwd=home, env=clean)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert Path(said['file']).parent == site / 'hpdval' and said['version'] == hpdval.__version__
    assert (
        said['heat'] == [64, 96]
        and said['commit'] is None
        and said['card'] == '#'
        and said['quoted']
        and said['checksums']
    )
    here = hpdval.Classifier.load('example', device='cpu').predict(home / 'picture.png', top=1)
    assert said['best'] == here.label[0]
    assert said['scenes'] == ['sofa', 'tvmonitor', 'cat'] and said['doc'].startswith('Multi-label image classification')
    assert sorted(f.name for f in home.iterdir()) == ['picture.png']  # nothing else was written
    command = [sys.executable, str(site / 'bin/hpdval')]
    for words, wanted in ((['--version'], hpdval.__version__), (['predict', 'example', 'picture.png'], said['best'])):
        done = subprocess.run([*command, *words], capture_output=True, text=True, cwd=home, env=clean)
        assert done.returncode == 0 and wanted in done.stdout, done.stderr


def added():
    "What the variable PYTHONPATH adds beside the checkout."
    paths = [p for p in os.environ.get('PYTHONPATH', '').split(os.pathsep) if p]
    return [p for p in paths if Path(p).resolve() != ROOT]
