"""What the tests of generated sets share."""

import hashlib

import torch
from torch import nn


def digest(arrays):
    hashed = hashlib.sha256()
    for name in ("start", "t_us", "address"):
        hashed.update(arrays[name].tobytes())
    return hashed.hexdigest()


def fit(network, x, labels, epochs, scale, learning_rate=0.01, batch_size=32):
    """Train with AdamW and a one-cycle learning rate, in a fixed order of samples; ends in evaluation mode."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
    steps = epochs * -(-len(labels) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    generator = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(labels), generator=generator).split(batch_size):
            loss = nn.functional.cross_entropy(network(x[:, batch])[0][-1] * scale, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    network.eval()


def readout(network, x):
    """Return the last readout ``[N, classes]``."""
    with torch.no_grad():
        return torch.cat([network(part)[0][-1] for part in x.split(64, dim=1)])


def accuracy(final, labels):
    return float((final.argmax(1) == labels).float().mean())
