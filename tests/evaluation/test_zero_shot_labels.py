"""Labels that the zero-shot baseline could not tell apart."""

import pytest

from claip_emo.evaluation.zero_shot import ZeroShotModel
from claip_emo.labels import LabelError, LabelSet


def test_labels_must_differ_in_words() -> None:
    with pytest.raises(LabelError, match="'joy' and 'happiness' are the same in words"):
        ZeroShotModel.from_backbone("tiny-clip", LabelSet(("joy", "fear", "happiness")))
