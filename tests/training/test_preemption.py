"""SIGTERM and SIGINT: at once if nothing is lost, otherwise when the holder permits."""

import os
import signal

import pytest

from tfcpn.training.preemption import StopRequest
from tfcpn.utils.errors import Preempted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_at_once_unless_deferred(number):
    with StopRequest() as request:
        with pytest.raises(Preempted, match=signal.Signals(number).name):
            os.kill(os.getpid(), number)
        assert request.signal_name


def test_a_deferred_signal_is_a_request_and_a_second_one_stops_at_once(capsys):
    with StopRequest() as request, request.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.signal_name == "SIGTERM"
        with pytest.raises(Preempted):
            os.kill(os.getpid(), signal.SIGINT)


def test_previous_signal_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
