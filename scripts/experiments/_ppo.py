"""PPO trainings of stable-baselines3, and what a lowered actor does in the engine.

What scripts of this folder share; to be imported, not run.
"""

import multiprocessing
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor

import neuroaccel
from neuroaccel.graph import Graph
from neuroaccel.ledger import energy, load_profile
from neuroaccel.training.policies import VectorAdapter
from neuroaccel.training.policy_evaluation import PolicyEvaluation, evaluate_policy

PROFILE = "cmos45"


class Progress(BaseCallback):
    """One line on standard error, rewritten after every rollout; silent in a process of its own."""

    def __init__(self, name: str, total: int) -> None:
        super().__init__()
        self.name, self.total = name, total
        self.shown = multiprocessing.parent_process() is None

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if not self.shown:
            return
        ended = self.model.ep_info_buffer or [{"r": float("nan"), "l": float("nan")}]
        reward, length = (statistics.mean(float(e[key]) for e in ended) for key in ("r", "l"))
        done = f"{self.num_timesteps:,} of {self.total:,} steps"
        print(f"\r{self.name}: {done}, return {reward:6.3f}, {length:6.1f} steps", end="", file=sys.stderr, flush=True)

    def _on_training_end(self) -> None:
        if self.shown:
            print(file=sys.stderr)


def trained(
    name: str,
    policy: Any,
    env: Any,
    steps: int,
    *,
    learning_rate: float,
    seed: int,
    callbacks: Sequence[BaseCallback] = (),
    **options: Any,
) -> tuple[PPO, dict]:
    """Train a policy; the model, and the rows' values of the training.

    Arguments:
        name: for the progress.
        policy: of stable-baselines3.
        env: a vector environment of gymnasium that begins its episodes anew in the same step.
        steps: of all environments together; PPO rounds them up to whole rollouts.
        learning_rate: at the beginning; it falls to a tenth.
        seed: 100 times this one is that of the weights and of the first environment; the others follow it.
        options: of PPO.
    """
    torch.set_num_threads(1)
    started = time.process_time()
    model = PPO(
        policy,
        VecMonitor(VectorAdapter(env)),
        learning_rate=lambda remaining: learning_rate * (0.1 + 0.9 * remaining),
        seed=100 * seed,
        device="cpu",
        **options,
    )
    model.learn(steps, callback=[Progress(name, steps), *callbacks])
    seconds = round(time.process_time() - started, 1)
    return model, {"training_steps": model.num_timesteps, "training_cpu_seconds": seconds}


def evaluated(model: PPO, env: Any, seeds: Sequence[int], file: Path) -> tuple[Graph, PolicyEvaluation, dict]:
    """Lower a spiking actor and let the engine play; the graph, the episodes, and the values of work and energy.

    Arguments:
        model: with a :class:`~neuroaccel.training.policies.SpikingActorCriticPolicy`.
        env: a vector environment of as many as there are seeds.
        seeds: of the episodes.
        file: without suffix; the model goes to ``.zip``, the graph to ``.safetensors``.
    """
    policy: Any = model.policy
    observation, _ = env.reset(seed=0)
    graph = neuroaccel.lower(policy.actor, policy.encoder(torch.as_tensor(observation)))
    file.parent.mkdir(parents=True, exist_ok=True)
    model.save(file.with_name(f"{file.name}.zip"))
    neuroaccel.save_graph(graph, file.with_name(f"{file.name}.safetensors"))
    found = evaluate_policy(graph, policy.encoder, env, seeds)
    report = energy(found.book, load_profile(PROFILE))
    columns = ("spikes", "synaptic_events", "macs")
    values = {f"{column}_per_decision": found.per_decision(column) for column in columns}
    return graph, found, {**values, "energy_pj": float(np.mean(report.mean_pj))}
