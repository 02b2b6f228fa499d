import fake_model
import pytest


@pytest.fixture
def model():
    return fake_model.FakeModel()
