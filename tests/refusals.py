"""What every refusal must say."""

import pytest


def refused(call, error, argument, words):
    with pytest.raises(error) as caught:
        call()
    raised, message = caught.value, str(caught.value)
    # The class itself: a StructureError in place of an ArgumentError misleads.
    assert type(raised) is error
    assert raised.argument == argument
    assert message.startswith(f"{argument}=")
    assert words in message
    # A remedy tells what to do, and is the last sentence.
    assert len(raised.remedy.split()) >= 2
    assert message.endswith(f". {raised.remedy}.")
    assert ".." not in message.replace("...", "")
