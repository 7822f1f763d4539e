"""Why a sample is in a batch, in one sentence that an annotator understands; it names no class."""

import pandas as pd

WHY = {
    # the strategies
    "auto": "chosen because the model learns most from it",
    "random": "drawn at random",
    "least_confidence": "the model is not sure what it is",
    "margin": "the model wavers between two classes",
    "entropy": "the model considers many classes possible",
    "bald": "several versions of the model disagree about it",
    "k_center": "it is unlike every image with a label so far",
    "typiclust": "it is typical of a group of images without labels",
    "prob_cover": "many images like it have no label yet",
    "coverage": "it represents images that have no label yet",
    "max_herding": "it represents many images that have no label yet",
    "badge": "the model is not sure what it is, and it differs from the others of this round",
    "cluster_margin": "the model wavers between two classes, as for a whole group of images",
    "weighted_kmeans": "it represents a group of images of which the model is not sure",
    "uncertainty_herding": "it represents many images of which the model is not sure",
    "balanced": "it may be of a class with few labels",
    "uncertainty_coverage": "it represents images of which the model is not sure",
    "rare_uncertainty_coverage": "the model is not sure, and it may be of a rare class",
    "bait": "its label says much about what the model predicts for all images",
    "rare_bait": "its label says much about what the model predicts for images of rare classes",
    "bait_by_class": "its label says much about what the model predicts for all images",
    "lookahead": "after its label the model should make fewer mistakes on all images",
    # what a batch adds to a strategy's choice
    "audit": "drawn at random",
    "drift": "images like it are new in what the model is asked, and it differs most",
    "drifted": "images like it are new in what the model is asked",
    "referred": "the model answered it in use, was not sure, and a person should decide",
    "shadow": "two versions of the model answered it differently in use",
    "named": "somebody asked for this image",
    "quota": "more labels are wanted of images like it",
    "fresh": "it was added recently",
    "served": "it comes from the use of the model",
    "review": "its label deserves a second look",
    "relabel": "its label deserves a second look",
    "duel": "two versions of the model answer differently",
}


def sentences(reasons: pd.Series) -> list[str]:
    """The sentence for each reason; one without a sentence is an error that names it."""
    missing = sorted(set(reasons) - set(WHY))
    if missing:
        raise ValueError(f"the reason {missing[0]!r} has no sentence for annotators; add it to WHY")
    return [WHY[str(reason)] for reason in reasons]
