"""Each overlay of infra/knative, rendered by kustomize once."""

import pytest

from .rendered import OVERLAYS, Rendered, render


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> Rendered:
    return render(str(request.param))


@pytest.fixture
def dev() -> Rendered:
    return render("dev")


@pytest.fixture
def production() -> Rendered:
    return render("production")
