"""The interactive page as a reader has it: a JupyterLab of its own on a free port of this machine, a headless Chromium.

On demand: `pip install -e '.[browser]'`, Chromium with its driver (Debian: chromium, chromium-driver), then
`pytest -m thorough tests/test_browser.py`. HPDVAL_SCREENSHOTS names a folder that keeps what was seen.
"""

import json, os, secrets, shutil, subprocess, sys, time
from pathlib import Path
from urllib.request import urlopen

import pytest
from PIL import Image

from hpdval.config import make_config
from hpdval.experiment import load_benchmark, run

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.thorough
FLAGS = '''--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1366,900 --no-proxy-server'''.split()
NEWS = '@jupyterlab/apputils-extension/notification.jupyterlab-settings'
WAIT = 120  # s, at most


def until(ready, what):
    "What `ready()` gives as soon as it is true."
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if found := ready():
            return found
        time.sleep(0.1)
    pytest.fail(f'waited {WAIT} s for {what}')


@pytest.fixture(scope='module')
def run_folder(tmp_path_factory):
    "A runs folder with a run beside that of the package: CLIP as it is, its thresholds from validation images."
    folder = tmp_path_factory.mktemp('runs')
    with pytest.MonkeyPatch.context() as m:
        m.setenv('HPDVAL_RUNS', str(folder))
        cfg = make_config('zero-shot-dual', 'icon-voc-lt', empty_classes='keep', device='cpu')
        whole = load_benchmark(cfg, progress=False)
        few = whole._replace(train=whole.train.at(range(300)), test=whole.test.at(range(60)), digest='300-60')
        run(cfg, progress=False, data=few)
    return folder


@pytest.fixture(scope='module')
def lab(run_folder, tmp_path_factory):
    "The address of the page in a JupyterLab that serves a copy of it."
    pytest.importorskip('ipywidgets')
    root, own = tmp_path_factory.mktemp('pages'), tmp_path_factory.mktemp('jupyter')
    shutil.copy(ROOT / 'nbs/demo.ipynb', root)
    settings = own / 'LAB_SETTINGS_DIR' / NEWS
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(dict(fetchNews='false', checkForUpdates=False)))
    names = '_CONFIG_DIR _DATA_DIR _RUNTIME_DIR LAB_SETTINGS_DIR LAB_WORKSPACES_DIR'.split()
    env = os.environ | {f'JUPYTER{name}': str(own / name) for name in names}
    env |= dict(HPDVAL_RUNS=str(run_folder), JUPYTER_TOKEN=secrets.token_hex(16), HPDVAL_DEVICE='cpu')
    env['PYTHONPATH'] = os.pathsep.join(filter(None, [str(ROOT), env.get('PYTHONPATH')]))
    words = '--no-browser --allow-root --ip=127.0.0.1 --port=0'.split()
    with open(own / 'log', 'w') as log:
        command = [sys.executable, '-m', 'jupyterlab', *words, f'--ServerApp.root_dir={root}']
        server = subprocess.Popen(command, env=env, cwd=root, stdout=log, stderr=subprocess.STDOUT)
    try:
        (said,) = until(lambda: server.poll() or list((own / '_RUNTIME_DIR').glob('jpserver-*.json')), 'JupyterLab')
        port = until(lambda: json.loads(said.read_text() or '{}').get('port'), 'its port')
        yield f'http://127.0.0.1:{port}/lab/tree/demo.ipynb?reset&token={env["JUPYTER_TOKEN"]}'
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    selenium = pytest.importorskip('selenium.webdriver')
    programs = {name: shutil.which(name) for name in ('chromium', 'chromedriver')}
    if missing := [name for name, path in programs.items() if not path]:
        pytest.skip(f'no {" and no ".join(missing)} on this machine')
    options = selenium.ChromeOptions()
    options.binary_location = programs['chromium']
    for flag in (*FLAGS, f'--user-data-dir={tmp_path_factory.mktemp("chromium")}'):
        options.add_argument(flag)
    service = selenium.ChromeService(programs['chromedriver'])
    with selenium.Chrome(options=options, service=service) as driver:
        yield driver


@pytest.fixture(scope='module')
def page(lab, browser):
    "The page, its cells run. A function that finds elements in it."

    def find(css, text=''):
        "Elements whose text holds `text`."
        return [e for e in browser.find_elements('css selector', css) if text in e.text]

    def connected():
        "Whether the page has its kernel; on a busy machine JupyterLab may ask which one."
        for button in find('.jp-Dialog button.jp-mod-accept'):
            button.click()
        with urlopen(lab.replace('lab/tree/demo.ipynb?reset&', 'api/sessions?')) as said:
            kernels = [session['kernel'] for session in json.load(said)]
        return any(k['connections'] and k['execution_state'] == 'idle' for k in kernels)

    browser.get(lab)
    until(lambda: find('.jp-Notebook .jp-CodeCell'), 'the notebook')
    until(connected, 'its kernel')
    until(lambda: find('.lm-MenuBar-itemLabel', 'Run'), 'the menu')[0].click()
    until(lambda: find('.lm-Menu-item[data-command="runmenu:run-all"]'), 'its item')[0].click()
    return find


def seen(page, alt):
    "The picture of the page, once it is the one that is wanted and there."
    images = page(f'.widget-html img[alt*="{alt}"]')
    return images and images[0].get_property('naturalWidth')


def test_the_page_in_a_browser(page, browser, tmp_path):
    def keep(name):
        folder = Path(os.environ.get('HPDVAL_SCREENSHOTS') or tmp_path)
        until(lambda: not page('.widget-html', 'working ...'), 'the end of the work')
        browser.save_screenshot(str(folder / f'{name}.png'))

    assert until(lambda: seen(page, 'test scene 16 of icon-voc-lt'), 'an answer') > 600
    assert page('.widget-html', 'Decided:') and page('.widget-html', 'reaches the threshold')
    choose, label = page('.widget-dropdown select')
    assert 'Zero-shot' in choose.text and 'dog' in label.text
    keep('first')

    next(o for o in label.find_elements('css selector', 'option') if o.text == 'tv monitor').click()
    until(lambda: seen(page, 'maps of tv monitor'), 'the maps of a class')
    browser.execute_script('arguments[0].scrollIntoView()', page('.jp-OutputArea-output .widget-hbox')[0])
    keep('demo')

    (word,) = page('.widget-text input[type=text]')
    word.send_keys('teddy bear\n')
    until(lambda: seen(page, 'maps of teddy bear'), 'the maps of a word')
    assert page('.widget-html', 'teddy bear is no class of this run')
    keep('word')
    word.send_keys('s and more\n')
    until(lambda: page('.widget-html', 'does not know'), 'a line')
    assert not page('.widget-html img')
    next(o for o in label.find_elements('css selector', 'option') if o.text == 'person').click()
    until(lambda: seen(page, 'maps of person'), 'the maps of a class')
    assert not page('.widget-html', 'does not know') and not word.get_property('value')

    next(o for o in choose.find_elements('css selector', 'option') if 'Zero-shot' in o.text).click()
    until(lambda: page('.widget-html', 'Run: Zero-shot'), 'the other run')
    assert not page('.widget-html', 'other code than that of today')


def test_files_in_a_browser(page, browser, tmp_path):
    until(lambda: seen(page, 'maps of'), 'an answer')
    Image.new('RGB', (90, 60), 'teal').save(tmp_path / 'wide.webp')
    (tmp_path / 'broken.png').write_bytes((tmp_path / 'wide.webp').read_bytes()[:40])
    # the button makes an input that it keeps to itself
    browser.execute_script('HTMLInputElement.prototype.click = function () { document.body.append(this) }')
    page('button', 'upload')[0].click()
    upload = browser.find_element('css selector', 'body > input[type=file]')
    upload.send_keys(str(tmp_path / 'wide.webp'))
    until(lambda: seen(page, 'wide.webp'), 'the file')
    assert not page('.widget-html', 'issed')
    upload.send_keys(str(tmp_path / 'broken.png'))
    until(lambda: page('.widget-html', 'broken.png:'), 'a line')
    assert not page('.widget-html img')
    page('button', 'another')[0].click()
    until(lambda: seen(page, 'test scene'), 'a scene')
    assert not page('.jp-OutputArea-output', 'Traceback')
