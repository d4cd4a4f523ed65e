"""Classifiers that pool by attention, with the images second as `torch.nn.MultiheadAttention` has them, and with the class token in different places.

Exported with one image, the numbers in their shapes (`[1, heads, width]`) leave open which axis is the batch.
"""
import torch
from torch import nn

WIDTH, HEADS, CLASSES = 6, 2, 5


def tokens(features):
    """`[images, channels, height, width]` as `[places, images, channels]`."""
    return features.flatten(2).permute(2, 0, 1)


class Pool(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, **options)
        self.head = nn.Linear(WIDTH, CLASSES)

    def features(self, x):
        return torch.tanh(self.stem(x))


class Clip(Pool):
    """As CLIP's ResNets: the mean asks, and the mean and all places answer."""

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.randn(10, WIDTH))

    def forward(self, x):
        x = tokens(self.features(x))
        x = torch.cat([x.mean(0, keepdim=True), x]) + self.position[:, None]
        return self.head(self.attention(x[:1], x, x, need_weights=False)[0].squeeze(0))


class ClipWeights(Clip):
    """The same by the steps that also give the weights of the attention."""

    def forward(self, x):
        x = tokens(self.features(x))
        x = torch.cat([x.mean(0, keepdim=True), x]) + self.position[:, None]
        return self.head(self.attention(x[:1], x, x, need_weights=True)[0][0])


class Token(Pool):
    """A class token before the places, and attention among all of them."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))

    def forward(self, x):
        x = tokens(self.features(x))
        x = torch.cat([self.token.expand(-1, x.shape[1], -1), x])
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(x[0])


class Probe(Pool):
    """A learnt question, with the images first."""

    def __init__(self):
        super().__init__(batch_first=True)
        self.probe = nn.Parameter(torch.randn(1, 1, WIDTH))

    def forward(self, x):
        x = self.features(x).flatten(2).transpose(1, 2)
        return self.head(self.attention(self.probe.expand(len(x), -1, -1), x, x, need_weights=False)[0][:, 0])


class Several(Pool):
    """Three learnt questions of which the answers are joined, with the images second."""

    def __init__(self):
        super().__init__()
        self.probes = nn.Parameter(torch.randn(3, 1, WIDTH))
        self.head = nn.Linear(3 * WIDTH, CLASSES)

    def forward(self, x):
        x = tokens(self.features(x))
        answers = self.attention(self.probes.expand(-1, x.shape[1], -1), x, x, need_weights=False)[0]
        return self.head(answers.permute(1, 0, 2).flatten(1))


class Mean(Pool):
    """The mean asks, with the images first and heads by hand."""

    def forward(self, x):
        x = self.features(x).flatten(2).transpose(1, 2)
        images, places, width = x.shape
        q, k, v = nn.functional.linear(x, self.attention.in_proj_weight, self.attention.in_proj_bias).chunk(3, dim=-1)
        split = lambda t: t.reshape(images, -1, HEADS, width // HEADS).transpose(1, 2)
        q, k, v = split(q.mean(1, keepdim=True)), split(k), split(v)
        y = (q @ k.transpose(-2, -1) / (width // HEADS) ** 0.5).softmax(-1) @ v
        return self.head(self.attention.out_proj(y.transpose(1, 2).reshape(images, width)))


class Encoder(nn.Module):
    """Layers of `torch.nn.TransformerEncoder` with the images second, after a class token."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.layers = nn.Sequential(*[nn.TransformerEncoderLayer(WIDTH, HEADS, 8, dropout=0.0) for _ in range(2)])
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        x = tokens(torch.tanh(self.stem(x)))
        x = torch.cat([self.token.expand(-1, x.shape[1], -1), x])
        # The fast path of inference is no operator of ONNX.
        torch.backends.mha.set_fastpath_enabled(False)
        return self.head(self.layers(x)[0])


NETWORKS = {
    "pool_clip": (Clip, 12),
    "pool_clip_weights": (ClipWeights, 12),
    "pool_token": (Token, 12),
    "pool_probe": (Probe, 12),
    "pool_several": (Several, 12),
    "pool_mean": (Mean, 12),
    "pool_encoder": (Encoder, 12),
}
