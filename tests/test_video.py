"""Films: read back frame for frame, by the clock, upright, in the right colours; what is no film is refused in a line.
Every file is made here."""

import gc, io, itertools, struct, subprocess, sys, time
from fractions import Fraction

import av, numpy as np, pytest
from PIL import Image

from hpdval.config import make_config
from hpdval.experiment import run
from hpdval.video import TURNS, _Chain, _Upright, each_frame, film_length, is_film, read_frames, write_film

H, W = 48, 64


def numbered(i, h=H, w=W):
    "A frame that says its number: bit k in block k of the lower half; red at the upper left."
    image = np.full((h, w, 3), 90, np.uint8)
    image[: h // 4, : w // 4] = (255, 0, 0)
    for k in range(12):
        image[h // 2 :, k * w // 12 : (k + 1) * w // 12] = 255 * (i >> k & 1)
    return image


def number_of(image):  # uint8 [3,H,W]
    blocks = image[1, 3 * image.shape[1] // 4]
    return sum(int(blocks[(2 * k + 1) * len(blocks) // 24] > 127) << k for k in range(12))


def noise(n, h=H, w=W):
    return np.random.default_rng(0).integers(0, 256, (n, h, w, 3)).astype(np.uint8)


def sound(out, seconds):
    "A stream of silence, and the packets of it."
    stream = out.add_stream('aac', rate=44100)
    packets = []
    for _ in range(round(seconds * 44100 / 1024)):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), 'fltp', layout='mono')
        frame.sample_rate = 44100
        packets += stream.encode(frame)
    return packets + stream.encode()


def pictures(out, frames, codec='libx264', fps=25):
    stream = out.add_stream(codec, rate=fps)
    stream.height, stream.width = frames[0].shape[:2]
    stream.pix_fmt = 'yuv420p'
    packets = [p for f in frames for p in stream.encode(av.VideoFrame.from_ndarray(f, 'rgb24'))]
    return packets + stream.encode()


def test_two_minutes_of_h264_are_read_back_frame_for_frame(tmp_path):
    file, n = tmp_path / 'film.mp4', 3000
    write_film(file, map(numbered, range(n)), options=dict(bf='3', g='48'))
    with av.open(str(file)) as c:
        assert c.streams.video[0].codec_context.name == 'h264' and c.streams.video[0].codec_context.has_b_frames
    found = [(time, number_of(image.transpose(2, 0, 1))) for time, image in each_frame(file, n)]
    assert [number for _, number in found] == [*range(n)]
    np.testing.assert_allclose([time for time, _ in found], np.arange(n) / 25, atol=1e-6)


def test_a_lossless_film_has_the_very_pixels(tmp_path):
    for h, w in ((47, 63), (1, 1), (33, 128)):
        images = noise(5, h, w)
        write_film(tmp_path / 'film.mkv', images, codec='ffv1', pixels='bgr0')
        assert np.array_equal(read_frames(tmp_path / 'film.mkv', 5)[0].numpy().transpose(0, 2, 3, 1), images)


def test_no_frame_is_held_that_was_passed(tmp_path):
    "Without Python's collector: frames of 1080p would fill the memory before it comes."
    file = tmp_path / 'film.mp4'
    write_film(file, map(numbered, range(60)), turned=-90)

    def held():
        return sum(type(x) is av.VideoFrame for x in gc.get_objects())

    before = held()
    gc.disable()
    try:
        frames = each_frame(file, 60)
        assert sum(1 for _ in itertools.islice(frames, 59)) == 59
        assert held() - before < 10  # those that the decoder has ready are among them
        next(frames)
    finally:
        gc.enable()


def test_frames_of_several_kinds_are_each_as_pyav_converts_them():
    "Size, matrix and range may change from one frame to the next: the filters are set up anew."
    upright = _Upright()
    kinds = [(48, 64, 1, 1), (48, 64, 5, 1), (48, 64, 5, 2), (46, 66, 5, 2), (48, 64, 1, 1)]
    seen = set()
    for h, w, matrix, spread in kinds:
        for image in noise(2, h, w):
            frame = av.VideoFrame.from_ndarray(image, 'rgb24').reformat(format='yuv420p')
            frame.colorspace, frame.color_range, frame.time_base, frame.pts = matrix, spread, Fraction(1, 25), 0
            found = upright(frame)
            assert np.array_equal(found, frame.to_ndarray(format='rgb24'))
            seen.add(found.tobytes())
    assert len(seen) == 8  # of ten: the last kind is the first


def test_moments_that_are_far_apart_are_those_of_a_walk(tmp_path):
    file, n = tmp_path / 'film.mp4', 1200
    write_film(file, map(numbered, range(n)), fps=4, options=dict(bf='2', g='37'))  # five minutes
    moments = sorted(np.random.default_rng(0).uniform(0, 300, 25))
    assert [number_of(f) for f in read_frames(file, times=moments)[0]] == [int(4 * t) for t in moments]


def test_ten_hours_are_read_by_their_clock(tmp_path):
    times = [60.0 * i for i in range(601)]
    for name in ('film.mp4', 'film.mkv'):
        write_film(tmp_path / name, map(numbered, range(601)), times=times, options=dict(g='12'))
        assert film_length(tmp_path / name) == pytest.approx(36000, abs=61)
        frames, shown = read_frames(tmp_path / name, times=[0, 59.9, 18030, 35999])
        assert [number_of(f) for f in frames] == [0, 0, 300, 599]
        assert shown.tolist() == [0, 0, 18000, 35940]


def test_a_rate_that_varies_is_read_by_time(tmp_path):
    times = np.cumsum(np.r_[0, np.random.default_rng(0).uniform(0.02, 0.4, 60)]).round(3)
    for name in ('film.mp4', 'film.mkv'):
        write_film(tmp_path / name, map(numbered, range(61)), times=times)
        moments = np.linspace(0, times[-1], 23)
        right = [int(np.searchsorted(times, t + 1e-9, 'right')) - 1 for t in moments]
        assert [number_of(f) for f in read_frames(tmp_path / name, times=moments)[0]] == right


def test_few_frames_stand_several_times_which_is_said(tmp_path, capsys):
    write_film(tmp_path / 'film.mp4', map(numbered, range(3)))
    assert [number_of(f) for f in read_frames(tmp_path / 'film.mp4', 6)[0]] == [0, 0, 1, 1, 2, 2]
    assert 'fewer frames than the moments asked for, 3 stand once more' in capsys.readouterr().err


def red_at(frame):  # uint8 [3,H,W] -> (below?, at the right?)
    y, x = np.nonzero((frame[0].int() - frame[1].int()).numpy() > 100)
    return bool(y.mean() > frame.shape[1] / 2), bool(x.mean() > frame.shape[2] / 2)


FIXED = 65536
MATRICES = [  # a, b, c, d of x' = a x + c y, y' = b x + d y -> size, where the red corner of the upper left is shown
    ((1, 0, 0, 1), (H, W), (False, False)),
    ((0, 1, -1, 0), (W, H), (False, True)),  # a quarter turn clockwise, as a telephone held upright writes it
    ((-1, 0, 0, -1), (H, W), (True, True)),
    ((0, -1, 1, 0), (W, H), (True, False)),
    ((-1, 0, 0, 1), (H, W), (False, True)),  # mirrored
    ((1, 0, 0, -1), (H, W), (True, False)),
    ((0, 1, 1, 0), (W, H), (False, False)),
    ((0, -1, -1, 0), (W, H), (True, True)),
]


def marked(file, matrix):
    "A film, in whose bytes the matrix of the picture's track is replaced (ISO/IEC 14496-12, tkhd)."
    write_film(file, [numbered(0)] * 3)
    data = bytearray(file.read_bytes())
    at = data.index(b'tkhd') + 4 + 40
    a, b, c, d = (FIXED * v for v in matrix)
    data[at : at + 36] = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], '>i4').tobytes()
    file.write_bytes(data)
    return file


@pytest.mark.parametrize('matrix, size, corner', MATRICES)
def test_a_film_is_upright(matrix, size, corner, tmp_path):
    (frame,), _ = read_frames(marked(tmp_path / 'film.mp4', matrix), 1)
    assert tuple(frame.shape[1:]) == size and red_at(frame) == corner


def test_a_film_that_is_turned_by_another_angle_is_refused(tmp_path):
    with pytest.raises(ValueError, match='is turned by an angle that is no multiple of 90 degrees: ffmpeg'):
        read_frames(marked(tmp_path / 'film.mp4', (1, 1, -1, 1)), 1)


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    with av.open(str(tmp_path / 'film.mp4'), 'w') as out:
        stream = out.add_stream('libx264', rate=25)
        stream.height, stream.width, stream.pix_fmt = H, W, 'yuv420p'
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        out.mux([*stream.encode(av.VideoFrame.from_ndarray(numbered(5), 'rgb24')), *stream.encode()])
    (frame,), _ = read_frames(tmp_path / 'film.mp4', 1)
    assert frame.shape == (3, H, 96) and number_of(frame) == 5


def shaped(file, ratio, matrix=None, h=H):
    "A film of 20 frames whose pixels are `ratio` times as wide as they are high."
    with av.open(str(file), 'w') as out:
        stream = out.add_stream('libx264', rate=25)
        stream.height, stream.width, stream.pix_fmt = h, W, 'yuv420p'
        stream.codec_context.sample_aspect_ratio = ratio
        frames = [av.VideoFrame.from_ndarray(numbered(5, h), 'rgb24') for _ in range(20)]
        out.mux([*(p for f in frames for p in stream.encode(f)), *stream.encode()])
    return file.read_bytes()


def test_pixels_may_change_their_shape_and_frames_their_size_midway(tmp_path):
    "Frame by frame: B-frames are decoded in another order than they are shown in."
    parts = [(Fraction(3, 2), H), (Fraction(2), H), (Fraction(1), H), (Fraction(1, 2), 2 * H)]
    data = [shaped(tmp_path / 'part.ts', ratio, h=h) for ratio, h in parts]
    with av.open(io.BytesIO(b''.join(data))) as film:
        upright = _Upright()
        found = [upright(frame) for frame in film.decode(video=0)]
    assert [f.shape for f in found] == [(h, W * ratio, 3) for ratio, h in parts for _ in range(20)]
    assert {number_of(f.transpose(2, 0, 1)) for f in found} == {5}
    turned = _Upright()
    with av.open(io.BytesIO(b''.join(data))) as film:
        for frame, wanted in zip(film.decode(video=0), found):
            turned(frame)
            turned.turn = turned.turn or _Chain(*TURNS[0, 1, -1, 0])
            assert np.array_equal(turned(frame), np.rot90(wanted, -1))


def test_a_film_that_changes_midway_is_read_as_it_is_shown(tmp_path):
    with av.open(str(tmp_path / 'film.ts'), 'w') as out:
        stream = None
        for i, ratio in enumerate((Fraction(3, 2), Fraction(2))):
            with av.open(io.BytesIO(shaped(tmp_path / 'part.ts', ratio))) as part:
                stream = stream or out.add_stream_from_template(part.streams.video[0])
                for packet in part.demux(video=0):
                    if packet.size:
                        later = round(i * 20 / 25 / packet.time_base)
                        packet.pts, packet.dts, packet.stream = packet.pts + later, packet.dts + later, stream
                        out.mux(packet)
    widths = [image.shape[1] for _, image in each_frame(tmp_path / 'film.ts', 40)]
    assert widths == 20 * [96] + 20 * [128]
    with pytest.raises(ValueError, match=r'film.ts changes the size of its pictures at .* s: each_frame takes them'):
        read_frames(tmp_path / 'film.ts', 40)


def test_the_shape_that_the_container_says_is_taken_where_the_pictures_say_another(tmp_path):
    data = bytearray(shaped(tmp_path / 'film.mp4', Fraction(3, 2)))
    at = data.index(b'pasp') + 4  # ISO/IEC 14496-12, 12.1.4
    assert data[at : at + 8] == struct.pack('>II', 3, 2)
    data[at : at + 8] = struct.pack('>II', 2, 1)
    (tmp_path / 'film.mp4').write_bytes(data)
    assert read_frames(tmp_path / 'film.mp4', 2)[0].shape == (2, 3, H, 128)


@pytest.mark.parametrize('matrix, red', [(1, (63, 102, 240)), (5, (81, 90, 240))], ids=['BT.709', 'BT.601'])
def test_red_is_red_by_the_matrix_that_the_film_names(matrix, red, tmp_path):
    planes = [np.full(n, v, np.uint8) for n, v in zip((H * W, H * W // 4, H * W // 4), red)]
    with av.open(str(tmp_path / 'film.mp4'), 'w') as out:
        stream = out.add_stream('libx264', rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.options = H, W, 'yuv420p', dict(crf='1')
        c = stream.codec_context
        c.colorspace, c.color_primaries, c.color_trc, c.color_range = matrix, matrix, matrix, 1
        frame = av.VideoFrame.from_ndarray(np.concatenate(planes).reshape(H * 3 // 2, W), 'yuv420p')
        frame.colorspace, frame.color_range = matrix, 1
        out.mux([*stream.encode(frame), *stream.encode()])
    (frame,), _ = read_frames(tmp_path / 'film.mp4', 1)
    assert np.abs(frame.numpy().transpose(1, 2, 0) - np.array([255.0, 0, 0])).max() <= 3


def test_sound_that_goes_on_after_the_pictures_does_not_cut_them_off(tmp_path):
    for name in ('film.mkv', 'film.mp4'):
        with av.open(str(tmp_path / name), 'w') as out:
            packets = pictures(out, [numbered(i) for i in range(50)])
            out.mux([*packets, *sound(out, 30)]) if name.endswith('mp4') else out.mux([*sound(out, 30), *packets])
        assert film_length(tmp_path / name) == pytest.approx(2.0, abs=0.05)
        assert [number_of(f) for f in read_frames(tmp_path / name, 4)[0]] == [6, 18, 31, 43]


# What is no film


def text(folder):
    (folder / 'a.txt').write_text('a film about nothing\n' * 50)
    return 'a.txt'


def text_under_another_ending(folder):
    (folder / 'a.mp4').write_text('a film about nothing\n' * 50)
    return 'a.mp4'


def playlist(folder):
    write_film(folder / 'a.mp4', [numbered(0)] * 3)
    (folder / 'a.m3u8').write_text('#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n')
    return 'a.m3u8'


def empty(folder):
    (folder / 'a.mp4').write_bytes(b'')
    return 'a.mp4'


def picture(ending):
    def make(folder):
        Image.fromarray(numbered(3)).save(folder / f'a.{ending}')
        return f'a.{ending}'

    return make


def picture_under_the_ending_of_a_film(folder):
    Image.fromarray(numbered(3)).save(folder / 'a.jpg')
    (folder / 'a.jpg').rename(folder / 'a.mp4')
    return 'a.mp4'


def audio_only(folder):
    with av.open(str(folder / 'a.m4a'), 'w') as out:
        out.mux(sound(out, 1))
    return 'a.m4a'


def audio_with_a_cover(folder):
    with av.open(str(folder / 'a.mp3'), 'w') as out:
        song, cover = out.add_stream('libmp3lame', rate=44100), out.add_stream('mjpeg', rate=1)
        cover.height, cover.width, cover.pix_fmt = H, W, 'yuvj420p'
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), 'fltp', layout='mono')
        frame.sample_rate = 44100
        packets = [*song.encode(frame), *song.encode()]
        out.mux([*packets, *cover.encode(av.VideoFrame.from_ndarray(numbered(0), 'rgb24')), *cover.encode()])
    return 'a.mp3'


def no_frames(ending):
    def make(folder):
        with av.open(str(folder / f'a.{ending}'), 'w') as out:
            stream = out.add_stream('libx264', rate=25)
            stream.height, stream.width, stream.pix_fmt = H, W, 'yuv420p'
            out.start_encoding()
        return f'a.{ending}'

    return make


def cut(ending, share, **how):
    def make(folder):
        file = folder / f'a.{ending}'
        write_film(file, noise(200), **how)
        data = file.read_bytes()
        file.write_bytes(data[: int(share * len(data))])
        return file.name

    return make


def damaged(folder):
    "Zeros over most packets of an intact container."
    file = folder / 'a.mp4'
    write_film(file, noise(100), container=dict(movflags='faststart'))
    data = bytearray(file.read_bytes())
    data[len(data) // 4 :] = bytes(len(data) - len(data) // 4)
    file.write_bytes(data)
    return 'a.mp4'


def without_times(folder):
    write_film(folder / 'a.h264', noise(5))
    return 'a.h264'


NO_FILM = {
    'a text': text,
    'a text, .mp4': text_under_another_ending,
    'a playlist': playlist,
    'empty': empty,
    'png': picture('png'),
    'jpg': picture('jpg'),
    'gif': picture('gif'),
    'webp': picture('webp'),
    'jpg, .mp4': picture_under_the_ending_of_a_film,
    'audio': audio_only,
    'audio with a cover': audio_with_a_cover,
    'no frames, mp4': no_frames('mp4'),
    'no frames, mkv': no_frames('mkv'),
    'no frames, avi': no_frames('avi'),
    'cut, index at the end': cut('mp4', 0.5),
    'cut, index in front': cut('mp4', 0.5, container=dict(movflags='faststart')),
    'cut by a byte': cut('mp4', 0.9999, container=dict(movflags='faststart')),
    'cut, mkv': cut('mkv', 0.5),
    'cut, webm': cut('webm', 0.5, codec='libvpx-vp9'),
    'damaged': damaged,
    'without times': without_times,
}


# what is said of these is in tests/test_cases.py


def test_what_cannot_be_a_path_is_refused(tmp_path):
    for file, said in ((tmp_path, 'is no file'), (None, 'got NoneType'), (tmp_path / 'no.mp4', 'no such file')):
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            read_frames(file, 1)


def test_a_name_that_looks_like_a_protocol_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('http:film.mp4', 'concat:film.mp4', '%03d.mp4', 'ein Film, größer.mp4'):
        write_film('plain.mp4', [numbered(9)] * 2)
        (tmp_path / 'plain.mp4').rename(tmp_path / name)
        assert number_of(read_frames(name, 1)[0][0]) == 9


def test_without_pyav_a_line_says_how_to_get_it(tmp_path, monkeypatch):
    write_film(tmp_path / 'film.mp4', [numbered(0)] * 2)
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(ValueError, match=r"films need PyAV .*: pip install '?av"):
        read_frames(tmp_path / 'film.mp4', 1)


def test_pictures_that_change_their_size_are_refused_as_a_tensor(tmp_path):
    data = b''
    for w in (64, 96):
        write_film(tmp_path / 'part.ts', [numbered(1, w=w)] * 30)
        data += (tmp_path / 'part.ts').read_bytes()
    (tmp_path / 'film.ts').write_bytes(data)
    sizes = {image.shape[1] for _, image in each_frame(tmp_path / 'film.ts', times=[0.2, 0.9])}
    assert 64 in sizes


@pytest.mark.parametrize('fps, rate', [(29.97, 29.97), (30000 / 1001, Fraction(30000, 1001)), (np.float32(12.5), 12.5)])
def test_a_rate_that_is_no_whole_number_is_written(fps, rate, tmp_path):
    write_film(tmp_path / 'film.mp4', map(numbered, range(60)), fps=fps)
    assert film_length(tmp_path / 'film.mp4') == pytest.approx(60 / float(rate), abs=1e-3)
    found = [number_of(image.transpose(2, 0, 1)) for _, image in each_frame(tmp_path / 'film.mp4', 60)]
    assert found == [*range(60)]


UNWRITTEN = [
    (dict(fps=0), 'fps must be a number of 0.001 or more, got 0'),
    (dict(fps=float('nan')), 'fps must be'),
    (dict(times=[0, 1]), 'film.mp4: times must be one for each frame, got 2'),
    (dict(times=[0, 1, 2, 3]), 'film.mp4: times must be one for each frame, got 4'),
    (dict(times=[0, 1, None]), 'times must be a number of 0 or more, got None'),
    (
        dict(frames=[numbered(0), numbered(1, w=96)]),
        'film.mp4: frame 1 has 96 x 48 px, and the first 64 x 48: make them',
    ),
    (dict(frames=[numbered(0), numbered(1)[..., 0]]), r'frame 1 must be uint8 \[H,W,3\], got uint8 \[48, 64\]'),
    (dict(frames=[numbered(0) / 255]), r'frame 0 must be uint8 \[H,W,3\], got float64 \[48, 64, 3\]'),
    (dict(frames=[]), 'film.mp4: a film has one frame or more, and none was given'),
]


@pytest.mark.parametrize('asked, message', UNWRITTEN)
@pytest.mark.parametrize('lazily', [False, True])
def test_what_is_no_film_is_refused_in_a_line_and_leaves_what_was_there(asked, message, lazily, tmp_path):
    (tmp_path / 'film.mp4').write_text('of before')
    frames = asked.get('frames', [numbered(i) for i in range(3)])
    with pytest.raises(ValueError, match=message) as e:
        write_film(
            tmp_path / 'film.mp4',
            iter(frames) if lazily else frames,
            **{k: v for k, v in asked.items() if k != 'frames'},
        )
    assert '\n' not in str(e.value)
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [('film.mp4', 'of before')]


def test_films_are_known_by_their_endings():
    assert is_film('a.MP4') and is_film('b/c.mkv') and not is_film('a.png') and not is_film(b'a.mp4') and not is_film(3)


# How much it takes

MEMORY = """
import re, sys
import numpy as np
from hpdval.predict import Classifier

def of(name):
    return int(re.search(name + r':\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1000

c = Classifier.load(sys.argv[1], device='cpu')
c.predict(np.zeros((64, 64, 64, 3), np.uint8))  # the model at work
before = of('VmRSS')
open('/proc/self/clear_refs', 'w').write('5')  # the peak is counted from here
rows = len(c.predict_video(sys.argv[2], n=int(sys.argv[3]), frames=4))
print(rows, of('VmHWM') - before)
"""


@pytest.fixture(scope='module')
def full_hd(tmp_path_factory):
    "A minute of 1080p."
    file = tmp_path_factory.mktemp('film') / 'film.mp4'
    frames = (np.roll(numbered(i, 1080, 1920), 8 * i, 1) for i in range(1500))
    write_film(file, frames, options=dict(preset='ultrafast', bf='2'))
    return file


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
@pytest.mark.parametrize('n', [15, 375])  # 375 x 4: every frame
def test_a_minute_of_1080p_takes_300_mb_above_the_model(n, full_hd, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    run_ = run(make_config('zero-shot-dual', 'icon-voc-lt', device='cpu'), progress=False)
    command = [sys.executable, '-c', MEMORY, run_.folder, full_hd, str(n)]
    done = subprocess.run(command, capture_output=True, text=True)
    rows, above = done.stdout.split()
    assert int(rows) == n * 20 and float(above) <= 300


@pytest.mark.thorough
def test_64_frames_of_a_film_cost_little_more_than_to_decode_it(full_hd):
    "CPU seconds, the least of three."

    def seconds(read):
        start = time.process_time()
        read()
        return time.process_time() - start

    def bare():
        with av.open(str(full_hd)) as container:
            stream = container.streams.video[0]
            stream.thread_type = 'AUTO'
            assert sum(1 for _ in container.decode(stream)) == 1500

    def ours():
        assert sum(1 for _ in each_frame(full_hd, 64)) == 64

    rounds = [(seconds(bare), seconds(ours)) for _ in range(3)]
    assert min(b for _, b in rounds) <= 1.2 * min(a for a, _ in rounds)
