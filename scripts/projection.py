"""What a million and a hundred million images would cost: `python scripts/projection.py` multiplies what was measured
elsewhere (docs/scale.md, docs/speed.md). Nothing of this size was run; several GPUs are a formula, in which nobody
waits for pixels and the tower is as fast on the few images of a process as on many: see docs/scale.md for what is not
so."""

from scale import EPOCHS, HELD_OUT, passes

CLASSES = 80
TEST = 1 / 20  # test images to a training image
PIXELS = 224 * 224 * 3  # bytes of a decoded image
FEATURES = (1 + 196) * 512 * 2  # bytes of its embeddings by ViT-B/16, float16
JPEG = 27_000  # bytes of a COCO photograph whose short side has 256 px: mean of 205
# measured on one H100, ViT-B/16, bf16, 80 classes
STEP1, STEP2, BATCH = 0.0248, 0.0156, 32  # seconds, images a GPU
SCORING = 4057  # images a second through the tower
# measured on a core of the machine of docs/scale.md
DECODE = 0.0049  # seconds, a JPEG of 640 x 480 px
DECODE_SMALL = 0.0022  # and one of `JPEG` bytes
READ, HOLDOUT, AP = 12e-6, 4.2e-6, 24e-6  # seconds of an image of 80 classes
LOAD_MEMORY = 1220  # bytes of an image while its list is read and its pixels, which are there, are checked
CHECK = 0.25  # seconds of a GB of pixels, which every process does at every start
# assumed, not measured
CORES = 16  # of a GPU
MACHINE = 8  # GPUs
LINKS = {8: 300e9, 64: 50e9}  # bytes a second of a GPU, within a machine and between machines
GRADIENTS = 86.2e6 * 4  # bytes of the image tower's

SIZES = {'a million': 10**6, 'a hundred million': 10**8}
GPUS = (1, 8, 64)


def exchange(gpus: int) -> float:  # seconds of a step of stage 1
    "All gradients once around a ring, nothing of it hidden behind the backward pass."
    return 2 * (gpus - 1) / gpus * GRADIENTS / LINKS[gpus] if gpus > 1 else 0.0


def hours(n: int, gpus: int) -> dict:
    "The paper's epochs on `n` training images, each GPU with a batch of its own."
    trained, held = (1 - HELD_OUT) * n, HELD_OUT * n
    steps = trained / BATCH / gpus
    judged = (1 + EPOCHS[0]) * held + EPOCHS[1] * held + 2 * TEST * n  # AP, by one core
    cores, machines = CORES * min(gpus, MACHINE), -(-gpus // MACHINE)
    images = (1 + TEST) * n
    seconds = {
        'decode, cores of a machine': min(machines, 2) * images * DECODE / cores,  # main's; then all others at once
        'check all pixels, once': images * PIXELS / 1e9 * CHECK * (gpus / machines) / cores,  # by every process
        'stage 1': EPOCHS[0] * steps * (STEP1 + exchange(gpus)),
        'stage 2': EPOCHS[1] * steps * STEP2,
        'passes without gradients': passes(n, round(TEST * n), EPOCHS) / SCORING / gpus,
        'lists and metrics, one core': n * (READ + HOLDOUT) + judged * AP,
    }
    return {name: s / 3600 for name, s in seconds.items()}


def size(n_bytes: float) -> str:
    "Bytes, readable."
    for unit, factor in (('TB', 1e12), ('GB', 1e9)):
        if n_bytes >= factor:
            return f'{n_bytes / factor:.3g} {unit}'
    return f'{n_bytes / 1e6:.3g} MB'


def kept(n: int) -> dict:
    "Disk and memory of `n` training images and those to test on."
    all_images = round((1 + TEST) * n)
    written = EPOCHS[1] * (1 - HELD_OUT) * n * FEATURES
    return {
        'decoded pixels, a file': size(all_images * PIXELS),
        'embeddings, a set of stage 2 and those to select by, files': size(n * FEATURES),
        'the photographs as JPEG of 256 px, where those are kept instead': size(all_images * JPEG),
        'embeddings that 10 epochs of stage 2 write with `copies=0`, on each machine': size(written),
        'lists and labels while a run is opened, memory of each process': size(all_images * LOAD_MEMORY),
        'scores of the training images, memory of each process': size((1 - HELD_OUT) * n * CLASSES * 4),
        'labels, memory of each GPU': size((1 - HELD_OUT) * n * CLASSES),
    }


def read_rates() -> str:
    "What the steps of a GPU read from the disk, and what decoding at each step would take."
    first, second = BATCH / STEP1, BATCH / STEP2
    return (
        f'A GPU reads {first * PIXELS / 1e6:.0f} MB/s of pixels in stage 1 and {second * FEATURES / 1e6:.0f} MB/s of '
        f'embeddings in stage 2; decoding at each step of stage 1 instead takes {first * DECODE_SMALL:.1f} cores. Of '
        'several processes each reads its own rows.'
    )


def main():
    disk = {name: kept(n) for name, n in SIZES.items()}
    print(f'| | {" | ".join(SIZES)} |\n|---|{"---|" * len(SIZES)}')
    for row in disk['a million']:
        print(f'| {row} | {" | ".join(d[row] for d in disk.values())} |')
    columns = {f'{name}, {g} GPU{"s" * (g > 1)}': hours(n, g) for name, n in SIZES.items() for g in GPUS}
    print(f'\n| hours | {" | ".join(columns)} |\n|---|{"---|" * len(columns)}')
    for row in columns['a million, 1 GPU']:
        print(f'| {row} | {" | ".join(f"{c[row]:.3g}" for c in columns.values())} |')
    print(f'| together | {" | ".join(f"{sum(c.values()):.3g}" for c in columns.values())} |')
    print(f'\n{read_rates()}')


if __name__ == '__main__':
    main()
