"""A network that is traced in a moment, for tests of what happens around it."""

import pytest

from tests.common.project_trainings import backbone
from vehicle_attributes import model


@pytest.fixture(scope="module")
def tiny_backbone():
    """Two blocks for 32×32 pixels in place of whatever backbone a preset has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "build_backbone", lambda *_, **__: backbone())
        yield
