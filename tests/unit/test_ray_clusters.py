"""Which Ray cluster a run opens and closes: no other run's, and a signal meanwhile is the caller's. No test here finds one open."""

import signal
import subprocess
import sys
import time

import psutil
import pytest
from several import needs_ray

from trustbase.errors import Interrupted
from trustbase.train.cluster import ClusterOptions
from trustbase.train.on_ray import _shared_cluster_here, connected, settings


@needs_ray
def test_a_signal_while_ray_opens_is_the_callers(monkeypatch):
    """Ray's own handler stands by then, and ends a process with the number of the signal."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.shutdown", lambda: None)

    def opening(ray, cluster):
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("trustbase.train.on_ray._open", opening)

    def own(number, frame):
        raise Interrupted("stopped", signal_number=number)

    before = signal.signal(signal.SIGTERM, own)
    try:
        with pytest.raises(Interrupted) as stopped, connected(ClusterOptions(ray="auto")):
            raise AssertionError("it opened")
        assert stopped.value.exit_code == 128 + signal.SIGTERM and signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


@needs_ray
@pytest.mark.slow
def test_a_cluster_that_another_run_started_for_itself_is_not_joined(tmp_path):
    """Whoever joins it ends when that run does."""
    script = tmp_path / "other.py"
    script.write_text(
        "import sys, time\nfrom trustbase.train.cluster import ClusterOptions\nfrom trustbase.train.on_ray import connected, settings\n"
        "with settings(), connected(ClusterOptions(ray='auto', gpus=False)):\n    print('open', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "open\n"
        with settings(), connected(ClusterOptions(ray="auto", gpus=False)):
            import ray

            assert len(ray.nodes()) == 1 and not _shared_cluster_here()
            mine = ray.get_runtime_context().gcs_address
            theirs = [
                word
                for process in psutil.process_iter(["name", "cmdline"])
                if process.info["name"] == "raylet"
                for word in process.info["cmdline"] or ()
                if word.startswith("--gcs-address=")
            ]
            assert len({word.partition("=")[2] for word in theirs}) >= 2 and any(mine not in word for word in theirs)
            other.stdin.close()
            other.wait(60)
            time.sleep(2)
            assert ray.get(ray.put(7)) == 7, "the other run's end was this one's too"
    finally:
        other.kill()
