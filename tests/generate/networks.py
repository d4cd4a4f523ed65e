"""Small networks whose files cover what pretrained networks contain; `build(name)` gives module and input shape.

Weights are random and no two tensors are equal. BatchNorm statistics are those of random data, then disturbed, so that
training and frozen mode differ and neither saturates.
"""
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet
from torchvision.models.mobilenetv2 import InvertedResidual as InvertedResidualV2
from torchvision.models.mobilenetv3 import InvertedResidual as InvertedResidualV3
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.shufflenetv2 import InvertedResidual as ShuffleUnit

CLASSES = 5


def conv_bn(cin, cout, kernel, act=nn.ReLU, **options):
    return nn.Sequential(nn.Conv2d(cin, cout, kernel, bias=False, **options), nn.BatchNorm2d(cout), act())


def head(channels):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def projection(cin, cout, stride):
    return nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))


def basic():
    stem = nn.Sequential(conv_bn(3, 4, 3, padding=1), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(stem, resnet.BasicBlock(4, 4), resnet.BasicBlock(4, 6, 2, projection(4, 6, 2)), head(6))


def bottleneck():
    blocks = [resnet.Bottleneck(8, 2), resnet.Bottleneck(8, 3, 2, projection(8, 12, 2))]
    return nn.Sequential(conv_bn(3, 8, 3, stride=2, padding=1), *blocks, head(12))


def grouped():
    options = dict(groups=2, base_width=128)
    blocks = [resnet.Bottleneck(8, 2, **options), resnet.Bottleneck(8, 2, 2, projection(8, 8, 2), **options)]
    return nn.Sequential(conv_bn(3, 8, 3, padding=1), *blocks, head(8))


def dilated():
    mixed = nn.Conv2d(8, 6, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 3), bias=False)
    return nn.Sequential(
        conv_bn(3, 8, 3, padding=2, dilation=2), resnet.Bottleneck(8, 2, dilation=2), mixed, nn.BatchNorm2d(6), nn.ReLU(), head(6)
    )


class Padded(nn.Module):
    """Paddings that differ at the two ends, as networks that come from TensorFlow have them (`SAME` at stride 2)."""

    def __init__(self):
        super().__init__()
        self.a = conv_bn(3, 4, 3, stride=2)
        self.b = conv_bn(4, 5, 3, stride=2)
        self.c = conv_bn(5, 6, 5, padding=2)
        self.head = head(6)

    def forward(self, x):
        x = self.a(F.pad(x, (0, 1, 0, 1)))
        x = self.b(F.pad(x, (1, 0, 1, 0)))
        return self.head(self.c(x))


def mobilenet():
    def unit(*options):
        return InvertedResidualV3(InvertedResidualConfig(*options, 1, 1.0), nn.BatchNorm2d)

    return nn.Sequential(
        conv_bn(3, 8, 3, nn.Hardswish, stride=2, padding=1), unit(8, 3, 16, 8, True, "HS", 1), unit(8, 5, 16, 8, True, "RE", 2), Mean(8)
    )


class Mean(nn.Module):
    """A head that averages with `mean` rather than with a pooling layer."""

    def __init__(self, channels):
        super().__init__()
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, x):
        return self.fc(x.mean((2, 3)))


class SqueezeExcite(nn.Module):
    """EfficientNet's: a gate per channel, SiLU and a sigmoid."""

    def __init__(self, channels):
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 3, 1), nn.Conv2d(3, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.up(F.silu(self.down(x.mean((2, 3), keepdim=True)))))


def silu():
    return nn.Sequential(
        conv_bn(3, 6, 3, nn.SiLU, stride=2, padding=1), conv_bn(6, 6, 3, nn.SiLU, padding=1, groups=6), SqueezeExcite(6), head(6)
    )


def pool_ceil():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(4, 6, 1), nn.MaxPool2d(3, 1, 1),
        nn.MaxPool2d((2, 3), (2, 1), (1, 0)), nn.Conv2d(6, 6, 1), nn.MaxPool2d(2, 1, dilation=2), head(6),
    )  # fmt: skip


def average_pool():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(3, 2, 1, count_include_pad=True), nn.Conv2d(4, 6, 1), nn.ReLU(),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.Conv2d(6, 6, 1), nn.ReLU(), nn.AvgPool2d((2, 3), 1), head(6),
    )  # fmt: skip


class Inception(nn.Module):
    """Four branches, kernels 1×5 and 5×1, a concatenation."""

    def __init__(self):
        super().__init__()
        self.stem = conv_bn(3, 4, 3, stride=2)
        self.one = conv_bn(4, 3, 1)
        self.tall = nn.Sequential(conv_bn(4, 2, 1), conv_bn(2, 2, (1, 5), padding=(0, 2)), conv_bn(2, 3, (5, 1), padding=(2, 0)))
        self.pool = nn.Sequential(nn.AvgPool2d(3, 1, 1), conv_bn(4, 2, 1))
        self.head = head(12)

    def forward(self, x):
        x = self.stem(x)
        return self.head(torch.cat([self.one(x), self.tall(x), self.pool(x), F.max_pool2d(x, 3, 1, 1)], 1))


class Dense(nn.Module):
    """DenseNet: every layer sees all before it, BatchNorm before the convolution, so that it cannot be folded."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, 3, 3, padding=1, bias=False)) for c in (4, 7)
        )
        self.transition = nn.Sequential(nn.BatchNorm2d(10), nn.ReLU(), nn.Conv2d(10, 5, 1, bias=False), nn.AvgPool2d(2))
        self.norm, self.head = nn.BatchNorm2d(5), head(5)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.head(F.relu(self.norm(self.transition(x))))


def shuffle():
    return nn.Sequential(conv_bn(3, 6, 3, padding=1), ShuffleUnit(6, 8, 2), ShuffleUnit(8, 8, 1), Mean(8))


class Slices(nn.Module):
    """Channel and pixel slices, a strided slice, a split into uneven parts."""

    def __init__(self):
        super().__init__()
        self.stem, self.left, self.right = conv_bn(3, 7, 3), conv_bn(3, 3, 3, padding=1), conv_bn(4, 4, 1)
        self.head = head(6)

    def forward(self, x):
        x = self.stem(x)[:, :, 1:, :-2]
        x = torch.cat([self.left(x[:, :3]), self.right(x[:, 3:])], 1)[:, :, ::2, 1::3]
        a, b, c = torch.split(x, [2, 4, 1], 1)
        return self.head(torch.cat([a * c, b], 1))


class Tokens(nn.Module):
    """A linear layer on three axes: `MatMul` and `Add` instead of `Gemm`."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 4, 4)
        self.mix, self.fc = nn.Linear(6, 7), nn.Linear(7, CLASSES)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        return self.fc(F.relu(self.mix(x))).mean(1)


def conv_head():
    """SqueezeNet: the classifier is a 1×1 convolution."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.Conv2d(6, CLASSES, 1), nn.ReLU(), nn.Conv2d(CLASSES, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


class PreActivation(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.n1, self.c1 = nn.BatchNorm2d(cin), nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.n2, self.c2 = nn.BatchNorm2d(cout), nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(cin, cout, 1, stride, bias=False)

    def forward(self, x):
        y = F.relu(self.n1(x))
        return self.c2(F.relu(self.n2(self.c1(y)))) + self.shortcut(y)


def preactivation():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), PreActivation(4, 4, 1), PreActivation(4, 6, 2), nn.BatchNorm2d(6), nn.ReLU(), head(6)
    )


def leaky():
    def act():
        return nn.LeakyReLU(0.1)

    return nn.Sequential(conv_bn(3, 4, 3, act, padding=1), conv_bn(4, 6, 3, act, stride=2, padding=1), conv_bn(6, 4, 1, act), head(4))


def relu6():
    return nn.Sequential(conv_bn(3, 4, 3, nn.ReLU6, stride=2, padding=1), InvertedResidualV2(4, 4, 1, 3), InvertedResidualV2(4, 6, 2, 3), head(6))


def vgg():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2),
        nn.Flatten(), nn.Linear(5 * 4 * 4, 8), nn.ReLU(), nn.Linear(8, CLASSES),
    )  # fmt: skip


class ViewHead(nn.Module):
    """`x.view(x.size(0), -1)`: a chain of Shape, Gather, Unsqueeze, Concat and Reshape in the file."""

    def __init__(self, channels):
        super().__init__()
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, x):
        x = F.adaptive_avg_pool2d(x, 1)
        return self.fc(x.view(x.size(0), -1))


def view_chain():
    return nn.Sequential(conv_bn(3, 4, 3, stride=2), conv_bn(4, 6, 3, padding=1), ViewHead(6))


def odd():
    return nn.Sequential(
        conv_bn(3, 4, 7, stride=2, padding=3), nn.MaxPool2d(3, 2, 1), resnet.BasicBlock(4, 6, 2, projection(4, 6, 2)),
        resnet.BasicBlock(6, 6, 2, projection(6, 6, 2)), head(6),
    )  # fmt: skip


def kinks():
    """Small whole numbers everywhere: exact zeros before the ReLU and ties in the pooling windows."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 5, 1), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.LeakyReLU(0.25),
        nn.MaxPool2d(2, 1), head(4),
    )  # fmt: skip


class Narrow(resnet.ResNet):
    """torchvision's ResNet with `base` channels where the original has 64."""

    def __init__(self, block, layers, base):
        object.__setattr__(self, "base", base)
        super().__init__(block, layers, num_classes=CLASSES)
        self.fc = nn.Linear(512 * base // 64 * block.expansion, CLASSES)

    def __setattr__(self, name, value):
        first = name == "inplanes" and name not in self.__dict__
        super().__setattr__(name, self.base if first else value)

    def _make_layer(self, block, planes, *rest, **options):
        return super()._make_layer(block, planes * self.base // 64, *rest, **options)


def resnet18():
    return Narrow(resnet.BasicBlock, [2, 2, 2, 2], 2)


def resnet50():
    return Narrow(resnet.Bottleneck, [3, 4, 6, 3], 2)


def resnet101():
    return Narrow(resnet.Bottleneck, [3, 4, 23, 3], 2)


SHAPES = {
    "basic": (2, 3, 21, 17), "bottleneck": (3, 3, 17, 17), "grouped": (2, 3, 18, 17), "dilated": (2, 3, 19, 20), "padded": (3, 3, 20, 24),
    "mobilenet": (2, 3, 20, 20), "silu": (3, 3, 17, 19), "pool_ceil": (2, 3, 20, 23), "average_pool": (2, 3, 21, 18),
    "inception": (3, 3, 17, 17), "dense": (2, 3, 17, 18), "shuffle": (2, 3, 17, 17), "slices": (2, 3, 20, 19), "tokens": (3, 3, 16, 20),
    "conv_head": (3, 3, 17, 19), "preactivation": (2, 3, 17, 17), "leaky": (2, 3, 18, 17), "relu6": (4, 3, 17, 17), "vgg": (3, 3, 16, 16),
    "view_chain": (3, 3, 17, 17), "odd": (2, 3, 31, 19), "kinks": (2, 3, 13, 12), "resnet18": (3, 3, 37, 37), "resnet50": (3, 3, 37, 37),
    "resnet101": (3, 3, 37, 37),
}  # fmt: skip
BUILDERS = dict(basic=basic, bottleneck=bottleneck, grouped=grouped, dilated=dilated, padded=Padded, mobilenet=mobilenet, silu=silu,
                pool_ceil=pool_ceil, average_pool=average_pool, inception=Inception, dense=Dense, shuffle=shuffle, slices=Slices,
                tokens=Tokens, conv_head=conv_head, preactivation=preactivation, leaky=leaky, relu6=relu6, vgg=vgg,
                view_chain=view_chain, odd=odd, kinks=kinks, resnet18=resnet18, resnet50=resnet50, resnet101=resnet101)  # fmt: skip


def batch_norms(module):
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def randomise(module, shape):
    """Biases, scales and shifts that differ everywhere, and statistics close to those of random data."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d) and m.bias is not None:
            nn.init.normal_(m.bias, 0, 0.2)
    for m in batch_norms(module):
        nn.init.uniform_(m.weight, 0.5, 1.5)
        nn.init.normal_(m.bias, 0, 0.2)
    if isinstance(module, resnet.ResNet):  # keep deep networks well conditioned: branches weigh less than shortcuts
        for m in module.modules():
            if isinstance(m, (resnet.BasicBlock, resnet.Bottleneck)):
                nn.init.uniform_((m.bn3 if hasattr(m, "bn3") else m.bn2).weight, 0.1, 0.4)
    for m in batch_norms(module):
        m.momentum = None  # a plain average while the statistics are gathered
    module.train()
    with torch.no_grad():
        for _ in range(4):
            module(torch.randn(8, *shape[1:]))
    for m in batch_norms(module):
        m.momentum = 0.1
        m.running_mean += 0.1 * m.running_var.sqrt() * torch.randn_like(m.running_mean)
        m.running_var *= torch.empty_like(m.running_var).uniform_(0.7, 1.4)
        m.num_batches_tracked.zero_()


def build(name, seed=0, default_init=False):
    """The network in evaluation mode and its input shape. With `default_init`, PyTorch's own start values are kept."""
    torch.manual_seed(seed)
    shape = SHAPES[name]
    module = BUILDERS[name]()
    if name == "kinks":
        with torch.no_grad():
            for p in list(module.parameters())[:-2]:
                p.copy_(torch.randint(-2, 3, p.shape).float())
    elif not default_init:
        randomise(module, shape)
    return module.eval(), shape


def data(name, seed=0, batches=1):
    """Batches of images (float32) and labels for the network, from the seed alone."""
    generator = torch.Generator().manual_seed(1000 + seed)
    shape = SHAPES[name]
    for _ in range(batches):
        if name == "kinks":
            x = torch.randint(-2, 3, shape, generator=generator).float()
        else:
            x = torch.randn(shape, generator=generator)
        yield x, torch.randint(0, CLASSES, (shape[0],), generator=generator)
