import numpy as np
import pytest
from harness import close
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_curve,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from stzoo.inference import metrics


@pytest.fixture
def scored():
    """Scores with ties, and a class (5) without videos."""
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 10, (60, 6)) / 10
    return scores, rng.integers(0, 5, 60)


def test_top_k_is_scikit_learns():
    rng = np.random.default_rng(1)
    scores, labels = rng.random((60, 6)), rng.integers(0, 6, 60)
    for k in (1, 5):
        expected = top_k_accuracy_score(labels, scores, k=k, labels=range(6))
        assert metrics.top_k(scores, labels, k) == pytest.approx(expected)
    assert metrics.top_k(scores, labels) == metrics.top_k(scores, labels, 1)


def test_of_classes_with_one_score_the_first_are_the_best():
    scores = np.random.default_rng(2).integers(0, 3, (4, 400)) / 2
    for row in scores:
        best = sorted(range(400), key=lambda number: -row[number])[:200]
        for label in range(400):
            found = metrics.top_k(row[None], [label], 200)
            assert found == (label in best), label


@pytest.fixture
def several():
    """Scores with ties, and a class (4) without videos."""
    rng = np.random.default_rng(0)
    labels = rng.random((80, 5)) < (0.5, 0.2, 0.1, 0.9, 0)
    return rng.integers(0, 10, (80, 5)) / 16 + labels / 8, labels.astype(int)


def test_figures_of_several_labels_are_scikit_learns(several):
    scores, labels = several
    found = metrics.average_precision(scores, labels)
    expected = average_precision_score(labels[:, :4], scores[:, :4], average=None)
    close(found[:4], expected)
    assert np.isnan(found[4])
    answers = scores > 0.4
    found = np.array(metrics.precision_recall(answers, labels))
    expected = precision_recall_fscore_support(labels, answers, zero_division=0)[:3]
    close(found[:, :4], np.array(expected)[:, :4])
    assert np.isnan(found[:, 4]).all()
    never = metrics.precision_recall(np.zeros_like(answers), labels)
    assert all((figures[:4] == 0).all() for figures in never)


def test_thresholds_have_the_best_f1(several):
    scores, labels = several
    chosen = metrics.best_thresholds(scores, labels)
    assert chosen[4] == 0.5
    for number in range(4):
        column, relevant = scores[:, number], labels[:, number]
        best = f1_score(relevant, column >= chosen[number])
        tried = [f1_score(relevant, column >= edge) for edge in np.unique(column)]
        assert best == pytest.approx(max(tried))
        assert chosen[number] not in column
    scores = np.array([[0.9, 0.2], [0.7, 0.4], [0.1, 0.6]])
    found = metrics.best_thresholds(scores, [[1, 1], [1, 1], [0, 1]])
    np.testing.assert_allclose(found, (0.4, 0.1))
    # The first one and all four have the same F1.
    scores = np.array([[0.9, 0.9], [0.6, 0.85], [0.5, 0.8], [0.2, 0.7]])
    found = metrics.best_thresholds(scores, [[1, 1], [0, 0], [0, 0], [1, 1]])
    np.testing.assert_allclose(found, (0.75, 0.35))


def test_confusion_and_class_accuracy_are_scikit_learns(scored):
    scores, labels = scored
    answers = scores.argmax(-1).clip(max=4)
    matrix = metrics.confusion(answers, labels, 6)
    np.testing.assert_array_equal(
        matrix, confusion_matrix(labels, answers, labels=range(6))
    )
    assert matrix.dtype.kind == "i"
    accuracy = metrics.class_accuracy(matrix)
    assert np.isnan(accuracy[5])
    expected = balanced_accuracy_score(labels, answers)
    assert np.nanmean(accuracy) == pytest.approx(expected)
    for number in range(5):
        mine = labels == number
        assert accuracy[number] == pytest.approx((answers[mine] == number).mean())


def test_accuracy_of_a_class_with_one_video():
    accuracy = metrics.class_accuracy(np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0]]))
    np.testing.assert_array_equal(accuracy, [1, 0, np.nan])


def test_average_precision_is_the_area_under_the_best_precision(scored):
    scores, labels = scored
    answer = metrics.average_precision(scores, labels)
    assert np.isnan(answer[5])
    for number in range(5):
        precision, recall, _ = precision_recall_curve(
            labels == number, scores[:, number]
        )
        area = 0.0
        for low, high in zip(recall[1:], recall[:-1], strict=True):
            reached = precision[recall >= high].max()
            area += (high - low) * reached
        close(answer[number], area)


def test_average_precision_by_hand():
    # Found at places 1 and 3 of 4: precisions 1 and 2/3.
    scores = np.array([[0.9], [0.8], [0.7], [0.6]])
    assert metrics.average_precision(scores, [0, 1, 0, 1])[0] == pytest.approx(5 / 6)
    # At places 2 and 3: 1/2 and 2/3, of which the better counts at both.
    assert metrics.average_precision(scores, [1, 0, 0, 1])[0] == pytest.approx(2 / 3)


def test_a_class_that_is_predicted_once():
    answers = np.array([[1, 0], [0, 0], [0, 1]])
    labels = [[1, 1], [0, 0], [0, 1]]
    precision, recall, f1 = metrics.precision_recall(answers, labels)
    assert precision.tolist() == [1, 1] and recall.tolist() == [1, 0.5]
    np.testing.assert_allclose(f1, [1, 2 / 3])
