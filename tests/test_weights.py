"""Weights in every form that people hold, against the software that wrote them: OpenAI's package, `transformers` and
open_clip, at full size with random weights. `python tests/test_weights.py` writes the table in docs/weights.md."""

import copy, functools, io, json, shutil, sys, tempfile, types, warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np, open_clip, packaging, pytest, torch
from PIL import Image
from safetensors.torch import load_file, save_file

from hpdval import weights
from hpdval.weights import read_weights
from hpdval.clip import MINI_WEIGHTS, activations, load_clip
from hpdval.data import load_image, to_float

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / 'docs/weights.md'
WORDS = ['a photo of a dog.', 'a photo of a potted plant on a dining table.', 'cat']
LARGEST = 1e-4


def picture():
    "A picture that is not square, with something at every scale."
    y, x = np.mgrid[:240, :320]
    waves = [np.sin(x * (k + 1) / 29 + y * y / (901 * (k + 1))) for k in range(3)]
    return Image.fromarray((127.5 * (1 + np.stack(waves, -1))).astype(np.uint8))


def openai():
    "OpenAI's package; it asks setuptools for a module that setuptools no longer has."
    pytest.importorskip('packaging.version')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'pkg_resources', types.SimpleNamespace(packaging=packaging))
        return pytest.importorskip('clip')


def pixels(clip, image=None):
    "What our tower is given."
    image = load_image(image or picture(), clip.visual.size, clip.transform('clip'))
    return to_float(torch.from_numpy(image)[None], clip.mean, clip.std)


class Peer(NamedTuple):
    "A model that somebody else's software made, and runs."

    arch: str  # open_clip's name
    model: object
    embed: object  # (our clip, pixels, ids) -> image and text embeddings, by the peer's own forward
    write: object  # (folder) -> None: the peer's own file


def normalised(model):
    "A ResNet with statistics, and scales that are not zero at the end of each block; other towers have neither."
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.2, 0.8)
            torch.nn.init.normal_(module.bias, std=0.1)
    return model


def openai_peer(arch):
    clip, cfg = openai(), open_clip.get_model_config(arch)
    torch.manual_seed(0)
    size = {k: cfg['vision_cfg'].get(k) for k in ('image_size', 'layers', 'width', 'patch_size')}
    text = {k: cfg['text_cfg'][k] for k in ('context_length', 'vocab_size', 'width', 'heads', 'layers')}
    model = normalised(clip.model.CLIP(cfg['embed_dim'], *size.values(), *text.values()).eval())

    def embed(ours, x, ids):
        x = clip.clip._transform(ours.visual.size)(picture())[None]
        return model.encode_image(x), model.encode_text(clip.tokenize(WORDS))

    return Peer(arch, model, embed, None)


def transformers_peer(arch):
    transformers = pytest.importorskip('transformers')
    torch.manual_seed(0)
    if 'SigLIP' in arch:
        model = transformers.SiglipModel(transformers.SiglipConfig()).eval()
    else:
        patch = open_clip.get_model_config(arch)['vision_cfg']['patch_size']
        model = transformers.CLIPModel(transformers.CLIPConfig(vision_config=dict(patch_size=patch))).eval()

    def features(out):
        return getattr(out, 'pooler_output', out)

    def embed(ours, x, ids):
        return features(model.get_image_features(x)), features(model.get_text_features(ids))

    return Peer(arch, model, embed, model.save_pretrained)


def open_clip_peer(arch):
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(arch)
    normalised(model.eval())

    def embed(ours, x, ids):
        own = x if 'SigLIP' in arch else preprocess(picture())[None]
        return model.encode_image(own), model.encode_text(ids)

    return Peer(arch, model, embed, None)


PEERS = {'openai': openai_peer, 'transformers': transformers_peer, 'open_clip': open_clip_peer}


@functools.lru_cache(1)
def peer(kind, arch):
    return PEERS[kind](arch)


EXTRA = dict(input_resolution=224, context_length=77, vocab_size=49408)


@functools.lru_cache(1)
def archive(kind, arch) -> bytes:
    "As OpenAI's: three numbers beside the weights, compiled."
    model = copy.deepcopy(peer(kind, arch).model)
    for name, value in EXTRA.items():
        vars(model).pop(name, None)
        model.register_buffer(name, torch.tensor(value))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # of torch.jit
        warnings.simplefilter('ignore', torch.jit.TracerWarning)  # an attention pool asks for shapes
        traced = torch.jit.trace(model, (torch.zeros(1, 3, 224, 224), torch.zeros(1, 77, dtype=torch.int64)))
        file = io.BytesIO()
        torch.jit.save(traced, file)
    return file.getvalue()


def as_archive(p, folder, monkeypatch):
    "Its checksum made known."
    (folder / 'model.pt').write_bytes(archive('openai', p.arch))
    monkeypatch.setitem(weights.published(), weights._sha256(folder / 'model.pt'), (p.arch, 'openai'))
    return folder / 'model.pt'


def as_openai_dict(p, folder, monkeypatch):
    state = p.model.state_dict() | {k: torch.tensor(v) for k, v in EXTRA.items()}
    torch.save(state, folder / 'model.pt')
    return folder / 'model.pt'


def as_folder(p, folder, monkeypatch):
    p.write(folder)
    pixels = dict(image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711])
    pixels |= dict(size=dict(shortest_edge=224), do_center_crop=True, resample=3)
    if 'SigLIP' in p.arch:
        pixels = dict(image_mean=[0.5] * 3, image_std=[0.5] * 3, size=dict(height=224, width=224), resample=3)
        siglip_tokenizer(folder)
    (folder / 'preprocessor_config.json').write_text(json.dumps(pixels))
    return folder


def as_parts(p, folder, monkeypatch):
    "A folder of `transformers` whose tensors lie in parts, with an index, as it writes large models."
    as_folder(p, folder, monkeypatch)
    (folder / 'model.safetensors').unlink()
    p.model.save_pretrained(folder, max_shard_size='100MB')
    assert len([*folder.glob('model-*-of-*.safetensors')]) > 3
    return folder


def in_parts(folder, n=3):
    "The tensors of a folder in n files, and the index that `transformers` writes."
    state = load_file(folder / 'model.safetensors')
    (folder / 'model.safetensors').unlink()
    where = {name: f'model-{i % n + 1:05d}-of-{n:05d}.safetensors' for i, name in enumerate(state)}
    for part in set(where.values()):
        save_file({k: v for k, v in state.items() if where[k] == part}, folder / part)
    said = dict(metadata=dict(total_size=0), weight_map=where)
    (folder / 'model.safetensors.index.json').write_text(json.dumps(said))
    return where


def as_bare_file(p, folder, monkeypatch):
    "The tensors alone, away from the files that lay beside them."
    p.write(folder / 'all')
    shutil.move(folder / 'all/model.safetensors', folder / 'weights.safetensors')
    if 'SigLIP' in p.arch:
        siglip_tokenizer(folder)
    return folder / 'weights.safetensors'


def as_safetensors(p, folder, monkeypatch):
    if 'SigLIP' in p.arch:
        siglip_tokenizer(folder)
    save_file(p.model.state_dict(), folder / 'model.safetensors')
    return folder / 'model.safetensors'


def as_checkpoint(p, folder, monkeypatch):
    state = {f'module._orig_mod.{k}': v for k, v in p.model.state_dict().items()}
    torch.save(dict(epoch=3, model=state), folder / 'epoch_3.pt')
    return folder / 'epoch_3.pt'


def as_tag(p, folder, monkeypatch):
    "A tag, whose download is the file that open_clip would have fetched."
    state = {k: v for k, v in p.model.state_dict().items() if k not in EXTRA}
    save_file(state, folder / 'open_clip_model.safetensors')
    monkeypatch.setattr('open_clip.factory.download_pretrained', lambda *a, **k: folder / 'open_clip_model.safetensors')
    return 'openai'


class Form(NamedTuple):
    what: str
    kind: str  # of the peer
    arch: str  # the peer's
    write: object
    given: str = ''  # the architecture that is asked for, where it is another one
    told: dict = {}  # to `load_clip`

    def __str__(self):
        return f'{self.what}, {self.given or self.arch}'


def forms():
    "Every form, sorted so that a peer is made once."
    out = []
    for arch in ('ViT-B-32', 'ViT-B-16'):
        quick = f'{arch}-quickgelu'
        out += [
            Form('the tag `openai`', 'openai', arch, as_tag),
            Form("OpenAI's archive", 'openai', arch, as_archive),
            Form("OpenAI's archive", 'openai', arch, as_archive, quick),
            Form("OpenAI's state dict", 'openai', arch, as_openai_dict),
            Form("`transformers`, folder", 'transformers', arch, as_folder),
            Form(
                "`transformers`, model.safetensors alone", 'transformers', arch, as_bare_file, '', dict(quick_gelu=True)
            ),
            Form('open_clip, safetensors', 'open_clip', arch, as_safetensors),
            Form("open_clip, checkpoint with `module._orig_mod.`", 'open_clip', arch, as_checkpoint),
        ]
    resnet, siglip = 'RN50', 'ViT-B-16-SigLIP'
    return out + [
        Form("`transformers`, folder, in parts", 'transformers', 'ViT-B-16', as_parts),
        Form('the tag `openai`', 'openai', resnet, as_tag),
        Form("OpenAI's archive", 'openai', resnet, as_archive),
        Form("OpenAI's state dict", 'openai', resnet, as_openai_dict),
        Form('open_clip, safetensors', 'open_clip', resnet, as_safetensors),
        Form("`transformers`, folder", 'transformers', siglip, as_folder),
        Form("`transformers`, model.safetensors alone", 'transformers', siglip, as_bare_file),
        Form('open_clip, safetensors', 'open_clip', siglip, as_safetensors),
    ]


def apart(ours, theirs):
    "The largest |a - b| / |b| over the rows."
    return float(((ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)).max())


@torch.no_grad()
def differences(form, folder, monkeypatch) -> tuple:  # of the image, of the text embeddings
    p = peer(form.kind, form.arch)
    place = form.write(p, folder, monkeypatch)
    clip = load_clip(form.given or form.arch, str(place), **form.told)
    x, ids = pixels(clip), clip.tokenizer(WORDS)
    image, text = p.embed(clip, x, ids)
    return apart(clip.visual(x)[0], image), apart(clip.text(ids), text)


def in_ci(form):
    "ViT-B/16 differs from ViT-B/32 in the size of its patches alone: those forms are compared on demand."
    return pytest.param(form, id=str(form), marks=[pytest.mark.thorough] if form.arch == 'ViT-B-16' else [])


@pytest.mark.parametrize('form', map(in_ci, forms()))
def test_a_form_gives_what_its_own_software_gives(form, tmp_path, monkeypatch):
    image, text = differences(form, tmp_path, monkeypatch)
    assert image < LARGEST and text < LARGEST


def test_the_wrong_activation_is_seen_and_not_taken(tmp_path, monkeypatch, capsys):
    "That the numbers above are small says something only if the other activation is far away."
    p = peer('openai', 'ViT-B-32')
    file = as_openai_dict(p, tmp_path, monkeypatch)
    right, wrong = (load_clip('ViT-B-32', str(file), quick_gelu=q) for q in (None, 'no'))
    said = capsys.readouterr().err
    assert said.count('quick_gelu, as the weights were trained with, in the place of gelu in ViT-B-32') == 1
    with torch.no_grad():
        x, ids = pixels(right), right.tokenizer(WORDS)
        assert apart(wrong.visual(x)[0], right.visual(x)[0]) > 1e-3
        assert apart(wrong.text(ids), right.text(ids)) > 1e-3
    assert right.settings != wrong.settings


def test_statistics_that_were_not_read_would_be_seen(tmp_path, monkeypatch):
    "The same for a ResNet: without its running means, its picture embeddings are far away."
    clip = load_clip('RN50', str(as_openai_dict(peer('openai', 'RN50'), tmp_path, monkeypatch)))
    x = pixels(clip)
    with torch.no_grad():
        right = clip.visual(x)[0]
        for module in clip.visual.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.zero_()
        assert apart(clip.visual(x)[0], right) > 1e-3
    assert activations(clip.visual) == set() and activations(clip.text) == {'quick_gelu'}
    assert (clip.mean, clip.resize) == (weights.OPENAI_PIXELS['mean'], 'clip')


def test_an_archive_of_somebody_else_is_not_read(tmp_path, monkeypatch):
    with pytest.MonkeyPatch.context() as m:
        file = as_archive(types.SimpleNamespace(arch='RN50'), tmp_path, m)  # compiled last, above
        assert weights.recognised(file) == ('RN50', 'openai')
    with pytest.raises(ValueError, match='its checksum is none that OpenAI published: it is not read'):
        load_clip('RN50', str(file))


HALF = dict(image_mean=[0.5] * 3, image_std=[0.25] * 3)
OTHER = dict(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4])
NORMALISED = [
    HALF,
    OTHER,
    OTHER | dict(do_normalize=True, do_rescale=True, rescale_factor=1 / 255),
    OTHER | dict(do_normalize=False),
    dict(image_mean=[127.5] * 3, image_std=[60.0, 127.5, 255], do_rescale=False),
    dict(image_mean=[100, 127.5, 130], image_std=[64] * 3, rescale_factor=1),
    dict(image_mean=[1, 0.5, 0.75], image_std=[1, 2, 0.5], rescale_factor=1 / 127.5),
]


@pytest.mark.parametrize('said', NORMALISED, ids=range(len(NORMALISED)))
def test_pixels_are_normalised_as_the_file_says(said, tmp_path):
    "By the definition of an image processor: values times factor, less the mean, by the deviation."
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(said))
    facts = weights.folder_facts(tmp_path)
    v = torch.arange(256).expand(3, 1, 256).to(torch.uint8)
    right = v.double() * said.get('rescale_factor', 1 / 255) if said.get('do_rescale', True) else v.double()
    if said.get('do_normalize', True):
        mean, std = (torch.tensor(said[k], dtype=torch.float64).view(3, 1, 1) for k in ('image_mean', 'image_std'))
        right = (right - mean) / std
    assert torch.allclose(to_float(v, facts['mean'], facts['std']).double(), right, atol=1e-5)


def test_a_filter_that_is_said_alone_is_taken(tmp_path):
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(dict(resample=2)))
    assert weights.folder_facts(tmp_path)['interpolation'] == 'bilinear'


ODD = [None, True, False, 0, -1, 3, 0.5, 127.5, 'x', '224', [], [0.5], [0.5] * 4, [0, 0, 0], ['a'] * 3, {}, dict(a=1)]
ODD += [[0.5, None, 0.5], [224, 336], dict(height=224), dict(shortest_edge='x'), float('nan'), [float('inf')] * 3]
KEYS = 'image_mean image_std size crop_size resample rescale_factor do_resize do_rescale'.split()
SETTINGS = [
    (
        'preprocessor_config.json',
        (),
        dict(HALF, size=dict(shortest_edge=224)),
        [*KEYS, 'do_center_crop', 'do_normalize'],
    ),
    (
        'preprocessor_config.json',
        (),
        dict(HALF, size=dict(height=8, width=8)),
        [*KEYS, 'do_pad', 'image_processor_type'],
    ),
    ('processor_config.json', ('image_processor',), HALF, KEYS),
    ('processor_config.json', (), {}, ['image_processor']),
    ('config.json', (), dict(model_type='clip'), ['model_type', 'text_config', 'vision_config']),
    ('config.json', ('text_config',), {}, ['hidden_act']),
    ('open_clip_config.json', (), {}, ['model_cfg', 'preprocess_cfg']),
    ('open_clip_config.json', ('model_cfg',), {}, ['quick_gelu', 'vision_cfg']),
    (
        'open_clip_config.json',
        ('preprocess_cfg',),
        dict(mean=[0.5] * 3, std=[0.5] * 3),
        ['mean', 'std', 'size', 'mode', 'interpolation', 'resize_mode', 'fill_color'],
    ),
]
ODDLY = [(name, path, start, key, odd) for name, path, start, keys in SETTINGS for key in keys for odd in ODD]


def test_an_odd_value_in_a_file_beside_the_weights_is_taken_or_named(tmp_path):
    "Never a traceback: facts that a model can use, or one line that names the file and the key."
    refused = 0
    for name, path, start, key, odd in ODDLY:
        said = start | {key: odd}
        for part in path:
            said = {part: said}
        if name == 'config.json' and path:
            said |= dict(model_type='clip')
        (tmp_path / name).write_text(json.dumps(said))
        try:
            facts = weights.folder_facts(tmp_path)
        except ValueError as e:
            assert str(e).startswith(f'{tmp_path / name}: ') and '\n' not in str(e), (key, odd)
            refused += 1
        else:
            w = weights.Weights({}, **facts)
            assert all(len(x) in (0, 3) and all(0 <= v <= 1 for v in x) for x in (w.mean, w.std)), (key, odd)
            assert not w.std or min(w.std) > 0, (key, odd)
            assert w.resize in ('', 'shortest', 'squash', 'longest') and w.interpolation in ('', 'bicubic', 'bilinear')
            assert type(w.size) is int
        (tmp_path / name).unlink()
    assert refused > len(ODDLY) / 2


def test_settings_of_two_programs_that_differ_are_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(weights, 'say', lambda line, once=False: said.append(line.replace(f'{tmp_path}: ', '')))
    ours = dict(model_cfg=dict(quick_gelu=True), preprocess_cfg=dict(mean=[0.5] * 3, std=[0.25] * 3))
    (tmp_path / 'open_clip_config.json').write_text(json.dumps(ours))
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(HALF | dict(size=dict(shortest_edge=224))))
    assert weights.folder_facts(tmp_path)['size'] == 224 and said == []
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(OTHER | dict(size=dict(height=8, width=8))))
    facts = weights.folder_facts(tmp_path)
    assert (facts['mean'], facts['resize'], facts['activation']) == ((0.5,) * 3, 'shortest', 'quick_gelu')
    assert [s.split()[0] for s in said] == ['mean', 'resize', 'std']
    assert said[1] == 'resize shortest in open_clip_config.json, which is taken, and squash in the other files'


def test_a_size_that_the_architecture_does_not_take_is_refused(tmp_path):
    shutil.copy(MINI_WEIGHTS, tmp_path / 'model.safetensors')
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(HALF | dict(size=96)))
    with pytest.raises(
        ValueError, match='say pictures of 96 px, and mini takes 64 px: say image_size=96 or image_size=64'
    ):
        load_clip('mini', str(tmp_path))
    assert load_clip('mini', str(tmp_path), image_size=96).visual.size == 96
    clip = load_clip('mini', str(tmp_path), image_size=64)
    assert (clip.mean, clip.std, clip.resize) == ((0.5,) * 3, (0.25,) * 3, 'clip')


@pytest.fixture
def parts(tmp_path):
    "MiniCLIP's weights in three files with an index."
    shutil.copy(MINI_WEIGHTS, tmp_path / 'model.safetensors')
    return tmp_path, in_parts(tmp_path)


def test_weights_in_parts_are_those_in_one_file(parts):
    folder, _ = parts
    clip, whole = load_clip('mini', str(folder)), load_clip()
    for a, b in ((clip.visual, whole.visual), (clip.text, whole.text)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))
    assert [f.name for f in weights.files_read(folder)][:2] == [
        'model.safetensors.index.json',
        'model-00001-of-00003.safetensors',
    ]
    part = folder / 'model-00002-of-00003.safetensors'
    save_file({k: v + 1e-3 for k, v in load_file(part).items()}, part)
    assert load_clip('mini', str(folder)).digest != clip.digest


def other_map(index, change):
    "The index with another map of tensors."
    index.write_text(json.dumps(dict(weight_map=change(json.loads(index.read_text())['weight_map']))))


@pytest.mark.parametrize(
    'change, said',
    [
        (lambda where: {}, 'names no weights'),
        (lambda where: [*where], 'names no weights'),
        (lambda where: where | {'more': '../model.safetensors'}, "outside its folder, '../model.safetensors'"),
        (lambda where: where | {'more': '/model.safetensors'}, "outside its folder, '/model.safetensors'"),
        (lambda where: where | {'more': 'model-00004.safetensors'}, 'names 4 parts, and missing are: model-00004'),
        (lambda where: where | {'more': 'model-00001-of-00003.safetensors'}, 'lacks more: it is not the part'),
        (lambda where: dict([*where.items()][1:]), 'holds .*, too: it is not the part'),
    ],
)
def test_an_index_that_does_not_fit_its_parts_is_refused(parts, change, said):
    folder, _ = parts
    other_map(folder / 'model.safetensors.index.json', change)
    with pytest.raises((ValueError, FileNotFoundError), match=said) as e:
        load_clip('mini', str(folder))
    assert '\n' not in str(e.value)


PHOTOGRAPHS = ('train2017', 'val2017')


def test_photographs_are_prepared_as_openai_and_open_clip_do(bench):
    folder = bench / 'coco_real'
    if not folder.is_dir():
        pytest.skip('no photographs there')
    files = [f for part in PHOTOGRAPHS for f in sorted((folder / part).glob('*.jpg'))]
    assert len(files) > 100
    clip = load_clip()._replace(visual=types.SimpleNamespace(size=224))
    siglip = clip._replace(mean=(0.5,) * 3, std=(0.5,) * 3, resize='squash')
    half = dict(mean=(0.5,) * 3, std=(0.5,) * 3)
    theirs = {
        "open_clip's": (clip, open_clip.image_transform(224, False)),
        "SigLIP's": (siglip, open_clip.image_transform(224, False, resize_mode='squash', **half)),
        "OpenAI's": (clip, openai().clip._transform(224)),
    }
    worst = {}
    for file in files:
        im = Image.open(file).convert('RGB')
        for name, (ours, transform) in theirs.items():
            d = (pixels(ours, file)[0] - transform(im)).abs().max().item()
            worst[name] = max(worst.get(name, 0), d)
    assert max(worst.values()) < 1e-6, worst


def siglip_tokenizer(folder):
    "A SentencePiece model of SigLIP's kind, trained here: no start token, one token for the end and the padding."
    spm = pytest.importorskip('sentencepiece')
    pytest.importorskip('transformers')
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    names = 'person bicycle car dog cat horse elephant plant dining table tv bottle potted of a photo'.split()
    lines = [f'a photo of a {n} and a {m}' for n in names for m in names]
    ids = dict(pad_id=-1, unk_id=2, eos_id=1, bos_id=-1)
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(folder / 'spiece'),
        vocab_size=100,
        hard_vocab_limit=False,
        minloglevel=2,
        **ids,
    )
    said = dict(tokenizer_class='SiglipTokenizer', pad_token='</s>', eos_token='</s>', unk_token='<unk>')
    (folder / 'tokenizer_config.json').write_text(json.dumps(said | dict(additional_special_tokens=[])))


HEAD = '''<!-- made by tests/test_weights.py: python tests/test_weights.py -->
# Weights: which file gives what

`clip` names the architecture, `pretrained` the weights: a tag of open_clip, a file, or a folder. Every form below was
written by the software that it comes from, with random weights of full size, read by `load_clip`, and compared with
that software's own forward pass in fp32 on a CPU. OpenAI's package and open_clip's CLIP start from the picture and the
words, with their own preprocessing and tokenizer; the others start from our pixels and token ids. The number is the
largest |a - b| / |b| over the embeddings.

'''
FOOT = '''
What was decided, and from what:

- **Activation**: from the tag, OpenAI's published checksum, the three numbers that only OpenAI's state dict has, or
  `hidden_act` in `config.json`. A name that says otherwise is put right, with a line. Where nothing is known, which is
  a bare file with two possible activations, a line says what was taken; `quick_gelu=yes` or `no` decides.
- **Pixels**: from the tag, the checksum, `preprocessor_config.json`, `open_clip_config.json`, or what all tags of the
  architecture agree on; else CLIP's, with a line. `mean`, `std` and `resize` (`shortest`, `squash`, `longest`) decide.
- **Archives**: OpenAI's `.pt` is a program. It is never run: the tensors are read out of it, and only if its sha256 is
  one that OpenAI published.
- **SigLIP** needs `pip install -e '.[siglip]'` for its tokenizer, whose files are taken from beside the weights, or
  fetched.

Another `transform` than the model's own, for photographs that are not square: `python scripts/transforms.py` compares
them on scenes drawn 4:3 and 3:4 ([docs/transforms.md](transforms.md)).
'''


def table():
    "The text of docs/weights.md."
    rows = ['| weights | `clip` | compared with | image | text |', '|---|---|---|---|---|']
    for form in forms():
        with tempfile.TemporaryDirectory() as d, pytest.MonkeyPatch.context() as m:
            image, text = differences(form, Path(d), m)
        rows.append(f'| {form.what} | {form.given or form.arch} | {form.kind} | {image:.1e} | {text:.1e} |')
        print(rows[-1], flush=True)
    return HEAD + '\n'.join(rows) + '\n' + FOOT


def test_the_table_has_every_form_and_nothing_too_large():
    rows = [line.split(' | ') for line in TABLE.read_text().splitlines() if line.startswith('| ')][1:]
    assert [(r[0][2:], r[1], r[2]) for r in rows] == [(f.what, f.given or f.arch, f.kind) for f in forms()]
    assert all(float(x.strip(' |')) < LARGEST for r in rows for x in r[3:])


if __name__ == '__main__':
    TABLE.write_text(table(), encoding='utf-8', newline='\n')


@pytest.mark.parametrize('written, name', [('safetensors', 'w.pt'), ('torch', 'w.safetensors')])
def test_weights_are_known_by_what_they_hold(written, name, tmp_path):
    state = {'visual.proj': torch.randn(4, 3)}
    if written == 'safetensors':
        save_file(state, tmp_path / name)
    else:
        torch.save(state, tmp_path / name)
    torch.testing.assert_close(read_weights(tmp_path / name), state)
