"""The order in which `spgraph finetune` takes images, written a second time: ChaCha8 keyed with (purpose 1, seed, epoch, 0), Fisher and Yates."""


def order(count, seed, epoch):
    """The images of an epoch (from 0)."""
    draw, items = numbers(seed, epoch), list(range(count))
    for i in range(count - 1, 0, -1):
        j = next(draw) * (i + 1) >> 64
        items[i], items[j] = items[j], items[i]
    return items


def batches(count, batch, steps, seed=0):
    """The images of each step; what fills no batch of an epoch is left out."""
    found, epoch = [], 0
    while len(found) < steps:
        images = order(count, seed, epoch)
        found += [images[k * batch : (k + 1) * batch] for k in range(count // batch)]
        epoch += 1
    return found[:steps]


def numbers(seed, epoch):
    """64-bit numbers of the stream."""
    key = [word for value in (1, seed, epoch, 0) for word in (value & 0xFFFFFFFF, value >> 32)]
    counter = 0
    while True:
        start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *key, counter & 0xFFFFFFFF, counter >> 32, 0, 0]
        x = list(start)
        for _ in range(4):
            for quarter in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
                mix(x, *quarter)
        words = [(a + b) & 0xFFFFFFFF for a, b in zip(x, start)]
        yield from (words[i] | words[i + 1] << 32 for i in range(0, 16, 2))
        counter += 1


def mix(x, a, b, c, d):
    for p, q, r, shift in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x[p] = (x[p] + x[q]) & 0xFFFFFFFF
        x[r] ^= x[p]
        x[r] = (x[r] << shift | x[r] >> (32 - shift)) & 0xFFFFFFFF
