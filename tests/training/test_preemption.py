"""SIGTERM and SIGINT: at once where nothing is lost, else when the holder can."""

import os
import signal

import pytest

from tfcpn.training.preemption import StopRequest
from tfcpn.utils.errors import Preempted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_at_once_unless_it_is_held(number):
    with StopRequest() as request:
        with pytest.raises(Preempted, match=signal.Signals(number).name):
            os.kill(os.getpid(), number)
        assert request.signal_name


def test_a_held_signal_is_a_wish_and_a_second_one_an_order(capsys):
    with StopRequest() as request, request.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.signal_name == "SIGTERM"
        with pytest.raises(Preempted):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_handlers_of_before_come_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
