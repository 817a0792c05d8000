"""A linear model on the time-summed frame: what a data set gives away without any time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.recordings import BinnedRecordings
from neuroaccel.errors import RecipeError


@dataclass(frozen=True)
class LinearBaseline:
    """Accuracies of the linear model, as fractions, and the regularisation that validation chose."""

    test_accuracy: float
    validation_accuracy: float
    regularisation: float


def linear_baseline(
    train: BinnedRecordings,
    validation: BinnedRecordings,
    test: BinnedRecordings,
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

    def scaled(frames: NDArray[np.float32]) -> NDArray[np.float32]:
        centred: NDArray[np.float32] = (frames - mean) / spread
        return centred

    models = [LogisticRegression(C=choice, max_iter=2000).fit(scaled(frames), train.labels) for choice in choices]
    accuracies = [float(model.score(scaled(validation.summed()), validation.labels)) for model in models]
    best = int(np.argmax(accuracies))
    test_accuracy = float(models[best].score(scaled(test.summed()), test.labels))
    return LinearBaseline(test_accuracy, accuracies[best], choices[best])
