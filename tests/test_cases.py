"""Files of the kinds that people have: what is read, with its right values; what is refused, with the whole message.

`CASES` is also the table from which scripts/errors.py writes docs/errors.md.
"""

import json, os, runpy, struct, warnings, zipfile, zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from safetensors.torch import save_file

from hpdval.lists import COCO_IDS, describe, read_captions, read_coco_json, read_csv, read_list, write_list

with warnings.catch_warnings():
    warnings.filterwarnings('ignore', 'IProgress not found')
    from hpdval.clip import fit_weights
    from hpdval.data import check_classes, decode_split, load_image, open_image
    from hpdval.fewshot import compare_fewshot, fewshot_config
    from hpdval.metrics import average_precision, bootstrap_ci, group_means, mean_interval, threshold_metrics
    from hpdval.weights import load_weights
    from hpdval.config import make_config
    from hpdval.core import file_digest, write_sealed
    from hpdval.experiment import EXAMPLE, Result, compare
    from hpdval.export import export_run
    from hpdval.paper import quoted
    from hpdval.photographs import long_tailed
    from hpdval.predict import Classifier, as_images, run_folder, wanted
    from hpdval.report import plot_per_class, results_table
    from hpdval.sources import Data, from_samples, load_data
    from hpdval.video import read_frames

from test_video import NO_FILM

ROOT = Path(__file__).resolve().parents[1]


# What is refused


class Case(NamedTuple):
    "An input, and the message that it gives."

    part: str  # of the table
    given: str  # the input in words
    call: Callable  # of the folder in which it makes the input
    message: str  # without the folder; ~ stands for Pillow's own words


def put(folder, name, content):
    "A file with this text, these bytes or this JSON."
    file = folder / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding='utf-8', newline='')
    return file


def listed(given, text, message, n_classes=3):
    "A list that is refused."
    return Case('Lists', given, lambda d: read_list(put(d, 'train.txt', text), n_classes), message)


def table(given, text, message, **how):
    "A CSV that is refused."
    return Case('CSV', given, lambda d: read_csv(put(d, 'train.csv', text), **how), message)


def image(i, name=None, **more):
    return dict(id=i, file_name=name or f'{i}.png', **more)


def category(i, name):
    return dict(id=i, name=name)


def annotation(image_id, category_id, **fields):
    return dict(image_id=image_id, category_id=category_id, **fields)


BOX = dict(bbox=[0, 0, 20, 20], area=400)
CATS = category(3, 'cat'), category(17, 'dog'), category(90, 'hot dog')
TWO = image(0), image(1)
SHOWN = (0, 3), (0, 17), (1, 90)  # image, category


def coco(images=TWO, categories=CATS, annotations=()):
    return dict(images=list(images), categories=list(categories), annotations=list(annotations))


def detections(given, content, message, **how):
    "COCO annotations that are refused."
    return Case('COCO JSON', given, lambda d: read_coco_json(put(d, 'train.json', content), **how), message)


def png(width, height, bits, colour, rows):
    "A PNG of any depth, which Pillow cannot write."
    chunk = lambda kind, data: len(data).to_bytes(4, 'big') + kind + data + zlib.crc32(kind + data).to_bytes(4, 'big')
    size = width.to_bytes(4, 'big') + height.to_bytes(4, 'big')
    data = zlib.compress(b''.join(b'\0' + r for r in rows))
    head = chunk(b'IHDR', size + bytes([bits, colour, 0, 0, 0]))
    return b'\x89PNG\r\n\x1a\n' + head + chunk(b'IDAT', data) + chunk(b'IEND', b'')


RGB, GRAY = 2, 0  # PNG's numbers of the colour types
GOOD = png(2, 2, 8, RGB, [bytes([9, 99, 199, 200, 100, 10])] * 2)
DEEP = png(2, 1, 16, RGB, [b'\0\x09\0\x63\0\xc7\0\xc8\0\x64\0\x0a'])  # 8-bit values in 16 bits a channel


def picture(given, content, message):
    "A file that is no picture."
    return Case('Pictures', given, lambda d: load_image(put(d, 'a.png', content), 8), message)


def pixels(given, values, message):
    "An array that is no picture."
    return Case('Pictures', given, lambda d: load_image(values, 8), message)


def unfetched(given, names, message):
    "Photographs that are not there, for a run that may not fetch; `names`: what its lists name, None for no lists."

    def call(d):
        for split in ('train', 'val') if names else ():
            put(d, f'{split}2017.txt', ''.join(f'{split}{n} 0\n' for n in names))
        with mock.patch.dict(os.environ, HPDVAL_DATA=str(d / 'data'), HPDVAL_MIRROR=''):
            long_tailed('coco-lt', str(d) if names else '', fetch=False, progress=False)

    return Case('Photographs that are fetched', given, call, message)


def made(given, make, message):
    "Something in the place of a file, made by `make(path)`."

    def call(d):
        make(d / 'a.png')
        load_image(d / 'a.png', 8)

    return Case('Pictures', given, call, message)


def split(given, make, message, paths=('a.png', 'b.png'), targets=((1, 0), (0, 1)), root='images'):
    "A list of pictures that is refused; `make(folder)` makes them."

    def call(d):
        (d / 'images').mkdir()
        make(d / 'images')
        with mock.patch.dict(os.environ, HPDVAL_CACHE=str(d / 'cache')):
            decode_split(list(paths), list(targets), ['cat', 'dog'], root and d / root, 8, progress=False)

    return Case('Folders of pictures', given, call, message)


def both_pictures(folder):
    put(folder, 'a.png', GOOD)
    put(folder, 'b.png', GOOD)


def one_of_each_kind(folder):
    put(folder, 'a.png', b'')
    put(folder, 'b.png', GOOD[:50])


def no_room(d):
    "A disk with 100 bytes left."
    both_pictures(d)
    with mock.patch('shutil.disk_usage', lambda _: mock.Mock(free=100)):
        with mock.patch.dict(os.environ, HPDVAL_CACHE=str(d)):
            decode_split(['a.png', 'b.png'], np.eye(2), ['cat', 'dog'], d, 64, progress=False)


def write(folder):
    write_list(folder / 'train.txt', ['my cat.jpg'], np.eye(1))


def no_captions(folder):
    read_captions(put(folder, 'captions.txt', 'a.jpg a cat\n'), ['a.jpg', 'b.jpg'])


COLUMNS = 'take out the columns that are no classes, or name the one with names `labels`'
IDS = 'write `path id id ...`, ids counted from 0 in the list of classes'
AGAIN = 'take them out, or export the file again'
FROM_ROOT = 'paths start from the image folder, such as `train/1.jpg`'
ONE_LINE = 'keep one line per image, with all of its labels'
HEADER = 'add a line such as `path,labels`'
ALONE = 'write the name alone, and only where the class is there'
HOLDS = 'keep the lines whose label holds, and take the column out'
SHAPES = 'expected numbers, [H,W], [H,W,3] or [3,H,W]'


def weights(given, what, message):
    "A file of weights with what `torch.save` makes of `what`."

    def call(folder):
        torch.save(what, folder / 'w.pt')
        return load_weights(folder / 'w.pt')

    return Case('Weights', given, call, message)


def program(folder):
    "What a TorchScript archive looks like."
    with zipfile.ZipFile(folder / 'w.pt', 'w') as z:
        z.writestr('w/code/model.py', '')
        z.writestr('w/data.pkl', b'')
    return load_weights(folder / 'w.pt')


def damaged_zip(folder):
    "A torch file with a byte of its directory changed."
    torch.save({'a': torch.ones(1)}, folder / 'w.pt')
    body = bytearray((folder / 'w.pt').read_bytes())
    body[body.rindex(b'PK\x01\x02')] = 0
    (folder / 'w.pt').write_bytes(body)
    return load_weights(folder / 'w.pt')


def bad_json(folder):
    torch.save({'a': torch.ones(1)}, folder / 'w.pt')
    put(folder, 'config.json', '{')
    return load_weights(folder / 'w.pt')


def beside(given, name, said, message):
    "Weights with a file of settings beside them that is refused."

    def call(folder):
        torch.save({'a': torch.ones(1)}, folder / 'w.pt')
        put(folder, name, said)
        return load_weights(folder / 'w.pt')

    end = ': correct it, or move the file away and say yourself what it says (mean, std, resize, quick_gelu)'
    return Case('Weights', given, call, message + end)


def in_parts(given, where, message):
    "Weights in parts, of which one is there, by an index that says where their tensors are."

    def call(folder):
        save_file({'a': torch.ones(1), 'c': torch.ones(1)}, folder / 'w-1.safetensors')
        return load_weights(put(folder, 'w.safetensors.index.json', dict(weight_map=where)))

    return Case('Weights', given, call, message)


INDEX = 'w.safetensors.index.json'
PREPROCESSOR, OPEN_CLIP = 'preprocessor_config.json', 'open_clip_config.json'
HALF = dict(image_mean=[0.5] * 3, image_std=[0.5] * 3)


def found(given, said, message):
    "The folder of a notebook whose result.json is refused."
    return Case('Results', given, lambda d: run_folder(put(d, 'result.json', said).parent), message)


LOGITS = np.array([[3.0, -1], [-2, 1]])
TRUE = np.eye(2)


def number(given, call, message):
    "Metrics of what has no answer."
    return Case('Metrics', given, lambda d: call(), message)


def few(given, call, message):
    "A few-shot run that would not do what was asked for."
    return Case('Few-shot', given, lambda d: call(), message)


def asked(part, given, call, message):
    "A call whose arguments mean nothing, or two things."
    return Case(part, given, lambda d: call(), message)


def data(given, benchmark, files, message):
    "Data of one's own, made of these files (pictures have no content here), that are refused."

    def call(d):
        for k, (name, content) in enumerate(files.items()):
            (d / name).parent.mkdir(parents=True, exist_ok=True)
            put(d, name, content or png(2, 2, 8, RGB, [bytes([k, 99, 199, 200, 100, 10])] * 2))
        cfg = make_config('zero-shot', benchmark, lists=str(d), image_root=str(d)) if benchmark == 'own' else None
        cfg = cfg or make_config('zero-shot', benchmark, image_root=str(d))
        with mock.patch.dict(os.environ, HPDVAL_CACHE=str(d / 'cache')):
            load_data(cfg, 8, progress=False)

    return Case("Data of one's own", given, call, message)


class Known(list):
    "Pairs with class numbers and the names of the classes, as torchvision's data sets are."

    classes = ['cat', 'dog']


def samples(given, labels, message, make=list, **how):
    "Pairs in memory with these labels, that are refused."

    def call(d):
        pairs = make((np.full((9, 9, 3), k, np.uint8), y) for k, y in enumerate(labels))
        from_samples(pairs, pairs, **how)

    return Case('Objects in memory', given, call, message)


PAIRS = [(np.full((8, 8, 3), 100 * k, np.uint8), [name]) for k, name in enumerate(('cat', 'dog'))]


def made_by(transform):
    "Data in memory whose pictures were made by a transform."
    return from_samples(PAIRS, PAIRS)(SimpleNamespace(transform=transform), 8, False)


TABLE = 'path,labels\n{}.png,cat\n{}.png,dog\n'
OWN = {f'{c}.png': '' for c in 'abcdef'} | {'train.csv': TABLE.format('a', 'b'), 'test.csv': TABLE.format('c', 'd')}
FOLDERS = {f'{split}/{name}.png': '' for split in ('train', 'test') for name in ('cat/1', 'dog/2')}
THREE = 'train.csv, test.csv, val.csv: rename it, or move it away'


def an_export(folder, content):
    "An ONNX file with this content, and beside it what belongs to one that says `onnx`."
    whole = file_digest(put(folder, 'model.onnx', b'onnx'))
    run = vars(Result.load(EXAMPLE)) | dict(folder='')
    about = dict(format=1, run=run, files=dict(onnx=whole), classes=[], size=64, transform='clip', outputs=['scores'])
    write_sealed(folder / 'model.json', about)
    return put(folder, 'model.onnx', content)


CASES = [
    Case(
        'Lists',
        'a list that is not there',
        lambda d: read_list(d / 'train.txt', 3),
        'no file train.txt: fetch the official lists with `hpdval.lists.fetch_lists`, or write your own with '
        '`write_list`',
    ),
    listed('an empty list', '\n', 'train.txt is empty: expected one `path id id ...` per line'),
    listed(
        'an id that is too large',
        'a.jpg 0\nb.jpg 3\n',
        f'train.txt: 1 of 2 lines cannot be used (line 2: class id 3 is not in 0..2): {IDS}',
    ),
    listed(
        'names in the place of ids',
        'a.jpg cat\n',
        f"train.txt: 1 of 1 lines cannot be used (line 1: 'cat' is not a class id): {IDS}",
    ),
    listed(
        'a vector of 0 and 1 in the place of ids',
        'a.jpg 0 1 0\nb.jpg 1 0 1\nc.jpg 0 0 1\n',
        'train.txt: 3 of 3 lines look like a 0/1 vector, not class ids: write the positions of the ones, or a CSV with '
        'one column per class',
    ),
    listed(
        'commas in the place of spaces',
        'a.jpg,0,2\n',
        f"train.txt: 1 of 1 lines cannot be used (line 1: 'a.jpg,0,2' has no space between path and ids): {IDS}",
    ),
    listed(
        'a path with a space',
        'my cat.jpg 0\n',
        "train.txt: 1 of 1 lines cannot be used (line 1: 'cat.jpg' is not a class id; a path with a space needs a "
        f'CSV): {IDS}',
    ),
    Case(
        'Lists',
        'a path with a space, to be written',
        write,
        "train.txt: 1 of 1 paths cannot be used (path 1: 'my cat.jpg' has a space; use CSV)",
    ),
    listed(
        'an absolute path',
        'C:\\data\\a.jpg 0\n',
        f"train.txt: 1 of 1 lines cannot be used (line 1: 'C:/data/a.jpg' is an absolute path): {FROM_ROOT}",
    ),
    listed(
        'a path out of the image folder',
        'a.jpg 0\nx/../../a.jpg 0\n',
        f"train.txt: 1 of 2 lines cannot be used (line 2: 'x/../../a.jpg' leaves the image folder): {FROM_ROOT}",
    ),
    listed(
        'a URL',
        'https://x.org/a.jpg 0\n',
        f"train.txt: 1 of 1 lines cannot be used (line 1: 'https://x.org/a.jpg' is a URL): {FROM_ROOT}",
    ),
    listed(
        'an image twice, with other labels',
        'a.jpg 0\nb.jpg 1\n./a.jpg 1\n',
        f'train.txt: 1 of 3 lines cannot be used (line 3: a.jpg stands in line 1 with other labels): {ONE_LINE}',
    ),
    listed(
        'a list in cp1252',
        'straße.jpg 0\n'.encode('cp1252'),
        "train.txt is not utf-8 (first in line 1): pass encoding='cp1252' (to the reader, or in `reading` to a run) "
        'if a spreadsheet saved it, or save it as UTF-8',
    ),
    Case(
        'Lists',
        'images without a caption',
        no_captions,
        'captions.txt has no caption for 1 image (b.jpg): expected one `path sentence` per line',
    ),
    Case(
        'CSV',
        'a CSV that is not there',
        lambda d: read_csv(d / 'train.csv'),
        'no file train.csv: expected a CSV with a path column and labels',
    ),
    table(
        "a formula in the place of a name",
        'path,labels\na.png,=cat\nb.png,dog\n',
        "train.csv: 1 of 2 lines cannot be used (line 2: '=cat' has a sign before the name): "
        'write the name alone, and only where the class is there',
    ),
    table(
        'a comma of another script between names',
        'path,labels\na.png,cat\uff0cdog\nb.png,cow\n',
        "train.csv: 1 of 2 lines cannot be used (line 2: 'cat\uff0cdog' may be several names): "
        'write the name alone, and only where the class is there',
        sep=';',
    ),
    table(
        'a soft hyphen in a name',
        'path,labels\na.png,ca\xadt\nb.png,dog\n',
        "train.csv: 1 of 2 lines cannot be used (line 2: 'ca\\xadt' holds a character that shows nothing): "
        'write the name alone, and only where the class is there',
    ),
    table(
        'Cyrillic letters within a Latin word',
        'path,labels\na.png,\u0441at\nb.png,dog\n',
        "train.csv: 1 of 2 lines cannot be used (line 2: '\\u0441at' mixes Latin and Cyrillic letters in a word): "
        'write the name alone, and only where the class is there',
    ),
    table(
        'two names that look alike, one in Cyrillic letters',
        'path,labels\na.png,\u0441\u0430\u0442\nb.png,cat\n',
        "train.csv spells 1 class in two ways ('\\u0441\\u0430\\u0442' and 'cat'): write each in one way",
    ),
    table(
        'a name in full-width letters, and the same in plain ones',
        'path,labels\na.png,cat\nb.png,\uff43\uff41\uff54\n',
        "train.csv spells 1 class in two ways ('cat' and '\uff43\uff41\uff54'): write each in one way",
    ),
    table(
        'a header alone',
        'path,labels\n',
        'train.csv has no rows: expected a header such as `path,labels`, and one line per image',
    ),
    table(
        'no header, columns of 0 and 1',
        'a.png,1,0,1\nb.png,0,1,0\n',
        f'train.csv has no header, its first row looks like data (a.png, 1, 0, ...): {HEADER}',
    ),
    table(
        'no header, names',
        'img_001,cat\nimg_002,dog\n',
        f'train.csv has no header, its first row looks like data (img_001, cat): {HEADER}',
    ),
    table(
        'a header that may be data',
        'lion,cat\ntulip,flower\n',
        'train.csv: cannot tell whether its first row (lion, cat) is a header: write `path,labels` in its place if '
        'it is, and above it if it is not',
    ),
    table(
        'a column without a name',
        'path,cat,\na.png,1,0\n',
        'train.csv: 1 column with values but no name (column 3): write its name',
    ),
    table(
        'two columns of one name',
        'path,cat,cat\na.png,1,0\n',
        'train.csv: 1 name over two columns each (cat): rename or drop one',
    ),
    table(
        'lines of other lengths than the header',
        'path,labels\na.png,cat,dog\nb.png\nc.png,cat\n',
        'train.csv: 2 of 3 lines cannot be used (line 2: 3 cells under a header of 2; line 3: 1 cell under a '
        'header of '
        '2): quote a cell that holds the separator, and write all cells of a line',
    ),
    table(
        'a quote that does not close',
        'path,labels\na.png,"cat\nb.png,dog\n',
        'train.csv: the CSV breaks off at line 3 (unexpected end of data): close the quotes, double those in a cell',
    ),
    table(
        'two separators of columns',
        'path;labels,more\na;b,c\n',
        "train.csv: cannot tell what stands between the columns of 'path;labels,more': write a line such as `sep=;` "
        'above it, or pass delimiter= to read_csv, or in `reading` to a run',
    ),
    table(
        'cp1252, as spreadsheets save it',
        'path,labels\na.png,Café\n'.encode('cp1252'),
        "train.csv is not utf-8 (first in line 2): pass encoding='cp1252' (to the reader, or in `reading` to a run) "
        'if a spreadsheet saved it, or save it as UTF-8',
    ),
    table(
        'another old encoding',
        'path,labels\na.png,Кошка\n'.encode('cp1251'),
        "train.csv is not utf-8 (first in line 2): pass encoding= (to the reader, or in `reading` to a run), "
        "which may be 'cp1251' or 'gbk', or save it as UTF-8",
    ),
    table(
        'UTF-16 without its mark',
        'path,labels\na.png,cat\n'.encode('utf-16-le'),
        "train.csv holds 22 zero bytes: pass encoding='utf-16-le' (to the reader, or in `reading` to a run), "
        'or save it as UTF-8',
    ),
    table(
        'letters that an earlier program has lost',
        'path,labels\na.png,Caf\ufffd\n',
        'train.csv has lost 1 character (U+FFFD): export it again from its source, as UTF-8',
    ),
    table(
        'an encoding that does not exist',
        'path,labels\na.png,cat\n',
        "train.csv: unknown encoding 'cp125': try utf-8, cp1252 or utf-16",
        encoding='cp125',
    ),
    table(
        'an encoding that is not that of the file',
        'path,labels\na.png,Käse\n',
        "train.csv is UTF-8, not cp1252 ('ä' in line 2 would be read as 'Ã¤'): leave encoding= out, in a run out of "
        '`reading`',
        encoding='cp1252',
    ),
    table(
        'an Excel workbook that is called a CSV',
        b'PK\x03\x04\x14\x00\x06\x00',
        'train.csv is no text but an Excel workbook (.xlsx) or another zip archive: save the table as CSV (UTF-8), or '
        'unpack the archive',
    ),
    table(
        'an old Excel workbook that is called a CSV',
        b'\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00\x00',
        'train.csv is no text but an old Excel workbook (.xls): save the table as CSV (UTF-8)',
    ),
    table(
        'columns of 0 and 1 without the paths',
        'cat,dog\n1,0\n0,1\n',
        "train.csv: no column of paths: 'cat' holds 0 and 1: add a column `path`",
    ),
    table(
        'a line per class and a column per picture',
        'class,a.png,b.png\ncat,1,0\ndog,0,1\n',
        'train.csv: no column of paths: its header names pictures (a.png, b.png): write one line per picture, and one '
        'column per class',
    ),
    table(
        'words in the place of 0 and 1',
        'path,cat,dog\na.png,WAHR,FALSCH\n',
        "train.csv: 1 of 1 lines cannot be used (line 2: a value other than 0 and 1: 'WAHR' in column 'cat'): write 1 "
        'and 0 in the place of WAHR and FALSCH',
    ),
    table(
        'crosses and blanks in the place of 0 and 1',
        'path,cat,dog\na.png,x,\n',
        "train.csv: 1 of 1 lines cannot be used (line 2: a value other than 0 and 1: 'x' in column 'cat'): write 1 "
        'and 0 in the place of x and blanks',
    ),
    table(
        'pairs of numbers in the place of names',
        'Id,Target\n000,16 0\n001,7 1\n',
        "train.csv: cannot tell whether '16 0' in line 2 is one class: write `16 0|` there if it is, `16|0` and so on "
        'if it is not, or pass sep= to read_csv, or in `reading` to a run',
    ),
    table(
        'labels that are said to be absent',
        'path,finding,result\na.png,edema,negative\na.png,mass,positive\n',
        f"train.csv: column 'result' may say whether a label holds ('negative' in line 2): {HOLDS}",
    ),
    table(
        'two spellings of a class',
        'path,labels\na.png, Cat ;dog\nb.png,cat;dog \n',
        "train.csv spells 1 class in two ways ('Cat' and 'cat'): write each in one way",
    ),
    table(
        'two Unicode forms of a class',
        'path,labels\na.png,Caf\u00e9\nb.png,Cafe\u0301\n',
        r"train.csv spells 1 class in two ways ('Caf\xe9' and 'Cafe\u0301'): write each in one way",
    ),
    table(
        'two spellings of a column',
        'path,hot dog,hot_dog\na.png,1,0\n',
        "train.csv spells 1 class in two ways ('hot dog' and 'hot_dog'): write each in one way",
    ),
    table(
        'two separators of names',
        'path,labels\na.png,cat;dog\nb.png,cat|dog\n',
        "train.csv: the labels hold ';' in 1 cell (line 2), '|' in 1 cell (line 3): write one of them between all "
        'names and none within a name, or pass sep= to read_csv, or in `reading` to a run',
    ),
    table(
        'a space between names or in one',
        'image_name,tags\na,haze primary\nb,primary\n',
        "train.csv: cannot tell whether 'haze primary' in line 2 is one class: write `haze primary|` there if it is, "
        '`haze|primary` and so on if it is not, or pass sep= to read_csv, or in `reading` to a run',
    ),
    table(
        'a vector of 0 and 1 in a cell',
        'path,labels\na.png,"[0, 1]"\nb.png,"[1, 0]"\n',
        "train.csv: 2 of 2 cells look like a 0/1 vector ('[0, 1]'), not names: write one column per class, or "
        "the names",
    ),
    table(
        'a list in brackets that is cut off',
        'path,labels\na.png,[\'cat\' ... \'dog\']\n',
        "train.csv: 1 of 1 lines cannot be used (line 2: 'cat' ... 'dog'): write names with one separator "
        "between them, "
        'such as cat;dog',
    ),
    table(
        'a blank that was written as a word',
        'path,labels\na.png,cat\nb.png,nan\n',
        "train.csv: 1 of 2 lines cannot be used (line 3: 'nan' stands for no value): leave the cell empty if it means "
        'no label',
    ),
    table(
        'two columns that may hold the labels',
        'path,tags,label\na.png,cat,x\n',
        'train.csv: 2 columns may hold the labels (tags, label): take out all but one',
    ),
    table(
        'a column `label` of 0 and 1',
        'path,label\na.png,1\nb.png,0\n',
        "train.csv: column 'label' holds 0 and 1, not names: rename it after its class, or write names in the "
        "place of '0' and '1' if they are the classes",
    ),
    table(
        'a column that is not there',
        'path,labels\na.png,cat\n',
        "unknown column of train.csv 'label': did you mean 'labels'?",
        labels='label',
    ),
    table(
        'blanks among 0 and 1 (CheXpert)',
        'Path,No Finding,Edema\na.png,1.0,\nb.png,,1.0\n',
        "train.csv: 2 of 2 lines cannot be used (line 2: a blank: '' in column 'Edema'; line 3: a blank: '' in column "
        "'No Finding'): write 0 if a blank means that the class is not there, or pass blanks=0 to read_csv, or "
        'in `reading` to a run',
    ),
    table(
        '-1 among 0 and 1 (CheXpert, CelebA)',
        'path,smiling,young\na.png,-1,1\nb.png,0,1\n',
        "train.csv: 1 of 2 lines cannot be used (line 2: -1: '-1' in column 'smiling'): write 0 or 1 in the place "
        'of -1, or pass uncertain=0 or uncertain=1 to read_csv, or in `reading` to a run',
    ),
    table(
        'a column that is no class',
        'path,cat,width\na.png,1,640\nb.png,0,480\n',
        "train.csv: 2 of 2 lines cannot be used (line 2: a value other than 0 and 1: '640' in column 'width'; "
        "line 3: a "
        f"value other than 0 and 1: '480' in column 'width'): {COLUMNS}",
    ),
    table(
        'a meaning of blanks other than 0 and 1',
        'path,cat\na.png,1\n',
        "blanks must be 0, 1 or None, got 'no'",
        blanks='no',
    ),
    table(
        'a class that the training file does not have',
        'path,labels\na.png,cat;aple\nb.png,aple\n',
        "train.csv shows 1 class not among the 2 given ('aple' in 2 images): did you mean 'apple'? correct them, "
        "add them "
        "to the training file, or pass others='drop' to the reader, "
        'or in `reading` to a run',
        classes=['apple', 'cat'],
    ),
    table(
        'a 0/1 column that the training file does not have',
        'path,cat,zebra,note\na.png,1,0,x\nb.png,0,1,y\n',
        "train.csv shows 1 class not among the 1 given ('zebra' in 1 image): correct them, add them to the "
        "training file, "
        "or pass others='drop' to the reader, "
        'or in `reading` to a run',
        classes=['cat'],
        others='error',
    ),
    table(
        'another spelling than in the training file',
        'path,labels\na.png,Cat\n',
        "train.csv spells 1 class in another way than the classes given ('Cat' and 'cat'): write each in one way",
        classes=['cat', 'dog'],
    ),
    table(
        'a class without its 0/1 column',
        'path,cat,dog\na.png,1,0\n',
        "unknown column of train.csv 'dogs': did you mean 'dog'?",
        classes=['cat', 'dogs'],
    ),
    table(
        'an image twice, with several labels that differ',
        'path,labels\na.png,cat;dog\na.png,cat\n',
        f'train.csv: 1 of 2 lines cannot be used (line 3: a.png stands in line 2 with other labels): {ONE_LINE}',
    ),
    table(
        'an empty path',
        'path,labels\n,cat\nb.png,dog\n',
        f'train.csv: 1 of 2 lines cannot be used (line 2: the path is empty): {FROM_ROOT}',
    ),
    table(
        'no class at all',
        'path\na.png\n',
        'train.csv names no class: add a column `labels` or one 0/1 column per class',
    ),
    table(
        'a number behind a name, a sign before one',
        'path,labels\na.png,cat:0.9;dog\nb.png,cat;-dog\nc.png,!dog\n',
        "train.csv: 3 of 3 lines cannot be used (line 2: 'cat:0.9' has a number behind the name; line 3: '-dog' has a "
        f"sign before the name; line 4: '!dog' has a sign before the name): {ALONE}",
    ),
    table(
        'a mark in the place of a name',
        'path,labels\na.png,cat\nb.png,?\n',
        f"train.csv: 1 of 2 lines cannot be used (line 3: '?' has neither a letter nor a digit): {ALONE}",
    ),
    table(
        '0/1 columns as pandas.get_dummies writes them',
        'path,label_cat,label_dog\na.png,1,0\n',
        "train.csv: all its columns begin with 'label': take that off their names",
    ),
    table(
        'captions in the place of labels',
        'file_name,text\na.png,"A cat, on a mat."\nb.png,A dog in the fog.\n',
        "train.csv: column 'text' may hold captions: call it `labels` if it holds names of classes",
    ),
    table(
        'a list of values for each class',
        'path,labels\na.png,"[0.9, 0.1]"\n',
        "train.csv: lists such as ['0.9', '0.1'] look like a value for each class: write one column of 0 and 1 per "
        'class, or the names',
    ),
    table(
        'a list beside a name',
        'path,labels\na.png,"[\'cat\', \'dog\']"\nb.png,dog\n',
        f"train.csv: 1 of 2 lines cannot be used (line 2: \"['cat'\" may be a piece of a list): {ALONE}",
    ),
    table(
        'an error of a spreadsheet',
        'path,labels\na.png,cat\nb.png,#NAME?\n',
        f"train.csv: 1 of 2 lines cannot be used (line 3: '#NAME?' is an error of a spreadsheet): {ALONE}",
    ),
    table(
        'a score beside each label',
        'ImageID,LabelName,Confidence\na,cat,0.9\na,dog,0.2\n',
        f"train.csv: column 'Confidence' may say whether a label holds ('0.9' in line 2): {HOLDS}",
    ),
    table(
        '0 and 1 beside each label, under a name that may mean anything',
        'path,label,value\na.png,cat,1\na.png,dog,0\n',
        f"train.csv: column 'value' may say whether a label holds ('0' in line 3): {HOLDS}",
    ),
    table(
        '0 and 1 that differ between the labels of an image',
        'path,label,IsDepiction\na.png,cat,1\na.png,dog,0\n',
        f"train.csv: column 'IsDepiction' may say whether a label holds ('0' in line 3): {HOLDS}",
    ),
    table(
        'lines of several splits',
        'path,labels,is_valid\na.png,cat,False\nb.png,dog,True\n',
        "train.csv: column 'is_valid' says that its lines are of several splits (False, True): write a table for each, "
        'without that column',
    ),
    table(
        'two columns of one name, as pandas writes them',
        'path,cat,dog,cat.1\na.png,1,0,0\n',
        'train.csv: 1 name over two columns each (cat.1): rename or drop one',
    ),
    table(
        'lines of several folds',
        'path,labels,fold\na.png,cat,0\nb.png,dog,1\n',
        "train.csv: column 'fold' says that its lines are of several splits (0, 1): write a table for each, without "
        'that column',
    ),
    table(
        'a column whose words are those of splits',
        'path,cat,group\na.png,1,train\nb.png,0,test\n',
        "train.csv: column 'group' says that its lines are of several splits (test, train): write a table for each, "
        'without that column',
    ),
    table(
        'how sure a label is, beside columns of 0 and 1',
        'path,cat,score\na.png,1,1\nb.png,0,1\n',
        "train.csv: column 'score' may say how sure the labels are: keep the lines that hold, and take the column out, "
        'or name the classes with classes=',
    ),
    table(
        'the measures of a picture, where all are 0 or 1',
        'path,cat,total\na.png,1,1\nb.png,0,0\n',
        "train.csv: column 'total' of 0 and 1 may be no class: take it out, or name the classes with classes=",
    ),
    table(
        'two names in one, with a plus between them',
        'path,labels\na.png,cat+dog\nb.png,owl\n',
        f"train.csv: 1 of 2 lines cannot be used (line 2: 'cat+dog' may be several names): {ALONE}",
    ),
    table(
        'two names in one, where each is a name too',
        'path,labels\na.png,cat;dog\nb.png,cat/dog;owl\n',
        f"train.csv: 1 of 2 lines cannot be used (line 3: 'cat/dog' may be several names): {ALONE}",
    ),
    table(
        'classes that have no order',
        'path,labels\na.png,cat\n',
        'classes must be a list of names, a set has no order',
        classes={'cat'},
    ),
    table(
        'classes with what are not their numbers',
        'path,labels\na.png,cat\n',
        "classes must be names numbered 0..0, or a list of names, got {'cat': 'Katze'}",
        classes=dict(cat='Katze'),
    ),
    table(
        'a class twice in the list of classes',
        'path,labels\na.png,cat\n',
        "classes must be a list of names, each once, got ['cat', 'cat']",
        classes=['cat', 'cat'],
    ),
    detections(
        'brackets nested beyond reading',
        '[' * 200_000,
        'train.json is no JSON (line 1, column 1: too many brackets within brackets): is the file complete?',
    ),
    detections(
        'a flag that is neither 0 nor 1',
        coco(annotations=[annotation(0, 3, iscrowd='perhaps', **BOX)]),
        "train.json: 1 of 1 annotations cannot be used (annotation 1: iscrowd must be 0 or 1, got 'perhaps'): "
        'take them out, or export the file again',
    ),
    detections(
        'a category without a name',
        coco(categories=[category(3, 'cat'), category(17, 'nan')], annotations=[annotation(0, 3, **BOX)]),
        "train.json: 1 of 2 categories cannot be used (category 17: 'nan' stands for no value): name it, or take it "
        'out',
    ),
    detections(
        'predictions in the place of annotations',
        coco(annotations=[annotation(0, 3, score=0.9, **BOX), annotation(1, 17, score=0.1, **BOX)]),
        "train.json: 2 of 2 annotations with a score (0.9 in annotation 1), as predictions have: keep those that hold, "
        "and take 'score' out",
    ),
    detections(
        'JSON that is cut off',
        '{"images": [',
        'train.json is no JSON (line 1, column 13: Expecting value): is the file complete?',
    ),
    detections('other JSON', [1, 2], 'train.json is not a COCO detection file: no images, categories, annotations'),
    detections(
        'image ids that collide',
        coco([image(0, 'a/0.png'), image(0, 'b/0.png')], annotations=[annotation(0, 3, **BOX)]),
        "train.json: 1 image id for two entries each (0: 'a/0.png' and 'b/0.png'): give each its own",
    ),
    detections(
        'a category whose name says nothing',
        coco(categories=[category(3, ''), category(4, 'cat')], annotations=[annotation(0, 3)]),
        'train.json: 1 of 2 categories cannot be used (category 1: no id or no name)',
    ),
    detections(
        'one file under two image ids',
        coco([image(0, 'a.png'), image(1, './a.png')], annotations=[annotation(0, 3, **BOX)]),
        'train.json: 1 file under two image ids each (a.png): keep one',
    ),
    detections(
        'images without a file',
        coco([dict(id=0)], annotations=[annotation(0, 3, **BOX)]),
        'train.json: 1 of 1 images cannot be used (image 1: no id or no file_name)',
    ),
    detections(
        'two categories of one name',
        coco(categories=[category(0, 'hot dog'), category(3, ' Hot_Dog')], annotations=[annotation(0, 3, **BOX)]),
        "train.json: 1 name for two categories each (0 and 3: 'hot_dog'): merge or rename them",
    ),
    detections(
        'annotations of other images and categories',
        coco(annotations=[annotation(0, 3, **BOX), annotation(7, 3, **BOX), annotation('0', 3), annotation(0, 1)]),
        "train.json: 3 of 4 annotations cannot be used (annotation 2: unknown image 7; annotation 3: unknown "
        "image '0'; "
        f'annotation 4: unknown category 1): {AGAIN}',
    ),
    detections(
        'a box of two numbers',
        coco(annotations=[annotation(0, 3, bbox=[1, 2])]),
        'train.json: 1 of 1 annotations cannot be used (annotation 1: its box is not [x, y, width, height], or '
        f'its area is no number): {AGAIN}',
    ),
    detections(
        'empty boxes alone',
        coco(annotations=[annotation(0, 3, bbox=[0, 0, 0, 0], area=0)]),
        'train.json: 1 annotation, and every box is empty: leave `bbox` out if there is none',
    ),
    detections(
        'a category that the training file does not have',
        coco(annotations=[annotation(*k) for k in SHOWN]),
        "train.json shows 1 class not among the 2 given ('hot_dog' in 1 image): did you mean 'dog'? correct them, "
        "add them to the training file, or pass others='drop' to the reader, "
        'or in `reading` to a run',
        classes=['dog', 'cat'],
    ),
    made('a picture that is not there', lambda f: None, '[Errno 2] no such file: a.png'),
    made('a folder', Path.mkdir, 'a.png: a folder'),
    made('a pipe', os.mkfifo, 'a.png: a pipe or a device'),
    made('a link to itself', lambda f: f.symlink_to(f), 'a.png: behind a loop of links (~)'),
    picture('a file of zero bytes', b'', 'a.png: empty (0 bytes)'),
    picture('a file that is cut off', GOOD[:50], 'a.png: cut off (~)'),
    picture('a web page', '<!DOCTYPE html><html>404</html>', 'a.png: a web page'),
    picture('HEIC', b'\0\0\0\x18ftypheic' + bytes(64), 'a.png: in HEIC, which Pillow does not read'),
    picture('DICOM', bytes(128) + b'DICM', 'a.png: in DICOM'),
    picture('a pointer of Git LFS', 'version https://git-lfs.github.com/spec/v1', 'a.png: a pointer of Git LFS'),
    picture('zeros, as a crash leaves them', bytes(99), 'a.png: zeros only'),
    picture('a file of another kind', 'hello', 'a.png: in no format that Pillow knows'),
    picture('a picture that is too large', png(20000, 20000, 8, GRAY, [b'']), 'a.png: too large (~)'),
    picture(
        '16 bits a channel that Pillow reads as black',
        DEEP,
        'a.png: black: 16 bits a channel, of which Pillow reads the upper 8 (save with 8 bits)',
    ),
    picture(
        '16 bits with the values of a mask',
        png(2, 1, 16, GRAY, [b'\0\0\0\1']),
        'a.png: with values that are no picture (0 to 1, uint16; expected 0..1 or 0..255)',
    ),
    pixels(
        'a picture without a pixel',
        Image.new('RGB', (0, 5)),
        'the picture: of a shape that is no picture (0 x 5 px)',
    ),
    pixels(
        'an array normalised around 0',
        np.linspace(-1, 1, 75).reshape(5, 5, 3),
        'the picture: with values that are no picture (-1 to 1, float64; expected 0..1 or 0..255)',
    ),
    pixels(
        'a batch of images',
        torch.zeros(2, 3, 8, 8),
        f'the picture: of a shape that is no picture (float32, shape (2, 3, 8, 8); {SHAPES})',
    ),
    pixels(
        'an array with channels first or last',
        np.zeros((3, 8, 3), np.uint8),
        f'the picture: of a shape that is no picture (uint8, shape (3, 8, 3); {SHAPES})',
    ),
    pixels(
        'a list in the place of an array', [1], 'a picture is a path, a file object, a PIL.Image or an array; got list'
    ),
    split(
        'an image folder that is not there',
        both_pictures,
        "no image folder 'elsewhere': set `image_root` to the folder that holds a.png",
        root='elsewhere',
    ),
    split(
        'no image folder given',
        both_pictures,
        "no image folder '': set `image_root` to the folder that holds a.png",
        root='',
    ),
    split(
        'images that are missing',
        lambda d: put(d, 'a.png', GOOD),
        '1 of 2 images under images cannot be used: 1 missing (b.png): is `image_root` the folder that the paths '
        'of the '
        'list start from?',
    ),
    split(
        'images that are none',
        one_of_each_kind,
        '2 of 2 images under images cannot be used: 1 empty (a.png: 0 bytes), 1 cut off (b.png: ~): convert '
        'them, fetch '
        'them again, or take them out of the list',
    ),
    split(
        'a path out of the image folder',
        both_pictures,
        f"the list: 1 of 2 paths cannot be used (path 2: '../b.png' leaves the image folder): {FROM_ROOT}",
        paths=('a.png', '../b.png'),
    ),
    split(
        'fewer labels than images',
        both_pictures,
        'need as many targets as paths, at least one: 1 and 2',
        targets=((1, 0),),
    ),
    Case(
        'Folders of pictures',
        'a disk that is full',
        no_room,
        'decoded images need 0.0 MB in ., 0.0 MB are free (too little is free): make room, or set HPDVAL_CACHE to a '
        'folder on another disk',
    ),
    Case(
        'Folders of pictures',
        'a class without a training image',
        lambda d: check_classes(np.eye(2, 3), ['cat', 'dog', 'cow']),
        '1 of 3 classes have no training image: cow; add some or drop them',
    ),
    Case(
        'Folders of pictures',
        'fewer names than columns',
        lambda d: check_classes(np.eye(2, 3), ['cat', 'dog']),
        '2 class names, but targets with 3 columns',
    ),
    data(
        'a validation table of another name',
        'own',
        OWN | {'valid.csv': OWN['test.csv']},
        f'valid.csv is none of {THREE}',
    ),
    data(
        'another table that is named like a split',
        'own',
        OWN | {'validate.csv': OWN['test.csv']},
        f'validate.csv is none of {THREE}',
    ),
    data('a validation table of another kind', 'own', OWN | {'val.json': '{}'}, f'val.json is none of {THREE}'),
    data('a table of training images twice', 'own', OWN | {'train.json': '{}'}, f'train.json is none of {THREE}'),
    data(
        'a training image for validation',
        'own',
        OWN | {'val.csv': TABLE.format('e', './b')},
        'val.csv: 1 image of train.csv too (./b.png): take them out of one of the two, for validation chooses between '
        'trainings by images that were not trained on',
    ),
    data(
        'validation without a label',
        'own',
        OWN | {'val.csv': 'path,labels\ne.png,\nf.png,\n'},
        'no image of the val split shows a class: label some, or take the split away',
    ),
    data(
        'one class in two folders',
        'folder',
        FOLDERS | {'train/Cat/3.png': ''},
        "train spells 1 class in two ways ('Cat' and 'cat'): write each in one way",
    ),
    data(
        'pictures in a format that is not read',
        'folder',
        FOLDERS | {'train/cat/3.heic': '-', 'train/cat/4.CR2': '-'},
        'train has 2 pictures in a format that is not read (cat/3.heic, cat/4.CR2): convert them to JPEG or PNG, or '
        'move them away',
    ),
    data(
        'a validation folder of another name',
        'folder',
        FOLDERS | {'Val/cat/3.png': ''},
        'Val is none of train/, test/ and val/: rename it, or move it away',
    ),
    data(
        'another folder that is named like a split',
        'folder',
        FOLDERS | {'hold-out_2/cat/3.png': ''},
        'hold-out_2 is none of train/, test/ and val/: rename it, or move it away',
    ),
    data(
        'a table beside the folders that is named like a split',
        'folder',
        FOLDERS | {'train.csv': TABLE.format('a', 'b')},
        'train.csv is none of train/, test/ and val/: rename it, or move it away',
    ),
    data(
        'a table of labels of another name',
        'folder',
        FOLDERS | {'train/labels.csv': TABLE.format('cat/1', 'dog/2')},
        'train/labels.csv is not read: name it metadata.csv or metadata.jsonl, in train, if it holds the labels, or '
        'move it away',
    ),
    data(
        'a table of labels in another form',
        'folder',
        FOLDERS | {'train/metadata.parquet': 'PAR1'},
        'train/metadata.parquet is not read: name it metadata.csv or metadata.jsonl, in train, if it holds the labels, '
        'or move it away',
    ),
    data(
        'a table of labels in the folder of a class',
        'folder',
        FOLDERS | {'train/cat/metadata.csv': 'file_name,labels\n1.png,cat\n'},
        'train/cat/metadata.csv is not read: name it metadata.csv or metadata.jsonl, in train, if it holds the labels, '
        'or move it away',
    ),
    data(
        'two tables of labels',
        'folder',
        FOLDERS | {'train/metadata.csv': 'x', 'train/metadata.jsonl': 'x'},
        'train has metadata.csv and metadata.jsonl: keep one of them',
    ),
    data(
        'pictures under the ending of something else',
        'folder',
        FOLDERS | {'train/cat/3.bak': GOOD},
        'train has 1 picture under the ending of something else (cat/3.bak): give them their own ending, or move them '
        'away',
    ),
    data(
        'pictures in a format that is not read, without an ending',
        'folder',
        FOLDERS | {'train/cat/3': b'\0\0\0\x18ftypheic' + bytes(64)},
        'train has 1 picture in a format that is not read (cat/3): convert them to JPEG or PNG, or move them away',
    ),
    data(
        'folders of classes inside one',
        'folder',
        FOLDERS | {'train/animals/owl/3.png': '', 'train/animals/cow/4.png': ''},
        'train/animals has pictures in its folders alone (cow, owl): move these folders up if they are the classes, or '
        'their pictures into animals if that is one',
    ),
    data(
        'lines of JSON that name no pictures',
        'folder',
        FOLDERS | {'train/metadata.jsonl': '{"label": "cat"}'},
        'train/metadata.jsonl has no paths (label): write each under "file_name"',
    ),
    data(
        'lines that are no JSON',
        'folder',
        FOLDERS | {'train/metadata.jsonl': '{"file_name": "cat/1.png", "label": "cat"}\ncat/2.png cat'},
        'train/metadata.jsonl: 1 of 2 lines cannot be used (line 2: no JSON object): write one object in each line, '
        'all with the same keys',
    ),
    samples(
        'bytes that are no text',
        [b'\xff', b'cat'],
        "labels must be class names, got bytes that are no UTF-8, b'\\xff': decode them",
    ),
    samples(
        "class numbers of a data set, and names of classes that are not the data set's",
        [0, 1],
        'train: 1 class of its data set not among classes= (dog): add them, or write all names as the data set does; '
        'hand over pairs (image, [names]) to give its classes other names',
        Known,
        classes=['cat', 'owl'],
    ),
    samples(
        'a class number that the data set does not have',
        [0, 2],
        'train: no class: 1 label (sample 1: 2); there are 2 classes',
        Known,
    ),
    samples(
        'a row of a table whose columns are no classes',
        [pd.Series([1, 0], ['cat', 'owl']), pd.Series([0, 1], ['cat', 'owl'])],
        "the index of a label names other classes than classes= ('owl'): give each class once, or hand over "
        ".to_numpy() if the labels stand in the order of the classes, or say form='ids'",
        classes=['cat', 'dog'],
    ),
    samples(
        'a row of a table that has a column twice',
        [pd.Series([1, 0, 0], ['cat', 'dog', 'dog'])],
        "the index of a label names 'dog' twice: give each class once",
        classes=['cat', 'dog', 'owl'],
    ),
    samples(
        'a row of a table whose columns are class numbers in another order',
        [pd.Series([1, 0, 0], [2, 0, 1]), pd.Series([0, 1, 1], [2, 0, 1])],
        'the index of a label has the numbers of the classes in another order (2, 0, 1): hand over .sort_index() if it '
        'says the class of each value, .to_numpy() if they stand in the order of the classes',
        classes=['cat', 'dog', 'owl'],
    ),
    samples(
        'rows of a table beside names',
        [pd.Series([1, 0, 0], ['cat', 'dog', 'owl']), ['cat']],
        "labels such as ['cat'] are names, and others are 0 and 1 by the names of classes: choose one",
        classes=['cat', 'dog', 'owl'],
    ),
    samples(
        'tables as labels',
        [pd.DataFrame({'cat': [1], 'dog': [0]})],
        'labels must be class names, class numbers or 0/1 vectors, got a table',
        classes=['cat', 'dog'],
    ),
    samples(
        'a label that is missing',
        [['cat', None], ['dog']],
        'labels must be class names, class numbers or 0/1 vectors, got None: leave it out, an image of no class has '
        'the labels []',
    ),
    samples(
        'vectors with -1',
        [[0, 1, -1], [1, 0, 0]],
        'labels such as [0, 1, -1] have -1, which may mean unknown, or no: write 0 or 1 in its place, or leave out the '
        'images that have it',
        classes=['cat', 'dog', 'owl'],
    ),
    samples(
        'class numbers without names',
        [0, 1],
        'labels are numbers: give the class names with classes=[...]',
    ),
    samples(
        'vectors of 0 and 1 that are longer than the list of classes',
        [[0, 1, 1], [1, 0, 0]],
        'labels such as [0, 1, 1] look like 0/1 vectors of 3 classes, and there are 2',
        classes=['cat', 'dog'],
    ),
    samples(
        'True and False in the place of class numbers',
        [[True], [False]],
        'labels such as True are no class numbers',
        classes=['cat', 'dog'],
    ),
    weights('a list', [1], 'w.pt holds a value of type list and no state dict: save model.state_dict()'),
    weights('a number', 3, 'w.pt holds a value of type int and no state dict: save model.state_dict()'),
    weights('an empty dict', {}, 'w.pt holds an empty dict and no state dict: save model.state_dict()'),
    weights(
        'a checkpoint without its state dict',
        dict(epoch=3),
        "w.pt is no state dict: 'epoch' is of type int where a tensor should be; save model.state_dict()",
    ),
    weights(
        'NaN',
        {'visual.proj': torch.tensor([1.0, float('nan')])},
        'w.pt: visual.proj has 1 of 2 numbers that are NaN or infinite; it cannot be used',
    ),
    weights(
        'whole numbers',
        {'visual.proj': torch.ones(2, 2, dtype=torch.int8)},
        'w.pt: visual.proj holds int8: weights are float32, float16 or bfloat16',
    ),
    Case(
        'Weights',
        'zeros only, where the model has a matrix',
        lambda d: fit_weights(torch.nn.Linear(2, 2), dict(weight=torch.zeros(2, 2), bias=torch.zeros(2)), 'w.pt'),
        'w.pt: weight holds zeros only, so the file was not written to its end, or not trained',
    ),
    weights(
        'numbers that float32 does not hold',
        {'visual.proj': torch.full((2, 2), 1e300, dtype=torch.float64)},
        'w.pt: visual.proj has numbers beyond float32; it cannot be used',
    ),
    weights(
        'a sparse tensor',
        {'visual.proj': torch.eye(2).to_sparse()},
        'w.pt: visual.proj is sparse, quantized or without its numbers: save it as a plain tensor',
    ),
    weights(
        'two state dicts',
        dict(state_dict={'a': torch.ones(1)}, model={'a': torch.zeros(1)}),
        'w.pt holds several state dicts (state_dict, model): save the one that is meant',
    ),
    Case(
        'Weights',
        'a web page',
        lambda d: load_weights(put(d, 'w.pt', '<html>')),
        'w.pt is neither a safetensors file nor a plain torch state dict (UnpicklingError); '
        'save the state dict of the open_clip model with safetensors.torch.save_file',
    ),
    Case(
        'Weights',
        'a pointer of Git LFS',
        lambda d: load_weights(put(d, 'w.pt', 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n')),
        'w.pt is a pointer of Git LFS, not the file that it stands for: fetch that (git lfs pull)',
    ),
    Case(
        'Weights',
        'a TorchScript archive that OpenAI did not publish',
        program,
        'w.pt is a TorchScript archive, a program, and its checksum is none that OpenAI published: it is not read. '
        'If you trust it, save its tensors: torch.save(torch.jit.load(FILE).state_dict(), NEW)',
    ),
    Case(
        'Weights',
        'a damaged file',
        damaged_zip,
        'w.pt is neither a safetensors file nor a plain torch state dict (RuntimeError); '
        'save the state dict of the open_clip model with safetensors.torch.save_file',
    ),
    in_parts('an index that names no parts', {}, f'{INDEX} names no weights (weight_map): fetch it again'),
    in_parts(
        'an index that names a file elsewhere',
        {'a': 'w-1.safetensors', 'b': '../w-2.safetensors'},
        f"{INDEX} names a file outside its folder, '../w-2.safetensors': it is not read",
    ),
    in_parts(
        'an index of which a part is missing',
        {'a': 'w-1.safetensors', 'b': 'w-2.safetensors'},
        f'{INDEX} names 2 parts, and missing are: w-2.safetensors',
    ),
    in_parts(
        'an index whose part lacks a tensor',
        {'a': 'w-1.safetensors', 'b': 'w-1.safetensors', 'c': 'w-1.safetensors'},
        f'w-1.safetensors lacks b: it is not the part that {INDEX} speaks of; fetch both again',
    ),
    in_parts(
        'an index whose part holds one more',
        {'a': 'w-1.safetensors'},
        f'w-1.safetensors holds c, too: it is not the part that {INDEX} speaks of; fetch both again',
    ),
    Case('Weights', 'a config.json that is none', bad_json, 'config.json is no JSON: fetch it again'),
    beside(
        'pixels whose mean is that of values in 0..255',
        PREPROCESSOR,
        dict(image_mean=[127.5] * 3, image_std=[0.5] * 3),
        f'{PREPROCESSOR}: image_mean must be three numbers in 0..1, got [127.5, 127.5, 127.5]',
    ),
    beside(
        'a deviation of 0',
        PREPROCESSOR,
        dict(image_mean=[0.5] * 3, image_std=[0, 0.5, 0.5]),
        f'{PREPROCESSOR}: image_std must be three numbers in more than 0..1, got [0, 0.5, 0.5]',
    ),
    beside(
        'a mean without a deviation',
        PREPROCESSOR,
        dict(image_mean=[0.5] * 3),
        f'{PREPROCESSOR}: image_std must be three numbers, as image_mean is, got null',
    ),
    beside(
        'values in 0..255, and a deviation of those in 0..1',
        PREPROCESSOR,
        HALF | dict(do_rescale=False),
        f'{PREPROCESSOR}: do_rescale must be true where image_std is that of values in 0..1, got false',
    ),
    beside(
        'a factor, and no mean',
        PREPROCESSOR,
        dict(rescale_factor=1 / 127.5),
        f'{PREPROCESSOR}: rescale_factor must be 1/255 where the file names no image_mean, got 0.00784313725490196',
    ),
    beside(
        'a size of two sides that differ',
        PREPROCESSOR,
        HALF | dict(size=dict(height=224, width=336)),
        f'{PREPROCESSOR}: size must be the side of a square in pixels, or height and width that are equal, got '
        '{"height": 224, "width": 336}',
    ),
    beside(
        'a shorter side without a cut',
        PREPROCESSOR,
        HALF | dict(size=dict(shortest_edge=224), do_center_crop=False),
        f'{PREPROCESSOR}: do_center_crop must be true where size is that of the shorter edge: the model takes squares, '
        'got false',
    ),
    beside(
        'a smaller part that is cut out',
        PREPROCESSOR,
        HALF | dict(size=dict(shortest_edge=256), crop_size=224),
        f'{PREPROCESSOR}: crop_size must be as size is (256): a smaller or larger part is not cut out here, got 224',
    ),
    beside(
        'a filter that is not done here',
        PREPROCESSOR,
        HALF | dict(resample=1),
        f'{PREPROCESSOR}: resample must be one of 3, 2, "bicubic", "bilinear", got 1',
    ),
    beside(
        'a step that is not done here',
        PREPROCESSOR,
        HALF | dict(do_pad=True),
        f'{PREPROCESSOR}: do_pad must be false: it is not done here, got true',
    ),
    beside(
        'text in the place of true and false',
        PREPROCESSOR,
        HALF | dict(do_normalize='no'),
        f'{PREPROCESSOR}: do_normalize must be true or false, got "no"',
    ),
    beside(
        'an activation that is not known',
        'config.json',
        dict(model_type='clip', text_config=dict(hidden_act='relu')),
        'config.json: hidden_act must be one of "quick_gelu", "gelu", "gelu_pytorch_tanh", "gelu_new", got "relu"',
    ),
    beside(
        'a list in the place of settings',
        OPEN_CLIP,
        dict(model_cfg=[]),
        f'{OPEN_CLIP}: model_cfg must be an object, got []',
    ),
    beside(
        'a way to resize that is not known',
        OPEN_CLIP,
        dict(preprocess_cfg=dict(mean=[0.5] * 3, std=[0.5] * 3, resize_mode='foo')),
        f'{OPEN_CLIP}: resize_mode must be one of "shortest", "longest", "squash", got "foo"',
    ),
    beside(
        'channels in another order',
        OPEN_CLIP,
        dict(preprocess_cfg=dict(mode='BGR')),
        f'{OPEN_CLIP}: mode must be one of "RGB", got "BGR"',
    ),
    Case(
        'Weights',
        'a folder without weights',
        load_weights,
        'the folder . holds none of model.safetensors, open_clip_model.safetensors, open_clip_pytorch_model.bin, '
        'pytorch_model.bin: give the weights file itself',
    ),
    found(
        'a result that is cut off',
        '{"methods": ',
        'result.json is damaged, or no result: run again, or give the folder of another run',
    ),
    found(
        'a list in the place of a result',
        [1],
        'result.json is damaged, or no result: run again, or give the folder of another run',
    ),
    found(
        'a result of a notebook that names no method',
        dict(methods={}),
        'result.json is damaged: it names no method: run the notebook again',
    ),
    found(
        'a result of a notebook that names no run',
        dict(methods=dict(CoOp=dict(hashes=['../other']))),
        'result.json is damaged: it names no run of CoOp: run the notebook again',
    ),
    number(
        'tables of other labels',
        lambda: average_precision(pd.DataFrame(LOGITS, columns=['cat', 'dog']), pd.DataFrame(TRUE)),
        "columns of scores and targets have other labels ('cat' and 0): give both the same ones, or hand over "
        '.to_numpy() of both if they belong together as they stand',
    ),
    number(
        'targets that are masked or missing',
        lambda: average_precision(LOGITS, np.ma.array(TRUE, mask=np.asarray(TRUE) == 1)),
        '2 of 4 targets are masked or missing: fill them in, or leave out their rows',
    ),
    number(
        'scores that may be no logits',
        lambda: threshold_metrics(LOGITS / 10, TRUE),
        "scores from -0.2 to 0.3 may be logits or not: say kind='logits' if their sigmoid is a probability "
        "(Result.logits), kind='probabilities' if they are one; cosines are neither (Result.scores)",
    ),
    number(
        'a limit of no classes',
        lambda: threshold_metrics(LOGITS, TRUE, top=0),
        'top must be a whole number of 1 or more, or None for no limit, got 0',
    ),
    number(
        'an interval in percent',
        lambda: mean_interval([1.0, 2.0], level=95),
        'level must be a number between 0 and 1, such as 0.95, got 95',
    ),
    number(
        'a mean of nothing',
        lambda: mean_interval([]),
        'values must be a list of numbers, at least one, got shape (0,)',
    ),
    number('a mean over NaN', lambda: mean_interval([1.0, np.nan]), '1 of 2 values are NaN or infinite'),
    number(
        'an interval from no draws',
        lambda: bootstrap_ci(LOGITS, TRUE, [1, 2], n=0),
        'n must be a whole number of 1 or more, got 0',
    ),
    number(
        'APs in percent',
        lambda: group_means([50, 60], [100, 10]),
        'APs must lie in 0..1, got 50 to 60: divide by 100 what is in percent, as Result.ap is',
    ),
    few(
        'a setting that the method does not read',
        lambda: fewshot_config('coop', 0, adapt_lr1=0.1),
        "adapt_lr1 has no effect on icon-coco-fsl with method 'coop' as it is set: leave it out",
    ),
    few(
        'a setting that the benchmark does not read',
        lambda: fewshot_config('hp-dval', 0, overlap='keep'),
        "overlap has no effect on icon-coco-fsl with method 'hp-dval' as it is set: leave it out",
    ),
    few(
        'a setting that no method of a comparison reads',
        lambda: compare_fewshot('coop,lmpt', [0], 1, adapt_lr1=0.1),
        'adapt_lr1 has no effect on coop or lmpt as it is set: leave it out',
    ),
    few(
        'supports that nobody looks at',
        lambda: fewshot_config('hp-dval', 0, adapt_epochs1=0, adapt_epochs2=0),
        "method 'hp-dval' would adapt to no support with epochs1=10, epochs2=6, adapt_epochs1=0, adapt_epochs2=0: give "
        'a stage epochs in both trainings, or ask for the base model alone with shots=0',
    ),
    few(
        'a number in the place of seeds',
        lambda: compare_fewshot('coop', 3, 1),
        'seeds=3 may be a seed or a number of seeds: write a list, [3] or [0, 1, 2]',
    ),
    asked(
        'Settings, seeds and methods',
        'a number beyond its range',
        lambda: make_config(alpha=1.5),
        'alpha must be a number in 0..1, got 1.5',
    ),
    asked(
        'Settings, seeds and methods',
        'a share that leaves nothing',
        lambda: make_config(val_fraction=1.0),
        'val_fraction must be below 1, got 1.0: nothing would be left to train on, but an image of each class',
    ),
    asked(
        'Settings, seeds and methods',
        'a whole number that is too small',
        lambda: make_config(batch_size=0),
        'batch_size must be a whole number in 1..1000000, got 0',
    ),
    asked(
        'Settings, seeds and methods',
        'one number in the place of seeds',
        lambda: compare(['coop'], 3),
        'seeds=3 may be a seed or a number of seeds: write a list, [3] or [0, 1, 2]',
    ),
    asked(
        'Settings, seeds and methods',
        'no seeds',
        lambda: compare(['coop'], None),
        'give a list in which every seed stands once, got None',
    ),
    asked(
        'Settings, seeds and methods',
        'a seed twice',
        lambda: compare(['coop'], [0, 0]),
        'every seed must stand once, at least one, got [0, 0]',
    ),
    asked(
        'Settings, seeds and methods',
        'seeds with another separator',
        lambda: compare(['coop'], '0;1'),
        "seeds must be whole numbers with commas between them, such as 0,1,2; got '0;1'",
    ),
    asked(
        'Data in memory',
        'the class in the place of an object',
        lambda: load_data(make_config('zero-shot', 'memory'), 64, data=Data),
        'data must be `Data` or a source, got the class Data: give an object, such as Data(train, test, digest) or '
        'from_samples(train, test)',
    ),
    asked(
        'Data in memory',
        'a tuple',
        lambda: load_data(make_config('zero-shot', 'memory'), 64, data=([], [])),
        'data must be `Data` or a source, which gives `Data`, got tuple: from_samples(train, test) makes a source',
    ),
    asked(
        'Data in memory',
        'a folder beside data that were handed over',
        lambda: load_data(make_config('zero-shot', 'own', lists='lists'), 64, data=from_samples(PAIRS, PAIRS)),
        'the data are handed over, so lists would not be read: leave out one of the two',
    ),
    asked(
        'Data in memory',
        'images made by another transform',
        lambda: load_data(make_config('zero-shot', 'memory', transform='squash'), 8, data=made_by('clip')),
        "the train images were made with transform='clip', and the config has 'squash': load them with this config, or "
        'hand over a source (from_samples), which makes them for each config',
    ),
    asked(
        'Data in memory',
        'the path of a table',
        lambda: from_samples('train.csv', 'test.csv'),
        "samples are (image, labels), got 'train.csv': a table or a folder is benchmark='own' or 'folder'",
    ),
    asked(
        'Data in memory',
        'all images, and all labels',
        lambda: from_samples((torch.zeros(2, 3, 8, 8), [[0], [1]]), PAIRS),
        'these are all images and all labels: hand over list(zip(images, labels))',
    ),
    asked(
        'Data in memory',
        'a DataFrame without a column of images',
        lambda: from_samples(pd.DataFrame(dict(file=['a.png'], labels=['cat'])), PAIRS),
        'which column holds the images? Say image=...; there are file, labels',
    ),
    asked(
        'Prediction',
        'a DataFrame',
        lambda: as_images(pd.DataFrame(dict(path=['1.png'], label=['cat']))),
        'images must be a list, got a DataFrame: hand over one of its parts (path, label)',
    ),
    asked(
        'Prediction',
        'a dictionary',
        lambda: as_images(dict(a='1.png')),
        'images must be a list, got a dict: hand over one of its parts (a)',
    ),
    asked(
        'Prediction',
        'nothing',
        lambda: as_images(None),
        'images must be a path, a picture, an array or a list of them, got None',
    ),
    asked(
        'Prediction',
        'two names in one',
        lambda: wanted(['dog;cow']),
        "classes must be single names, got 'dog;cow': write each on its own (in a shell, cat,dog)",
    ),
    asked(
        'Prediction',
        'no run',
        lambda: Classifier.load(None),
        "give the folder of a run, or its Result, got NoneType 'None'",
    ),
    asked(
        'Prediction',
        'the results of several seeds',
        lambda: Classifier.load([1, 2]),
        "give the folder of a run, or its Result, got list '[1, 2]'",
    ),
    Case(
        'Exported runs',
        '`Classifier.load` of an ONNX file without what an export writes beside it',
        lambda f: Classifier.load(put(f, 'model.onnx', b'onnx')),
        'no file model.json: an export is model.onnx and model.json, which lie together; hpdval export writes both',
    ),
    Case(
        'Exported runs',
        'the same with a file that was changed',
        lambda f: Classifier.load(an_export(f, b'changed')),
        'model.onnx is not the file that model.json belongs to: export the run again',
    ),
    Case(
        'Exported runs',
        'the same with one that is no ONNX',
        lambda f: Classifier.load(an_export(f, b'onnx'), device='cpu'),
        'model.onnx cannot be run (~): export the run again',
    ),
    Case(
        'Exported runs',
        'an export into a folder with something else',
        lambda f: export_run(Result.load(EXAMPLE), put(f, 'thesis.docx', '').parent),
        '. holds something else than an export of this run (thesis.docx): give another folder, or move that away',
    ),
    asked(
        'Tables and figures',
        'both values of compare',
        lambda: results_table(({}, {})),
        'expected the summary of a comparison, got a tuple without methods: summary, results = compare(...)',
    ),
    asked(
        'Tables and figures',
        'counts of another number of classes',
        lambda: plot_per_class(dict(methods=dict(CoOp=dict(ap=dict(cat=1.0, dog=2.0)))), [1, 2, 3]),
        'counts must be one for each of the 2 classes, got (3,)',
    ),
    asked(
        'Tables and figures',
        'counts in another order',
        lambda: plot_per_class(
            dict(methods=dict(CoOp=dict(ap=dict(cat=1.0, dog=2.0))), counts=dict(cat=9, dog=1)), [1, 9]
        ),
        'counts are not those of the summary, or in another order: cat has 9, not 1; leave them out',
    ),
    asked(
        'Tables and figures',
        'a benchmark that the paper may have under another name',
        lambda: quoted('table1', 'coco_lt'),
        "unknown benchmark 'coco_lt': did you mean 'coco-lt' or 'coco-fsl' or 'icon-coco-lt'?",
    ),
    unfetched(
        'no lists, and fetch=no',
        None,
        'no coco_lt_train.txt, coco_lt_test.txt in data/lists, and fetch=no: leave that out to have them fetched, or '
        'set `lists` to a folder with the lists of coco-lt',
    ),
    unfetched(
        'lists without pictures, and fetch=no',
        ['2017/1.jpg', '2017/2.jpg'],
        '4 photographs of coco-lt are not in data/coco, and fetch=no: leave that out to have them fetched (about '
        '654 kB from https://s3.amazonaws.com/images.cocodataset.org), or set `image_root` to a folder that has them',
    ),
    unfetched(
        "lists with pictures that are none of COCO's",
        ['/holiday/1.jpg'],
        '2 of 2 paths in the lists are none of coco-lt (train/holiday/1.jpg, val/holiday/1.jpg): set `image_root` to '
        'the folder that they start from',
    ),
]


NOT_KNOWN = 'is no film that FFmpeg knows (~): give a film, such as an .mp4'
STILL = 'is a still picture and no film: predict takes pictures'
HALF = (
    'ends at 4.0 s, and its head says 8.0 s: it is cut off; copy it again, or keep what is there '
    '(ffmpeg -i FILM -c copy WHOLE.mkv)'
)
LOST = 'is cut off or damaged: the part that lists its frames is missing; copy or record it again'
EMPTY = 'has neither pictures nor sound: it is cut off or damaged, so copy it again'
TIMELESS = 'has frames without a time: ffmpeg -r 25 -i FILM -c copy WHOLE.mp4 gives them times'
FILMS = {  # of tests/test_video.py: the input in words, and the message
    'a text': ('a text', 'a.txt is a text and no film (~): give a film, such as an .mp4'),
    'a text, .mp4': ('a text that is called .mp4', f'a.mp4 {NOT_KNOWN}'),
    'a playlist': ('a playlist of a stream', f'a.m3u8 {NOT_KNOWN}'),
    'empty': ('an empty file', 'a.mp4 is empty (0 bytes): copy it again'),
    'png': ('a still picture (png)', f'a.png {STILL}'),
    'jpg': ('a still picture (jpg)', f'a.jpg {STILL}'),
    'gif': ('a still picture (gif)', f'a.gif {STILL}'),
    'webp': ('a still picture (webp)', f'a.webp {STILL}'),
    'jpg, .mp4': ('a JPEG called .mp4', f'a.mp4 {STILL}'),
    'audio': ('sound alone', 'a.m4a has no moving pictures, only sound: give a film'),
    'audio with a cover': ('a song with a cover', 'a.mp3 has no moving pictures, only sound and a cover: give a film'),
    'no frames, mp4': ('an MP4 without a frame', f'a.mp4 {EMPTY}'),
    'no frames, mkv': ('an MKV without a frame', f'a.mkv {NOT_KNOWN}'),
    'no frames, avi': ('an AVI without a frame', 'a.avi ~'),
    'cut, index at the end': ('half of an MP4 whose index is at its end', f'a.mp4 {LOST}'),
    'cut, index in front': ('half of an MP4 whose index is in front', 'a.mp4 is cut off: ~; copy it again'),
    'cut by a byte': ('an MP4 without its last bytes', 'a.mp4 is cut off: ~; copy it again'),
    'cut, mkv': ('half of an MKV', f'a.mkv {HALF}'),
    'cut, webm': ('half of a WebM', f'a.webm {HALF}'),
    'damaged': ('an MP4 with zeros in it', 'a.mp4 is damaged or cut off after ~: copy it again'),
    'without times': ('a raw H.264 stream', f'a.h264 {TIMELESS}'),
}
CASES += [
    Case('Films', given, lambda d, make=NO_FILM[made]: read_frames(d / make(d), 8), message)
    for made, (given, message) in FILMS.items()
]


@pytest.mark.parametrize('case', CASES, ids=lambda c: f'{c.part}: {c.given}')
def test_a_bad_input_is_refused_in_one_line(case, tmp_path):
    with pytest.raises((ValueError, OSError, TypeError)) as e:
        case.call(tmp_path)
    said = str(e.value).replace(f'{tmp_path}/', '').replace(str(tmp_path), '.').replace("'a.png'", 'a.png')
    start, free, end = case.message.replace("'a.png'", 'a.png').partition('~')
    assert said.startswith(start) and said.endswith(end) and '\n' not in said
    assert free or said == start
    assert not list(tmp_path.rglob('.*.npy*'))  # nothing half-written is left


def test_inputs_of_the_table_are_told_apart():
    assert len({(c.part, c.given) for c in CASES}) == len(CASES) >= 40


def test_the_page_of_errors_is_in_step():
    page = runpy.run_path(str(ROOT / 'scripts/errors.py'))['page']
    written = (ROOT / 'docs/errors.md').read_text(encoding='utf-8')
    assert page(CASES) == written, 'run `python scripts/errors.py` and commit the result'


# What is read


def shown(labels):
    "{path: sorted names} of what a reader gave."
    paths, Y, classes = labels
    return {p: sorted(classes[c] for c in np.flatnonzero(y)) for p, y in zip(paths, Y)}


SAME = {'a.png': ['cat', 'dog'], 'b.png': ['dog']}
TABLES = {  # what is said -> a CSV that gives SAME
    '': [
        'path,labels\na.png,cat;dog\nb.png,dog\n',
        'path,cat,dog\na.png,1,1\nb.png,0,1\n',
        ',labels\na.png,dog;cat\nb.png,dog\n',
    ],
    "columns separated by ';'": [
        'path;labels\na.png;"cat;dog"\nb.png;dog\n',
        'path;cat;dog\na.png;1.0;True\nb.png;0.0;1\n',
    ],
    "columns separated by '\\t'": ['path\tlabels\na.png\tcat;dog\nb.png\tdog\n'],
    "columns separated by '|'": ['path|labels\na.png|cat;dog\nb.png|dog\n'],
    "labels separated by '|'": [
        'path,labels\na.png,cat|dog\nb.png,dog\n',
        'path,labels\na.png,cat | dog |\nb.png, dog\n',
    ],
    "labels separated by ','": [
        'path,labels\na.png,"cat, dog"\nb.png,dog\n',
        'path,labels\na.png,"\'cat\',\'dog\'"\nb.png,dog\n',
    ],
    "labels separated by '\\n'": ['path,labels\na.png,"cat\ndog"\nb.png,dog\n'],
    'separators at the end of the lines left out': ['path,labels\na.png,cat;dog,\nb.png,dog,,\n'],
    'row numbers in 1 column at the front left out': [
        ',path,labels\n0,a.png,cat;dog\n1,b.png,dog\n',
        'Unnamed: 0,path,labels\n7,a.png,cat;dog\n9,b.png,dog\n',
    ],
    "labels in column 'label'": ['path,label\na.png,cat;dog\nb.png,dog\n'],
    "labels in column 'Finding'": ['Image Index,Finding\na.png,cat;dog\nb.png,dog\n'],
    "labels in column 'Seen in it'": ['path,Seen in it\na.png,cat;dog\nb.png,dog\n'],
    "paths in column 'file_name', id before it left out": ['id,file_name,labels\n0,a.png,cat;dog\n1,b.png,dog\n'],
    '2 columns not read as labels (age, note)': ['path,age,labels,note\na.png,7,cat;dog,x\nb.png,8,dog,y\n'],
    '2 rows with one label each joined into 1 image': [
        'path,labels\na.png,cat\na.png,dog\nb.png,dog\n',
        'path,cat,dog\na.png,1,0\na.png,0,1\nb.png,0,1\n',
    ],
    '1 repeated row left out': ['path,labels\na.png,cat;dog\nb.png,dog\n./b.png,dog\n'],
    'labels read as lists in brackets': [
        'path,labels\na.png,"[\'cat\', \'dog\']"\nb.png,[\'dog\']\n',
        'path,labels\na.png,"[cat, dog]"\nb.png,[dog]\n',
    ],
}


@pytest.mark.parametrize('said,text', [(said, text) for said, texts in TABLES.items() for text in texts])
@pytest.mark.parametrize('saved', ['utf-8', 'utf-8-sig', 'utf-16'])
@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_a_table_is_read_and_what_was_decided_is_said(said, text, saved, end, tmp_path, capsys):
    labels = read_csv(put(tmp_path, 'a.csv', text.replace('\n', end).encode(saved)))
    assert shown(labels) == SAME and labels.classes == ['cat', 'dog']
    assert labels.notes == ((said,) if said else ())
    assert capsys.readouterr().err == (f'{tmp_path}/a.csv: {said}\n' if said else '')
    assert said in describe(labels) and saved in describe(labels)


CHEXPERT = 'Path,Sex,No Finding,Edema\na.png,F,1.0,\nb.png,M,,-1\n'
EXTRA = 'path,cat,dog,shiny\na.png,1,1,0\nb.png,0,1,1\n'
TAGS = 'image_name,tags\na.png,cat dog\nb.png,dog\n'
VERIFIED = """ImageID,Source,LabelName,Confidence
a,verification,Cat,1
a,verification,Dog,1.0
a,verification,Cow,0
b,verification,Cat,0
b,verification,Dog,1
c,verification,Cat,0
"""
CHOSEN = [
    (
        'blanks are absent',
        CHEXPERT,
        dict(classes=['No Finding', 'Edema'], blanks=0, uncertain=0),
        {'a.png': ['No Finding'], 'b.png': []},
    ),
    ('-1 is present', CHEXPERT, dict(classes=['Edema'], blanks=0, uncertain=1), {'a.png': [], 'b.png': ['Edema']}),
    ('classes chosen', EXTRA, dict(classes=['dog', 'cat']), SAME),
    ('all columns', EXTRA, {}, {'a.png': ['cat', 'dog'], 'b.png': ['dog', 'shiny']}),
    (
        'names chosen',
        EXTRA.replace('shiny', 'x'),
        dict(classes=['cat'], others='drop'),
        {'a.png': ['cat'], 'b.png': []},
    ),
    ('names dropped', 'path,labels\na.png,cat;dog;cow\nb.png,dog\n', dict(classes=['cat', 'dog'], others='drop'), SAME),
    ('a space separates', TAGS, dict(sep=' '), SAME),
    ('a space does not', TAGS, dict(sep=';'), {'a.png': ['cat dog'], 'b.png': ['dog']}),
    ('a column named', 'path,tags,label\na.png,x,cat;dog\nb.png,x,dog\n', dict(labels='label'), SAME),
    ('blank words', 'path,labels\na.png,cat;dog\nb.png,dog\nc.png,nan\n', dict(blanks=0), SAME | {'c.png': []}),
    (
        'a delimiter named',
        'path;labels,more\na.png;cat\n',
        dict(delimiter=';', labels='labels,more'),
        {'a.png': ['cat']},
    ),
    ('looked for in vain (Open Images)', VERIFIED, {}, {'a': ['Cat', 'Dog'], 'b': ['Dog'], 'c': []}),
    ('one class with a space', TAGS.replace('cat dog', 'cat dog|'), {}, {'a.png': ['cat dog'], 'b.png': ['dog']}),
    ('two classes', TAGS.replace('cat dog', 'cat|dog'), {}, SAME),
    ('columns told', 'sep=;\npath;labels,more\na.png;cat\nb.png;dog\n', {}, {'a.png': ['cat'], 'b.png': ['dog']}),
    ('ids as names', 'path,label\na.png,1\nb.png,0\n', dict(labels='label'), {'a.png': ['1'], 'b.png': ['0']}),
]


@pytest.mark.parametrize('name,text,how,right', CHOSEN, ids=lambda x: x if isinstance(x, str) and '\n' not in x else '')
def test_a_parameter_says_what_can_mean_two_things(name, text, how, right, tmp_path):
    labels = read_csv(put(tmp_path, 'a.csv', text), **how)
    assert shown(labels) == right
    if 'classes' in how:
        assert labels.classes == how['classes']


def test_an_encoding_can_be_named(tmp_path):
    file = put(tmp_path, 'a.csv', 'path,labels\nstraße.png,Café;dog\n'.encode('cp1252'))
    assert shown(read_csv(file, encoding='cp1252')) == {'straße.png': ['Café', 'dog']}
    list_file = put(tmp_path, 'a.txt', 'straße.png 1\n'.encode('cp1252'))
    assert read_list(list_file, 2, encoding='cp1252').paths == ['straße.png']


RIGHT = {'0.png': ['cat', 'dog'], '1.png': ['hot_dog']}
SAID = {  # how annotations of the same labels are written -> their fields
    'ids of 0': dict(id=0, **BOX),
    'no ids': BOX,
    'area 0': dict(bbox=[0, 0, 20, 20], area=0),
    'area null': dict(bbox=[0, 0, 20, 20], area=None),
    'no area': dict(bbox=[0, 0, 20, 20]),
    'relative boxes': dict(bbox=[0.1, 0.2, 0.3, 0.4], area=0.12),
    'RLE alone': dict(segmentation=dict(size=[9, 9], counts='x'), area=0, iscrowd=1),
    'polygons and an empty box': dict(segmentation=[[0, 0, 9, 0, 9, 9]], area=0, bbox=[0, 0, 0, 0]),
    'no box': dict(bbox=None, area=0),
    'an empty list': dict(bbox=[]),
    'nothing more': {},
}


@pytest.mark.parametrize('fields', SAID.values(), ids=SAID)
def test_annotations_in_any_form_give_the_same_labels(fields, tmp_path):
    file = put(tmp_path, 'a.json', coco(annotations=[annotation(*k, **fields) for k in SHOWN]))
    labels = read_coco_json(file)
    assert shown(labels) == RIGHT and labels.notes == ()
    assert shown(read_coco_json(file, classes=['hot_dog', 'dog', 'cow', 'cat'])) == RIGHT


def test_annotations_that_hold_nothing_are_left_out_and_counted(tmp_path, capsys):
    full = [annotation(*k, **BOX) for k in SHOWN]
    empty = annotation(1, 3, bbox=[5, 5, 0, 9], area=0)
    labels = read_coco_json(put(tmp_path, 'a.json', coco(annotations=[*full, empty])))
    assert shown(labels) == RIGHT and '1 of 4 annotations left out' in capsys.readouterr().err


def test_files_of_coco_keep_the_rule_of_coco_lt(tmp_path):
    own = [category(i, f'class {i}') for i in COCO_IDS]
    kinds = [dict(bbox=[0, 0, 9, 9], area=0), dict(bbox=[0, 0, 0.5, 9], area=4), dict(bbox=[0, 0, 1, 1], area=1)]
    anns = [annotation(0, i, **k) for i, k in enumerate(kinds, 1)]
    named = image(0, '000000000139.jpg')
    read = read_coco_json(put(tmp_path, 'a.json', coco([named], own, anns)))
    assert shown(read) == {'000000000139.jpg': ['class_3']}


def test_the_cases_of_the_reference_folder(bench, tmp_path):
    folder = bench / 'cases'
    if not folder.is_dir():
        pytest.skip('no folder with cases (HPDVAL_BENCH)')
    readers = {'.csv': read_csv, '.json': read_coco_json, '.txt': lambda f: read_list(f, 3)}
    expected = json.loads((folder / 'expected.json').read_text())['files']
    for name, right in expected.items():
        reader = readers[Path(name).suffix]
        if right == 'refused':
            with pytest.raises(ValueError) as e:
                reader(folder / name)
            assert name in str(e.value) and '\n' not in str(e.value)
        else:
            got = shown(reader(folder / name))
            assert {p: got[p] for p in right} == right, name


# Pictures


def test_the_pictures_of_the_reference_folder_are_not_black(bench):
    folder = bench / 'cases/images'
    if not folder.is_dir():
        pytest.skip('no folder with cases (HPDVAL_BENCH)')
    a, b = (load_image(folder / name, 64).astype(int) for name in ('gray16_0_255.png', 'gray_F_0_1.tif'))
    assert a.min() > 20 and a.max() > 200 and np.abs(a - b).max() <= 1


def test_wide_pictures_are_scaled_by_what_their_values_say():
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    right = np.stack([gray] * 3)
    wide = gray.astype(np.uint16)
    for values in (wide, wide * 16, wide * 257, wide.astype(np.int32) * 257, gray / 255, gray.astype(np.float32)):
        assert (load_image(values, 16, 'official') == right).all()
        assert (np.asarray(open_image(Image.fromarray(values))) == right.transpose(1, 2, 0)).all()


def tiff(photometric, pixel):
    "A TIFF of one pixel of three bytes, uncompressed, written by hand."
    entries = [(256, 3, 1), (257, 3, 1), (258, 3, 122), (259, 3, 1), (262, 3, photometric), (273, 4, 128), (277, 3, 3)]
    entries += [(278, 3, 1), (279, 4, 3)]  # tag, type, value or where it is
    tags = [struct.pack('<HHII', tag, kind, 3 if tag == 258 else 1, value) for tag, kind, value in entries]
    return struct.pack('<2sHIH', b'II', 42, 8, len(tags)) + b''.join(tags) + struct.pack('<I3H', 0, 8, 8, 8) + pixel


CIELAB = {  # of the corners of sRGB, white point D50, as Lindbloom publishes them
    (54.29, 80.81, 69.89): (255, 0, 0),
    (87.82, -79.27, 80.99): (0, 255, 0),
    (29.57, 68.30, -112.03): (0, 0, 255),
    (100, 0, 0): (255, 255, 255),
    (0, 0, 0): (0, 0, 0),
}


@pytest.mark.parametrize('lab,rgb', CIELAB.items())
def test_a_picture_in_cielab_has_its_colours(lab, rgb, tmp_path):
    light, *axes = lab
    pixel = bytes([round(2.55 * light), *(round(a) % 256 for a in axes)])  # the axes have a sign in a TIFF
    shown = load_image(put(tmp_path, 'a.tif', tiff(8, pixel)), 8)[:, 0, 0]
    assert abs(shown.astype(int) - rgb).max() < 25  # to the rounding of the axes: 8 bits reach beyond sRGB
    with pytest.raises(ValueError, match='in no format that Pillow knows'):
        load_image(put(tmp_path, 'b.tif', tiff(9, pixel)), 8)  # axes without a sign: not read, never wrong


def test_our_own_mistakes_are_not_taken_for_damaged_files(tmp_path, monkeypatch):
    both_pictures(tmp_path)
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr('hpdval.data._planes', lambda *a: len(0))
    with pytest.raises(TypeError) as e:
        decode_split(['a.png', 'b.png'], np.eye(2), ['cat', 'dog'], tmp_path, 8, progress=False)
    assert 'while decoding' in e.value.__notes__[0]


def test_colours_of_16_bits_have_the_scale_of_grey(tmp_path, monkeypatch):
    "Pillow reads the upper 8 bits of 16 of a colour: so do all pictures of that data set, dark ones included."
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    put(tmp_path, 'bright.png', png(1, 1, 16, RGB, [b'\xff\xff\x80\0\x20\0']))
    put(tmp_path, 'dark.png', png(1, 1, 16, RGB, [b'\5\0\4\0\3\0']))
    put(tmp_path, 'grey.png', png(1, 1, 16, GRAY, [b'\x0f\xf0']))  # 4080, white where 12 bits are all
    names = ['bright.png', 'dark.png', 'grey.png']
    split = decode_split(names, np.eye(3), names, tmp_path, 1, progress=False)
    assert split.images.flatten(1).tolist() == [[255, 128, 32], [5, 4, 3], [15, 15, 15]]
    assert load_image(tmp_path / 'grey.png', 1).ravel().tolist() == [255] * 3  # alone
    with pytest.raises(ValueError, match='black: 16 bits a channel'):
        load_image(tmp_path / 'dark.png', 1)
