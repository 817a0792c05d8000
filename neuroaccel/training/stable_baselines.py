"""stable-baselines3's classes with spiking networks inside; :mod:`neuroaccel.training.policies` hands them out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from neuroaccel.errors import InputError
from neuroaccel.network import Network
from neuroaccel.synapses.pruning import Method, Pruner, prune
from neuroaccel.training.policies import PopulationEncoder, SpikeInput, spiking_network

Ranges = tuple[ArrayLike, ArrayLike]


def _encoder(space: spaces.Space[Any], ticks: int, cells: int, ranges: Ranges | None) -> PopulationEncoder | SpikeInput:
    spikes = isinstance(space, spaces.MultiBinary) or (
        isinstance(space, spaces.Box)
        and space.dtype == np.uint8
        and bool((space.low == 0).all() & (space.high == 1).all())
    )
    if spikes and len(space.shape or ()) > 1:
        if ranges is not None:
            raise InputError(f"observations in {space} are spikes already: they have no ranges")
        return SpikeInput(space.shape or ())
    if not isinstance(space, spaces.Box):
        raise InputError(f"a spiking policy encodes observations of a Box, not of {space}")
    low, high = (space.low, space.high) if ranges is None else (np.asarray(end, np.float64) for end in ranges)
    if ranges is not None and not low.shape == high.shape == space.shape:
        raise InputError(f"ranges of shapes {low.shape} and {high.shape} for observations of {space.shape}")
    return PopulationEncoder(low, high, cells=cells, ticks=ticks)


def _outputs(space: spaces.Space[Any]) -> int:
    """How many numbers an action's distribution is made from."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(np.sum(space.nvec))
    if isinstance(space, spaces.MultiBinary | spaces.Box):
        return int(np.prod(space.shape))
    raise InputError(f"a spiking policy cannot act in {space}; expected Discrete, MultiDiscrete, MultiBinary or Box")


class SpikingFeatures(BaseFeaturesExtractor):
    """Features of an observation by a spiking network, for any algorithm of stable-baselines3, such as DQN.

    Spikes = encoder(observation);  features = the mean membranes of the network's readout after T micro-steps from
    the fresh state, so that a decision depends on its observation alone.

    Arguments:
        observation_space: a Box, or spikes already: MultiBinary, or a Box of uint8 from 0 to 1, ``[T, ...]``.
        features_dim: how many features.
        hidden: sizes of the spiking layers.
        ticks: T; that of the observations where they are spikes.
        cells: of the encoder, for every number observed.
        ranges: (low, high) of the numbers observed, each of the Box's shape; without them its own limits, which must
            be finite.
        network: further options of :func:`~neuroaccel.training.policies.spiking_network`, such as ``ndi=True``.

    Raises:
        InputError: a space that is neither spikes nor a Box, or has no bounds where no ranges are given.

    ``DQN("MlpPolicy", env, policy_kwargs=dict(features_extractor_class=SpikingFeatures, net_arch=[]))`` has one dense
    layer behind the features and none else.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        features_dim: int = 64,
        *,
        hidden: Sequence[int] = (128,),
        ticks: int = 4,
        cells: int = 12,
        ranges: Ranges | None = None,
        network: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(observation_space, features_dim)
        self.encoder = _encoder(observation_space, ticks, cells, ranges)
        self.network: Network = spiking_network(self.encoder.features, hidden, features_dim, **(network or {}))

    def forward(self, observations: Tensor) -> Tensor:
        """``[N, ...]`` → ``[N, features_dim]``."""
        features: Tensor = self.network(self.encoder(observations))[0][-1]
        return features


class _SpikingActorDenseCritic(nn.Module):
    """Stands where stable-baselines3 has its two multilayer perceptrons.

    The actor's latents are the action's numbers already; the critic, which no decision needs once training has
    ended, is dense and reads the encoder's rates.
    """

    def __init__(
        self, encoder: PopulationEncoder | SpikeInput, actor: Network, outputs: int, critic: Sequence[int]
    ) -> None:
        super().__init__()
        self.encoder, self.actor = encoder, actor
        sizes = [encoder.features, *critic]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.Tanh()]
        self.critic = nn.Sequential(*layers)
        self.latent_dim_pi, self.latent_dim_vf = outputs, sizes[-1]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: Tensor) -> Tensor:
        numbers: Tensor = self.actor(self.encoder(features))[0][-1]
        return numbers

    def forward_critic(self, features: Tensor) -> Tensor:
        value: Tensor = self.critic(self.encoder.rates(features))
        return value


class SpikingActorCriticPolicy(ActorCriticPolicy):
    """A spiking actor and a dense critic for PPO and A2C: ``PPO(SpikingActorCriticPolicy, env, policy_kwargs=...)``.

    The whole actor is one network (:attr:`actor`): the mean membranes of its readout are the logits of the actions (or
    means, of a Box), without a dense layer behind them. ``neuroaccel.lower(policy.actor, policy.encoder(x))`` makes it
    a graph; every decision starts from the fresh state.

    Arguments:
        observation_space: a Box, or spikes already: MultiBinary, or a Box of uint8 from 0 to 1, ``[T, ...]``.
        action_space: Discrete, MultiDiscrete, MultiBinary or Box.
        lr_schedule: stable-baselines3's.
        hidden: sizes of the spiking layers.
        ticks: T, micro-steps of a decision; that of the observations where they are spikes.
        cells: of the encoder, for every number observed.
        ranges: (low, high) of the numbers observed, each of the Box's shape; without them its own limits, which must
            be finite.
        critic: sizes of the critic's dense layers.
        network: further options of :func:`~neuroaccel.training.policies.spiking_network`, such as ``ndi=True``.
        options: further arguments of stable-baselines3's ActorCriticPolicy.

    Raises:
        InputError: a space that a spiking policy cannot read or act in.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        hidden: Sequence[int] = (128, 128),
        ticks: int = 4,
        cells: int = 12,
        ranges: Ranges | None = None,
        critic: Sequence[int] = (64, 64),
        network: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self._made_of: dict[str, Any] = {
            "hidden": tuple(hidden),
            "ticks": ticks,
            "cells": cells,
            "ranges": None if ranges is None else tuple(np.asarray(end, np.float64).tolist() for end in ranges),
            "critic": tuple(critic),
            "network": dict(network or {}),
        }
        # stable-baselines3's orthogonal weights are meant for tanh; these networks begin as spiking_network says.
        super().__init__(observation_space, action_space, lr_schedule, **{**options, "ortho_init": False})

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), **self._made_of}

    def _build_mlp_extractor(self) -> None:
        made, outputs = self._made_of, _outputs(self.action_space)
        encoder = _encoder(self.observation_space, made["ticks"], made["cells"], made["ranges"])
        actor = spiking_network(encoder.features, made["hidden"], outputs, **made["network"])
        both: Any = _SpikingActorDenseCritic(encoder, actor, outputs, made["critic"]).to(self.device)
        self.mlp_extractor = both

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        self.action_net = nn.Identity()
        self.renew_optimizer(lr_schedule(1))

    def renew_optimizer(self, lr: float) -> None:
        """An optimizer over the parameters as they are now, its moments fresh; needed when layers changed theirs."""
        make: Any = self.optimizer_class
        self.optimizer = make(self.parameters(), lr=lr, **self.optimizer_kwargs)

    @property
    def encoder(self) -> PopulationEncoder | SpikeInput:
        """What turns observations into spikes."""
        found: Any = self.mlp_extractor
        encoder: PopulationEncoder | SpikeInput = found.encoder
        return encoder

    @property
    def actor(self) -> Network:
        """The spiking network whose last output is the action's logits."""
        found: Any = self.mlp_extractor
        actor: Network = found.actor
        return actor


class PruningCallback(BaseCallback):
    """Prunes a spiking policy's actor while PPO or A2C trains it.

    The pruner moves once before each rollout, so that a rollout and the updates that learn from it see one network
    (PPO's ratio is between policies, not between thresholds); a step of the pruner is thus a rollout with its updates.
    When training ends, the masks are folded into plain sparse weights, so that ``model.save`` and ``lower`` find an
    ordinary policy. What stable-baselines3 saves before that holds the pruner's own parameters, and a new policy does
    not load it.

    Arguments:
        method: of :func:`neuroaccel.synapses.pruning.prune`, such as ``nsp``.
        target_connectivity: a fraction, reached at the end.
        every: rollouts between two updates of the thresholds or masks.
        options: further arguments of :func:`~neuroaccel.synapses.pruning.prune`.

    Raises:
        InputError: at the start of training, if the policy is no :class:`SpikingActorCriticPolicy`.
    """

    def __init__(
        self, method: Method = "nsp", target_connectivity: float = 0.2, *, every: int = 1, **options: Any
    ) -> None:
        super().__init__()
        self.method, self.target_connectivity = method, target_connectivity
        self.options = {**options, "every": every}
        self.pruner: Pruner | None = None

    def _policy(self) -> SpikingActorCriticPolicy:
        policy = self.model.policy
        if not isinstance(policy, SpikingActorCriticPolicy):
            raise InputError(f"PruningCallback prunes a SpikingActorCriticPolicy, not a {type(policy).__name__}")
        return policy

    def _renew(self) -> None:
        policy = self._policy()
        policy.renew_optimizer(float(policy.optimizer.param_groups[0]["lr"]))

    def _move(self, timesteps: int) -> None:
        """Set the pruner to where the training is, counted in rollouts."""
        model: Any = self.model
        rollout = model.n_steps * model.n_envs
        total = max(1, -(-model._total_timesteps // rollout))
        assert self.pruner is not None
        self.pruner.step(min(timesteps // rollout, total), total)

    def _on_training_start(self) -> None:
        self.pruner = prune(self._policy().actor, self.method, self.target_connectivity, **self.options)
        self._renew()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            self._move(self.num_timesteps)

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        model: Any = self.model
        self._move(model._total_timesteps + model.n_steps * model.n_envs)
        assert self.pruner is not None
        self.pruner.fold()
        self._renew()


class VectorAdapter(VecEnv):
    """A vector environment of gymnasium as stable-baselines3's: ``PPO(policy, VectorAdapter(make_vec(...)))``.

    Arguments:
        env: it must begin its episodes anew in the same step (``AutoresetMode.SAME_STEP``), as stable-baselines3
            expects.

    Raises:
        InputError: another autoreset mode.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise InputError(f"VectorAdapter: the environment's autoreset mode is {mode}, expected SAME_STEP")
        self.env = env
        self._actions: NDArray[Any] = np.zeros(0)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Any:
        """Observations ``[N, ...]``; seeds are those of the last ``seed`` call, used once."""
        seeds: Any = None if None in self._seeds else list(self._seeds)
        observation, _ = self.env.reset(seed=seeds)
        self._reset_seeds()
        return observation

    def step_async(self, actions: NDArray[Any]) -> None:
        self._actions = actions

    def step_wait(self) -> Any:
        observation, rewards, terminated, truncated, given = self.env.step(self._actions)
        done = np.asarray(terminated | truncated)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for which in np.flatnonzero(done):
            infos[which]["terminal_observation"] = given["final_obs"][which]
            infos[which]["TimeLimit.truncated"] = bool(truncated[which] and not terminated[which])
            infos[which]["is_success"] = bool(terminated[which])
            for key, value in given.get("final_info", {}).items():
                if not key.startswith("_"):
                    infos[which][key] = value[which]
        return observation, np.asarray(rewards, dtype=np.float32), done, infos

    def close(self) -> None:
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The vector environment's attribute, once for each environment asked for."""
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set the vector environment's attribute, for all at once.

        Raises:
            InputError: for some only.
        """
        if indices is not None:
            raise InputError("VectorAdapter: one environment alone cannot have an attribute set")
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call the vector environment's method once; its result, once for each environment asked for."""
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: Any = None
    ) -> list[bool]:
        """Nothing wraps a single one of them."""
        return [False for _ in self._get_indices(indices)]
