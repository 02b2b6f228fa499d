import fake_model
import pytest


class Unsized(fake_model.FakeModel):
    """Sizes of items are known once they are read, as those of events are."""

    def sizes(self, items):
        return dict.fromkeys(items), {}

    def prepare(self, label, item, size):
        sizes, _ = super().sizes({label: item})
        return item, sizes[label]


@pytest.fixture
def model():
    return fake_model.FakeModel()


@pytest.fixture
def unsized():
    return Unsized()
