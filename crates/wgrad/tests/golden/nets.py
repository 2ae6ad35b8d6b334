"""Writes nets.json: logits and gradients of the model zoo as PyTorch computes them in float64, for tests/nets.rs.

Run with torch 1.13 and torchvision 0.14 (Debian's python3-torch and python3-torchvision), then see README.md for what is in it.
Weights are not stored: both sides draw them from Philox4x32-10, keyed by the tensor's name.
"""
import json
import math
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.models as tv
from torch import nn
from torchvision.models.googlenet import Inception

CLASSES, LABELS = 10, [3, 1, 4, 1]
PURPOSE_WEIGHTS, PURPOSE_SIGNS, PURPOSE_DROPOUT = 0x601D, 0x601E, 4
RNG = (1, 0, 0, 0)  # seed low, seed high, step, first sample: what the test feeds to dropout


def fnv1a(text):
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def philox(c0, c1, c2, c3, key):
    c0, c1, c2, c3 = (np.broadcast_to(np.asarray(c, np.uint64), np.shape(c0)) for c in (c0, c1, c2, c3))
    k0, k1 = key
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = ((p1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0), p1 & low,
                          (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1), p0 & low)
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], -1)


def words(name, purpose, count, b=0):
    """The stream (seed 1, purpose, fnv1a(name), b)."""
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    return philox(blocks, purpose, fnv1a(name), b, (1, 0)).reshape(-1)[:count]


def unit(name, shape):
    u = (words(name, PURPOSE_WEIGHTS, math.prod(shape)) >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24)
    return u.reshape(shape)


def drawn(name, shape, is_norm):
    u = unit(name, shape)
    centred = np.float32(2) * u - np.float32(1)
    if name.endswith("running_var"):
        value = (u + np.float32(0.5)) * np.float32(10)
    elif is_norm and name.endswith("bias"):
        # Far from the kink of the ReLU behind it: see README.md.
        value = u + np.float32(2)
    elif len(shape) > 1:
        value = centred * np.float32(math.sqrt(6.0 / math.prod(shape[1:])))
    elif name.endswith("weight"):
        value = u * np.float32(0.5) + np.float32(0.5)
    else:
        value = centred * np.float32(0.1)
    return torch.from_numpy(value).double()


class Dropout(nn.Module):
    """Dropout with the masks of wgrad: element e of a sample, counted channels last, by word e % 4 of its block."""

    def __init__(self, p, path):
        super().__init__()
        self.p, self.path = p, path

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        last = x.permute(0, 2, 3, 1) if x.dim() == 4 else x
        n, sample = x.shape[0], x[0].numel()
        blocks = np.arange((sample + 3) // 4, dtype=np.uint64) | np.uint64(PURPOSE_DROPOUT << 28)
        masks = [philox(blocks, fnv1a(self.path), RNG[2], RNG[3] + i, RNG[:2]).reshape(-1)[:sample] for i in range(n)]
        threshold = np.uint64(int(float(np.float32(self.p)) * 2**32))
        keep = torch.from_numpy(np.stack(masks) >= threshold).reshape(last.shape)
        keep = keep.permute(0, 3, 1, 2) if x.dim() == 4 else keep
        return x * keep * float(np.float32(1) / (np.float32(1) - np.float32(self.p)))


def seq(*layers):
    return nn.Sequential(*layers)


def conv_bn(i, o, k, s=1, p=0, g=1):
    return seq(nn.Conv2d(i, o, k, s, p, groups=g, bias=False), nn.BatchNorm2d(o))


class AlexNet2012(nn.Module):
    def __init__(self):
        super().__init__()
        for name, layer in [("conv1", nn.Conv2d(3, 96, 11, 4)), ("conv2", nn.Conv2d(96, 256, 5, 1, 2, groups=2)),
                            ("conv3", nn.Conv2d(256, 384, 3, 1, 1)), ("conv4", nn.Conv2d(384, 384, 3, 1, 1, groups=2)),
                            ("conv5", nn.Conv2d(384, 256, 3, 1, 1, groups=2)), ("fc6", nn.Linear(256, 4096)),
                            ("fc7", nn.Linear(4096, 4096)), ("fc8", nn.Linear(4096, CLASSES)),
                            ("drop6", nn.Dropout(0.5)), ("drop7", nn.Dropout(0.5))]:
            setattr(self, name, layer)

    def forward(self, x):
        for conv in (self.conv1, self.conv2):
            x = F.max_pool2d(F.local_response_norm(F.relu(conv(x)), 5, 1e-4, 0.75, 1.0), 3, 2)
        x = F.relu(self.conv5(F.relu(self.conv4(F.relu(self.conv3(x))))))
        x = F.max_pool2d(x, 3, 2).flatten(1)
        return self.fc8(self.drop7(F.relu(self.fc7(self.drop6(F.relu(self.fc6(x)))))))


class Nin(nn.Module):
    def __init__(self):
        super().__init__()
        i = 3
        for b, widths in enumerate([(192, 160, 96), (192, 192, 192), (192, 192, CLASSES)]):
            for j, o in enumerate(widths):
                k = [5, 5, 3][b] if j == 0 else 1
                setattr(self, f"conv{b + 1}" if j == 0 else f"cccp{2 * b + j}", nn.Conv2d(i, o, k, 1, k // 2))
                i = o
        self.pool1 = seq(nn.MaxPool2d(3, 2, ceil_mode=True), nn.Dropout(0.5))
        self.pool2 = seq(nn.AvgPool2d(3, 2, ceil_mode=True), nn.Dropout(0.5))

    def forward(self, x):
        for b in range(3):
            for name in (f"conv{b + 1}", f"cccp{2 * b + 1}", f"cccp{2 * b + 2}"):
                x = F.relu(getattr(self, name)(x))
            x = getattr(self, f"pool{b + 1}")(x) if b < 2 else x.mean((2, 3))
        return x


class Separable(nn.Module):
    def __init__(self, i, o, k, s=1, multiplier=1, linear=False):
        super().__init__()
        self.depthwise = nn.Conv2d(i, i * multiplier, k, s, k // 2, groups=i, bias=False)
        if not linear:
            self.bn1 = nn.BatchNorm2d(i * multiplier)
        self.pointwise = nn.Conv2d(i * multiplier, o, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)

    def forward(self, x):
        x = self.depthwise(x)
        x = F.relu(self.bn1(x)) if hasattr(self, "bn1") else x
        return F.relu(self.bn2(self.pointwise(x)))


class MobileNet(nn.Module):
    def __init__(self, width):
        super().__init__()
        c = lambda n: max(int(n * width), 8)
        first = nn.Module()
        first.conv, first.bn = nn.Conv2d(3, c(32), 3, 2, 1, bias=False), nn.BatchNorm2d(c(32))
        first.forward = lambda x: F.relu(first.bn(first.conv(x)))
        outs = [64, 128, 128, 256, 256] + [512] * 6 + [1024, 1024]
        strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
        blocks = [Separable(c(i), c(o), 3, s) for i, o, s in zip([32] + outs, outs, strides)]
        self.features, self.classifier = seq(first, *blocks), nn.Linear(c(1024), CLASSES)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class SeparableNet(nn.Module):
    def __init__(self):
        super().__init__()
        block = lambda i, o, k=3, s=1: Separable(i, o, k, s, 8, True)
        pool = lambda: nn.MaxPool2d(3, 2, 1)
        self.stem = seq(block(3, 64, 7, 2), pool(), block(64, 128), pool())
        self.body = seq(block(128, 256), block(256, 256), pool(), block(256, 512), block(512, 512))
        self.classifier = nn.Linear(512, CLASSES)

    def forward(self, x):
        return self.classifier(self.body(self.stem(x)).mean((2, 3)))


class Residual(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x) + x


class ResNet9(nn.Module):
    def __init__(self):
        super().__init__()
        unit = lambda i, o: seq(*conv_bn(i, o, 3, 1, 1), nn.ReLU())
        residual = lambda w: Residual(seq(unit(w, w), unit(w, w)))
        self.prep = unit(3, 64)
        self.layer1 = seq(unit(64, 128), nn.MaxPool2d(2), residual(128))
        self.layer2 = seq(unit(128, 256), nn.MaxPool2d(2))
        self.layer3 = seq(unit(256, 512), nn.MaxPool2d(2), residual(512))
        self.linear = nn.Linear(512, CLASSES, bias=False)

    def forward(self, x):
        return self.linear(self.layer3(self.layer2(self.layer1(self.prep(x)))).amax((2, 3))) * 0.125


class Airbench(nn.Module):
    def __init__(self):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad = False
        i = 24
        for g, w in enumerate((64, 256, 256)):
            group = nn.Module()
            norm = lambda: nn.BatchNorm2d(w, eps=1e-12, momentum=0.4)
            group.conv1, group.conv2 = (nn.Conv2d(n, w, 3, 1, 1, bias=False) for n in (i, w))
            group.norm1, group.norm2 = seq(nn.MaxPool2d(2), norm(), nn.GELU()), seq(norm(), nn.GELU())
            group.norm1[1].weight.requires_grad = group.norm2[0].weight.requires_grad = False
            setattr(self, f"group{g + 1}", group)
            i = w
        self.head = nn.Linear(256, CLASSES, bias=False)

    def forward(self, x):
        x = F.gelu(self.whiten(x))
        for g in (self.group1, self.group2, self.group3):
            x = g.norm2(g.conv2(g.norm1(g.conv1(x))))
        return self.head(x.amax((2, 3))) / 9


class PlainConv(nn.Module):
    def __init__(self, i, o, **options):
        super().__init__()
        self.conv = nn.Conv2d(i, o, **options)

    def forward(self, x):
        return F.relu(self.conv(x))


class PaperInception(Inception):
    def __init__(self, i, *widths, conv_block=None):
        super().__init__(i, *widths, conv_block=PlainConv)
        self.branch3[1] = PlainConv(widths[3], widths[4], kernel_size=5, padding=2)


class PaperAux(nn.Module):
    def __init__(self, i, classes, conv_block=None, dropout=0.7):
        super().__init__()
        # One pixel is left of 5x5.
        self.conv, self.fc1 = PlainConv(i, 128, kernel_size=1), nn.Linear(128, 1024)
        self.fc2, self.dropout = nn.Linear(1024, classes), nn.Dropout(dropout)

    def forward(self, x):
        return self.fc2(self.dropout(F.relu(self.fc1(self.conv(F.avg_pool2d(x, 5, 3)).flatten(1)))))


def googlenet_paper():
    net = tv.GoogLeNet(CLASSES, init_weights=False, dropout=0.4, blocks=[PlainConv, PaperInception, PaperAux])
    norm = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)
    net.maxpool1, net.maxpool2 = seq(net.maxpool1, norm), seq(norm, net.maxpool2)
    net.maxpool4 = nn.MaxPool2d(3, 2, ceil_mode=True)
    return net


def vgg(make):
    """On one pixel, where torchvision would repeat it 49 times."""
    net = make(num_classes=CLASSES)
    net.avgpool, net.classifier[0] = nn.Identity(), nn.Linear(512, 4096)
    return net


def alexnet():
    net = tv.alexnet(num_classes=CLASSES)
    net.avgpool, net.classifier[1] = nn.Identity(), nn.Linear(256, 4096)
    return net


NETS = {
    "airbench94": (32, Airbench),
    "nin": (32, Nin),
    "resnet9": (32, ResNet9),
    "alexnet": (64, alexnet),
    "alexnet2012": (67, AlexNet2012),
    "vgg11": (32, lambda: vgg(tv.vgg11)),
    "vgg13_bn": (32, lambda: vgg(tv.vgg13_bn)),
    "resnet18": (64, lambda: tv.resnet18(num_classes=CLASSES)),
    "resnet50": (64, lambda: tv.resnet50(num_classes=CLASSES)),
    "resnext50_32x4d": (64, lambda: tv.resnext50_32x4d(num_classes=CLASSES)),
    "squeezenet1_0": (48, lambda: tv.squeezenet1_0(num_classes=CLASSES)),
    "squeezenet1_1": (48, lambda: tv.squeezenet1_1(num_classes=CLASSES)),
    "mobilenet_v1_0.5": (64, lambda: MobileNet(0.5)),
    "separable": (48, SeparableNet),
    "densenet121": (64, lambda: tv.densenet121(num_classes=CLASSES)),
    "googlenet": (64, lambda: tv.googlenet(num_classes=CLASSES, init_weights=False)),
    "googlenet_paper": (79, googlenet_paper),
    "inception_v3": (107, lambda: tv.inception_v3(num_classes=CLASSES, aux_logits=False, init_weights=False)),
}


def short(values):
    return [float(f"{float(v):.7g}") for v in values]


def golden(name, size, make):
    net = make().double()
    with torch.no_grad():
        for key, tensor in net.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                is_norm = key.rpartition(".")[0] + ".running_var" in net.state_dict()
                tensor.copy_(drawn(key, tuple(tensor.shape), is_norm))
    for path, module in list(net.named_modules()):
        if isinstance(module, nn.Dropout) and module.p > 0:
            parent = net.get_submodule(path.rpartition(".")[0])
            # In the auxiliary classifiers of GoogLeNet the ReLU before it is its sibling.
            setattr(parent, path.rpartition(".")[2], Dropout(module.p, path + ".1" if path.startswith("aux") else path))
    shape = (len(LABELS), 3, size, size)
    centred = np.float32(2) * unit("images", shape) - np.float32(1)
    images = torch.from_numpy(centred * np.float32(math.sqrt(3))).double()
    labels = torch.tensor(LABELS)
    net.eval()
    with torch.no_grad():
        logits = net(images)
    net.train()
    outputs = net(images)
    if isinstance(outputs, torch.Tensor):
        trained, loss = outputs, F.cross_entropy(outputs, labels)
    else:
        trained = outputs.logits
        others = [outputs.aux_logits1, outputs.aux_logits2]
        loss = F.cross_entropy(trained, labels) + 0.3 * sum(F.cross_entropy(other, labels) for other in others)
    loss.backward()
    gradients = {}
    for key, parameter in net.named_parameters():
        if parameter.requires_grad:
            g = parameter.grad.flatten().numpy()
            signs = [1.0 - 2.0 * (words(key, PURPOSE_SIGNS, g.size, b) & np.uint64(1)).astype(float) for b in range(4)]
            gradients[key] = short([np.linalg.norm(g)] + [g @ sign for sign in signs])
    return {"size": size, "loss": short([loss])[0], "logits": short(logits.flatten()),
            "train_logits": short(trained.flatten()), "gradients": gradients}


def main():
    torch.set_num_threads(2)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "nets.json")
    results = json.load(open(path)) if len(sys.argv) > 1 else {}
    for name, (size, make) in NETS.items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        results[name] = golden(name, size, make)
        print(name, results[name]["loss"], results[name]["logits"][:3], flush=True)
    lines = [f"{json.dumps(name)}: {json.dumps(result)}" for name, result in results.items()]
    with open(path, "w") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
