"""Makes the small files of weights that tests/weights.rs reads. Needs PyTorch; made with 1.13.

    python3 make.py

`net` is the state dict of a convolution, a batch norm and a linear layer, with weights that count upwards: element i of a
tensor is i / 8 plus its place in the dictionary. `caffe.py` is not needed for the .caffemodel files: their bytes are put
together here, from the field numbers of caffe.proto.
"""

import collections
import struct

import torch

SHAPES = [
    ("conv.weight", (3, 2, 3, 3)),
    ("conv.bias", (3,)),
    ("bn.weight", (3,)),
    ("bn.bias", (3,)),
    ("bn.running_mean", (3,)),
    ("bn.running_var", (3,)),
    ("fc.weight", (4, 3)),
    ("fc.bias", (4,)),
]


def counting(place, shape, dtype=torch.float32):
    return (torch.arange(torch.Size(shape).numel(), dtype=torch.float64) / 8 + place).reshape(shape).to(dtype)


def net(dtype=torch.float32):
    state = collections.OrderedDict((name, counting(i, shape, dtype)) for i, (name, shape) in enumerate(SHAPES))
    state["bn.num_batches_tracked"] = torch.tensor(7)
    state._metadata = collections.OrderedDict([("", {"version": 1}), ("bn", {"version": 2})])
    return state


def save(name, thing):
    torch.save(thing, f"zip_{name}.pth", _use_new_zipfile_serialization=True)
    torch.save(thing, f"legacy_{name}.pth", _use_new_zipfile_serialization=False)


def strided():
    """Views of one storage: transposed, channels last, every second element, an offset, an expanded one, a scalar."""
    whole = counting(0, (2, 3, 4, 5))
    return {
        "whole": whole,
        "transposed": whole[0, 0].t(),
        "channels_last": whole.contiguous(memory_format=torch.channels_last),
        "every_second": whole[:, ::2, 1:3, ::2],
        "offset": whole[1],
        "expanded": whole[0, 0, 0, :1].expand(3),
        "scalar": whole[1, 1, 1, 1],
        "empty": torch.zeros(0, 3),
    }


def dtypes():
    kinds = [torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.bool]
    return {str(kind).split(".")[1]: torch.tensor([0.0, 1.0, -2.5, 0.1]).to(kind) for kind in kinds}


def checkpoint():
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = {"module." + name: value for name, value in net().items()}
    extras = {"lr": 0.1, "names": ["a", "b"], "best": None, "cuda": True, "device": torch.device("cpu"), "n": 10**30}
    return {"epoch": 3, "arch": "net", "state_dict": state, "optimizer": optimizer.state_dict(), "args": extras}


class Foreign:
    """Something whose class a reader of weights must not look for."""

    def __reduce__(self):
        return (print, ("this was run",))


# Protocol buffers: fields as (number, wire type) before their content.
def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, content):
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def floats(values, packed=True, double=False):
    code, number, kind = ("d", 8, 1) if double else ("f", 5, 5)
    if packed:
        return field(number, struct.pack(f"<{len(values)}{code}", *values))
    return b"".join(varint(number << 3 | kind) + struct.pack(f"<{code}", value) for value in values)


def blob(place, shape, legacy=False, **how):
    values = counting(place, shape, torch.float64).flatten().tolist()
    if legacy:
        shape = (1,) * (4 - len(shape)) + tuple(shape)
        return b"".join(field(i + 1, extent) for i, extent in enumerate(shape)) + floats(values, **how)
    return field(7, field(1, b"".join(map(varint, shape)))) + floats(values, **how)


def caffe_v2():
    layers = [
        ("data", "Data", []),
        ("conv", "Convolution", [blob(0, (3, 2, 3, 3)), blob(1, (3,))]),
        ("bn", "BatchNorm", [blob(4, (3,)), blob(5, (3,)), field(7, field(1, varint(1))) + floats([2.0])]),
        ("scale", "Scale", [blob(2, (3,), packed=False), blob(3, (3,), double=True)]),
        ("fc", "InnerProduct", [blob(6, (4, 3)), blob(7, (4,), packed=False, double=True)]),
    ]
    out = field(1, "net")
    for name, kind, blobs in layers:
        content = field(1, name) + field(2, kind) + field(10, 1) + b"".join(field(7, each) for each in blobs)
        out += field(100, content)
    return out


def caffe_v1():
    out = field(1, "old net")
    for name, kind, blobs in [
        ("conv", 4, [blob(0, (3, 2, 3, 3), legacy=True), blob(1, (3,), legacy=True)]),
        ("relu", 18, []),
        ("fc", 14, [blob(6, (4, 3), legacy=True, packed=False), blob(7, (4,), legacy=True)]),
    ]:
        out += field(2, b"".join(field(6, each) for each in blobs) + field(4, name) + field(5, kind))
    return out


save("net", net())
save("strided", strided())
save("dtypes", dtypes())
save("checkpoint", checkpoint())
save("parameter", {"weight": torch.nn.Parameter(counting(0, (2, 3)))})
save("beside", {"epoch": 1, "state_dict": {"weight": counting(0, (2,))}, "best_acc1": torch.tensor(1.5)})
save("long", {"weight": counting(0, (2,)), "x" * 2000: None})
save("foreign", {"weight": counting(0, (2,)), "extra": Foreign()})
open("v2.caffemodel", "wb").write(caffe_v2())
open("v1.caffemodel", "wb").write(caffe_v1())
