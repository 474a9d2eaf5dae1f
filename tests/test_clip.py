"Every kind of CLIP that open_clip knows, made small; and ViT-B/16 as it is."

import copy, json, logging

import open_clip, pytest, timm, torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from hpdval import core
from hpdval.clip import (
    LOCALS,
    ImageTower,
    _at_size,
    _Trunk,
    activations,
    as_clip,
    load_clip,
    make_student,
    mini_clip,
    pack,
    unpack,
)
from hpdval.config import make_config
from hpdval.data import Split
from hpdval.model import build_model, model_state, restore
from hpdval.train import train_stage1
from hpdval.weights import architectures

SAMPLE = ['a photo of a dog.', 'a photo of a potted plant on a dining table.', 'cat']


def shrunk(arch):
    "The config of an architecture, its kind kept, its size taken away; None for captioners, other libraries' towers."
    cfg = open_clip.get_model_config(arch)
    vision, text = cfg['vision_cfg'], cfg['text_cfg']
    if 'hf_model_name' in text or 'multimodal_cfg' in cfg:
        return None
    timm = vision.get('timm_model_name')
    if timm and not timm.startswith(('vit_', 'eva02_')):
        return None
    if not timm and not isinstance(vision['layers'], int):
        return None  # a ResNet, tested in a section of its own
    cfg['embed_dim'] = 64 if timm else 32  # a head without projection has the width of test_vit
    if timm:
        vision.update(timm_model_name='test_vit', timm_model_pretrained=False, image_size=160)
    else:
        vision.update(width=64, layers=2, head_width=32, image_size=4 * vision['patch_size'], mlp_ratio=2.0)
    text.update(
        width=cfg['embed_dim'], heads=2, layers=2, vocab_size=49408, context_length=min(text['context_length'], 77)
    )
    text.pop('mlp_ratio', None)
    text.pop('hf_tokenizer_name', None)
    return cfg


def kinds():
    "One architecture per different shrunk config."
    seen = {}
    for arch in open_clip.list_models():
        if (cfg := shrunk(arch)) is not None:
            seen.setdefault(json.dumps(cfg, sort_keys=True), arch)
    return sorted(seen.values())


def build(cfg):
    cfg = copy.deepcopy(cfg)
    make = open_clip.CustomTextCLIP if cfg.pop('custom_text', False) else open_clip.CLIP
    torch.manual_seed(0)
    return stirred(make(**cfg).eval())


def stirred(model):
    "Random numbers where an untrained network has zeros and ones, and so would hide what reads them."
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.LayerNorm)):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
        for name in ('in_proj_bias', 'gamma', 'gamma_1', 'v_bias', 'q_bias', 'bias'):
            own = getattr(module, name, None)
            if isinstance(own, torch.nn.Parameter) and not own.any():
                torch.nn.init.normal_(own, std=0.1)
    return model


def alone(n):  # [n,n]
    "A mask that lets each of n tokens see itself."
    return torch.eye(n).log()


def naive_block(block, x):
    "A last block under that mask, without residual and MLP, whoever made it."
    mask = alone(x.shape[1])
    if hasattr(block, 'ln_1'):
        return block.ls_1(block.attention(block.ln_1(x), attn_mask=mask))
    out = block.attn(block.norm1(x), attn_mask=mask)
    return block.ls1(out) if hasattr(block, 'ls1') else out * (1 if block.gamma_1 is None else block.gamma_1)


def entering(block, run, x):
    "What enters a block while `run(x)` goes through it."
    kept = []
    with torch.no_grad():
        hook = block.register_forward_pre_hook(lambda block, args: kept.append(args[0]))
        run(x)
        hook.remove()
    return kept[0]


@torch.no_grad()
def naive_values(visual, x):  # -> [B,N,D]
    "Patches by the values, the long way: two masks, or for pools without attention one patch after another."
    if isinstance(visual, VisionTransformer):
        last = visual.transformer.resblocks[-1]
        z = visual.ln_post(naive_block(last, entering(last, visual, x)))[:, 1:]
        return z if visual.proj is None else z @ visual.proj
    trunk = visual.trunk
    last, first = trunk.blocks[-1], trunk.num_prefix_tokens
    z = trunk.norm(naive_block(last, entering(last, trunk.forward_features, x)))
    if getattr(trunk, 'attn_pool', None) is not None:
        z = z[:, first:]
        seen = [trunk.attn_pool(z, attn_mask=row[None]) for row in alone(z.shape[1])]
    else:
        seen = [z[:, j] for j in range(first, z.shape[1])]  # the class token's place, or a mean of one
    return torch.stack([visual.head(trunk.head(trunk.fc_norm(s))) for s in seen], 1)


@pytest.mark.parametrize('arch', kinds())
def test_every_kind_of_tower_gives_what_open_clip_gives(arch):
    cfg = shrunk(arch)
    model = build(cfg)
    x = torch.randn(2, 3, *model.visual.image_size)
    ids = open_clip.SimpleTokenizer(context_length=cfg['text_cfg']['context_length'])(SAMPLE)
    if 'eos_id' in cfg['text_cfg']:
        ids[ids == 49407] = cfg['text_cfg']['eos_id']  # the tokenizer of these models ends so
    with torch.no_grad():
        image, text = model.encode_image(x), model.encode_text(ids)
    try:
        clip = as_clip(model)
    except ValueError as e:
        assert 'no patch tokens' in str(e)
        pytest.skip(f'refused: {e}')
    with torch.no_grad():
        (g, p), t = clip.visual(x), clip.text(ids)
    torch.testing.assert_close(g, image, atol=1e-5, rtol=1e-4)
    assert p.shape == (2, clip.visual.grid[0] * clip.visual.grid[1], clip.width) and p.isfinite().all()
    with torch.no_grad():
        whole, values = clip.visual(x, 'values')
    torch.testing.assert_close(whole, image, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(values, naive_values(model.visual, x), atol=1e-5, rtol=1e-4)
    assert (values - p).abs().max() > 1e-2
    torch.testing.assert_close(t, text, atol=1e-5, rtol=1e-4)  # at the shortest exact length, against full length
    if clip.text.causal:
        assert clip.text.cut(ids).shape[1] < ids.shape[1]
    else:
        assert clip.text.cut(ids).shape == ids.shape


def test_a_patch_is_embedded_as_the_class_token_is():
    "What the last norm and the projection make of one token does not depend on which token it is."
    model = build(shrunk('ViT-B-16'))
    clip = as_clip(model)
    x = torch.randn(1, 3, 64, 64)
    model.visual.output_tokens = True
    with torch.no_grad():
        _, tokens = model.visual(x)  # after the last norm
        torch.testing.assert_close(clip.visual(x)[1], tokens @ model.visual.proj)


TRUNKS = {
    'class token': dict(model_name='test_vit', pool='token'),
    'mean': dict(model_name='test_vit', pool='avg'),
    'attention pool': dict(model_name='test_vit', pool='map'),
    'layer scale, registers': dict(model_name='test_vit2', pool='avg'),
    'EVA': dict(model_name='eva02_tiny_patch14_224', pool='token'),
    'EVA, joint matrix': dict(model_name='eva_small_patch14_224', pool='avg'),
}


def small_eva(name, pool):
    "An EVA of timm, two blocks deep, with one matrix for queries, keys and values or three."
    how = dict(img_size=64, patch_size=16, embed_dim=64, depth=2, num_heads=2, num_classes=0, global_pool=pool)
    how |= dict(qkv_fused='eva02' not in name, init_values=0.5, use_rot_pos_emb='eva02' in name, ref_feat_shape=(4, 4))
    return _Trunk(timm.models.eva.Eva(**how, swiglu_mlp=True), 64)


@pytest.mark.parametrize('kind', TRUNKS)
def test_values_of_a_timm_trunk_are_the_naive_ones(kind):
    name, pool = TRUNKS[kind].values()
    torch.manual_seed(0)
    eva = name.startswith('eva')
    visual = small_eva(name, pool) if eva else TimmModel(name, 64, 160, pool=pool, proj='none')
    tower = ImageTower(stirred(visual.eval()))
    x = torch.randn(2, 3, tower.size, tower.size)
    with torch.no_grad():
        (g, p), (whole, values) = tower(x), tower(x, 'values')
    torch.testing.assert_close(whole, g)
    torch.testing.assert_close(values, naive_values(visual, x), atol=1e-5, rtol=1e-4)
    assert values.shape == p.shape and (values - p).abs().max() > 1e-2


def test_a_student_of_timm_embeds_by_values():
    torch.manual_seed(0)
    cfg = make_config('dval', 'icon-voc-lt', student='vit_tiny_patch16_224', embedding='mlp', local='values')
    tower = make_student(load_clip(), cfg.student, 'random', cfg.embedding, local=cfg.local)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        right = tower.embed(naive_values(tower.visual, tower.pixels(x)))
        torch.testing.assert_close(tower(x)[1], right, atol=1e-5, rtol=1e-4)


def test_a_last_block_of_another_make_has_no_values():
    trunk = timm.create_model('test_vit', num_classes=0)
    trunk.blocks[-1] = timm.models.vision_transformer.ParallelScalingBlock(64, 2)
    with pytest.raises(ValueError, match="an attention with values of its own.*, not odd: take local='tokens'"):
        ImageTower(_Trunk(trunk, 160), 'odd', 'values')


def small_resnet(size=96):
    "A CLIP with a ResNet of OpenAI's make."
    return build(
        dict(
            embed_dim=64,
            vision_cfg=dict(layers=[1, 2, 1, 1], width=16, image_size=size),
            text_cfg=dict(context_length=77, vocab_size=49408, width=64, heads=2, layers=1),
        )
    )


def naive_pool(pool, features, mask=None):  # [B,W,h,w] -> [B,1+N,D]
    "torch's attention with the weights of the pool, asked by the mean and by every place."
    places = torch.stack([features[:, :, r, c] for r in range(features.shape[2]) for c in range(features.shape[3])])
    x = torch.cat([places.mean(0, keepdim=True), places]) + pool.positional_embedding[:, None]
    parts = (pool.q_proj, pool.k_proj, pool.v_proj)
    attention = torch.nn.MultiheadAttention(x.shape[-1], pool.num_heads)
    attention.in_proj_weight.data = torch.cat([part.weight for part in parts])
    attention.in_proj_bias.data = torch.cat([part.bias for part in parts])
    attention.out_proj = pool.c_proj
    return attention(x, x, x, attn_mask=mask, need_weights=False)[0].transpose(0, 1)


@pytest.mark.parametrize('local', ['tokens', 'values'])
def test_places_of_a_resnet(local):
    "The pool asked by every place, and the pool under a mask that shows each query its own place."
    model = small_resnet()
    tower = as_clip(model).visual
    x = torch.randn(2, 3, 96, 96)
    features = entering(model.visual.attnpool, model.visual, x)
    with torch.no_grad():
        g, p = tower(x, local)
        right = naive_pool(model.visual.attnpool, features, alone(10) if local == 'values' else None)
        torch.testing.assert_close(g, model.encode_image(x), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(p, right[:, 1:], atol=1e-5, rtol=1e-4)
    assert tower.grid == (3, 3) and p.shape == (2, 9, 64)


def test_a_place_of_a_resnet_is_where_the_grid_says():
    "A change of the picture's lower left corner changes that place's values most."
    tower = as_clip(small_resnet(320)).visual.look('values')
    x = torch.randn(1, 3, 320, 320)
    other = x.clone()
    other[:, :, 300:, :20] = 3.0
    with torch.no_grad():
        change = (tower(x)[1] - tower(other)[1]).norm(dim=-1).view(tower.grid)
    assert tower.grid == (10, 10) and int(change.argmax()) == 90


@pytest.mark.parametrize('local', ['tokens', 'values'])
def test_stage_1_trains_a_resnet_and_leaves_its_statistics(local, tmp_path):
    "Scales, shifts and convolutions move; running means and deviations, which evaluation mode reads, do not."
    clip = as_clip(small_resnet(64))
    cfg = make_config(
        'dval', 'icon-voc-lt', local=local, epochs1=1, batch_size=8, loss='bce', select='last', device='cpu'
    )
    model = build_model(cfg, clip, ('dog', 'cat'), 'cpu')
    before = {k: v.clone() for k, v in model.visual.state_dict().items()}
    images = torch.randint(256, (16, 3, 64, 64), dtype=torch.uint8)
    data = Split(images, torch.randint(2, (16, 2), dtype=torch.uint8), ('dog', 'cat'), [''] * 16)
    train_stage1(model, clip, data, None, tmp_path / '1.pt', progress=False)
    moved = {k for k, v in model.visual.state_dict().items() if not torch.equal(v, before[k])}
    statistics = {k for k in before if 'running' in k or 'num_batches' in k}
    assert len(statistics) == 3 * sum(isinstance(m, torch.nn.BatchNorm2d) for m in model.visual.modules()) > 0
    without = {'visual.attnpool.k_proj.bias'}  # which adds the same to all that a softmax compares
    assert moved | without == before.keys() - statistics
    restored = build_model(cfg, clip, ('dog', 'cat'), 'cpu')
    save_file(model_state(model), tmp_path / 'model.safetensors')
    restore(restored, tmp_path)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(restored.visual(x), model.visual(x))


def small_towers():
    "One tower of every kind, by its name."
    names = {'ViT': build(shrunk('ViT-B-16')).visual, 'ResNet': small_resnet().visual}
    for name, make in {
        'SigLIP': ('test_vit', 160, 'map', 'none'),
        'ConvNeXt': ('test_convnext', 96, '', 'linear'),
    }.items():
        arch, size, pool, proj = make
        names[name] = stirred(TimmModel(arch, 64, size, pool=pool, proj=proj).eval())
    return {name: ImageTower(visual, name) for name, visual in names.items()}


KINDS = [(k, v) for k in ('ViT', 'ResNet', 'SigLIP', 'ConvNeXt') for v in LOCALS if (k, v) != ('ConvNeXt', 'values')]


@pytest.mark.parametrize('kind, local', KINDS)
def test_bfloat16_is_near(kind, local):
    tower = small_towers()[kind]
    x = torch.randn(2, 3, tower.size, tower.size)
    with torch.no_grad():
        right = tower(x, local)
        with torch.autocast('cpu', torch.bfloat16):
            found = tower(x, local)
    for a, b in zip(found, right):
        assert torch.nn.functional.cosine_similarity(a.float(), b, dim=-1).min() > 0.99


@pytest.fixture(scope='module')
def rn50_file(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp('weights') / 'rn50.safetensors'
    save_file(stirred(open_clip.create_model('RN50')).state_dict(), file)
    return str(file)


def test_a_resnet_at_another_size(rn50_file):
    "open_clip interpolates no positions of a ResNet; ours are those that it would make of a ViT's."
    with pytest.raises(RuntimeError, match='attnpool.positional_embedding'):
        open_clip.create_model('RN50', pretrained=rn50_file, force_image_size=160)
    at = {size: load_clip('RN50', rn50_file, image_size=size) for size in (0, 160)}
    own, other = (c.visual.visual.attnpool.positional_embedding for c in at.values())
    vit = dict(layers=1, width=2048, patch_size=32, image_size=160, mlp_ratio=0.1)
    vit = open_clip.CLIP(64, vit, dict(width=64, heads=2, layers=1))
    state = {'visual.positional_embedding': own}
    open_clip.model.resize_pos_embed(state, vit)
    torch.testing.assert_close(other, state['visual.positional_embedding'])
    clip = at[160]
    assert (clip.visual.size, clip.visual.grid, other.shape) == (160, (5, 5), (26, 2048))
    theirs = copy.deepcopy(clip.visual.visual)
    x = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        g, p = clip.visual(x)
        torch.testing.assert_close(g, theirs(x), atol=1e-5, rtol=1e-4)
    assert p.shape == (1, 25, 1024)


@pytest.mark.parametrize('arch, grid', [('RN101', (7, 7)), ('RN50x4', (9, 9))])
def test_other_resnets_at_full_size(arch, grid):
    torch.manual_seed(0)
    model = stirred(open_clip.create_model(arch).eval())
    tower = as_clip(model).visual
    x = torch.randn(1, 3, tower.size, tower.size)
    with torch.no_grad():
        right = model.encode_image(x)
        for local in LOCALS:
            g, p = tower(x, local)
            torch.testing.assert_close(g, right, atol=1e-5 * float(right.abs().max()), rtol=1e-4)
            assert tower.grid == grid and p.shape == (1, grid[0] * grid[1], right.shape[1])


def test_a_resnet_under_the_wrong_name_is_told_the_right_one(rn50_file):
    for wrong in ('RN101', 'ViT-B-32'):
        with pytest.raises(ValueError, match='do not fit the architecture.*; take RN50 or'):
            load_clip(wrong, rn50_file)


@pytest.mark.parametrize('proj', ['linear', 'mlp'])
def test_places_of_a_convnext(proj):
    "A mean over one place alone, through the head."
    torch.manual_seed(0)
    visual = stirred(TimmModel('test_convnext', embed_dim=32, image_size=96, pool='', proj=proj).eval())
    tower = ImageTower(visual, 'test')
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        g, p = tower(x)
        features = visual.trunk.forward_features(x)
        masked = [features * one for one in 9 * torch.eye(9).view(9, 1, 1, 3, 3)]  # the mean divides by 9
        right = torch.stack([visual.head(visual.trunk.forward_head(m)) for m in masked], 1)
        torch.testing.assert_close(g, visual(x), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(p, right, atol=1e-5, rtol=1e-4)
    assert tower.grid == (3, 3) and p.shape == (2, 9, 32)
    with pytest.raises(ValueError, match="an attention with values of its own.*, not test: take local='tokens'"):
        tower.look('values')


def test_a_convnext_at_another_size():
    model = open_clip.create_model('convnext_tiny').eval()
    clip = as_clip(_at_size(model, 'convnext_tiny', 128))
    x = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        g, p = clip.visual(x)
        torch.testing.assert_close(g, model.encode_image(x), atol=1e-5, rtol=1e-4)
    assert (clip.visual.size, clip.visual.grid, p.shape) == (128, (4, 4), (1, 16, 1024))


def test_a_tower_without_patch_tokens_is_refused():
    with pytest.raises(ValueError, match='no patch tokens in the joint space; take a Vision Transformer'):
        as_clip(open_clip.create_model('swin_base_patch4_window7_224'))


def test_vit_b_16_at_full_size_from_a_file(tmp_path):
    torch.manual_seed(0)
    model = open_clip.create_model('ViT-B-16').eval()
    file = tmp_path / 'weights.safetensors'
    save_file(model.state_dict(), file)
    clip = load_clip('ViT-B-16', str(file))
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        g, p = clip.visual(x)
        torch.testing.assert_close(g, model.encode_image(x), atol=1e-5, rtol=1e-4)
        ids = clip.tokenizer(SAMPLE[:2])
        torch.testing.assert_close(clip.text(ids), model.encode_text(ids), atol=1e-5, rtol=1e-4)
    assert p.shape == (1, 196, 512) and clip.visual.grid == (14, 14) and clip.text.cut(ids).shape[1] == 13


SMALL = 'ViT-S-32-alt'


@pytest.fixture(scope='module')
def small_file(tmp_path_factory):
    "The smallest ViT of open_clip, random, as a file."
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp('weights') / 'small.safetensors'
    save_file(open_clip.create_model(SMALL).state_dict(), file)
    return str(file)


@pytest.mark.parametrize('size', [128, 320])
def test_another_image_size_is_as_open_clip_makes_it(size, small_file):
    theirs = open_clip.create_model(SMALL, pretrained=small_file, force_image_size=size).eval()
    clip = load_clip(SMALL, small_file, image_size=size)
    x = torch.randn(1, 3, size, size)
    with torch.no_grad():
        g, p = clip.visual(x)
        torch.testing.assert_close(g, theirs.encode_image(x), atol=1e-5, rtol=1e-4)
    assert clip.visual.grid == (size // 32, size // 32) and p.shape[1] == (size // 32) ** 2


def test_a_timm_tower_at_another_size():
    model = build(shrunk('ViT-B-16-SigLIP'))
    before = model.visual.trunk.pos_embed.detach().clone()
    other = _at_size(model, 'ViT-B-16-SigLIP', 192)
    right = resample_abs_pos_embed(before, (12, 12), (10, 10), num_prefix_tokens=1)
    torch.testing.assert_close(other.visual.trunk.pos_embed.detach()[:, -144:], right[:, -144:])
    clip = as_clip(other)
    assert (clip.visual.size, clip.visual.grid) == (192, (12, 12))
    assert clip.visual(torch.zeros(1, 3, 192, 192))[1].shape == (1, 144, clip.width)


def test_miniclip_at_another_size():
    clip = load_clip('mini', image_size=96)
    assert clip.visual(torch.zeros(1, 3, 96, 96))[1].shape == (1, 144, 128)
    with pytest.raises(ValueError, match='image_size must be a multiple of the patch size, 8, got 100'):
        load_clip('mini', image_size=100)


def test_the_pixels_of_a_file_can_be_said(small_file, capsys):
    clip = load_clip(SMALL, small_file)
    assert 'mean, std, resize of the pixels not known' in capsys.readouterr().err and clip.resize == 'clip'
    clip = load_clip(SMALL, small_file, mean='.5', std=(0.1, 0.2, 0.3), resize='squash')
    assert (clip.mean, clip.std, clip.resize) == ((0.5,) * 3, (0.1, 0.2, 0.3), 'squash')
    assert capsys.readouterr().err == ''
    assert [clip.transform(t) for t in ('clip', 'pad', 'official')] == ['squash', 'pad', 'official']


def test_a_tag_and_a_name_that_disagree_are_put_right(small_file, monkeypatch, capsys):
    "LAION's tag under the name with QuickGELU, and OpenAI's under the one without; the download is a stand-in."
    cfg = open_clip.get_model_config(SMALL)
    for name, quick, tag in (('ViT-Z', False, 'quick'), ('ViT-Z-quickgelu', True, 'plain')):
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, copy.deepcopy(cfg) | dict(quick_gelu=quick))
        told = open_clip.pretrained._pcfg(url='x', quick_gelu=tag == 'quick')
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {tag: told})
    monkeypatch.setattr('open_clip.factory.download_pretrained', lambda *a, **k: small_file)
    kinds = {}
    for name, tag in (('ViT-Z', 'quick'), ('ViT-Z-quickgelu', 'plain')):
        kinds[tag] = activations(load_clip(name, tag).visual)
        assert f'as the weights were trained with, in the place of' in capsys.readouterr().err
    assert kinds == {'quick': {'quick_gelu'}, 'plain': {'gelu'}}


def test_who_takes_the_wrong_name_is_told_the_right_one(small_file):
    with pytest.raises(ValueError, match=f'do not fit the architecture.*; take {SMALL}, whose sizes they have'):
        load_clip('ViT-B-32', small_file)
    assert architectures(mini_clip().state_dict()) == []


@pytest.mark.parametrize(
    'what, why',
    [
        ([1, 2], 'holds a value of type list and no state dict'),
        (3.5, 'holds a value of type float and no state dict'),
        ({'visual.proj': torch.full((2, 2), float('nan'))}, 'visual.proj has 4 of 4 numbers that are NaN or infinite'),
    ],
)
def test_what_is_no_clip_is_refused_in_one_line(what, why, tmp_path):
    torch.save(what, tmp_path / 'x.pt')
    with pytest.raises(ValueError) as e:
        load_clip('ViT-B-16', str(tmp_path / 'x.pt'))
    assert why in str(e.value) and '\n' not in str(e.value)


def test_a_missing_package_is_named(small_file, monkeypatch, tmp_path):
    def missing(*a, **k):
        raise ModuleNotFoundError("No module named 'transformers'")

    monkeypatch.setattr('hpdval.clip.HFTokenizer', missing)
    model = open_clip.create_model('ViT-B-16-SigLIP', force_image_size=32)
    with pytest.raises(
        ValueError, match=r"needs more packages \(No module named 'transformers'\): pip install '?transformers"
    ) as e:
        as_clip(model, 'ViT-B-16-SigLIP')
    assert '\n' not in str(e.value)


def test_without_a_network_two_lines_say_which_host_and_what_to_do(monkeypatch, capsys, caplog):
    hub = logging.getLogger('huggingface_hub.utils._http')

    def nothing(arch, pretrained):
        for i in range(5):
            hub.warning("'[Errno -2] Name or service not known' thrown while requesting HEAD https://huggingface.co/a")
            hub.warning(f'Retrying in {i}s [Retry {i}/5].')
        logging.error('open_clip: failed to download')
        raise OSError('no\nnetwork')

    monkeypatch.setattr('open_clip.create_model', nothing)
    core._print_once.cache_clear()
    before = logging.getLogger('huggingface_hub').handlers
    with pytest.raises(ConnectionError) as e:
        load_clip('ViT-B-16-quickgelu', 'openai')
    assert str(e.value) == (
        "the weights 'openai' of ViT-B-16-quickgelu could not be fetched from huggingface.co (OSError): behind a proxy "
        'set HTTPS_PROXY; if they were fetched before, HF_HUB_OFFLINE=1; without a network, give a local file as '
        '`pretrained` (-p pretrained FILE)'
    )
    assert capsys.readouterr().err == 'huggingface.co does not answer: trying again for a minute\n'
    assert logging.getLogger('huggingface_hub').handlers is before and not logging.root.filters and not caplog.records


@pytest.mark.parametrize('spoil', ['transposed', 'too few', 'an unknown token'])
def test_packed_words_that_do_not_belong_together_are_refused(spoil):
    state = pack({'token_embedding.weight': torch.randn(9, 4)}, [2, 5, 7])
    torch.testing.assert_close(unpack(state, 9)['token_embedding.weight'][5], state['token_embedding.rows'][1].float())
    if spoil == 'transposed':
        state['token_embedding.rows'] = state['token_embedding.rows'].T
    if spoil == 'too few':
        state['token_embedding.ids'] = state['token_embedding.ids'][:2]
    if spoil == 'an unknown token':
        state['token_embedding.ids'][0] = 9
    with pytest.raises(ValueError, match='^token_embedding.rows and .ids do not belong together'):
        unpack(state, 9)
