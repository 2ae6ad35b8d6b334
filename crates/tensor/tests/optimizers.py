"""Prints what torch.optim does to two small tensors in five steps; src/ops/optimizer/tests.rs holds the output.

    python3 optimizers.py

Weight i of a tensor starts at sin(i + 1); its gradient in step t is w * cos((i + 1) * (t + 1)): it depends on the weight, so that
an error in one step is seen in the next. Everything in float64.
"""

import torch

RULES = {
    "sgd": (torch.optim.SGD, dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)),
    "adamw": (torch.optim.AdamW, dict(lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)),
    "adam": (torch.optim.Adam, dict(lr=0.1, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.01)),
    "rmsprop": (torch.optim.RMSprop, dict(lr=0.1, alpha=0.9, eps=1e-8, weight_decay=0.01)),
    "rmsprop_momentum": (torch.optim.RMSprop, dict(lr=0.1, alpha=0.99, eps=1e-8, momentum=0.9)),
    "rmsprop_centered": (torch.optim.RMSprop, dict(lr=0.1, alpha=0.9, eps=1e-2, weight_decay=0.01, centered=True)),
    "adagrad": (torch.optim.Adagrad, dict(lr=0.1, weight_decay=0.01)),
    "sgd_clipped": (torch.optim.SGD, dict(lr=0.1, momentum=0.9)),
}

for name, (rule, settings) in RULES.items():
    numbers = torch.arange(1, 8, dtype=torch.float64)
    weights = [torch.nn.Parameter(torch.sin(numbers[:4]).reshape(2, 2)), torch.nn.Parameter(torch.sin(numbers[4:]))]
    optimizer = rule(weights, **settings)
    for step in range(5):
        numbers_of = [numbers[:4].reshape(2, 2), numbers[4:]]
        for weight, number in zip(weights, numbers_of):
            weight.grad = (weight * torch.cos(number * (step + 1))).detach()
        if name == "sgd_clipped":
            torch.nn.utils.clip_grad_norm_(weights, 0.5)
        optimizer.step()
    values = torch.cat([weight.detach().flatten() for weight in weights]).tolist()
    print(f'("{name}", [{", ".join(f"{value:.9f}" for value in values)}]),')
