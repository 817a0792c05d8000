"""A linear model on the time-summed frame: what a data set gives away without any time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import RecipeError

WIDE = 4


@dataclass(frozen=True)
class LinearBaseline:
    """Accuracies of the linear model, as fractions, and the regularisation that validation chose."""

    test_accuracy: float
    validation_accuracy: float
    regularisation: float


class Summed(Protocol):
    """Labelled recordings that can be summed over time: ``BinnedRecordings``, or a split of a data module."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 ``[S]``."""
        ...

    def summed(self) -> NDArray[np.float32]:
        """float32 ``[S, features]``."""
        ...


def linear_baseline(
    train: Summed,
    validation: Summed,
    test: Summed,
    choices: tuple[float, ...] = (0.01, 0.1, 1.0),
) -> LinearBaseline:
    """Fit multinomial logistic regression to the frames that are left when each recording is summed over time.

    Arguments:
        train: fits the weights.
        validation: chooses the regularisation, so that the baseline is as strong as it can honestly be.
        test: is looked at once.
        choices: values of scikit-learn's C, the inverse of the L2 penalty.

    Returns:
        The accuracies.

    Raises:
        RecipeError: no choices.
    """
    if not choices:
        raise RecipeError("choices is empty; expected at least one value of C")
    from sklearn.linear_model import LogisticRegression  # a second of imports, needed by nobody else

    frames = train.summed()
    mean, spread = frames.mean(0), frames.std()
    centred = (frames - mean) / spread
    # Weights with an L2 penalty lie in the span of the samples: where pixels outnumber these by far, coordinates of
    # that span give the same model sooner.
    span = np.linalg.qr(centred.T)[0] if centred.shape[1] > WIDE * len(centred) else None

    def seen(frames: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = (frames - mean) / spread
        return scaled if span is None else scaled @ span

    models = [LogisticRegression(C=choice, max_iter=2000).fit(seen(frames), train.labels) for choice in choices]
    accuracies = [float(model.score(seen(validation.summed()), validation.labels)) for model in models]
    best = int(np.argmax(accuracies))
    test_accuracy = float(models[best].score(seen(test.summed()), test.labels))
    return LinearBaseline(test_accuracy, accuracies[best], choices[best])
