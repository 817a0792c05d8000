"""Finished runs of decision models with random weights, for what plays or counts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.file import Trained, make, save_trained
from neuroaccel.decision.windows import Normaliser

SIZES: dict[str, Any] = {"state_size": 4, "actions": 2, "width": 8, "heads": 2, "layers": 1, "context": 2}


def untrained(model: str = "snn-dt", env_id: str = "CartPole-v1", seed: int = 0, **options: Any) -> Trained:
    """A small model for CartPole that asks for 30."""
    config = DecisionConfig.model_validate({"model": model, **SIZES, "return_scale": 100.0, **options})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make(config).eval()
    states = config.state_size
    about = {"env_id": env_id, "target": 30.0, "expert_return": 500.0, "random_return": 20.0}
    spread = np.full(states, 0.2, np.float32)
    return Trained(network, config, Normaliser(np.zeros(states, np.float32), spread, 0.0, 100.0), about)


def run_of(trained: Trained, folder: Path) -> Path:
    """A run's folder with this model in it."""
    folder.mkdir(parents=True)
    (folder / "decision.json").write_text("{}\n")
    save_trained(trained, folder / "decision.safetensors")
    return folder
