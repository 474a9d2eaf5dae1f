"Properties of decoding, holding out and augmenting that hold for any input; the examples are in nbs/12_data.ipynb."

import errno, os, shutil, sys, time, tracemalloc, unicodedata, warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image

with warnings.catch_warnings():
    warnings.filterwarnings('ignore', 'IProgress not found')
    from hpdval.data import AUGMENTS, LARGEST, TRANSFORMS, augment, augment_clip, decode_split, holdout, load_image
    from hpdval.core import _print_once
    from hpdval.data import Unusable, _short_side, mapped, open_image, shown_part

few = settings(max_examples=60, deadline=None)


def labels(seed):
    g = np.random.default_rng(seed)
    n, c = int(g.integers(1, 120)), int(g.integers(1, 12))
    return (g.random((n, c)) < g.uniform(0, 0.6, c)).astype(np.uint8)


@few
@given(st.integers(0, 10**6), st.floats(0, 1), st.integers(0, 3))
def test_holdout_splits_and_never_takes_the_last_image(seed, fraction, again):
    Y = labels(seed)
    train, val = holdout(Y, fraction, again)
    n = Y.sum(0)
    assert sorted([*train, *val]) == list(range(len(Y)))
    assert (Y[train].sum(0)[n > 0] >= 1).all()
    assert (holdout(torch.from_numpy(Y), fraction, again)[1] == val).all()
    if fraction == 0:
        assert len(val) == 0
    else:  # a class is missing from validation only if each of its images would take another class's last one
        alone = Y[:, n == 1].any(1) if (n == 1).any() else np.zeros(len(Y), bool)
        for c in np.flatnonzero((Y[val].sum(0) == 0) & (n > 1)):
            left = n - Y[val].sum(0)
            assert alone[Y[:, c] > 0].all() or (Y[Y[:, c] > 0] & (left == 1)).any(1).all()


@few
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 40),
    st.sampled_from(['L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', '1', 'I;16']),
    st.sampled_from(sorted(TRANSFORMS)),
)
def test_any_size_and_mode_becomes_a_square(w, h, size, mode, transform):
    im = Image.new(mode, (w, h))
    out = load_image(im, size, transform)
    assert out.shape == (3, size, size) and out.dtype == np.uint8
    left, top, right, bottom = shown_part(w, h, transform)
    assert len(np.unique(out)) <= 1 + (left < 0 or top < 0)  # one colour stays one colour, but for a border


@few
@given(st.integers(0, 10**6), st.integers(2, 24), st.integers(1, 5))
def test_a_crop_makes_no_new_extremes(seed, side, n):
    batch = torch.randint(0, 256, (n, 3, side, side), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    out = augment_clip(batch, torch.Generator().manual_seed(seed), jitter=0.0)
    assert (out.amax((2, 3)) <= batch.amax((2, 3))).all() and (out.amin((2, 3)) >= batch.amin((2, 3))).all()


@pytest.mark.parametrize('how', AUGMENTS)
def test_augmenting_is_repeatable_and_advances_the_generator(how):
    batch = torch.randint(0, 256, (6, 3, 32, 32)).to(torch.uint8)
    before = batch.clone()
    g = torch.Generator().manual_seed(0)
    first, second = augment(batch, how, g), augment(batch, how, g)
    assert (
        (augment(batch, how, torch.Generator().manual_seed(0)) == first).all()
        and (first != second).any()
        and (batch == before).all()
    )


def test_a_failure_while_decoding_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    (tmp_path / 'im').mkdir()
    Image.new('RGB', (9, 9)).save(tmp_path / 'im/a.png')
    monkeypatch.setattr('hpdval.data.tqdm', lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        decode_split(['a.png'], [[1]], ['x'], tmp_path / 'im', 8)
    assert list((tmp_path / 'cache').iterdir()) == []


@few
@given(st.integers(1, 12), st.integers(20, 400), st.booleans(), st.integers(4, 40), st.integers(0, 10**6))
def test_the_centre_of_a_thin_picture_is_that_of_the_whole(short, long, tall, size, seed):
    shape = (long, short, 3) if tall else (short, long, 3)
    im = Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))
    whole, centre = (np.asarray(_short_side(im, size, largest)).astype(int) for largest in (LARGEST, 0))
    assert np.abs(whole - centre).max() <= 3 and np.abs(whole - centre).mean() < 0.05  # Pillow rounds the window


def thin():
    "How much more memory the process took at its peak, in KB, for pictures of one row or column."
    import resource

    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before = peak()
    for size in ((60000, 1), (1, 60000)):
        load_image(Image.new('RGB', size), 224)
    print(peak() - before)


def test_a_thin_picture_takes_little_memory(in_a_copy):
    done = in_a_copy(thin)
    assert done.returncode == 0 and int(done.stdout) < 60_000  # all of it resized would take 12 GB


def pictures(folder, n=6, colour=0):
    "A folder of small pictures; their names."
    folder.mkdir()
    names = [f'{i}.bmp' for i in range(n)]
    for i, name in enumerate(names):
        values = np.arange(300).reshape(10, 10, 3) * 7 + 31 * i + colour
        Image.fromarray(values.astype(np.uint8)).save(folder / name)
        os.utime(folder / name, (0, 0))
    return names


def decoded(folder, names, **how):
    return decode_split(names, np.eye(len(names)), names, folder, how.pop('size', 8), progress=False, **how)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    "An empty cache folder."
    monkeypatch.setenv('HPDVAL_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def test_the_digest_is_that_of_paths_and_bytes(tmp_path, cache):
    names = pictures(tmp_path / 'a')
    pictures(tmp_path / 'b')
    pictures(tmp_path / 'c', colour=1)
    first = decoded(tmp_path / 'a', names).digest
    assert len(first) == 12 and int(first, 16) >= 0
    same = [decoded(tmp_path / 'b', names), decoded(tmp_path / 'a', names, size=9)]
    same += [decoded(tmp_path / 'a', names, transform='official'), decoded(tmp_path / 'a', names)]
    other = [decoded(tmp_path / 'c', names), decoded(tmp_path / 'a', names[::-1]), decoded(tmp_path / 'a', names[1:])]
    assert {s.digest for s in same} == {first} and len({s.digest for s in other} | {first}) == 4
    assert decoded(tmp_path / 'a', names).at([0]).digest == ''


def test_folders_and_replaced_files_have_their_own_pixels(tmp_path, cache):
    names = pictures(tmp_path / 'a')
    pictures(tmp_path / 'b', colour=100)
    a, b = (decoded(tmp_path / f, names).images for f in 'ab')
    assert (a != b).any()
    os.replace(tmp_path / 'b/0.bmp', tmp_path / 'a/0.bmp')  # of equal size and time
    assert (decoded(tmp_path / 'a', names).images[0] == b[0]).all()
    (tmp_path / 'link').symlink_to(tmp_path / 'a')
    before = len(list(cache.iterdir()))
    decoded(tmp_path / 'link', names)
    assert len(list(cache.iterdir())) == before  # the same folder by another name


@few
@given(st.data())
def test_a_damaged_array_is_named_and_made_again(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp('damage')
    names = pictures(folder / 'a')
    said = []
    with mock.patch.dict(os.environ, HPDVAL_CACHE=str(folder / 'cache')), mock.patch('hpdval.data.say', said.append):
        right = decoded(folder / 'a', names)
        file = data.draw(st.sampled_from(sorted((folder / 'cache').iterdir())))
        content = bytearray(file.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.sampled_from(['cut', 'flip', 'add']))
        if how == 'cut':
            content = content[: min(at, len(content) - 2)]  # more than the line end of the record
        elif how == 'flip':
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            content += b'\0'
        file.write_bytes(content)
        again = decoded(folder / 'a', names)
    assert len(said) == 1 and str(file.with_suffix('.npy')) in said[0] and 'is damaged' in said[0]
    assert (again.images.numpy() == np.stack([load_image(folder / 'a' / n, 8) for n in names])).all()
    assert again.digest == right.digest


def test_two_at_a_time_do_not_disturb_each_other(tmp_path, cache):
    names = pictures(tmp_path / 'a', 40)
    with ThreadPoolExecutor(4) as pool:
        splits = list(pool.map(lambda _: decoded(tmp_path / 'a', names), range(4)))
    assert all((s.images == splits[0].images).all() and s.digest == splits[0].digest for s in splits)
    assert len(list(cache.iterdir())) == 2


class Stopped(BaseException):
    "As Ctrl-C."


@pytest.fixture
def stop_after(monkeypatch):
    "Decoding stops behind so many images, as by Ctrl-C; a list of the images that are decoded."
    import hpdval.data as module

    one = module._decode_one
    monkeypatch.setattr(
        sys, 'decoded_files', [], raising=False
    )  # not here: the cache's name holds what a function sees

    def counted(file, *args):
        sys.decoded_files.append(file.name)
        return one(file, *args)

    def stopping(after):
        def bar(items, *args, **kwargs):
            for i, item in enumerate(items):
                if i == after:
                    raise Stopped
                yield item

        monkeypatch.setattr(module, 'tqdm', bar)
        return sys.decoded_files

    monkeypatch.setattr(module, '_decode_one', counted)
    return stopping


def test_decoding_that_was_stopped_goes_on(tmp_path, cache, stop_after, capsys):
    names = pictures(tmp_path / 'a', 40)
    whole = decoded(tmp_path / 'a', names)
    right, digest = whole.images.numpy().copy(), whole.digest
    for f in cache.iterdir():
        f.unlink()
    with pytest.raises(Stopped):
        stop_after(25)
        decoded(tmp_path / 'a', names)
    part, log = (next(cache.glob(f'.images-*.{end}')) for end in ('part', 'log'))
    held = np.lib.format.open_memmap(part, 'r+')
    held[3] = 0  # what a failing power supply leaves
    held.flush()
    log.write_text(log.read_text() + '[39, 12')  # a line that was not written to its end
    seen = stop_after(99)
    seen.clear()
    again = decoded(tmp_path / 'a', names)
    assert '24 of 40 images under' in capsys.readouterr().err
    assert sorted(seen) == sorted(['3.bmp', *names[25:]])
    assert (again.images.numpy() == right).all() and again.digest == digest and again.files == whole.files
    assert sorted(f.suffix for f in cache.iterdir()) == ['.json', '.npy']


def test_who_finds_another_at_it_waits_and_takes_what_is_there(tmp_path, cache, stop_after, capsys):
    fcntl = pytest.importorskip('fcntl')
    names = pictures(tmp_path / 'a', 12)
    with pytest.raises(Stopped):
        stop_after(5)
        decoded(tmp_path / 'a', names)
    log = next(cache.glob('.images-*.log'))
    with open(log) as other, ThreadPoolExecutor(1) as pool:
        fcntl.flock(other, fcntl.LOCK_EX)
        stop_after(99).clear()
        waiting = pool.submit(decoded, tmp_path / 'a', names)
        while 'waiting for it' not in capsys.readouterr().err:
            time.sleep(0.01)
        assert not waiting.done() and not sys.decoded_files
        log.rename(cache / 'aside')  # as one that ends has no journal
        made = decoded(tmp_path / 'a', names)
        assert sorted(sys.decoded_files) == sorted(names)
        fcntl.flock(other, fcntl.LOCK_UN)
        split = waiting.result(60)
    assert sorted(sys.decoded_files) == sorted(names)  # no image a second time
    assert torch.equal(split.images, made.images) and split.digest == made.digest


def test_without_locks_each_decodes_in_a_file_of_its_own(tmp_path, cache, monkeypatch):
    fcntl = pytest.importorskip('fcntl')

    def none(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', none)
    names = pictures(tmp_path / 'a', 12)
    split = decoded(tmp_path / 'a', names)
    assert (split.images.numpy() == np.stack([load_image(tmp_path / 'a' / n, 8) for n in names])).all()
    assert sorted(f.suffix for f in cache.iterdir()) == ['.json', '.npy']


def test_missing_images_are_said_before_one_is_decoded(tmp_path, cache, stop_after):
    names = pictures(tmp_path / 'a', 12)
    for name in ('7.bmp', '9.bmp'):
        (tmp_path / 'a' / name).unlink()
    (tmp_path / 'a/3.bmp').write_bytes(b'GIF87a')
    with pytest.raises(ValueError, match=r'2 of 12 images under .* 2 missing \(7.bmp, 9.bmp\)'):
        stop_after(99)
        decoded(tmp_path / 'a', names)
    assert not sys.decoded_files and not [*cache.iterdir()]


@pytest.mark.parametrize(
    'mended, left',
    [
        (lambda names, bad: [n for n in names if n != bad], []),  # taken out
        (lambda names, bad: names, ['17.bmp']),  # replaced
        (lambda names, bad: [n for n in names if n not in ('3.bmp', bad)][::-1], ['order']),  # and all moved
        (lambda names, bad: ['new.bmp', *names], ['17.bmp', 'new.bmp']),  # one more, in front
    ],
    ids=['out', 'replaced', 'reversed', 'more'],
)
def test_a_list_that_is_mended_goes_on(tmp_path, cache, stop_after, capsys, mended, left):
    names = pictures(tmp_path / 'a', 40)
    good = (tmp_path / 'a/17.bmp').read_bytes()
    (tmp_path / 'a/17.bmp').write_bytes(b'GIF87a')
    stop_after(99)
    with pytest.raises(ValueError, match='1 of 40 images'):
        decoded(tmp_path / 'a', names)
    assert sorted(f.suffix for f in cache.iterdir()) == ['.log', '.part']
    (tmp_path / 'a/17.bmp').write_bytes(good)
    (tmp_path / 'a/new.bmp').write_bytes(good[:-3] + b'abc')
    names = mended(names, '17.bmp')
    sys.decoded_files.clear()
    split = decoded(tmp_path / 'a', names)
    if left == ['order']:  # rows that change places in one file: the half whose place was taken first
        assert 0 < len(sys.decoded_files) <= 20
    else:
        assert sorted(sys.decoded_files) == left
    assert 'were decoded before' in capsys.readouterr().err
    assert (split.images.numpy() == np.stack([load_image(tmp_path / 'a' / n, 8) for n in names])).all()
    assert sorted(f.suffix for f in cache.iterdir()) == ['.json', '.npy']
    shutil.rmtree(cache)
    assert decoded(tmp_path / 'a', names).digest == split.digest


def test_another_list_of_the_folder_leaves_what_was_begun(tmp_path, cache, stop_after):
    names = pictures(tmp_path / 'a', 40)
    with pytest.raises(Stopped):
        stop_after(25)
        decoded(tmp_path / 'a', names)
    stop_after(99).clear()
    decoded(tmp_path / 'a', names[20:])
    assert len(sys.decoded_files) == 20
    sys.decoded_files.clear()
    decoded(tmp_path / 'a', names)
    assert len(sys.decoded_files) == 15


def test_too_little_memory_costs_what_it_met_alone(tmp_path, cache, stop_after, monkeypatch):
    import hpdval.data as module

    names = pictures(tmp_path / 'a', 40)
    stop_after(99)
    counted = module._decode_one

    def short(file, *args):
        if file.name == '39.bmp':
            raise MemoryError
        return counted(file, *args)

    monkeypatch.setattr(module, '_decode_one', short)
    monkeypatch.setattr(module, 'code_digest', lambda *_, **__: 'same')  # of either
    with pytest.raises(MemoryError):
        decoded(tmp_path / 'a', names)
    monkeypatch.setattr(module, '_decode_one', counted)
    sys.decoded_files.clear()
    decoded(tmp_path / 'a', names)
    assert sys.decoded_files == ['39.bmp']


def test_killed_before_the_array_has_its_name(tmp_path, cache, stop_after, monkeypatch):
    names = pictures(tmp_path / 'a', 12)
    stop_after(99)

    def killed(*_):
        raise Stopped

    with monkeypatch.context() as m, pytest.raises(Stopped):
        m.setattr(os, 'replace', killed)
        decoded(tmp_path / 'a', names)
    sys.decoded_files.clear()
    assert len(decoded(tmp_path / 'a', names).paths) == 12 and not sys.decoded_files
    assert sorted(f.suffix for f in cache.iterdir()) == ['.json', '.npy']


@pytest.mark.parametrize('error', [OSError(errno.EIO, 'Input/output error'), MemoryError()])
def test_a_passing_error_throws_no_pixels_away(tmp_path, cache, monkeypatch, error):
    names = pictures(tmp_path / 'a', 12)
    decoded(tmp_path / 'a', names)
    before = sorted(cache.iterdir())

    def fails(*_, **__):
        raise error

    with monkeypatch.context() as m, pytest.raises(type(error)):
        m.setattr(np, 'load', fails)
        decoded(tmp_path / 'a', names)
    assert sorted(cache.iterdir()) == before


def test_checking_pixels_takes_next_to_no_memory(tmp_path):
    from hpdval.data import RECORDED, _damage

    images = np.zeros((20_000, 3, 4, 4), np.uint8)
    np.save(tmp_path / 'a.npy', images)
    tracemalloc.start()
    said = _damage(tmp_path / 'a.npy', images.shape, dict.fromkeys(RECORDED, '') | dict(crc32=1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 'its checksum' in said and peak / len(images) < 200  # bytes; a task for each took 1,638


@pytest.mark.skipif(sys.platform != 'linux', reason='by the memory that /proc/meminfo says')
def test_an_array_larger_than_memory_is_opened(tmp_path):
    said = dict(line.split(':') for line in Path('/proc/meminfo').read_text().splitlines())
    there = sum(int(said[k].split()[0]) * 1024 for k in ('MemTotal', 'SwapTotal'))
    n = 2 * there // (3 * 224 * 224)
    with open(tmp_path / 'a.npy', 'wb') as f:
        np.lib.format.write_array_header_1_0(f, dict(descr='|u1', fortran_order=False, shape=(n, 3, 224, 224)))
        try:
            f.truncate(f.tell() + n * 3 * 224 * 224)
        except OSError:
            pytest.skip('no files of this size here')
    if os.stat(tmp_path / 'a.npy').st_blocks > 1000:
        pytest.skip('no sparse files here')
    images = torch.from_numpy(mapped(tmp_path / 'a.npy'))
    assert images.shape == (n, 3, 224, 224) and not images[-1].any()
    images[0] = 7  # stays in memory
    assert images[0].all() and not mapped(tmp_path / 'a.npy')[0].any()


def small_files_alone(folder):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    with pytest.raises(OSError, match='^decoded images need 0.0 MB'):
        decode_split(['0.bmp'], np.eye(1), ['x'], folder, 64, progress=False)


def test_too_little_room_is_said_and_nothing_is_left(tmp_path, cache, in_a_copy):
    pictures(tmp_path / 'a')
    done = in_a_copy(small_files_alone, tmp_path / 'a')
    assert done.returncode == 0, done.stderr
    assert not list(cache.iterdir())


@pytest.mark.parametrize('there,listed', [('00.png', '00'), ('00.png', '00.PNG'), ('00.jpg', '00.png')])
def test_a_file_that_is_called_alike_is_named(there, listed, tmp_path):
    Image.new('RGB', (8, 8)).save(tmp_path / there)
    with pytest.raises(ValueError, match=f'{there} is there: write its name as it is'):
        decode_split([listed], [[1]], ['cat'], tmp_path, 8, progress=False)


@pytest.mark.parametrize('there, listed', [('NFC', 'NFD'), ('NFD', 'NFC')])
def test_a_name_in_another_form_of_unicode_is_the_same_file(tmp_path, cache, there, listed):
    there, listed = (unicodedata.normalize(form, 'K\u00e4se/gr\u00fcn/\u00c4.png') for form in (there, listed))
    (tmp_path / there).parent.mkdir(parents=True)
    Image.new('RGB', (8, 8), 'red').save(tmp_path / there)
    split = decode_split([listed], [[1]], ['cheese'], tmp_path, 8, progress=False)
    assert split.images[0, :, 4, 4].tolist() == [255, 0, 0] and split.paths == [listed]


@pytest.mark.parametrize('form', ['L', 'RGB', 'array', 'PNG'])
def test_a_mask_of_0_and_1_is_no_picture(form, tmp_path):
    "It would come out black; a black picture is one, and so is a mask of 0 and 255, or of truth values."
    values = np.zeros((40, 30), np.uint8)
    values[3, 5:25] = 1

    def opened(values):
        if form == 'array':
            return open_image(values)
        if form == 'PNG':
            Image.fromarray(values).save(tmp_path / 'mask.png')
            return open_image(tmp_path / 'mask.png')
        return open_image(Image.fromarray(values).convert(form))

    with pytest.raises(Unusable, match='black: its values are 0 and 1'):
        opened(values)
    assert opened(0 * values).getextrema() == ((0, 0),) * 3
    assert opened(255 * values).getextrema() == ((0, 255),) * 3
    assert open_image(values.astype(bool)).getextrema() == ((0, 255),) * 3
    values[3, 6:] = 0  # the noise of a dark picture
    assert opened(values).getextrema() == ((0, 1),) * 3


@pytest.mark.parametrize(
    'ending, several', [('tif', True), ('gif', True), ('png', True), ('tif', False), ('jpg', False)]
)
def test_of_several_pages_the_first_is_read_and_said(ending, several, tmp_path, capsys):
    _print_once.cache_clear()
    first, *more = (Image.new('RGB', (9, 9), c) for c in ('red', 'blue', 'green'))
    first.save(tmp_path / f'a.{ending}', **(dict(save_all=True, append_images=more) if several else {}))
    assert max(open_image(tmp_path / f'a.{ending}').getpixel((4, 4))[1:]) < 8
    said = 'the first of each is read' in capsys.readouterr().err
    assert said == several


@pytest.mark.parametrize('white', [0, 1])
def test_a_tiff_of_16_bits_whose_white_is_zero_is_no_negative(white, tmp_path):
    values = np.full((8, 8), 9000, np.uint16)
    values[:4] = 60000
    file = tmp_path / f'{white}.tif'
    Image.fromarray(values).save(file)
    tag = b'\x06\x01\x03\0\x01\0\0\0'  # 262, one short number
    assert file.read_bytes().count(tag + b'\x01') == 1
    file.write_bytes(file.read_bytes().replace(tag + b'\x01', tag + bytes([white])))
    with Image.open(file) as im:
        assert im.tag_v2[262] == white
    upper, lower = (int(rows.mean()) for rows in np.split(np.asarray(open_image(file)), 2))
    assert (upper > lower) == bool(white)
