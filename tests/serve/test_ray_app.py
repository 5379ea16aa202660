"""The Ray Serve application; its replicas were rehearsed by hand, see docs/serving.md."""

import pytest

pytest.importorskip("ray.serve")
from almtok.serve import ray_app  # noqa: E402


def test_the_application_has_replicas_and_a_queue_of_the_app():
    app = ray_app.build({"replicas": "2", "max_batch": "4", "max_queue": 8, "grace_seconds": 3})
    deployment = app._bound_deployment
    assert deployment.num_replicas == 2 and deployment.max_ongoing_requests == 12
    assert deployment.ray_actor_options["num_cpus"] == 1.0


@pytest.mark.parametrize(("arguments", "message"), [
    ({"replicas": "some"}, "replicas must be a number, got 'some'"),
    ({"port": 1}, "settings must be of .*; got port"),
])  # fmt: skip
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ray_app.build(arguments)
